//! The story so far, through the public doors of a real platform: sign up, upload, publish, sell,
//! buy. It is killed in the middle of a purchase and started again, and goes on by itself.

use reqwest::Method;
use serde_json::{Value, json};

use crate::platform::{Platform, eventually};

/// Two seconds of a 440 Hz tone, 16 bit, mono, 8 kHz.
pub fn tone() -> Vec<u8> {
    const RATE_HZ: u32 = 8000;
    let samples = (0..2 * RATE_HZ).map(|n| {
        let phase = f64::from(n) * 440.0 * std::f64::consts::TAU / f64::from(RATE_HZ);
        (phase.sin() * 12_000.0) as i16
    });
    let data: Vec<u8> = samples.flat_map(i16::to_le_bytes).collect();
    let size = u32::try_from(data.len()).unwrap();
    let mut wav = Vec::new();
    wav.extend(b"RIFF");
    wav.extend((36 + size).to_le_bytes());
    wav.extend(b"WAVEfmt ");
    wav.extend(16_u32.to_le_bytes());
    wav.extend([1, 0, 1, 0]);
    wav.extend(RATE_HZ.to_le_bytes());
    wav.extend((2 * RATE_HZ).to_le_bytes());
    wav.extend([2, 0, 16, 0]);
    wav.extend(b"data");
    wav.extend(size.to_le_bytes());
    wav.extend(data);
    wav
}

pub async fn sign_up(platform: &Platform, handle: &str, role: &str) -> String {
    let email = format!("{handle}@example.org");
    let new = json!({
        "handle": handle, "display_name": handle, "email": email,
        "password": "correct horse", "roles": [role],
    });
    assert_eq!(platform.post("/api/v1/users", None, new).await.0, 201);
    let token = platform.mailed_token(&email);
    let (status, _) =
        platform.post("/api/v1/email-confirmations", None, json!({ "token": token })).await;
    assert_eq!(status, 200);
    let credentials = json!({ "email": email, "password": "correct horse" });
    let (status, answer) = platform.post("/api/v1/sessions", None, credentials).await;
    assert_eq!(status, 201);
    answer["access_token"].as_str().unwrap().to_owned()
}

/// A published track of the artist.
pub async fn publish(platform: &Platform, artist: &str) -> String {
    let (status, upload) = platform.upload(artist, tone()).await;
    assert_eq!((status, &upload["media_type"]), (201, &json!("audio/wav")));
    let new = json!({ "upload_id": upload["id"], "title": "Tone", "tags": ["test"] });
    let (status, track) = platform.post("/api/v1/tracks", Some(artist), new).await;
    assert_eq!(status, 201);
    let track = track["id"].as_str().unwrap().to_owned();
    let publication = format!("/api/v1/tracks/{track}/publication");
    eventually("the track can be published", async || {
        platform.post(&publication, Some(artist), Value::Null).await.0 == 200
    })
    .await;
    track
}

pub async fn list(platform: &Platform, artist: &str, track: &str, delivery: &str) -> Value {
    let new = json!({
        "track_id": track, "kind": "exclusive", "delivery": delivery,
        "price": { "amount_minor": 2500, "currency": "EUR" },
    });
    let (status, listing) = platform.post("/api/v1/listings", Some(artist), new).await;
    assert_eq!(status, 201, "{listing}");
    listing["id"].clone()
}

pub async fn order(platform: &Platform, buyer: &str, listing: &Value) -> (u16, Value) {
    let new = json!({ "listing_id": listing, "payment_method": "sandbox:ok" });
    platform.post("/api/v1/orders", Some(buyer), new).await
}

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
async fn a_repeated_command_is_one_command_and_strangers_are_refused() {
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

    let document = platform.get("/openapi.json").await.1;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let secured = operation.get("security").is_some();
            let path = path.replace(['{', '}'], "");
            let path = path.split('/').map(|part| match part {
                part if part.ends_with("_id") => "00000000-0000-0000-0000-000000000001",
                part => part,
            });
            let path = path.collect::<Vec<_>>().join("/");
            let method = method.to_uppercase().parse::<Method>().unwrap();
            let (status, _) = platform.send(platform.request(method, &path, None)).await;
            assert_eq!(status == 401, secured, "{path} without a token: {status}");
        }
    }
    platform.stop().await;
}
