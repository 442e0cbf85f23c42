//! Kafka: every event in its topic, in order and once, whatever happens to publisher and broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use event_schemas::user::{UserEmailConfirmed, UserEvent, UserRegistered};
use event_schemas::{TrackId, UserId};
use event_store::Position;
use projections::kafka::{CATEGORIES, EventBus, MODEL, TOPIC_PREFIX};
use projections::postgres::profiles::{MODEL as PROFILES, ProfilesProjection};
use projections::*;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::broker::{Broker, Seen};
use crate::database;
use crate::memory_store::MemoryStore;
use crate::runner::{LIMIT, reached, start, until};

const USERS: &str = "veza.user";

fn topic_of(category: &str) -> String {
    format!("{TOPIC_PREFIX}{category}")
}

fn publish(pool: &PgPool, store: &Arc<MemoryStore>, broker: &Broker) -> Runner {
    let mut runner = start(pool, store, vec![Arc::new(ProfilesProjection)]);
    runner.publish_to(EventBus::new(&[broker.address()]), Arc::clone(store) as _);
    runner
}

/// Registers so many people, each with a second event.
fn register(store: &MemoryStore, people: usize) -> Position {
    let mut position = Position::START;
    for _ in 0..people {
        let user_id = UserId(Uuid::new_v4());
        let (handle, display_name) = (format!("u{user_id}"), "Somebody".to_owned());
        store.put::<UserEvent>(user_id, UserRegistered { user_id, handle, display_name });
        position = store.put::<UserEvent>(user_id, UserEmailConfirmed { user_id });
    }
    position
}

/// Each event is there once; each partition grows by position, each key is in one partition.
fn assert_each_once(records: &[Seen], events: usize) {
    let ids: BTreeSet<&str> = records.iter().map(|record| record.header("id")).collect();
    assert_eq!((records.len(), ids.len()), (events, events), "as many records as events");
    for pair in records.windows(2).filter(|pair| pair[0].partition == pair[1].partition) {
        assert!(pair[0].position() < pair[1].position(), "in the log's order");
    }
    let mut places = BTreeMap::new();
    for record in records {
        let place = *places.entry(&record.key).or_insert(record.partition);
        assert_eq!(place, record.partition, "a stream is in one partition");
    }
}

#[tokio::test]
async fn every_event_is_published_as_it_is_documented() {
    let (pool, store, broker) = (database::fresh().await, MemoryStore::new(), Broker::start());
    let user_id = UserId(Uuid::new_v4());
    let (handle, display_name) = ("ada".to_owned(), "Ada".to_owned());
    store.put::<UserEvent>(user_id, UserRegistered { user_id, handle, display_name });
    // What this release can't read is for those who can.
    let track = TrackId(Uuid::new_v4()).to_string();
    store.put_raw("track", &track, "TrackTeleported", br#"{"to":"Mars"}"#.to_vec());
    store.put_raw("track", &track, "TrackGarbled", b"\xff".to_vec());
    let large = serde_json::to_vec(&json!({ "text": "x".repeat(2_000_000) })).expect("plain data");
    store.put_raw("message", "1", "MessagePosted", large);
    store.put_raw("elsewhere", "1", "Anything", b"{}".to_vec());
    let runner = publish(&pool, &store, &broker);
    reached(&runner, &[MODEL], Position::new(5)).await;

    let users = broker.records(USERS).await;
    assert_eq!(users.len(), 1);
    let (user, value) = (&users[0], &users[0].value);
    assert_eq!(user.key, format!("user-{user_id}"));
    assert_eq!((&value["stream"], &value["category"]), (&json!(user.key), &json!("user")));
    assert_eq!((&value["type"], &value["version"]), (&json!("UserRegistered"), &json!(1)));
    assert_eq!((&value["revision"], &value["position"]), (&json!(0), &json!("1")));
    assert_eq!(value["data"]["handle"], "ada");
    assert_eq!(value["metadata"]["schema_version"], 1);
    assert_eq!(value["metadata"].get("command"), None, "it serves the platform alone");
    let recorded_at = value["recorded_at"].as_str().expect("a time");
    assert!(chrono::DateTime::parse_from_rfc3339(recorded_at).is_ok(), "{recorded_at}");
    assert_eq!(user.header("id"), value["id"].as_str().expect("an id"));
    assert_eq!((user.header("type"), user.header("schema_version")), ("UserRegistered", "1"));
    assert_eq!(user.header("content-type"), "application/json");

    let tracks = broker.records("veza.track").await;
    assert_eq!(tracks[0].value["data"], json!({ "to": "Mars" }));
    assert_eq!(
        (&tracks[1].value["data"], &tracks[1].value["omitted"]),
        (&json!(null), &json!("not_json"))
    );
    let messages = broker.records("veza.message").await;
    assert_eq!(messages[0].value["omitted"], "too_large");
    assert_eq!(broker.records("veza.elsewhere").await.len(), 0, "only the platform's events");
    assert!(runner.drain(LIMIT).await);
}

#[test]
fn every_family_has_a_topic() {
    let schemas = concat!(env!("CARGO_MANIFEST_DIR"), "/../event-schemas/schemas");
    let folders = std::fs::read_dir(schemas).expect("the schemas are there");
    let names = folders.map(|entry| entry.expect("it is read").file_name());
    let mut families: BTreeSet<String> = names.filter_map(|name| name.into_string().ok()).collect();
    // What is kept to recognise repeated commands is nobody else's affair.
    assert!(families.remove("command"));
    let published: BTreeSet<String> = CATEGORIES.map(str::to_owned).into();
    assert_eq!(published, families);
}

#[tokio::test]
async fn a_restart_repeats_nothing_also_without_a_checkpoint() {
    let (pool, store, broker) = (database::fresh().await, MemoryStore::new(), Broker::start());
    let position = register(&store, 100);
    let runner = publish(&pool, &store, &broker);
    reached(&runner, &[MODEL], position).await;
    assert!(runner.drain(LIMIT).await);

    // As after a kill between Kafka's confirmation and the checkpoint; then as with a new database.
    let ways = [
        "UPDATE projection.checkpoints SET position = 50 WHERE name = 'kafka'",
        "DELETE FROM projection.checkpoints WHERE name = 'kafka'",
    ];
    for (round, way) in ways.into_iter().enumerate() {
        sqlx::query(way).execute(&pool).await.expect("it is done");
        let position = register(&store, 10);
        let runner = publish(&pool, &store, &broker);
        reached(&runner, &[MODEL], position).await;
        assert_each_once(&broker.records(USERS).await, 200 + 20 * (round + 1));
        assert!(runner.drain(LIMIT).await);
    }
}

#[tokio::test]
async fn topics_of_another_log_are_left_alone() {
    let (pool, store, broker) = (database::fresh().await, MemoryStore::new(), Broker::start());
    let position = register(&store, 20);
    let runner = publish(&pool, &store, &broker);
    reached(&runner, &[MODEL], position).await;
    assert!(runner.drain(LIMIT).await);

    let (other_pool, other) = (database::fresh().await, MemoryStore::new());
    register(&other, 30);
    let runner = publish(&other_pool, &other, &broker);
    reached(&runner, &[PROFILES], Position::new(1)).await;
    until(|| async {
        let rows = checkpoints(&other_pool).await.expect("they are read");
        let row = rows.iter().find(|row| row.name == MODEL.name);
        let reason = row.and_then(|row| row.reason.as_deref());
        reason.is_some_and(|reason| reason.contains("another log"))
    })
    .await;
    assert!(runner.drain(LIMIT).await);
    assert_each_once(&broker.records(USERS).await, 40);
}

#[tokio::test]
async fn two_processes_publish_as_one() {
    let (pool, store, broker) = (database::fresh().await, MemoryStore::new(), Broker::start());
    let first = publish(&pool, &store, &broker);
    let position = register(&store, 20);
    reached(&first, &[MODEL], position).await;
    let second = publish(&pool, &store, &broker);
    register(&store, 20);
    assert!(first.drain(LIMIT).await);
    let position = register(&store, 20);
    reached(&second, &[MODEL], position).await;
    assert_each_once(&broker.records(USERS).await, 120);
    assert!(second.drain(LIMIT).await);
}

#[tokio::test]
async fn a_paused_broker_is_waited_for_and_gets_all_in_order() {
    let (pool, store, broker) = (database::fresh().await, MemoryStore::new(), Broker::start());
    let runner = publish(&pool, &store, &broker);
    let position = register(&store, 10);
    reached(&runner, &[MODEL], position).await;
    broker.signal("STOP");
    let position = register(&store, 1_500);
    reached(&runner, &[PROFILES], position).await;
    let rows = checkpoints(&pool).await.expect("they are read");
    let row = rows.iter().find(|row| row.name == MODEL.name).expect("it began");
    assert!(row.position < position, "nothing is taken for published that is not");
    broker.signal("CONT");
    reached(&runner, &[MODEL], position).await;
    assert_each_once(&broker.records(USERS).await, 3_020);
    assert!(runner.drain(LIMIT).await);
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_waited_for_and_one_that_lost_all_goes_on() {
    let (pool, store, mut broker) = (database::fresh().await, MemoryStore::new(), Broker::start());
    broker.kill();
    let runner = publish(&pool, &store, &broker);
    let position = register(&store, 10);
    reached(&runner, &[PROFILES], position).await;
    until(|| async {
        let rows = checkpoints(&pool).await.expect("they are read");
        let row = rows.iter().find(|row| row.name == MODEL.name);
        row.is_some_and(|row| row.status == "retrying" && row.reason.is_some())
    })
    .await;
    broker.start_again();
    reached(&runner, &[MODEL], position).await;
    assert_each_once(&broker.records(USERS).await, 20);

    broker.kill();
    let position = register(&store, 10);
    reached(&runner, &[PROFILES], position).await;
    assert!(runner.drain(LIMIT).await, "it stops without its broker");
    broker.start_again();
    let runner = publish(&pool, &store, &broker);
    reached(&runner, &[MODEL], position).await;
    assert_each_once(&broker.records(USERS).await, 20);
    assert!(runner.drain(LIMIT).await);
}

/// Given a broker that is killed while a publisher has its topics and comes back without them, when
/// somebody else was first to make them, with so many partitions, or nobody was, then the publisher
/// goes on with what is there, without being started again.
async fn goes_on_by_what_is_there(made_by_others: Option<i32>) {
    let (pool, store, mut broker) = (database::fresh().await, MemoryStore::new(), Broker::start());
    let runner = publish(&pool, &store, &broker);
    reached(&runner, &[MODEL], register(&store, 10)).await;
    broker.kill();
    let position = register(&store, 40);
    reached(&runner, &[PROFILES], position).await;
    broker.start_again();
    if let Some(partitions) = made_by_others {
        broker.make(&CATEGORIES.map(topic_of), partitions).await;
    }
    reached(&runner, &[MODEL], position).await;
    assert_each_once(&broker.records(USERS).await, 80);
    assert_eq!(broker.partitions(USERS).await, made_by_others.unwrap_or(6));
    assert!(runner.drain(LIMIT).await);
}

#[tokio::test]
async fn a_broker_that_lost_its_topics_gets_them_again_without_a_restart() {
    goes_on_by_what_is_there(None).await;
}

#[tokio::test]
async fn topics_that_were_made_anew_are_noticed_without_a_restart() {
    goes_on_by_what_is_there(Some(6)).await;
}

#[tokio::test]
async fn topics_that_come_back_smaller_are_noticed_without_a_restart() {
    goes_on_by_what_is_there(Some(2)).await;
}

#[tokio::test]
async fn topics_that_come_back_larger_are_noticed_without_a_restart() {
    goes_on_by_what_is_there(Some(12)).await;
}

/// Given a publisher that has nothing to send, when its broker is killed and comes back, then it is
/// told that the broker is away and that it is back, and the topics are made again.
#[tokio::test]
async fn a_broker_that_goes_and_comes_back_is_noticed_while_nothing_happens() {
    let (pool, store, mut broker) = (database::fresh().await, MemoryStore::new(), Broker::start());
    let bus = EventBus::new(&[broker.address()]);
    let mut runner = start(&pool, &store, vec![Arc::new(ProfilesProjection)]);
    runner.publish_to(bus.clone(), Arc::clone(&store) as _);
    reached(&runner, &[MODEL], register(&store, 1)).await;
    assert!(!bus.is_away());
    broker.kill();
    until(|| async { bus.is_away() }).await;
    broker.start_again();
    until(|| async { !bus.is_away() }).await;
    until(|| async { broker.partitions(USERS).await == 6 }).await;
    reached(&runner, &[MODEL], register(&store, 10)).await;
    assert_each_once(&broker.records(USERS).await, 20);
    assert!(runner.drain(LIMIT).await);
}
