//! A part that is there and does not answer: callers are told soon, and operators are told at all.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::{Frozen, Process, eventually, folder, veza};

/// How long a refusal may take.
const SOON: Duration = Duration::from_secs(10);

/// What a series has now.
async fn metric(platform: &Process, series: &str) -> f64 {
    let shown = platform.get("/metrics").await.text().await.unwrap();
    let value = shown.lines().find_map(|line| line.strip_prefix(series));
    value.unwrap_or_else(|| panic!("no {series} in {shown}")).trim().parse().unwrap()
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_told_as_such_and_soon() {
    let folder = folder();
    let data = folder.path();
    let log = data.join("log");
    let platform = Process::logging(data, veza(data, &["serve"]), &log).await;
    platform.member("nina", "artist").await;

    // What was found of the parts holds for a moment, and may be from before she signed up.
    let log_head = "veza_log_head_position";
    eventually("the log's head is told", async || metric(&platform, log_head).await > 0.0).await;
    let head = metric(&platform, log_head).await;
    let profiles = "veza_model_position{model=\"profiles_v1\"}";
    eventually("it is caught up", async || metric(&platform, profiles).await >= head).await;
    assert!(metric(&platform, "veza_parked_events{model=\"profiles_v1\"}").await < 1.0);
    assert!(metric(&platform, "veza_part_up{part=\"database\"}").await > 0.0);

    let frozen = Frozen::all(data);
    let began = Instant::now();
    let (status, problem) = platform.log_in("nina@example.org", "correct horse").await;
    assert_eq!((status, &problem["type"]), (503, &json!("urn:veza:problem:unavailable")));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let began = Instant::now();
    let query = json!({ "query": "{ user(handle: \"nina\") { roles } }" });
    let (_, answer) = platform.post("/graphql", None, query.clone()).await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "UNAVAILABLE", "{answer}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!(platform.get("/readyz").await.status(), 503);

    assert!(metric(&platform, "veza_part_up{part=\"database\"}").await < 1.0);

    let told = async |words: &str| fs::read_to_string(&log).unwrap().contains(words);
    eventually("the outage is told", async || told("not ready: database: no answer").await).await;

    drop(frozen);
    eventually("it is ready again", async || platform.get("/readyz").await.status() == 200).await;
    let (_, answer): (_, Value) = platform.post("/graphql", None, query).await;
    assert_eq!(answer["data"]["user"]["roles"], json!(["ARTIST"]), "{answer}");
    eventually("its end is told", async || told("ready again").await).await;
    platform.stop().await;
    let said = fs::read_to_string(&log).unwrap();
    assert!(!said.contains("ERROR"), "{said}");
    // By whoever watches the database, and by the sagas, however many requests met it.
    assert!(said.lines().filter(|line| line.contains("WARN")).count() <= 2, "{said}");
}
