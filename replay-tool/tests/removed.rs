//! Streams of which not all can be read: truncated, deleted, begun again, tombstoned; in a folder
//! at rest and beside a running store.

use std::sync::Arc;

use clap::{FromArgMatches as _, Subcommand as _};
use event_store::grpc::{ServeOptions, serve};
use event_store::{
    ClientStore, ContentType, EmbeddedOptions, EmbeddedStore, EventId, EventStore, EventType,
    ExpectedRevision, NewEvent, StreamMetadata, StreamName,
};
use replay_tool::{Format, Output, ReplayCommand, Verdict, run};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

fn name(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

async fn append(store: &dyn EventStore, stream: &str, events: usize) {
    let event = |_| NewEvent {
        id: EventId(Uuid::new_v4()),
        event_type: EventType::new("Heard").unwrap(),
        content_type: ContentType::Json,
        data: "{}".into(),
        metadata: "".into(),
    };
    let events = (0..events).map(event).collect();
    store.append(&name(stream), ExpectedRevision::Any, events).await.unwrap();
}

/// A stream of each kind, its name saying which.
async fn fill(store: &dyn EventStore) {
    let any = ExpectedRevision::Any;
    append(store, "song-whole", 2).await;
    append(store, "song-tombstoned", 3).await;
    store.tombstone_stream(&name("song-tombstoned"), any).await.unwrap();
    store.tombstone_stream(&name("song-never"), any).await.unwrap();
    append(store, "song-deleted", 4).await;
    store.delete_stream(&name("song-deleted"), any).await.unwrap();
    append(store, "song-again", 3).await;
    store.delete_stream(&name("song-again"), any).await.unwrap();
    append(store, "song-again", 2).await;
    append(store, "song-counted", 5).await;
    let counted = StreamMetadata { max_count: Some(2), ..StreamMetadata::default() };
    store.set_stream_metadata(&name("song-counted"), any, counted).await.unwrap();
    append(store, "song-cut", 5).await;
    let cut = StreamMetadata { truncate_before: Some(3), ..StreamMetadata::default() };
    store.set_stream_metadata(&name("song-cut"), any, cut).await.unwrap();
    append(store, "song-aged", 2).await;
    let aged = StreamMetadata { max_age_seconds: Some(0), ..StreamMetadata::default() };
    store.set_stream_metadata(&name("song-aged"), any, aged).await.unwrap();
}

/// What a command of the tool says, and whether all was good.
async fn told(
    store: &dyn EventStore,
    folder: Option<&EmbeddedStore>,
    format: Format,
    line: &[&str],
) -> (String, Verdict) {
    let command = ReplayCommand::augment_subcommands(clap::Command::new("x"));
    let matches = command.get_matches_from([&["x"], line].concat());
    let command = ReplayCommand::from_arg_matches(&matches).unwrap();
    let mut said = Vec::new();
    let mut output = Output::new(&mut said, format);
    let fold = |_: &[_]| Err("no run of a saga is looked at".to_owned());
    let verdict = run(store, folder, None, fold, &command, &mut output).await.unwrap();
    (String::from_utf8(said).unwrap(), verdict)
}

async fn documents(store: &dyn EventStore, line: &[&str]) -> Vec<Value> {
    let (said, _) = told(store, None, Format::Json, line).await;
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn check(store: &dyn EventStore, folder: Option<&EmbeddedStore>) {
    let (said, verdict) = told(store, folder, Format::Json, &["verify"]).await;
    assert_eq!(verdict, Verdict::Good, "{said}");

    let streams = documents(store, &["streams", "--prefix", "song-"]).await;
    let brief = |stream: &Value| {
        let fields = ["stream", "state", "events", "first_revision", "last_revision"];
        Value::from_iter(fields.map(|field| stream[field].clone()))
    };
    let expected = [
        json!(["song-again", "truncated", 2, 3, 4]),
        json!(["song-aged", "truncated", 0, null, 1]),
        json!(["song-counted", "truncated", 2, 3, 4]),
        json!(["song-cut", "truncated", 2, 3, 4]),
        json!(["song-deleted", "deleted", 0, null, 3]),
        json!(["song-never", "tombstoned", 0, null, null]),
        json!(["song-tombstoned", "tombstoned", 0, null, 2]),
        json!(["song-whole", "whole", 2, 0, 1]),
    ];
    assert_eq!(streams.iter().map(brief).collect::<Vec<_>>(), expected);
    assert_eq!(streams[6]["last_type"], "$streamDeleted");

    // Before its end each was whole.
    let tombstoned = documents(store, &["events", "--limit", "5"]).await;
    let before = tombstoned[4]["position"].as_str().unwrap();
    let then = documents(store, &["streams", "--at", before]).await;
    let brief: Vec<_> = then.iter().map(brief).collect();
    let whole =
        [json!(["song-tombstoned", "whole", 3, 0, 2]), json!(["song-whole", "whole", 2, 0, 1])];
    assert_eq!(brief, whole);

    let (text, _) = told(store, folder, Format::Text, &["streams"]).await;
    let line = |stream: &str| text.lines().find(|line| line.starts_with(stream)).unwrap();
    for (stream, words) in [
        ("song-whole ", " 2 events  last Heard at "),
        ("song-tombstoned ", "  (tombstoned)"),
        ("song-never ", " 0 events  last $streamDeleted at "),
        ("song-deleted ", "  (deleted)"),
        ("song-counted ", "  (truncated: 3 to 4)"),
        ("$$song-again ", " 1 events  last $metadata at "),
    ] {
        assert!(line(stream).contains(words), "{}", line(stream));
    }
    assert!(!text.contains(&i64::MAX.to_string()[..18]), "{text}");
}

#[tokio::test]
async fn such_a_log_is_sound_and_its_streams_are_told_as_they_are() {
    let home = TempDir::new().unwrap();
    let options = EmbeddedOptions::folder(home.path().join("events"));
    let store = Arc::new(EmbeddedStore::open(options).await.unwrap());
    fill(&*store).await;
    check(&*store, Some(&store)).await;

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (shared, stop) = (Arc::clone(&store) as _, CancellationToken::new());
    let serving = serve(listener, shared, ServeOptions::default(), stop.clone()).unwrap();
    let address = format!("esdb://{}?tls=false", serving.local_addr());
    check(&ClientStore::new(&address).unwrap(), None).await;
    stop.cancel();
    serving.finished().await;
    store.close().await.unwrap();
}
