//! The runner over the embedded event store: the two keep each other's promises.

use std::path::Path;
use std::sync::Arc;

use chrono::Utc;
use event_schemas::user::{UserEvent, UserRegistered};
use event_schemas::{Actor, EventFamily, Metadata, UserId};
use event_store::{
    ContentType, EmbeddedOptions, EmbeddedStore, EventId, EventStore, EventType, ExpectedRevision,
    NewEvent, Position, StreamName,
};
use projections::postgres::profiles::{MODEL, ProfilesProjection};
use projections::{OnPoison, Projection, Rebuild, Runner, Watermarks, parked_events};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::database;
use crate::runner::{LIMIT, reached};

async fn open(folder: &Path) -> Arc<dyn EventStore> {
    let store = EmbeddedStore::open(EmbeddedOptions::folder(folder)).await;
    Arc::new(store.expect("nobody else has it open"))
}

fn start(pool: &PgPool, store: &Arc<dyn EventStore>) -> Runner {
    let what: Vec<Arc<dyn Projection>> = vec![Arc::new(ProfilesProjection)];
    Runner::start(pool.clone(), Arc::clone(store), what, CancellationToken::new())
}

fn event(event_type: &str, data: &serde_json::Value) -> NewEvent {
    let metadata = Metadata {
        schema_version: 1,
        correlation_id: Uuid::new_v4(),
        causation_id: Uuid::new_v4(),
        actor: Actor::System,
        occurred_at: Utc::now(),
        traceparent: None,
        command: None,
    };
    NewEvent {
        id: EventId(Uuid::new_v4()),
        event_type: EventType::new(event_type).expect("a short name"),
        content_type: ContentType::Json,
        data: serde_json::to_vec(data).expect("plain data").into(),
        metadata: serde_json::to_vec(&metadata).expect("plain data").into(),
    }
}

async fn append(store: &Arc<dyn EventStore>, stream: &str, event: NewEvent) -> Position {
    let stream = StreamName::new(stream).expect("a short name");
    let appended = store.append(&stream, ExpectedRevision::Any, vec![event]).await;
    appended.expect("it is appended").position.expect("an event was appended")
}

async fn register(store: &Arc<dyn EventStore>, handle: &str) -> Position {
    let user_id = UserId(Uuid::new_v4());
    let (handle, display_name) = (handle.to_owned(), String::new());
    let encoded = UserEvent::from(UserRegistered { user_id, handle, display_name }).encode();
    append(store, &format!("user-{user_id}"), event(encoded.event_type, &encoded.data)).await
}

async fn profiles(pool: &PgPool) -> i64 {
    let count = "SELECT count(*) FROM profiles_v1.profiles";
    sqlx::query_scalar(count).fetch_one(pool).await.expect("it is read")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_follow_the_embedded_store_across_restarts() {
    let (pool, folder) = (database::fresh().await, tempfile::tempdir().expect("a folder"));
    let store = open(folder.path()).await;
    for number in 0..50 {
        register(&store, &format!("past{number}")).await;
    }
    let runner = start(&pool, &store);
    let mut position = Position::START;
    for number in 0..50 {
        position = register(&store, &format!("live{number}")).await;
    }
    reached(&runner, &[MODEL], position).await;
    assert_eq!(profiles(&pool).await, 100);

    // An event of others moves the checkpoint, seen from another process, too.
    let other = append(&store, "elsewhere-1", event("Anything", &serde_json::json!({}))).await;
    let remote = Watermarks::remote(pool.clone());
    remote.wait_for(&[MODEL], other, LIMIT).await.expect("it is looked at");
    assert!(runner.drain(LIMIT).await);
    drop(store);

    let store = open(folder.path()).await;
    let runner = start(&pool, &store);
    let position = register(&store, "again").await;
    reached(&runner, &[MODEL], position).await;
    assert_eq!(profiles(&pool).await, 101);
    let rebuild = Rebuild {
        pool: pool.clone(),
        store: Arc::clone(&store),
        projection: Arc::new(ProfilesProjection),
        on_poison: OnPoison::Stop,
        cancel: CancellationToken::new(),
    };
    let progress = rebuild.run(Box::new(|_| {})).await.expect("it is rebuilt");
    assert_eq!((progress.events, profiles(&pool).await), (101, 101));
    let position = register(&store, "after").await;
    reached(&runner, &[MODEL], position).await;
    assert_eq!(profiles(&pool).await, 102);
    assert_eq!(parked_events(&pool, MODEL).await.expect("they are read"), []);
    assert!(runner.drain(LIMIT).await);
}
