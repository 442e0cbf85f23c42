//! Commands that are sent again under their key: the same is answered alike, another is refused,
//! and nobody gets at what is another's by it.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};

use crate::acts::{list, log_in, publish, sign_up};
use crate::platform::{Platform, eventually};

const REUSED: &str = "urn:veza:problem:idempotency-key-reused";

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
    assert_eq!(keyed_sign_up(&platform, "K", &victim).await, first, "a repetition is answered alike");
    assert_eq!(mails(&platform), sent, "a repetition is mailed again");
    platform.stop().await;
}

#[tokio::test]
async fn the_log_tells_nothing_of_what_was_secret() {
    let platform = Platform::start().await;
    let new = newcomer("nina", "nina@example.org", "Nina");
    let (_, done) = keyed_sign_up(&platform, "K", &new).await;
    let stream = format!("user-{}", done["id"].as_str().unwrap());
    let registered = &platform.replay(&["inspect", "--stream", &stream]).await[0];
    let digest = registered["metadata"]["command"]["digest"].as_str().unwrap().to_owned();

    // With another password it is the same to the log, and no other platform makes that digest.
    let mut again = new.clone();
    again["password"] = json!("another horse");
    assert_eq!(keyed_sign_up(&platform, "K", &again).await, (201, done));
    log_in(&platform, "nina@example.org").await;
    let elsewhere = Platform::start().await;
    let (_, done) = keyed_sign_up(&elsewhere, "K", &new).await;
    assert_ne!(format!("user-{}", done["id"].as_str().unwrap()), stream);
    let stream = format!("user-{}", done["id"].as_str().unwrap());
    let registered = &elsewhere.replay(&["inspect", "--stream", &stream]).await[0];
    assert_ne!(registered["metadata"]["command"]["digest"], digest);
    platform.stop().await;
    elsewhere.stop().await;
}
