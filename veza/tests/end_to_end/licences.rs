//! Many buyers of one exclusive licence at the same moment: one gets it, nobody else is charged.

use std::collections::BTreeSet;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::acts::{list, offer, order, order_by, publish, sign_up};
use crate::platform::{Platform, eventually};

const TRACKS: usize = 5;
const BUYERS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_buyers_one_gets_the_licence_and_the_others_pay_nothing() {
    let platform = Platform::start_with(&[("VEZA_RATE_LIMITS", "off")]).await;
    let nina = sign_up(&platform, "nina", "artist").await;
    let mut buyers = Vec::new();
    for buyer in 0..BUYERS {
        buyers.push(sign_up(&platform, &format!("buyer{buyer}"), "listener").await);
    }
    let mut won = Vec::new();
    for round in 0..TRACKS {
        let track = publish(&platform, &nina).await;
        let listing = list(&platform, &nina, &track, "instant").await;
        // All at once, and in another order each time.
        let rush = (0..BUYERS).map(|n| {
            let buyer = (n + round) % BUYERS;
            let (platform, buyers, listing) = (&platform, &buyers, &listing);
            async move { (buyer, order(platform, &buyers[buyer], listing).await) }
        });
        let answers = join_all(rush).await;
        let (winners, losers): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|(_, (status, _))| *status == 201);
        assert_eq!(winners.len(), 1, "track {round}: {winners:?}");
        for (_, (status, problem)) in losers {
            let kind = &problem["type"];
            assert_eq!((status, kind), (409, &json!("urn:veza:problem:licence-taken")));
        }
        let (buyer, (_, made)) = &winners[0];
        won.push((made["id"].as_str().unwrap().to_owned(), buyers[*buyer].clone()));
    }
    for (id, buyer) in &won {
        let acceptance = format!("/api/v1/orders/{id}/acceptance");
        eventually("the order is accepted", async || {
            platform.post(&acceptance, Some(buyer), Value::Null).await.0 == 200
        })
        .await;
        eventually("the seller is paid", async || {
            platform.ledger(id) == ["authorise", "capture", "pay_out"]
        })
        .await;
    }
    let expected: BTreeSet<_> = won.into_iter().map(|(id, _)| id).collect();
    assert_eq!(charged(&platform), expected, "somebody else is in the gateway's ledger");
    let placed = replayed_orders(&platform).await;
    assert_eq!(placed, expected, "an order was placed by somebody who got no licence");
    platform.stop().await;
}

#[tokio::test]
async fn what_was_taken_down_is_not_offered_sold_or_played() {
    let platform = Platform::start().await;
    let nina = sign_up(&platform, "nina", "artist").await;
    let otis = sign_up(&platform, "otis", "listener").await;
    let track = publish(&platform, &nina).await;
    let listing = offer(&platform, &nina, &track, "non_exclusive", "on_approval").await;
    let exclusive = list(&platform, &nina, &track, "on_approval").await;
    let orders = async || {
        let request = platform.request(Method::POST, "/api/v1/orders", Some(&otis));
        let new = json!({ "listing_id": listing, "payment_method": "sandbox:ok" });
        platform.send(request.header("idempotency-key", "early").json(&new)).await
    };
    let early = orders().await;
    assert_eq!(early.0, 201, "{}", early.1);

    let take_down = format!("/api/v1/tracks/{track}/take-down");
    let reason = json!({ "reason": "a sample was not cleared" });
    let (status, down) = platform.post(&take_down, Some(&nina), reason).await;
    assert_eq!(status, 200);
    let new = json!({
        "track_id": track, "kind": "exclusive", "price": { "amount_minor": 1, "currency": "EUR" },
    });
    assert_eq!(platform.post("/api/v1/listings", Some(&nina), new).await.0, 404);
    assert_eq!(orders().await, early, "a repetition is answered alike");
    let plays = format!("/api/v1/tracks/{track}/plays");
    let refused = [
        order(&platform, &otis, &listing).await,
        order(&platform, &otis, &exclusive).await,
        platform.post(&plays, Some(&otis), json!({ "listened_ms": 2_000 })).await,
    ];
    for (status, problem) in refused {
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert_eq!((status, detail), (409, "the track's master was taken down"), "{problem}");
    }
    let query = format!("{{ track(id: \"{track}\") {{ listings {{ nodes {{ status }} }} }} }}");
    let request = platform.request(Method::POST, "/graphql", None);
    let request = request.header("veza-min-position", down["position"].as_str().unwrap());
    let seen = platform.send(request.json(&json!({ "query": query }))).await.1;
    let taken_down = json!({ "status": "TAKEN_DOWN" });
    let expected = json!([taken_down, taken_down]);
    assert_eq!(seen["data"]["track"]["listings"]["nodes"], expected, "{seen}");
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_licence_whose_buyer_can_not_pay_is_free_again() {
    let platform = Platform::start_with(&[("VEZA_RATE_LIMITS", "off")]).await;
    let nina = sign_up(&platform, "nina", "artist").await;
    let track = publish(&platform, &nina).await;
    let (broke, rich) = (
        sign_up(&platform, "broke", "listener").await,
        sign_up(&platform, "rich", "listener").await,
    );
    let listing = list(&platform, &nina, &track, "instant").await;
    let (status, declined) = order_by(&platform, &broke, &listing, "sandbox:decline").await;
    assert_eq!(status, 201);
    eventually("the licence can be bought again", async || {
        let (status, answer) = order(&platform, &rich, &listing).await;
        assert!(status == 201 || answer["type"] == "urn:veza:problem:licence-taken", "{answer}");
        status == 201
    })
    .await;
    let declined = declined["id"].as_str().unwrap();
    let state = platform.replay(&["state", &format!("order-{declined}")]).await;
    assert_eq!(state["state"]["status"], "cancelled", "{state}");
    assert_eq!(platform.ledger(declined), ["authorise"]);
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_track_has_one_exclusive_licence_however_often_it_is_offered() {
    let platform = Platform::start_with(&[("VEZA_RATE_LIMITS", "off")]).await;
    let nina = sign_up(&platform, "nina", "artist").await;
    let otis = sign_up(&platform, "otis", "listener").await;
    let etta = sign_up(&platform, "etta", "listener").await;
    let track = publish(&platform, &nina).await;
    let open = offer(&platform, &nina, &track, "non_exclusive", "instant").await;
    let new = |kind: &str| {
        let price = json!({ "amount_minor": 2500, "currency": "EUR" });
        json!({ "track_id": track, "kind": kind, "price": price })
    };
    let offered = async |key: &str, kind: &str| {
        let request = platform.request(Method::POST, "/api/v1/listings", Some(&nina));
        platform.send(request.header("idempotency-key", key).json(&new(kind))).await
    };
    let first = offered("one", "exclusive").await;
    assert_eq!(first.0, 201, "{}", first.1);
    let (status, problem) = offered("two", "exclusive").await;
    assert_eq!((status, &problem["type"]), (409, &json!("urn:veza:problem:conflict")));
    assert_eq!(offered("one", "exclusive").await, first, "a repetition is answered alike");
    let (status, problem) = offered("one", "non_exclusive").await;
    assert_eq!(
        (status, &problem["type"]),
        (422, &json!("urn:veza:problem:idempotency-key-reused"))
    );

    let withdrawal = format!("/api/v1/listings/{}", first.1["id"].as_str().unwrap());
    let withdraw = platform.request(Method::DELETE, &withdrawal, Some(&nina));
    assert_eq!(platform.send(withdraw).await.0, 200);
    let second = offered("three", "exclusive").await;
    assert_eq!(second.0, 201, "{}", second.1);
    assert_ne!(second.1["id"], first.1["id"]);
    assert_eq!(offered("one", "exclusive").await, first, "it is withdrawn, and was offered");

    assert_eq!(order(&platform, &otis, &open).await.0, 201, "nobody has the exclusive one yet");
    assert_eq!(order(&platform, &etta, &second.1["id"]).await.0, 201);
    let (status, problem) = order(&platform, &otis, &open).await;
    assert_eq!((status, &problem["type"]), (409, &json!("urn:veza:problem:licence-taken")));
    for (key, kind) in [("four", "exclusive"), ("five", "non_exclusive")] {
        let (status, problem) = offered(key, kind).await;
        assert_eq!((status, &problem["type"]), (409, &json!("urn:veza:problem:licence-taken")));
    }
    platform.stop().await;
}

/// The orders that the gateway knows of.
fn charged(platform: &Platform) -> BTreeSet<String> {
    let ledger = platform.data().join("sandbox-gateway/ledger.jsonl");
    let text = std::fs::read_to_string(ledger).unwrap();
    let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries.map(|entry| entry["order_id"].as_str().unwrap().to_owned()).collect()
}

/// The orders in the log.
async fn replayed_orders(platform: &Platform) -> BTreeSet<String> {
    let mut command = platform.replay_command(&["streams", "--prefix", "order-", "--json"]);
    let said = String::from_utf8(command.output().await.unwrap().stdout).unwrap();
    let streams = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let ids = streams.map(|stream| stream["stream"].as_str().unwrap().to_owned());
    ids.map(|stream| stream.trim_start_matches("order-").to_owned()).collect()
}
