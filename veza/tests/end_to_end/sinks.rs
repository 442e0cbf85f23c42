//! ClickHouse and Kafka behind their settings: a listening arrives in both once, kills included;
//! and a platform whose servers are all away serves what does not need them.

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::acts::{publish, publish_tone, sign_up};
use crate::broker::{Broker, Seen};
use crate::platform::{Platform, eventually};

fn clickhouse() -> String {
    let server = std::env::var("VEZA_TEST_CLICKHOUSE_URL");
    server.expect("VEZA_TEST_CLICKHOUSE_URL is not set: run the tests through `make test`")
}

/// What ClickHouse holds of listenings: how many rows count, of how many positions.
async fn counted(database: &str) -> String {
    let asked = "SELECT count(), uniqExact(position) FROM plays_v1 FINAL";
    let given = [("database", database), ("query", asked), ("default_format", "TSV")];
    let answer = Client::new().get(clickhouse()).query(&given).send().await.unwrap();
    answer.text().await.unwrap().trim().to_owned()
}

async fn play(platform: &Platform, listener: &str, track: &str, times: usize) -> Value {
    let path = format!("/api/v1/tracks/{track}/plays");
    let mut position = Value::Null;
    for _ in 0..times {
        let body = json!({ "listened_ms": 100 });
        let (status, played) = platform.post(&path, Some(listener), body).await;
        assert_eq!(status, 201, "{played}");
        position = played["position"].clone();
    }
    position
}

/// The track's plays by GraphQL, as of a position.
async fn plays(platform: &Platform, track: &str, position: &Value) -> Value {
    let query = "query($id: UUID!) { track(id: $id) { plays } }";
    let request = platform.request(Method::POST, "/graphql", None);
    let request = request.header("veza-min-position", position.as_str().unwrap());
    let body = json!({ "query": query, "variables": { "id": track } });
    platform.send(request.json(&body)).await.1
}

fn ids(records: &[Seen]) -> Vec<&str> {
    let mut ids: Vec<&str> = records.iter().map(|record| record.header("id")).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[tokio::test]
async fn a_listening_arrives_in_clickhouse_and_kafka_once_also_after_a_kill() {
    let broker = Broker::start();
    let database = format!("veza_{}", uuid::Uuid::new_v4().simple());
    let url: &'static str = format!("{}/?database={database}", clickhouse()).leak();
    let mut platform = Platform::start_with(&[
        ("VEZA_CLICKHOUSE_URL", url),
        ("VEZA_KAFKA_BROKERS", broker.address().leak()),
    ])
    .await;
    let nina = sign_up(&platform, "nina", "artist").await;
    let otis = sign_up(&platform, "otis", "listener").await;
    // So short that there is time for all plays.
    let track = publish_tone(&platform, &nina, 200).await;
    let position = play(&platform, &otis, &track, 5).await;
    let answer = plays(&platform, &track, &position).await;
    assert_eq!(answer["data"]["track"]["plays"], 5, "{answer}");
    assert_eq!(counted(&database).await, "5\t5");

    play(&platform, &otis, &track, 5).await;
    platform.kill_and_restart().await;
    let position = play(&platform, &otis, &track, 5).await;
    platform.kill_and_restart().await;
    let answer = plays(&platform, &track, &position).await;
    assert_eq!(answer["data"]["track"]["plays"], 15, "{answer}");
    assert_eq!(counted(&database).await, "15\t15");
    eventually("all are published", async || broker.records("veza.play").await.len() >= 15).await;

    let mut rebuild = platform.replay_command(&["rebuild", "plays_clickhouse"]);
    let rebuilt = rebuild.env("VEZA_CLICKHOUSE_URL", url).output().await.unwrap();
    assert!(rebuilt.status.success(), "{}", String::from_utf8_lossy(&rebuilt.stderr));
    assert_eq!(counted(&database).await, "15\t15");
    platform.stop().await;

    let records = broker.records("veza.play").await;
    assert_eq!((records.len(), ids(&records).len()), (15, 15), "each once, and nothing again");
    assert!(records.iter().all(|record| record.value["data"]["track_id"] == json!(track)));
    let users = broker.records("veza.user").await;
    assert_eq!(users.len(), ids(&users).len());
    let said: Vec<_> = users.iter().map(|record| record.header("type")).collect();
    assert!(said.contains(&"UserRegistered") && said.contains(&"UserEmailConfirmed"), "{said:?}");
    let all = users.iter().map(|record| record.value.to_string()).collect::<String>();
    assert!(!all.contains("@example.org"), "no address leaves the platform");
}

#[tokio::test]
async fn servers_that_are_away_stop_neither_the_start_nor_what_does_not_need_them() {
    // A port that nothing listens on.
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nowhere.local_addr().unwrap().to_string();
    drop(nowhere);
    let url: &'static str = format!("http://{address}").leak();
    let platform = Platform::start_with(&[
        ("VEZA_CLICKHOUSE_URL", url),
        ("VEZA_MEILISEARCH_URL", url),
        ("VEZA_KAFKA_BROKERS", address.leak()),
    ])
    .await;
    // It is ready, and says what is missing.
    let ready = async || platform.get("/readyz").await;
    let (status, answer) = ready().await;
    assert_eq!(status, 200, "{answer}");
    let degraded = answer["parts"]["degraded"].as_str().unwrap_or_default();
    assert!(degraded.contains("search_meilisearch_v4"), "{answer}");
    assert!(degraded.contains("plays_clickhouse_v1"), "{answer}");
    eventually("a first build that fails is told", async || {
        ready().await.1["parts"]["projections"]["search_meilisearch_v4"] == "retrying"
    })
    .await;
    let nina = sign_up(&platform, "nina", "artist").await;
    let track = publish(&platform, &nina).await;
    let query = "query($id: UUID!) { track(id: $id) { title } }";
    let asks = async |query: &str| {
        let body = json!({ "query": query, "variables": { "id": track } });
        platform.send(platform.request(Method::POST, "/graphql", None).json(&body)).await.1
    };
    eventually("what PostgreSQL knows is told", async || {
        asks(query).await["data"]["track"]["title"] == "Tone"
    })
    .await;
    let counts = asks("query($id: UUID!) { track(id: $id) { plays } }").await;
    assert!(counts["errors"][0]["extensions"]["code"].is_string(), "{counts}");
    assert!(!counts.to_string().contains(&url["http://".len()..]), "nothing from inside: {counts}");
    platform.stop().await;
}
