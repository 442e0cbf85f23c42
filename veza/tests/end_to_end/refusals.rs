//! What commands refuse names the field that is wrong, and says what to do.

use serde_json::{Value, json};

use crate::acts::{offer, publish, sign_up, tone};
use crate::platform::{Platform, eventually};

#[tokio::test]
async fn what_is_not_valid_is_named_by_its_field() {
    let platform = Platform::start_with(&[("VEZA_RATE_LIMITS", "off")]).await;
    let nina = sign_up(&platform, "nina", "artist").await;
    let otis = sign_up(&platform, "otis", "listener").await;
    let upload = platform.upload(&nina, tone()).await.1["id"].clone();
    let track = publish(&platform, &nina).await;
    let listing = offer(&platform, &nina, &track, "non_exclusive", "instant").await;
    let (_, channel) =
        platform.post("/api/v1/channels", Some(&nina), json!({ "name": "lobby" })).await;
    let (users, tracks, listings) = ("/api/v1/users", "/api/v1/tracks", "/api/v1/listings");
    let messages = format!("/api/v1/channels/{}/messages", channel["id"].as_str().unwrap());
    let (plays, down) = (format!("{tracks}/{track}/plays"), format!("{tracks}/{track}/take-down"));
    let person = |name: &str| {
        let email = "etta@example.org";
        json!({ "handle": "etta", "display_name": name, "email": email, "password": "long enough" })
    };
    let tags: Vec<String> = (0..21).map(|n| n.to_string()).collect();
    let priced = |amount: u64, currency: &str| {
        let price = json!({ "amount_minor": amount, "currency": currency });
        json!({ "track_id": track, "kind": "non_exclusive", "price": price })
    };
    let token = json!({ "token": "none" });
    let cases: Vec<(&str, &str, Value)> = vec![
        ("display_name", users, person("  ")),
        ("token", "/api/v1/email-confirmations", token),
        ("name", "/api/v1/channels", json!({ "name": "   " })),
        ("name", "/api/v1/channels", json!({})),
        ("text", &messages, json!({ "text": "" })),
        ("title", tracks, json!({ "upload_id": upload, "title": "a\u{0}" })),
        ("tags", tracks, json!({ "upload_id": upload, "title": "a", "tags": [""] })),
        ("tags", tracks, json!({ "upload_id": upload, "title": "a", "tags": tags })),
        ("reason", &down, json!({ "reason": "" })),
        ("listened_ms", &plays, json!({ "listened_ms": 1 })),
        ("listened_ms", &plays, json!({ "listened_ms": 9_000 })),
        ("price.amount_minor", listings, priced(0, "EUR")),
        ("price.amount_minor", listings, priced(100_000_000, "EUR")),
        ("price.currency", listings, priced(1, "XXX")),
        ("price.currency", listings, priced(1, "euros")),
        ("price", listings, json!({ "track_id": track, "kind": "exclusive" })),
    ];
    for (field, path, body) in cases {
        let (status, problem) = platform.post(path, Some(&nina), body.clone()).await;
        let named = &problem["errors"][0];
        assert_eq!((status, &named["field"]), (422, &json!(field)), "{path} {body}: {problem}");
        assert!(!named["message"].as_str().unwrap().is_empty(), "{problem}");
    }
    let new = json!({ "listing_id": listing, "payment_method": "" });
    let (status, problem) = platform.post("/api/v1/orders", Some(&otis), new).await;
    let named = &problem["errors"][0]["field"];
    assert_eq!((status, named), (422, &json!("payment_method")), "{problem}");
    platform.stop().await;
}

#[tokio::test]
async fn a_track_that_failed_says_why_it_is_not_published() {
    let platform = Platform::start().await;
    let nina = sign_up(&platform, "nina", "artist").await;
    // A header that promises audio, and none behind it.
    let mut broken = tone();
    broken.truncate(44);
    let upload = platform.upload(&nina, broken).await.1["id"].clone();
    let new = json!({ "upload_id": upload, "title": "Silence" });
    let (status, track) = platform.post("/api/v1/tracks", Some(&nina), new).await;
    assert_eq!(status, 201, "{track}");
    let publication = format!("/api/v1/tracks/{}/publication", track["id"].as_str().unwrap());
    let why = async || {
        let (status, problem) = platform.post(&publication, Some(&nina), Value::Null).await;
        assert_eq!(status, 409, "{problem}");
        problem["detail"].as_str().unwrap().to_owned()
    };
    let query = format!("{{ track(id: {}) {{ status failure }} }}", track["id"]);
    let failure = async || {
        let query = json!({ "query": query });
        let seen = platform.post("/graphql", Some(&nina), query).await.1;
        seen["data"]["track"]["failure"].as_str().map(str::to_owned)
    };
    eventually("it has failed", async || failure().await.is_some()).await;
    let expected = format!("the track can't be streamed: {}", failure().await.unwrap());
    assert_eq!(why().await, expected);
    platform.stop().await;
}
