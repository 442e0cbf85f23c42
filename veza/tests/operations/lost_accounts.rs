//! A database of accounts that is lost, or older than the log: whom the log knows keeps their name
//! and their rights, it is told, and they can be given their account back.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::process::Command;

use crate::process::{Process, database, ended, eventually, folder, free_address, replay, veza};

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

/// The handles of those who can be given an account.
async fn adoptable(data: &Path, url: &str) -> Vec<String> {
    let mut command = veza(data, &["user", "adopt"]);
    command.env("VEZA_DATABASE_URL", url);
    let said = String::from_utf8(ended(command).await.stdout).unwrap();
    let (people, _) = said.trim_end().rsplit_once('\n').unwrap();
    let handle = |line: &str| line.split_whitespace().nth(1).unwrap().to_owned();
    let mut handles: Vec<String> = people.lines().map(handle).collect();
    handles.sort_unstable();
    handles
}

/// Opens the platform on these accounts.
async fn open(data: &Path, address: &str, url: &str) -> Process {
    let mut command = veza(data, &["serve"]);
    command.env("VEZA_DATABASE_URL", url);
    Process::opening(data, address, command).await
}

/// What is degraded, in words.
async fn degraded(platform: &Process) -> String {
    let ready: Value = platform.get("/readyz").await.json().await.unwrap();
    ready["parts"]["degraded"].as_str().unwrap_or_default().to_owned()
}

/// Carries out a statement on the accounts.
async fn on_accounts(url: &str, statement: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection.execute(statement).await.unwrap();
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
    let platform = open(data, &address, &database().await).await;
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
    let platform = open(data, &address, &url).await;
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
    assert_eq!(adoptable(data, &url).await, ["nina", "otis"]);
    let hers = ("adopt", "nina", "nina2@example.org");
    assert_eq!(user(data, &url, hers).await, (true, String::new()));
    assert_eq!(adoptable(data, &url).await, ["otis"]);
    let (is_adopted, said) = user(data, &url, hers).await;
    assert!(!is_adopted && said.contains("nina has an account"), "{said}");
    assert!(user(data, &url, ("change", "nina", "n@example.org")).await.0);
    assert_eq!(platform.log_in("nina2@example.org", "another horse").await.0, 401);
    assert!(user(data, &url, ("change", "nina", "nina2@example.org")).await.0);
    let (is_changed, said) = user(data, &url, ("change", "chet", "chet@example.org")).await;
    assert!(!is_changed && said.contains("nobody has a confirmed account"), "{said}");
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

/// Given a database of another name than the platform's, or none, then nobody is made there, and
/// nothing is noted of them in the log, which is the platform's.
#[tokio::test]
async fn nobody_is_made_in_a_database_that_is_not_the_platforms() {
    let folder = folder();
    let data = folder.path();
    let url = database().await;
    let platform = open(data, &free_address(), &url).await;
    platform.member("nina", "artist").await;
    let before = replay(data, &["events"]).await.len();
    let elsewhere = database().await;
    for (verb, handle) in [("create", "otis"), ("adopt", "nina")] {
        let (is_made, said) = user(data, &elsewhere, (verb, handle, "o@example.org")).await;
        assert!(!is_made && said.contains("the database has no accounts"), "{verb}: {said}");
        let (is_made, said) = user(data, "", (verb, handle, "o@example.org")).await;
        assert!(!is_made && said.contains("there is no database in "), "{verb}: {said}");
    }
    assert!(!data.join("postgres").exists(), "none is made");
    on_accounts(&elsewhere, "CREATE SCHEMA identity; CREATE TABLE identity.accounts ()").await;
    for (verb, handle) in [("create", "otis"), ("adopt", "nina")] {
        let (is_made, _) = user(data, &elsewhere, (verb, handle, "o@example.org")).await;
        assert!(!is_made, "{verb}: there are accounts, and no models");
    }
    let nowhere = data.join("nowhere");
    fs::create_dir(&nowhere).unwrap();
    let (is_made, said) = user(&nowhere, &url, ("create", "otis", "o@example.org")).await;
    assert!(!is_made && said.contains("there is no event store in "), "{said}");
    assert_eq!(nowhere.read_dir().unwrap().count(), 1, "but for the password");
    assert_eq!(replay(data, &["events"]).await.len(), before);
    platform.stop().await;
}

/// Given a platform that was moved from its private database to another, then nobody is made in the
/// one that it left, until it is moved back.
#[tokio::test]
async fn nobody_is_made_in_a_database_that_the_platform_has_left() {
    let folder = folder();
    let data = folder.path();
    let otis = ("create", "otis", "otis@example.org");
    Process::platform(data, &[]).await.stop().await;
    open(data, &free_address(), &database().await).await.stop().await;
    let (is_made, said) = user(data, "", otis).await;
    assert!(!is_made && said.contains("the platform has left the database in "), "{said}");
    let mut rebuild = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
    rebuild.arg("--data").arg(data).args(["rebuild", "people"]).env_remove("VEZA_DATABASE_URL");
    let rebuilt = ended(rebuild).await;
    let said = String::from_utf8_lossy(&rebuilt.stderr);
    assert!(rebuilt.status.code() == Some(2) && said.contains("has left"), "{said}");
    open(data, &free_address(), "").await.stop().await;
    assert_eq!(user(data, "", otis).await, (true, String::new()));
}

/// Given a database that is dropped and made again under the platform, then nobody is given the
/// handle of somebody who has proved an address, though models and accounts are only just made.
#[tokio::test]
async fn a_new_database_under_the_platform_gives_no_handle_away() {
    let folder = folder();
    let data = folder.path();
    let url = database().await;
    let platform = open(data, &free_address(), &url).await;
    platform.member("nina", "artist").await;
    let (server, name) = url.rsplit_once('/').unwrap();
    let mut server = PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
    server.execute(format!("DROP DATABASE {name} WITH (FORCE)").as_str()).await.unwrap();
    server.execute(format!("CREATE DATABASE {name}").as_str()).await.unwrap();
    eventually("it is told that it is hers", async || {
        let status = as_nina(&platform, "impostor@example.org", "correct horse").await;
        assert!([409, 503].contains(&status), "{status}");
        status == 409
    })
    .await;
    platform.stop().await;
}

/// Given a schema without one of its tables, then that is told, and why no process starts on it.
#[tokio::test]
async fn accounts_that_somebody_dropped_are_told_of() {
    let folder = folder();
    let data = folder.path();
    let url = database().await;
    let platform = open(data, &free_address(), &url).await;
    platform.member("nina", "artist").await;
    let told = async || degraded(&platform).await.contains("the schema identity lacks tables");
    on_accounts(&url, "ALTER TABLE identity.confirmations RENAME TO gone").await;
    eventually("it is told that some are missing", told).await;
    assert_eq!(platform.sign_up("otis", "listener").await.0, 503);
    on_accounts(&url, "ALTER TABLE identity.gone RENAME TO confirmations").await;
    eventually("it is over", async || !told().await).await;
    on_accounts(&url, "DROP TABLE identity.accounts CASCADE").await;
    eventually("it is told", told).await;
    assert_eq!(platform.log_in("nina@example.org", "correct horse").await.0, 503);
    platform.stop().await;
    let mut command = veza(data, &["serve"]);
    command.env("VEZA_DATABASE_URL", &url);
    let refused = ended(command).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("DROP SCHEMA identity CASCADE"), "{said}");
}

/// Given a schema of accounts that is dropped under the platform, then accounts can be made in it
/// again, and whoever had one is told of.
#[tokio::test]
async fn a_database_without_accounts_has_them_again() {
    let folder = folder();
    let data = folder.path();
    let url = database().await;
    let platform = open(data, &free_address(), &url).await;
    platform.member("nina", "artist").await;
    on_accounts(&url, "DROP SCHEMA identity CASCADE").await;
    let (status, problem) = platform.log_in("nina@example.org", "correct horse").await;
    assert!([401, 503].contains(&status), "{problem}");
    eventually("they are kept again", async || platform.sign_up("otis", "artist").await.0 == 201)
        .await;
    let told = async || degraded(&platform).await.contains("1 person has proved an address");
    eventually("it is told who has none", told).await;
    platform.stop().await;
}

/// Given an older copy of the accounts in which somebody who has lost a handle since has it still,
/// then they can't prove an address there, and who has it now keeps it.
#[tokio::test]
async fn an_older_copy_of_the_accounts_gives_nobody_what_has_become_anothers() {
    let folder = folder();
    let data = folder.path();
    let url = database().await;
    let platform = open(data, &free_address(), &url).await;
    assert_eq!(as_nina(&platform, "first@example.org", "correct horse").await, 201);
    let firsts = platform.mailed_token("first@example.org");
    on_accounts(
        &url,
        "CREATE TABLE older AS SELECT * FROM identity.accounts;
         CREATE TABLE older_tokens AS SELECT * FROM identity.confirmations;
         DELETE FROM identity.accounts",
    )
    .await;
    let (status, second) = platform.sign_up("nina", "artist").await;
    assert_eq!(status, 201, "{second}");
    platform.confirmed("nina@example.org").await;
    on_accounts(
        &url,
        "DELETE FROM identity.accounts;
         INSERT INTO identity.accounts SELECT * FROM older;
         INSERT INTO identity.confirmations SELECT * FROM older_tokens",
    )
    .await;
    let token = json!({ "token": firsts });
    assert_eq!(platform.post("/api/v1/email-confirmations", None, token).await.0, 409);
    let told = async || degraded(&platform).await.contains("1 person has proved an address");
    eventually("it is told who has no account", told).await;
    let hers = ("adopt", "nina", "nina@example.org");
    assert_eq!(user(data, &url, hers).await, (true, String::new()));
    let (_, session) = platform.log_in("nina@example.org", "another horse").await;
    assert_eq!(session["user_id"], second["id"]);
    eventually("that is seen", async || degraded(&platform).await.is_empty()).await;
    platform.stop().await;
}

/// Given a process that was killed between the two notes of a confirmation, or an older one that
/// noted it in the accounts first, then both know of it soon.
#[tokio::test]
async fn what_is_known_of_an_address_to_the_accounts_or_the_log_alone_is_noted_in_both() {
    let folder = folder();
    let data = folder.path();
    let (url, address) = (database().await, free_address());
    let platform = open(data, &address, &url).await;
    platform.member("nina", "artist").await;
    let (_, otis) = platform.sign_up("otis", "listener").await;
    platform.stop().await;
    on_accounts(
        &url,
        "UPDATE identity.accounts
         SET confirmed_at = CASE handle_folded WHEN 'otis' THEN now() END",
    )
    .await;
    let platform = open(data, &address, &url).await;
    let is_believed = async |email: &str| {
        let (_, session) = platform.log_in(email, "correct horse").await;
        let token = session["access_token"].as_str().unwrap().to_owned();
        let claims = token.split('.').nth(1).unwrap();
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap();
        serde_json::from_slice::<Value>(&claims).unwrap()["email_verified"] == true
    };
    eventually("nina is believed", async || is_believed("nina@example.org").await).await;
    let otis = format!("user-{}", otis["id"].as_str().unwrap());
    eventually("the log knows of otis", async || {
        let state = replay(data, &["state", &otis]).await;
        state[0]["state"]["email_confirmed"] == true
    })
    .await;
    assert_eq!(degraded(&platform).await, "");
    platform.stop().await;
}

/// Given a log that was put back as of before somebody signed up, then it is told that their
/// account is of nobody, and they can sign up anew once it is dropped.
#[tokio::test]
async fn who_is_not_in_an_older_log_can_sign_up_anew() {
    let folder = folder();
    let data = folder.path();
    let (url, address) = (database().await, free_address());
    let veza_with = |args: &[&str]| {
        let mut command = veza(data, args);
        command.env("VEZA_DATABASE_URL", &url);
        command
    };
    let platform = open(data, &address, &url).await;
    platform.member("otis", "listener").await;
    platform.stop().await;
    let (events, older) = (data.join("events"), data.join("older"));
    let copied = std::process::Command::new("cp").arg("-r").arg(&events).arg(&older).status();
    assert!(copied.unwrap().success());
    let platform = open(data, &address, &url).await;
    let token = platform.member("nina", "artist").await;
    platform.stop().await;
    fs::remove_dir_all(&events).unwrap();
    fs::rename(&older, &events).unwrap();
    let platform = open(data, &address, &url).await;
    let mut rebuild = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
    rebuild.arg("--data").arg(data).args(["rebuild", "--all"]).env("VEZA_DATABASE_URL", &url);
    let rebuilt = ended(rebuild).await;
    assert!(rebuilt.status.success(), "{}", String::from_utf8_lossy(&rebuilt.stderr));
    let told = async || degraded(&platform).await.contains("1 confirmed account is of nobody");
    eventually("it is told", told).await;
    assert_eq!(platform.sign_up("nina", "artist").await.0, 409);
    let said = platform.post("/api/v1/channels", Some(&token), json!({ "name": "hers" })).await;
    assert_eq!(said.0, 401, "{}", said.1);

    let listed = ended(veza_with(&["user", "release"])).await;
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("  nina\n") && !listed.contains("otis"), "{listed}");
    assert_eq!(platform.sign_up("nina", "artist").await.0, 409, "it was only listed");
    assert!(ended(veza_with(&["user", "release", "--all"])).await.status.success());
    assert_eq!(platform.sign_up("nina", "artist").await.0, 201);
    assert_eq!(platform.log_in("otis@example.org", "correct horse").await.0, 201);
    eventually("that is seen", async || degraded(&platform).await.is_empty()).await;
    platform.stop().await;
}
