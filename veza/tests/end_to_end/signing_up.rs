//! Signing up when the mail is lost, or is read too late, or somebody else used the address.

use serde_json::{Value, json};
use tokio::process::Command;

use crate::crashes::postgres;
use crate::platform::Platform;

fn new(handle: &str, email: &str, password: &str) -> Value {
    json!({
        "handle": handle, "display_name": handle, "email": email, "password": password,
        "roles": ["artist"],
    })
}

async fn signs_up(platform: &Platform, who: Value) -> (u16, Value) {
    platform.post("/api/v1/users", None, who).await
}

async fn confirm(platform: &Platform, token: &str) -> u16 {
    platform.post("/api/v1/email-confirmations", None, json!({ "token": token })).await.0
}

async fn asks_for_a_mail(platform: &Platform, email: &str) -> u16 {
    let path = "/api/v1/email-confirmations/requests";
    platform.post(path, None, json!({ "email": email })).await.0
}

async fn logs_in(platform: &Platform, email: &str, password: &str) -> u16 {
    let credentials = json!({ "email": email, "password": password });
    platform.post("/api/v1/sessions", None, credentials).await.0
}

/// Makes every account and every token so much older.
async fn let_pass(platform: &Platform, time: &str) {
    let pool = postgres::pool(platform.data()).await;
    for (table, column) in [("accounts", "created_at"), ("confirmations", "expires_at")] {
        let sql = format!("UPDATE identity.{table} SET {column} = {column} - $1::interval");
        sqlx::query(&sql).bind(time).execute(&pool).await.unwrap();
    }
}

#[tokio::test]
async fn a_lost_mail_is_sent_again() {
    let platform = Platform::start().await;
    let email = "nina@example.org";
    assert_eq!(signs_up(&platform, new("nina", email, "correct horse")).await.0, 201);
    let lost = platform.mailed_token(email);
    let_pass(&platform, "25 hours").await;
    assert_eq!(confirm(&platform, &lost).await, 422, "it has run out");
    for nobody in [email, "Nobody@example.org"] {
        assert_eq!(asks_for_a_mail(&platform, nobody).await, 202);
    }
    assert_eq!(platform.mails("obody@example.org"), [""; 0]);
    assert_eq!(confirm(&platform, &platform.mailed_token(email)).await, 200);
    let mails = platform.mails(email).len();
    assert_eq!(asks_for_a_mail(&platform, email).await, 202);
    assert_eq!(platform.mails(email).len(), mails, "it is confirmed");
    assert_eq!(asks_for_a_mail(&platform, "nina").await, 422);
    platform.stop().await;
}

#[tokio::test]
async fn a_mailbox_is_not_flooded() {
    let platform = Platform::start().await;
    let email = "nina@example.org";
    assert_eq!(signs_up(&platform, new("nina", email, "correct horse")).await.0, 201);
    for _ in 0..10 {
        assert_eq!(asks_for_a_mail(&platform, email).await, 202);
    }
    assert_eq!(platform.mails(email).len(), 5);
    platform.stop().await;
}

#[tokio::test]
async fn who_never_confirms_holds_nothing_for_good() {
    let platform = Platform::start().await;
    let email = "nina@example.org";
    let squats = signs_up(&platform, new("nina", email, "not a horse")).await;
    assert_eq!(squats.0, 201);
    let squatter = squats.1["id"].as_str().unwrap();
    let_pass(&platform, "23 hours").await;
    assert_eq!(signs_up(&platform, new("nina", email, "correct horse")).await.0, 409);
    assert_eq!(asks_for_a_mail(&platform, email).await, 202);
    let_pass(&platform, "2 hours").await;
    let (status, problem) = signs_up(&platform, new("nina", email, "correct horse")).await;
    assert_eq!(status, 409, "the second token is good: {problem}");

    let_pass(&platform, "8 days").await;
    assert_eq!(asks_for_a_mail(&platform, email).await, 202);
    let (status, nina) = signs_up(&platform, new("nina", email, "correct horse")).await;
    assert_eq!(status, 201, "{nina}");
    let unknown = "nobody@example.org";
    for (email, password) in [(email, "not a horse"), (unknown, "correct horse")] {
        let body = json!({ "email": email, "password": password });
        let request = platform.request(reqwest::Method::POST, "/api/v1/sessions", None);
        let refused = request.json(&body).send().await.unwrap();
        assert_eq!(refused.headers().get("www-authenticate"), None, "no token helps");
        let problem: Value = refused.json().await.unwrap();
        let expected = json!({
            "type": "urn:veza:problem:wrong-credentials", "status": 401,
            "title": "The address or the password is wrong",
        });
        assert_eq!(problem, expected, "{email}");
    }
    assert_eq!(logs_in(&platform, email, "correct horse").await, 201);
    assert_eq!(confirm(&platform, &platform.mailed_token(email)).await, 200);
    let query = format!(
        "{{ user(handle: \"nina\") {{ id }} squatter: user(id: \"{squatter}\") {{ handle }} }}"
    );
    let request = platform.request(reqwest::Method::POST, "/graphql", None);
    let request = request.header("veza-min-position", nina["position"].as_str().unwrap());
    let seen = platform.send(request.json(&json!({ "query": query }))).await.1;
    let expected = json!({ "user": { "id": nina["id"] }, "squatter": { "handle": squatter } });
    assert_eq!(seen["data"], expected, "{seen}");

    let_pass(&platform, "8 days").await;
    assert_eq!(signs_up(&platform, new("nina", email, "third horse")).await.0, 409);
    platform.stop().await;
}

#[tokio::test]
async fn the_mail_says_how_to_confirm() {
    let platform = Platform::start().await;
    let email = "nina@example.org";
    assert_eq!(signs_up(&platform, new("nina", email, "correct horse")).await.0, 201);
    let mail = platform.mails(email).remove(0);
    let line = mail.lines().find(|line| line.starts_with("curl ")).expect("a ready command");
    let line = line.replace("http://veza.test", platform.url());
    let said = Command::new("sh").args(["-c", &line]).output().await.unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("\"position\":"), "{line}: {said}");
    platform.stop().await;
}
