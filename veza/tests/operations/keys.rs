//! Keys that are lost: what was made with them is not silently taken for strange.

use std::fs;

use reqwest::Method;
use serde_json::json;

use crate::process::{Process, folder, veza};

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
