//! A database of accounts that is lost, or older than the log: whom the log knows keeps their name
//! and their rights, it is told, and they can be given their account back.

use std::fs;
use std::path::Path;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::process::{Process, database, ended, eventually, folder, free_address, veza};

/// Makes or adopts an account by `veza user`: whether that was done, and what was said if not.
async fn user(data: &Path, url: &str, (verb, handle, email): (&str, &str, &str)) -> (bool, String) {
    let password = data.join("password");
    fs::write(&password, "another horse").unwrap();
    let args = ["user", verb, "--handle", handle, "--email", email, "--password-file"];
    let mut command = veza(data, &[&args[..], &[password.to_str().unwrap()]].concat());
    command.env("VEZA_DATABASE_URL", url);
    let said = ended(command).await;
    (said.status.success(), String::from_utf8_lossy(&said.stderr).into_owned())
}

/// Signs up as nina, always by the same request but for the password.
async fn as_nina(platform: &Process, email: &str, password: &str) -> u16 {
    let nina = json!({
        "handle": "nina", "display_name": "Nina", "email": email, "password": password,
        "roles": ["artist"],
    });
    let request = platform.request(Method::POST, "/api/v1/users", None);
    let answer = request.header("Idempotency-Key", "hers").json(&nina).send().await.unwrap();
    answer.status().as_u16()
}

#[tokio::test]
async fn who_lost_their_account_keeps_their_handle_and_is_given_another() {
    let folder = folder();
    let data = folder.path();
    let address = free_address();
    let open = async |url: &str| {
        let mut command = veza(data, &["serve"]);
        command.env("VEZA_DATABASE_URL", url);
        Process::opening(data, &address, command).await
    };
    let platform = open(&database().await).await;
    assert_eq!(as_nina(&platform, "nina@example.org", "correct horse").await, 201);
    let nina = platform.confirmed("nina@example.org").await;
    platform.member("otis", "listener").await;
    let (status, channel) =
        platform.post("/api/v1/channels", Some(&nina), json!({ "name": "hers" })).await;
    assert_eq!(status, 201, "{channel}");
    platform.stop().await;

    let url = database().await;
    let (is_made, said) = user(data, &url, ("create", "nina", "impostor@example.org")).await;
    assert!(!is_made, "at rest, before any model was made: {said}");
    let platform = open(&url).await;
    eventually("the models are made anew", async || {
        let status = as_nina(&platform, "impostor@example.org", "correct horse").await;
        assert_ne!(status, 201);
        status == 409
    })
    .await;
    let hers = as_nina(&platform, "nina@example.org", "that of an impostor").await;
    assert_eq!(hers, 409, "what she once asked proves nobody");
    let (is_made, said) = user(data, &url, ("create", "nina", "impostor@example.org")).await;
    assert!(!is_made && said.contains("the handle is taken"), "{said}");
    let degraded = async || {
        let answer = platform.get("/readyz").await;
        let is_served = answer.status() == StatusCode::OK;
        let ready: Value = answer.json().await.unwrap();
        let told = ready["parts"]["degraded"].as_str().unwrap_or_default();
        is_served && told.contains("2 people have proved an address and no account")
    };
    eventually("it is told, and all else is served", degraded).await;
    assert_eq!(platform.log_in("nina@example.org", "correct horse").await.0, 401);

    // A stranger who proves nothing holds nothing up.
    assert_eq!(platform.sign_up("nina2", "listener").await.0, 201);
    let hers = ("adopt", "nina", "nina2@example.org");
    assert_eq!(user(data, &url, hers).await, (true, String::new()));
    let (is_adopted, said) = user(data, &url, hers).await;
    assert!(!is_adopted && said.contains("nina has an account"), "{said}");
    let (is_adopted, said) = user(data, &url, ("adopt", "chet", "chet@example.org")).await;
    assert!(!is_adopted && said.contains("nobody has this handle"), "{said}");
    let (status, session) = platform.log_in("nina2@example.org", "another horse").await;
    assert_eq!(status, 201, "{session}");
    let again = session["access_token"].as_str().unwrap();
    let path = format!("/api/v1/channels/{}/messages", channel["id"].as_str().unwrap());
    let said = platform.post(&path, Some(again), json!({ "text": "it is hers still" })).await;
    assert_eq!(said.0, 201, "{}", said.1);
    platform.stop().await;
}
