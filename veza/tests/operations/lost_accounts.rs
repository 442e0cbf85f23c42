//! A database of accounts that is lost, or older than the log: whom the log knows keeps their name,
//! it is told, and they can be given their account back.

use std::fs;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::process::{Process, database, ended, eventually, folder, free_address, veza};

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
    let nina = platform.member("nina", "artist").await;
    platform.member("otis", "listener").await;
    let (status, channel) =
        platform.post("/api/v1/channels", Some(&nina), json!({ "name": "hers" })).await;
    assert_eq!(status, 201, "{channel}");
    platform.stop().await;

    let url = database().await;
    let platform = open(&url).await;
    let impostor = json!({
        "handle": "Nina", "display_name": "Nina", "email": "impostor@example.org",
        "password": "correct horse", "roles": ["artist"],
    });
    eventually("the models are made anew", async || {
        let (status, refused) = platform.post("/api/v1/users", None, impostor.clone()).await;
        assert_ne!(status, 201, "{refused}");
        status == 409
    })
    .await;
    let degraded = async || {
        let answer = platform.get("/readyz").await;
        let is_served = answer.status() == StatusCode::OK;
        let ready: Value = answer.json().await.unwrap();
        let told = ready["parts"]["degraded"].as_str().unwrap_or_default();
        is_served && told.contains("have no account")
    };
    eventually("it is told, and all else is served", degraded).await;
    assert_eq!(platform.log_in("nina@example.org", "correct horse").await.0, 401);

    let password = data.join("password");
    fs::write(&password, "another horse").unwrap();
    let adopt = async |handle: &str| {
        let email = format!("{handle}@example.com");
        let args = ["user", "adopt", "--handle", handle, "--email", &email, "--password-file"];
        let mut command = veza(data, &[&args[..], &[password.to_str().unwrap()]].concat());
        command.env("VEZA_DATABASE_URL", &url);
        let said = ended(command).await;
        let errors = String::from_utf8_lossy(&said.stderr).into_owned();
        (said.status.success(), errors)
    };
    assert_eq!(adopt("nina").await, (true, String::new()));
    let (is_adopted, said) = adopt("nina").await;
    assert!(!is_adopted && said.contains("nina has an account"), "{said}");
    let (is_adopted, said) = adopt("chet").await;
    assert!(!is_adopted && said.contains("nobody has this handle"), "{said}");
    let (status, session) = platform.log_in("nina@example.com", "another horse").await;
    assert_eq!(status, 201, "{session}");
    let again = session["access_token"].as_str().unwrap();
    let path = format!("/api/v1/channels/{}/messages", channel["id"].as_str().unwrap());
    let said = platform.post(&path, Some(again), json!({ "text": "it is hers still" })).await;
    assert_eq!(said.0, 201, "{}", said.1);
    platform.stop().await;
}
