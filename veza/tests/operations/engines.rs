//! Engines outside PostgreSQL that come and go: what each process says of them, also while nothing
//! happens, and what is said of models that nobody fills any more.

use std::fs;
use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::broker::Broker;
use crate::door::{Door, Mode};
use crate::process::{Process, ended, eventually, folder, free_address, veza};
use crate::roles::{Shared, tone};

/// ClickHouse behind a door of the test's own, and the URL of a database there.
async fn clickhouse() -> (Door, String) {
    let url = std::env::var("VEZA_TEST_CLICKHOUSE_URL").expect("set by make test");
    let door = Door::before(url.strip_prefix("http://").expect("it is http"), Mode::Open).await;
    let database = format!("veza_{}", uuid::Uuid::new_v4().simple());
    let url = format!("{}/?database={database}", door.url);
    (door, url)
}

/// The parts, by a process that is ready.
async fn parts(process: &Process) -> Value {
    let answer = process.get("/readyz").await;
    assert_eq!(answer.status(), 200, "it serves all the same");
    answer.json::<Value>().await.unwrap()["parts"].clone()
}

async fn is_told(process: &Process, words: &str) -> bool {
    parts(process).await["degraded"].as_str().is_some_and(|told| told.contains(words))
}

async fn has_metric(process: &Process, line: &str) -> bool {
    process.get("/metrics").await.text().await.unwrap().lines().any(|shown| shown == line)
}

async fn ready(process: &Process) {
    eventually("it is ready", async || process.get("/readyz").await.status() == 200).await;
}

/// The store, who fills the models and who answers from them.
async fn three_roles(shared: &Shared, data: &Path) -> (Process, Process, Process) {
    fs::create_dir(data.join("events")).unwrap();
    let processes = tokio::join!(
        shared.start(data, "event-store"),
        shared.start(data, "projector"),
        shared.start(data, "query-api"),
    );
    ready(&processes.1).await;
    ready(&processes.2).await;
    processes
}

/// Given a platform on which nothing happens, when ClickHouse goes and comes back, then whoever
/// uses it says so, and nobody else.
#[tokio::test]
async fn an_engine_that_is_away_is_told_while_nothing_happens() {
    let folder = folder();
    let data = folder.path();
    let (door, url) = clickhouse().await;
    let mut shared = Shared::new(data).await;
    shared.set("VEZA_CLICKHOUSE_URL", &url);
    let (store, projector, queries) = three_roles(&shared, data).await;
    let up = |answers| format!("veza_part_up{{part=\"clickhouse\"}} {answers}");
    for process in [&projector, &queries] {
        eventually("all is well", async || parts(process).await["degraded"].is_null()).await;
        assert!(has_metric(process, &up(1)).await);
    }
    door.turn(Mode::Shut);
    for process in [&projector, &queries] {
        eventually("it is told", async || is_told(process, "ClickHouse is out of reach").await)
            .await;
        assert!(has_metric(process, &up(0)).await);
    }
    assert!(parts(&store).await["degraded"].is_null(), "the store asks nothing of it");
    door.turn(Mode::Open);
    for process in [&projector, &queries] {
        eventually("it is over", async || parts(process).await["degraded"].is_null()).await;
        assert!(has_metric(process, &up(1)).await);
    }
    for process in [queries, projector, store] {
        process.stop().await;
    }
}

/// Given a model that can't be filled, when its process is killed, then nobody says that it is
/// still tried; and where the settings do not name its engine any more, it is no part of them.
#[tokio::test]
async fn a_model_that_nobody_fills_any_more_is_told_as_such_or_not_at_all() {
    const MODEL: &str = "search_meilisearch_v4";
    let folder = folder();
    let data = folder.path();
    let mut shared = Shared::new(data).await;
    shared.set("VEZA_MEILISEARCH_URL", &format!("http://{}", free_address()));
    let (store, projector, queries) = three_roles(&shared, data).await;
    let fares = async |words: &str| parts(&queries).await["projections"][MODEL] == words;
    eventually("it is tried", async || fares("retrying").await).await;
    assert!(is_told(&queries, "Meilisearch is out of reach").await);
    projector.kill().await;
    eventually("nobody tries it", async || fares("not run").await).await;
    queries.stop().await;

    shared.unset("VEZA_MEILISEARCH_URL");
    let (projector, queries) =
        tokio::join!(shared.start(data, "projector"), shared.start(data, "query-api"));
    for process in [&projector, &queries] {
        ready(process).await;
        let parts = parts(process).await;
        assert_eq!(parts["projections"][MODEL], Value::Null, "{parts}");
        assert!(parts["degraded"].is_null(), "{parts}");
        let shown = process.get("/metrics").await.text().await.unwrap();
        assert!(!shown.contains(MODEL), "{shown}");
    }
    let listed = shared.projections(data).await;
    let row = listed.iter().find(|row| row["name"] == "search_meilisearch").unwrap();
    assert_eq!((&row["status"], &row["reason"]), (&json!("not in use"), &Value::Null));
    for process in [queries, projector, store] {
        process.stop().await;
    }
}

/// Given queries that ClickHouse would answer, when it is away for some of them, then each is told
/// that there is no answer, and the operator once by its name, and once that it is over.
#[tokio::test]
async fn an_engine_that_does_not_answer_queries_is_logged_once_and_by_name() {
    let folder = folder();
    let data = folder.path();
    let (door, url) = clickhouse().await;
    let (mut command, log) = (veza(data, &["serve"]), data.join("log"));
    command.env("VEZA_CLICKHOUSE_URL", &url);
    let platform = Process::logging(data, command, &log).await;
    let nina = platform.member("nina", "artist").await;
    let upload = platform.request(Method::POST, "/api/v1/uploads", Some(&nina)).body(tone());
    let upload: Value = upload.send().await.unwrap().json().await.unwrap();
    let new = json!({ "upload_id": upload["id"], "title": "Tone", "tags": [] });
    let (status, track) = platform.post("/api/v1/tracks", Some(&nina), new).await;
    assert_eq!(status, 201, "{track}");
    let query = "query($id: UUID!) { track(id: $id) { statistics { plays } } }";
    let query = json!({ "query": query, "variables": { "id": track["id"] } });
    let asked = async || platform.post("/graphql", Some(&nina), query.clone()).await.1;
    let plays = async || asked().await["data"]["track"]["statistics"]["plays"].clone();
    eventually("it is counted", async || plays().await == json!(0)).await;
    door.turn(Mode::Shut);
    for _ in 0..5 {
        let answer = asked().await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "UNAVAILABLE", "{answer}");
    }
    door.turn(Mode::Open);
    eventually("it is counted again", async || plays().await == json!(0)).await;
    platform.stop().await;
    let said = fs::read_to_string(&log).unwrap();
    for words in ["an engine did not answer", "an engine answers again"] {
        let told: Vec<_> = said.lines().filter(|line| line.contains(words)).collect();
        assert!(told.len() == 1 && told[0].contains("ClickHouse"), "{words}: {said}");
    }
}

/// Given a broker that has what was published, when the platform is started again, then it logs
/// nothing of it, and the tool says how far the publisher is; an outage is told while it lasts.
#[tokio::test]
async fn a_publisher_is_listed_and_says_nothing_while_all_is_well() {
    let folder = folder();
    let data = folder.path();
    let mut broker = Broker::start();
    let start = async |log: &str| {
        let mut command = veza(data, &["serve"]);
        command.env("VEZA_KAFKA_BROKERS", broker.address());
        Process::logging(data, command, &data.join(log)).await
    };
    let listed = async || {
        let mut listing = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
        listing.args(["projections", "--json", "--data"]).arg(data);
        listing.env_remove("VEZA_DATABASE_URL").env("VEZA_KAFKA_BROKERS", broker.address());
        let listed = String::from_utf8(ended(listing).await.stdout).unwrap();
        let mut rows = listed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.find(|row| row["name"] == "kafka").unwrap_or_default()
    };
    let is_published = async || {
        let row = listed().await;
        row["status"] == "running" && row["lag_events"] == 0
    };
    let platform = start("log").await;
    platform.member("nina", "artist").await;
    eventually("all is published", is_published).await;
    platform.stop().await;
    assert_eq!(listed().await["status"], "stopped");

    let platform = start("log_again").await;
    platform.member("otis", "listener").await;
    eventually("all is published", is_published).await;
    for log in ["log", "log_again"] {
        let said = fs::read_to_string(data.join(log)).unwrap();
        assert!(!said.contains("ERROR") && !said.contains("WARN"), "{said}");
    }
    broker.kill();
    eventually("it is told", async || is_told(&platform, "Kafka is out of reach").await).await;
    broker.start_again();
    eventually("it is over", async || parts(&platform).await["degraded"].is_null()).await;
    assert!(has_metric(&platform, "veza_part_up{part=\"kafka\"} 1").await);
    platform.stop().await;
}
