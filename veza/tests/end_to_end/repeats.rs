//! Commands that are sent again under their key: the same is answered alike, another is refused,
//! and nobody gets at what is another's by it.

use std::cell::RefCell;
use std::fs;
use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};

use crate::acts::{list, offer, publish, sign_up};
use crate::platform::{Platform, eventually};

const REUSED: &str = "urn:veza:problem:idempotency-key-reused";
const IN_PROGRESS: &str = "urn:veza:problem:idempotency-in-progress";

/// Sends a command under a key.
async fn keyed(
    platform: &Platform,
    key: &str,
    (method, path): (Method, &str),
    token: Option<&str>,
    body: &Value,
) -> (u16, Value) {
    let request = platform.request(method, path, token).header("idempotency-key", key);
    platform.send(if body.is_null() { request } else { request.json(body) }).await
}

async fn keyed_sign_up(platform: &Platform, key: &str, new: &Value) -> (u16, Value) {
    keyed(platform, key, (Method::POST, "/api/v1/users"), None, new).await
}

fn newcomer(handle: &str, email: &str, display_name: &str) -> Value {
    let password = "correct horse";
    json!({ "handle": handle, "email": email, "display_name": display_name, "password": password })
}

/// The digest of the command that made a user, as the log has it.
async fn digest(platform: &Platform, done: &Value) -> String {
    let stream = format!("user-{}", done["id"].as_str().unwrap());
    let output = platform.replay_command(&["events", &stream, "--json"]).output().await.unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let registered: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    registered["metadata"]["command"]["digest"].as_str().unwrap().to_owned()
}

fn mails(platform: &Platform) -> usize {
    fs::read_dir(platform.data().join("outbox/email")).map_or(0, Iterator::count)
}

#[tokio::test]
async fn a_key_takes_over_nobodys_sign_up() {
    let platform = Platform::start_with(&[("VEZA_RATE_LIMITS", "off")]).await;
    sign_up(&platform, "nina", "artist").await;
    // Refused after the account would have been kept.
    let refused = newcomer("m1", "victim@example.org", "   ");
    assert_eq!(keyed_sign_up(&platform, "K", &refused).await.0, 422);
    let refused = newcomer("mallory", "victim@example.org", "   ");
    assert_eq!(keyed_sign_up(&platform, "K", &refused).await.0, 422);
    let sent = mails(&platform);
    let taken = newcomer("nina", "mallory@example.org", "Nina");
    assert_eq!(keyed_sign_up(&platform, "K", &taken).await.0, 409, "the handle is nina's");
    let taken = newcomer("nina", "victim@example.org", "Nina");
    assert_eq!(keyed_sign_up(&platform, "K", &taken).await.0, 409, "under the same address too");
    assert_eq!(mails(&platform), sent, "somebody was written to who did not sign up");

    // What was refused holds neither handle nor address, nor does it use up the key.
    let victim = newcomer("mallory", "victim@example.org", "Victim");
    let first = keyed_sign_up(&platform, "K", &victim).await;
    assert_eq!(first.0, 201, "{}", first.1);
    let other = newcomer("mallory2", "victim@example.org", "Victim");
    let (status, problem) = keyed_sign_up(&platform, "K", &other).await;
    assert_eq!((status, &problem["type"]), (422, &json!(REUSED)));
    // A stranger's key is another key.
    let stranger = newcomer("otis", "otis@example.org", "Otis");
    assert_eq!(keyed_sign_up(&platform, "K", &stranger).await.0, 201);

    let sent = mails(&platform);
    assert_eq!(
        keyed_sign_up(&platform, "K", &victim).await,
        first,
        "a repetition is answered alike"
    );
    assert_eq!(mails(&platform), sent, "a repetition is mailed again");
    platform.stop().await;
}

#[tokio::test]
async fn the_log_tells_nothing_of_what_was_secret() {
    let platform = Platform::start().await;
    let new = newcomer("nina", "nina@example.org", "Nina");
    let (_, done) = keyed_sign_up(&platform, "K", &new).await;
    let digest = digest(&platform, &done).await;
    assert_eq!(digest.len(), 64, "{digest}");

    // Another password is refused, though nothing of it is in the digest; and no other platform
    // makes that digest.
    let mut again = new.clone();
    again["password"] = json!("another horse");
    let (status, problem) = keyed_sign_up(&platform, "K", &again).await;
    assert_eq!((status, &problem["type"]), (422, &json!(REUSED)));
    let repeated = keyed_sign_up(&platform, "K", &new).await;
    assert_eq!((repeated.0, &repeated.1["id"]), (201, &done["id"]));
    for (password, status) in [("correct horse", 201), ("another horse", 401)] {
        let credentials = json!({ "email": "nina@example.org", "password": password });
        assert_eq!(platform.post("/api/v1/sessions", None, credentials).await.0, status);
    }
    let elsewhere = Platform::start().await;
    let (_, there) = keyed_sign_up(&elsewhere, "K", &new).await;
    assert_ne!(self::digest(&elsewhere, &there).await, digest);
    platform.stop().await;
    elsewhere.stop().await;
}

#[tokio::test]
async fn a_key_keeps_no_second_licence() {
    let platform = Platform::start_with(&[("VEZA_RATE_LIMITS", "off")]).await;
    let nina = sign_up(&platform, "nina", "artist").await;
    let otis = sign_up(&platform, "otis", "listener").await;
    let etta = sign_up(&platform, "etta", "listener").await;
    let tracks = [publish(&platform, &nina).await, publish(&platform, &nina).await];
    let (one, other) = (
        list(&platform, &nina, &tracks[0], "instant").await,
        list(&platform, &nina, &tracks[1], "instant").await,
    );
    let order = |listing: &Value| json!({ "listing_id": listing, "payment_method": "sandbox:ok" });
    let orders = (Method::POST, "/api/v1/orders");
    let first = keyed(&platform, "K", orders.clone(), Some(&otis), &order(&one)).await;
    assert_eq!(first.0, 201, "{}", first.1);
    let (status, problem) =
        keyed(&platform, "K", orders.clone(), Some(&otis), &order(&other)).await;
    assert_eq!((status, &problem["type"]), (422, &json!(REUSED)));
    assert_eq!(keyed(&platform, "K", orders.clone(), Some(&otis), &order(&one)).await, first);
    let bought = keyed(&platform, "K", orders, Some(&etta), &order(&other)).await;
    assert_eq!(bought.0, 201, "the licence is kept for nobody: {}", bought.1);
    platform.stop().await;
}

/// Given orders whose requests are broken off at any moment, the saga of each may be the first to
/// place it: then whoever asks again is answered alike, however far the order has gone on.
#[tokio::test]
async fn an_order_that_was_broken_off_is_answered_alike() {
    const ORDERS: u32 = 100;
    let platform = Platform::start_with(&[("VEZA_RATE_LIMITS", "off")]).await;
    let nina = sign_up(&platform, "nina", "artist").await;
    let otis = sign_up(&platform, "otis", "listener").await;
    let track = publish(&platform, &nina).await;
    let listing = offer(&platform, &nina, &track, "non_exclusive", "instant").await;
    let order = json!({ "listing_id": listing, "payment_method": "sandbox:ok" });
    let orders = (Method::POST, "/api/v1/orders");
    let began = Instant::now();
    assert_eq!(keyed(&platform, "K", orders.clone(), Some(&otis), &order).await.0, 201);
    let whole = began.elapsed();
    let mut first = Vec::new();
    for number in 0..ORDERS {
        let key = format!("K{number}");
        let request = keyed(&platform, &key, orders.clone(), Some(&otis), &order);
        // Later and later: some before the reservation, some behind the order.
        let _ = tokio::time::timeout(whole * number / ORDERS, request).await;
        let answered = RefCell::new(None);
        eventually("it is carried out", async || {
            let again = keyed(&platform, &key, orders.clone(), Some(&otis), &order).await;
            assert!(again.0 == 201 || again.1["type"] == IN_PROGRESS, "{}", again.1);
            let is_done = again.0 == 201;
            answered.replace(is_done.then_some(again));
            is_done
        })
        .await;
        first.push((key, answered.take().unwrap()));
    }
    for (_, (_, placed)) in &first {
        let query = "query($id: UUID!) { order(id: $id) { status } }";
        let query = json!({ "query": query, "variables": { "id": placed["id"] } });
        eventually("the order is delivered", async || {
            let (_, found) = platform.post("/graphql", Some(&otis), query.clone()).await;
            found["data"]["order"]["status"] == "DELIVERED"
        })
        .await;
    }
    for (key, answer) in first {
        let again = keyed(&platform, &key, orders.clone(), Some(&otis), &order).await;
        assert_eq!(again, answer, "{key}");
    }
    platform.stop().await;
}

#[tokio::test]
async fn a_repetition_is_answered_alike_whatever_came_since() {
    let platform = Platform::start_with(&[("VEZA_RATE_LIMITS", "off")]).await;
    let nina = sign_up(&platform, "nina", "artist").await;
    let otis = sign_up(&platform, "otis", "listener").await;
    let lobby = json!({ "name": "lobby" });
    let (_, channel) = platform.post("/api/v1/channels", Some(&nina), lobby).await;
    let channel = channel["id"].as_str().unwrap();
    let membership = format!("/api/v1/channels/{channel}/members/me");
    let joined = keyed(&platform, "J", (Method::PUT, &membership), Some(&otis), &Value::Null).await;
    assert_eq!(joined.0, 200);
    let messages = format!("/api/v1/channels/{channel}/messages");
    let said = json!({ "text": "hello" });
    let post = async |path: &str, text: &Value| {
        keyed(&platform, "K", (Method::POST, path), Some(&otis), text).await
    };
    let first = post(&messages, &said).await;
    assert_eq!(first.0, 201);
    let leave = platform.request(Method::DELETE, &membership, Some(&otis));
    assert_eq!(platform.send(leave).await.0, 200);
    assert_eq!(post(&messages, &said).await, first, "one has left, and it was said");
    let loud = format!("/api/v1/channels/{}/messages", channel.to_uppercase());
    assert_eq!(post(&loud, &said).await, first, "the case of an id makes another command");
    let bare = format!("/api/v1/channels/{}/messages", channel.replace('-', ""));
    assert_eq!(post(&bare, &said).await.0, 400, "an id is written with its hyphens");
    let (status, problem) = post(&messages, &json!({ "text": "bye" })).await;
    assert_eq!((status, &problem["type"]), (422, &json!(REUSED)));
    let again = keyed(&platform, "J", (Method::PUT, &membership), Some(&otis), &json!({})).await;
    assert_eq!(again, joined, "no body is the same as an empty one");
    platform.stop().await;
}

#[tokio::test]
async fn a_key_is_used_up_by_a_command_that_changed_nothing() {
    let platform = Platform::start().await;
    let nina = sign_up(&platform, "nina", "artist").await;
    let put = async |body: &Value| {
        let profile = (Method::PUT, "/api/v1/users/me/profile");
        keyed(&platform, "K", profile, Some(&nina), body).await
    };
    let same = json!({ "display_name": "nina" });
    let first = put(&same).await;
    assert_eq!(first.0, 200);
    let (status, problem) = put(&json!({ "display_name": "Simone" })).await;
    assert_eq!((status, &problem["type"]), (422, &json!(REUSED)));
    assert_eq!(put(&same).await, first);
    assert_eq!(put(&json!(["Simone", ""])).await.0, 422, "a list is no body");
    platform.stop().await;
}
