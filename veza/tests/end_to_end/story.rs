//! The story so far, through the public doors of a real platform: sign up, upload, publish, sell,
//! buy. It is killed in the middle of a purchase and started again, and goes on by itself.

use reqwest::Method;
use serde_json::{Value, json};

use crate::acts::{list, order, publish, sign_up};
use crate::platform::{Platform, eventually};

#[tokio::test]
async fn a_licence_is_bought_and_a_kill_in_the_middle_changes_nothing() {
    let mut platform = Platform::start().await;
    let nina = sign_up(&platform, "nina", "artist").await;
    let otis = sign_up(&platform, "otis", "listener").await;
    let etta = sign_up(&platform, "etta", "listener").await;
    let track = publish(&platform, &nina).await;
    let listing = list(&platform, &nina, &track, "instant").await;

    let (first, second) =
        tokio::join!(order(&platform, &otis, &listing), order(&platform, &etta, &listing));
    let mut statuses = [first.0, second.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409], "one of two buyers gets an exclusive licence");
    let (buyer, won, lost) =
        if first.0 == 201 { (&otis, first.1, second.1) } else { (&etta, second.1, first.1) };
    assert_eq!(lost["type"], "urn:veza:problem:licence-taken");

    platform.kill_and_restart().await;
    let bought = won["id"].as_str().unwrap();
    let acceptance = format!("/api/v1/orders/{bought}/acceptance");
    eventually("the order is delivered and can be accepted", async || {
        platform.post(&acceptance, Some(buyer), Value::Null).await.0 == 200
    })
    .await;
    let stream = format!("order-{bought}");
    eventually("the order is completed", async || {
        platform.replay(&["state", &stream]).await["state"]["status"] == "completed"
    })
    .await;
    let escrow = platform.replay(&["state", &format!("escrow-{bought}")]).await;
    assert_eq!(escrow["state"]["status"], "released");
    assert_eq!(platform.replay(&["verify"]).await["sound"], true);
    assert_eq!(platform.ledger(bought), ["authorise", "capture", "pay_out"]);
    platform.stop().await;
}

#[tokio::test]
async fn an_order_that_can_not_be_delivered_is_undone_and_nobody_is_charged() {
    let platform = Platform::start().await;
    let nina = sign_up(&platform, "nina", "artist").await;
    let otis = sign_up(&platform, "otis", "listener").await;
    let track = publish(&platform, &nina).await;
    let listing = list(&platform, &nina, &track, "on_approval").await;
    let (status, placed) = order(&platform, &otis, &listing).await;
    assert_eq!(status, 201);
    let id = placed["id"].as_str().unwrap();

    let take_down = format!("/api/v1/tracks/{track}/take-down");
    let reason = json!({ "reason": "a sample was not cleared" });
    assert_eq!(platform.post(&take_down, Some(&otis), reason.clone()).await.0, 403);
    assert_eq!(platform.post(&take_down, Some(&nina), reason).await.0, 200);
    let approval = format!("/api/v1/orders/{id}/approval");
    assert_eq!(platform.post(&approval, Some(&otis), Value::Null).await.0, 403);
    assert_eq!(platform.post(&approval, Some(&nina), Value::Null).await.0, 200);

    let stream = format!("order-{id}");
    eventually("the order is cancelled", async || {
        platform.replay(&["state", &stream]).await["state"]["status"] == "cancelled"
    })
    .await;
    let cancelled = platform.replay(&["state", &stream]).await;
    let reason = cancelled["state"]["cancelled_because"].as_str().unwrap();
    assert!(reason.contains("taken down"), "{reason}");
    assert_eq!(platform.ledger(id), ["authorise", "void"]);
    platform.stop().await;
}

#[tokio::test]
async fn a_repeated_command_is_one_command() {
    let platform = Platform::start().await;
    let nina = sign_up(&platform, "nina", "artist").await;
    let new = json!({ "name": "lobby" });
    let keyed = async |body: &Value| {
        let request = platform.request(Method::POST, "/api/v1/channels", Some(&nina));
        platform.send(request.header("idempotency-key", "one").json(body)).await
    };
    let first = keyed(&new).await;
    assert_eq!(first.0, 201);
    assert_eq!(keyed(&new).await, first, "a repetition is answered alike");
    let (status, problem) = keyed(&json!({ "name": "another" })).await;
    assert_eq!(status, 422);
    assert_eq!(problem["type"], "urn:veza:problem:idempotency-key-reused");
    platform.stop().await;
}
