//! What people do in the stories: sign up, publish, offer, order.

use serde_json::{Value, json};

use crate::platform::{Platform, eventually};

/// Two seconds of a 440 Hz tone, 16 bit, mono, 8 kHz.
pub fn tone() -> Vec<u8> {
    tone_of(2_000)
}

/// So many milliseconds of it.
pub fn tone_of(duration_ms: u32) -> Vec<u8> {
    const RATE_HZ: u32 = 8000;
    let samples = (0..RATE_HZ * duration_ms / 1000).map(|n| {
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
    publish_tone(platform, artist, 2_000).await
}

/// A published track of so many milliseconds.
pub async fn publish_tone(platform: &Platform, artist: &str, duration_ms: u32) -> String {
    let (status, upload) = platform.upload(artist, tone_of(duration_ms)).await;
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

/// An exclusive licence on offer.
pub async fn list(platform: &Platform, artist: &str, track: &str, delivery: &str) -> Value {
    offer(platform, artist, track, "exclusive", delivery).await
}

/// A licence on offer for 25 euros.
pub async fn offer(
    platform: &Platform,
    artist: &str,
    track: &str,
    kind: &str,
    delivery: &str,
) -> Value {
    let new = json!({
        "track_id": track, "kind": kind, "delivery": delivery,
        "price": { "amount_minor": 2500, "currency": "EUR" },
    });
    let (status, listing) = platform.post("/api/v1/listings", Some(artist), new).await;
    assert_eq!(status, 201, "{listing}");
    listing["id"].clone()
}

pub async fn order(platform: &Platform, buyer: &str, listing: &Value) -> (u16, Value) {
    order_by(platform, buyer, listing, "sandbox:ok").await
}

/// An order, paid as the sandbox gateway names it.
pub async fn order_by(
    platform: &Platform,
    buyer: &str,
    listing: &Value,
    method: &str,
) -> (u16, Value) {
    let new = json!({ "listing_id": listing, "payment_method": method });
    platform.post("/api/v1/orders", Some(buyer), new).await
}
