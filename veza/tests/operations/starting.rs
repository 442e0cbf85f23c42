//! While models can't be read yet: tools find the store, and nobody says that it is ready.

use std::fs;
use std::process::Stdio;

use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

use crate::process::{Process, database, eventually, folder, free_address, replay, veza};

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
