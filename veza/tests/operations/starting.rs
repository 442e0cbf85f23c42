//! While models can't be read yet: tools find the store, and nobody says that it is ready.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::process::{Process, database, eventually, folder, free_address, replay, veza};
use crate::roles::Shared;

#[tokio::test]
async fn tools_find_the_store_while_a_model_is_stuck_and_it_is_ready_when_it_says_so() {
    let folder = folder();
    let data = folder.path();
    let (url, told) = (database().await, data.join("told"));
    // Who has the lease and does nothing: nobody builds the model.
    let mut lease = PgConnection::connect(&url).await.unwrap();
    let take = "SELECT pg_advisory_lock(hashtextextended('veza projection run profiles_v1', 0))";
    sqlx::query(take).execute(&mut lease).await.unwrap();
    let mut command = veza(data, &["serve"]);
    command.env("VEZA_DATABASE_URL", &url);
    let tells = Stdio::from(fs::File::create(&told).unwrap());
    let platform = Process::telling(data, &free_address(), command, tells).await;
    eventually("its run file is there", async || data.join("run.json").exists()).await;

    let why = async || {
        let answer: Value = platform.get("/readyz").await.json().await.unwrap();
        answer["detail"].as_str().unwrap_or_default().to_owned()
    };
    let only = async || {
        let why = why().await;
        why.starts_with("read_models: not built yet: profiles_v1 (") && why.ends_with(" are)")
    };
    eventually("all but the stuck one are built", only).await;
    assert_eq!(replay(data, &["verify"]).await[0]["sound"], true, "beside the platform");
    let says = |words: &str| fs::read_to_string(&told).unwrap().contains(words);
    eventually("it says what it waits for", async || {
        says("\nnot ready yet. read_models: not built yet: profiles_v1 (")
    })
    .await;
    assert!(!says("\nready"), "it is not");

    lease.close().await.unwrap();
    eventually("it says that it is ready", async || says("\nready now. ")).await;
    assert_eq!(platform.get("/readyz").await.status(), 200);
    platform.stop().await;
}

#[tokio::test]
async fn whoever_asks_while_a_part_is_waited_for_is_told_which() {
    let (folder, elsewhere) = (folder(), folder());
    let data = folder.path();
    let shared = Shared::new(data).await;
    let (address, mut command) = (free_address(), shared.command(data, "command-api"));
    command.stdout(Stdio::null());
    let commands = Process::beginning(data, &address, command).await;
    assert_eq!(commands.get("/healthz").await.text().await.unwrap(), "alive\n");
    let answer = commands.get("/readyz").await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["detail"], "it is starting, and waits for the event store", "{answer}");
    let (status, problem) = commands.post("/api/v1/sessions", None, json!({})).await;
    assert_eq!((status, &problem["type"]), (503, &json!("urn:veza:problem:unavailable")));
    let store = shared.start(elsewhere.path(), "event-store").await;
    eventually("it is ready", async || commands.get("/readyz").await.status() == 200).await;
    let (status, problem) = commands.post("/api/v1/sessions", None, json!({})).await;
    assert_eq!(status, 422, "{problem}");
    commands.stop().await;
    store.stop().await;
}
