//! What commands refuse names the field that is wrong, and says what to do.

use reqwest::Method;
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
        ("display_name", users, person("ett\u{200b}a")),
        ("name", "/api/v1/channels", json!({ "name": "lob\u{feff}by" })),
        ("tags[0]", tracks, json!({ "upload_id": upload, "title": "a", "tags": ["j\u{200d}azz"] })),
        ("title", tracks, json!({ "upload_id": upload, "title": "a\u{202e}b" })),
        ("token", "/api/v1/email-confirmations", token),
        ("name", "/api/v1/channels", json!({ "name": "   " })),
        ("name", "/api/v1/channels", json!({})),
        ("text", &messages, json!({ "text": "" })),
        ("title", tracks, json!({ "upload_id": upload, "title": "a\u{0}" })),
        ("tags[1]", tracks, json!({ "upload_id": upload, "title": "a", "tags": ["a", ""] })),
        ("tags[1]", tracks, json!({ "upload_id": upload, "title": "a", "tags": ["a", 7] })),
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
async fn all_fields_that_are_wrong_are_named() {
    let platform = Platform::start_with(&[("VEZA_RATE_LIMITS", "off")]).await;
    let nina = sign_up(&platform, "nina", "artist").await;
    let upload = platform.upload(&nina, tone()).await.1["id"].clone();
    let price = json!({ "amount_minor": 0, "currency": "XXX" });
    let offer = json!({ "track_id": upload, "kind": "exclusive", "price": price });
    let several: [(&[&str], &str, Value); 3] = [
        (
            &["handle", "display_name", "email", "password", "roles[1]"],
            "/api/v1/users",
            json!({
                "handle": "1", "display_name": " ", "email": "nobody", "password": "short",
                "roles": ["artist", "emperor"],
            }),
        ),
        (
            &["title", "tags[0]", "tags[2]"],
            "/api/v1/tracks",
            json!({ "upload_id": upload, "title": "", "tags": ["", "a", " "] }),
        ),
        (&["price.amount_minor", "price.currency"], "/api/v1/listings", offer),
    ];
    for (fields, path, body) in several {
        let (status, problem) = platform.post(path, Some(&nina), body).await;
        let named = problem["errors"].as_array().unwrap().iter().map(|error| &error["field"]);
        assert_eq!((status, named.cloned().collect()), (422, json!(fields)), "{problem}");
    }
    let profile = json!({ "display_name": "", "bio": "\u{0}" });
    let request = platform.request(Method::PUT, "/api/v1/users/me/profile", Some(&nina));
    let (status, problem) = platform.send(request.json(&profile)).await;
    let named = problem["errors"].as_array().unwrap().iter().map(|error| &error["field"]);
    assert_eq!((status, named.cloned().collect()), (422, json!(["display_name", "bio"])));
    platform.stop().await;
}

/// PostgreSQL has no NUL in its texts: what has one is refused before it is asked.
#[tokio::test]
async fn a_nul_is_refused_wherever_it_is() {
    let platform = Platform::start_with(&[("VEZA_RATE_LIMITS", "off")]).await;
    let nina = sign_up(&platform, "nina", "artist").await;
    let track = publish(&platform, &nina).await;
    let nul = "a\u{0}b";
    let person = json!({
        "handle": "etta", "display_name": "Etta", "email": "etta@example.org",
        "password": "long enough", "roles": ["artist"],
    });
    let price = json!({ "amount_minor": 1, "currency": nul });
    let mut cases = vec![
        ("/api/v1/sessions", json!({ "email": "etta\u{0}@example.org", "password": "secret" })),
        ("/api/v1/sessions", json!({ "email": "nina@example.org", "password": nul })),
        ("/api/v1/email-confirmations", json!({ "token": nul })),
        ("/api/v1/email-confirmations/requests", json!({ "email": "nina@example.o\u{0}rg" })),
        ("/api/v1/users/me/profile", json!({ "display_name": "Nina", "bio": nul })),
        ("/api/v1/channels", json!({ "name": nul })),
        ("/api/v1/listings", json!({ "track_id": track, "kind": nul })),
        ("/api/v1/listings", json!({ "track_id": track, "kind": "exclusive", "price": price })),
        ("/api/v1/orders", json!({ "listing_id": nul, "payment_method": "sandbox" })),
        ("/api/v1/tracks/%00/publication", Value::Null),
        ("/api/v1/channels/a%00b/messages", json!({ "text": "hello" })),
        ("/api/v1/users/%00/roles", json!({ "role": "artist", "reason": "asked" })),
        ("/api/v1/users?a=%00", Value::Null),
    ];
    for field in ["handle", "display_name", "email"] {
        let mut person = person.clone();
        person[field] = json!(format!("{}\u{0}", person[field].as_str().unwrap()));
        cases.push(("/api/v1/users", person));
    }
    cases.push(("/api/v1/users", json!({ "roles": [nul] })));
    for (path, body) in cases {
        let method = if path.ends_with("/profile") { Method::PUT } else { Method::POST };
        let request = platform.request(method, path, Some(&nina)).json(&body);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let told = answer.text().await.unwrap();
        assert!((400..500).contains(&status), "{path} {body}: {status} {told}");
        assert!(!told.contains("internal"), "{path} {body}: {told}");
    }
    for path in [
        "/media/tracks/%00/master.m3u8",
        &format!("/media/tracks/{track}/%00"),
        &format!("/media/tracks/{track}/a%00b.m3u8"),
        "/media/orders/%00/master",
        "/docs/%00",
    ] {
        let answer = platform.request(Method::GET, path, Some(&nina)).send().await.unwrap();
        assert!(answer.status().is_client_error(), "{path}: {}", answer.status());
    }
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
