//! Keys that are lost: what was made with them is not silently taken for strange. Keys that are
//! rotated while the platform runs.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};

use crate::process::{Process, ended, folder, veza};

#[tokio::test]
async fn keys_that_are_lost_are_made_anew_with_a_warning() {
    let folder = folder();
    let data = folder.path();
    let log = data.join("log");
    let start = async || Process::logging(data, veza(data, &["serve"]), &log).await;
    let warned = || fs::read_to_string(&log).unwrap().contains("keys are missing");

    let platform = start().await;
    assert!(!warned(), "a first start is without keys");
    let sign_up = async |platform: &Process| {
        let request = platform.request(Method::POST, "/api/v1/users", None);
        let new = json!({
            "handle": "nina", "display_name": "Nina", "email": "nina@example.org",
            "password": "correct horse", "roles": ["artist"],
        });
        let request = request.header("idempotency-key", "once").json(&new);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(sign_up(&platform).await, 201);
    platform.stop().await;

    let platform = start().await;
    assert!(!warned(), "they are there");
    platform.stop().await;
    for lost in ["digest-key", "signing-key.pk8"] {
        fs::remove_file(data.join("keys").join(lost)).unwrap();
        let platform = start().await;
        let said = fs::read_to_string(&log).unwrap();
        let line = said.lines().find(|line| line.contains("keys are missing"));
        let line = line.unwrap_or_else(|| panic!("nothing of {lost} in {said}"));
        assert!(line.contains("WARN") && line.contains(lost), "{line}");
        platform.stop().await;
    }
}

/// The id of the key that signed a token.
fn kid(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

/// What `veza keys ARG` prints: ids, each with what its key does.
async fn keys(data: &Path, arg: &str) -> Vec<(String, String)> {
    let output = ended(veza(data, &["keys", arg])).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let pairs = said.lines().map(|line| line.split_once("  ").unwrap());
    pairs.map(|(kid, does)| (kid.to_owned(), does.to_owned())).collect()
}

#[tokio::test]
async fn a_rotated_key_signs_at_once_and_tokens_of_the_old_one_are_believed() {
    let folder = folder();
    let data = folder.path();
    let output = ended(veza(data, &["keys", "rotate"])).await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && told.starts_with("veza: ") && told.lines().count() == 1);
    assert!(told.contains("keys") && !data.join("keys").exists(), "{told}");

    let platform = Process::platform(data, &[]).await;
    let old = platform.member("nina", "artist").await;
    assert_eq!(keys(data, "list").await, [(kid(&old), "signs".to_owned())]);
    let rotated = keys(data, "rotate").await;
    assert_eq!(rotated, keys(data, "list").await);

    let session = platform.log_in("nina@example.org", "correct horse").await.1;
    let new = session["access_token"].as_str().unwrap();
    assert_eq!(rotated[0], (kid(new), "signs".to_owned()));
    assert!(rotated[1].0 == kid(&old) && rotated[1].1.starts_with("verifies until 20"));
    let use_of = async |token: &str| {
        let change = json!({ "display_name": "Nina" });
        let request = platform.request(Method::PUT, "/api/v1/users/me/profile", Some(token));
        request.json(&change).send().await.unwrap().status().as_u16()
    };
    assert_eq!((use_of(&old).await, use_of(new).await), (200, 200));

    // As an operator does whose key was stolen.
    fs::remove_file(data.join("keys").join(format!("{}.retired.json", kid(&old)))).unwrap();
    assert_eq!((use_of(&old).await, use_of(new).await), (401, 200));
    platform.stop().await;
}
