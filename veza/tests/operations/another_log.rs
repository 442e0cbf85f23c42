//! A log in the place of another: models of the other are not served as if they were of this one.

use std::fs;

use serde_json::{Value, json};

use crate::process::{Process, eventually, folder, replay, veza};

#[tokio::test]
async fn a_log_that_was_moved_away_is_noticed_and_a_rebuild_is_the_way_out() {
    let folder = folder();
    let (data, log) = (folder.path(), folder.path().join("log"));
    let platform = Process::platform(data, &[]).await;
    platform.member("nina", "artist").await;
    let ready = async |platform: &Process| platform.get("/readyz").await.status() == 200;
    eventually("it is ready", async || ready(&platform).await).await;
    platform.stop().await;
    fs::rename(data.join("events"), data.join("events-elsewhere")).unwrap();

    let platform = Process::logging(data, veza(data, &["serve"]), &log).await;
    let answer = platform.get("/readyz").await;
    assert_eq!(answer.status(), 503);
    let problem: Value = answer.json().await.unwrap();
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("of another log") && detail.contains("veza-replay rebuild"),
        "{detail}"
    );
    assert_eq!(problem["parts"]["projections"]["profiles_v1"], "another log", "{problem}");
    let rows = replay(data, &["projections"]).await;
    let profiles = rows.iter().find(|row| row["name"] == "profiles").unwrap();
    assert!(profiles["reason"].as_str().unwrap().contains("the log ends at"), "{profiles}");

    assert!(!replay(data, &["rebuild", "--all"]).await.is_empty());
    eventually("it is ready again", async || ready(&platform).await).await;
    platform.member("otis", "listener").await;
    let query =
        |handle: &str| json!({ "query": format!("{{ user(handle: \"{handle}\") {{ id }} }}") });
    eventually("what comes is applied", async || {
        let (_, answer) = platform.post("/graphql", None, query("otis")).await;
        !answer["data"]["user"].is_null()
    })
    .await;
    let (_, answer) = platform.post("/graphql", None, query("nina")).await;
    assert!(answer["data"]["user"].is_null(), "{answer}");
    platform.stop().await;

    let said = fs::read_to_string(&log).unwrap();
    let of_profiles = said.lines().filter(|l| l.contains("ERROR") && l.contains("profiles_v1"));
    assert_eq!(of_profiles.count(), 1, "{said}");
}
