//! Streams of which not all can be read: truncated, deleted, begun again, tombstoned; in a folder
//! at rest and beside a running store.

use std::sync::Arc;

use chrono::SecondsFormat;
use clap::{FromArgMatches as _, Subcommand as _};
use event_store::grpc::{ServeOptions, serve};
use event_store::{
    ClientStore, ContentType, EmbeddedOptions, EmbeddedStore, EventId, EventStore, EventType,
    ExpectedRevision, NewEvent, ReadAll, ScavengeOptions, StreamMetadata, StreamName,
};
use futures::TryStreamExt as _;
use replay_tool::{Format, Output, ReplayCommand, ReplayError, Verdict, run};
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
    let (said, verdict) = carried_out(store, folder, format, line).await;
    (said, verdict.unwrap())
}

/// The same of one that may fail.
async fn carried_out(
    store: &dyn EventStore,
    folder: Option<&EmbeddedStore>,
    format: Format,
    line: &[&str],
) -> (String, Result<Verdict, ReplayError>) {
    let command = ReplayCommand::augment_subcommands(clap::Command::new("x"));
    let matches = command.get_matches_from([&["x"], line].concat());
    let command = ReplayCommand::from_arg_matches(&matches).unwrap();
    let mut said = Vec::new();
    let mut output = Output::new(&mut said, format);
    let fold = |_: &[_]| Err("no run of a saga is looked at".to_owned());
    let verdict = run(store, folder, None, fold, &command, &mut output).await;
    (String::from_utf8(said).unwrap(), verdict)
}

async fn documents(store: &dyn EventStore, line: &[&str]) -> Vec<Value> {
    let (said, _) = told(store, None, Format::Json, line).await;
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How a stream stands, without its last event.
fn brief(stream: &Value) -> Value {
    let fields = ["stream", "state", "events", "first_revision", "last_revision"];
    Value::from_iter(fields.map(|field| stream[field].clone()))
}

async fn check(store: &dyn EventStore, folder: Option<&EmbeddedStore>) {
    let (said, verdict) = told(store, folder, Format::Json, &["verify"]).await;
    assert_eq!(verdict, Verdict::Good, "{said}");

    let streams = documents(store, &["streams", "--prefix", "song-"]).await;
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

async fn set(store: &dyn EventStore, stream: &str, metadata: StreamMetadata) {
    store.set_stream_metadata(&name(stream), ExpectedRevision::Any, metadata).await.unwrap();
}

/// Whether events were reclaimed up to a moment, as people are told.
const GAPS: &str = "(not every position up to then has an event any more: ";

/// Streams of which more is to be seen at a moment than later; returns that moment, as a position
/// and as a time, and one at which there was only a stream that was tombstoned behind it.
async fn hide(store: &dyn EventStore) -> (String, String, String) {
    let counted = |max| StreamMetadata { max_count: Some(max), ..StreamMetadata::default() };
    let aged = StreamMetadata { max_age_seconds: Some(1000), ..counted(9) };
    append(store, "song-gone", 2).await;
    let gone = store.head().await.unwrap();
    store.tombstone_stream(&name("song-gone"), ExpectedRevision::Any).await.unwrap();
    append(store, "song-whole", 2).await;
    append(store, "song-shorter", 50).await;
    for (stream, events, metadata) in [
        ("song-counted", 4, counted(3)),
        ("song-recounted", 50, counted(40)),
        ("song-metadata", 3, counted(1)),
        ("song-aged", 3, aged),
    ] {
        append(store, stream, events).await;
        set(store, stream, metadata).await;
    }
    let mut last = store.read_all(ReadAll::backward().limit(1)).await.unwrap();
    let last = last.try_next().await.unwrap().unwrap();
    let time = last.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true);
    set(store, "song-metadata", counted(9)).await;
    set(store, "song-recounted", counted(3)).await;
    set(store, "song-aged", counted(1)).await;
    set(store, "song-shorter", counted(3)).await;
    append(store, "song-later", 40).await;
    (last.position.to_string(), time, gone.to_string())
}

/// Given streams of which more was to be seen once than now, then what of that is given back to the
/// disk is told as reclaimed, and never a part of it as all that there was.
#[tokio::test]
async fn what_was_reclaimed_of_a_moment_is_told_and_not_counted() {
    let home = TempDir::new().unwrap();
    let options = EmbeddedOptions::folder(home.path().join("events")).segment_bytes(2000);
    let store = Arc::new(EmbeddedStore::open(options).await.unwrap());
    let (then, time, gone) = hide(&*store).await;
    let at = ["streams", "--prefix", "song-", "--at", &then];
    let before = documents(&*store, &at).await;
    assert!(before.iter().all(|stream| stream["state"] != "reclaimed"), "{before:?}");
    assert_eq!(before.len(), 7);
    let (text, _) = told(&*store, None, Format::Text, &at).await;
    assert!(!text.contains(GAPS), "{text}");

    let pass = ScavengeOptions::default().least_percent(0).bytes_per_second(u64::MAX);
    store.scavenge(pass).await.unwrap();
    for moment in [&then, &time] {
        let at = ["streams", "--prefix", "song-", "--at", moment];
        let told_now: Vec<_> = documents(&*store, &at).await.iter().map(brief).collect();
        let expected = [
            json!(["song-aged", "reclaimed", null, null, 2]),
            json!(["song-counted", "truncated", 3, 1, 3]),
            json!(["song-metadata", "reclaimed", null, null, 2]),
            json!(["song-recounted", "reclaimed", null, null, 49]),
            json!(["song-shorter", "reclaimed", null, null, 49]),
            json!(["song-whole", "whole", 2, 0, 1]),
        ];
        let tombstoned: Vec<_> =
            told_now.iter().filter(|stream| stream[0] != "song-gone").cloned().collect();
        assert_eq!(tombstoned, expected, "at {moment}");
        for stream in &told_now {
            let stream = [stream[0].as_str().unwrap(), stream[1].as_str().unwrap()];
            let line = ["events", stream[0], "--at", moment];
            let (_, read) = carried_out(&*store, None, Format::Json, &line).await;
            let refused = read.is_err_and(|error| error.to_string().contains("reclaimed in part"));
            assert_eq!(refused, stream[1] == "reclaimed", "{} at {moment}", stream[0]);
        }
        let (text, _) = told(&*store, None, Format::Text, &at).await;
        assert!(text.contains("        ? events  last Heard at "), "{text}");
        assert!(text.contains("  (has been reclaimed in part)\n") && text.contains(GAPS), "{text}");
    }
    let (text, _) = told(&*store, None, Format::Text, &["streams", "--at", &gone]).await;
    assert!(text.starts_with("0 streams\n") && text.contains(GAPS), "{text}");
    // What can be read by now begins later, and that is no secret.
    let now = documents(&*store, &["streams", "--prefix", "song-shorter"]).await;
    assert_eq!(brief(&now[0]), json!(["song-shorter", "truncated", 3, 47, 49]));
    store.close().await.unwrap();
}

/// Given a position that the log has not come to, then nobody is told how the log stood there.
#[tokio::test]
async fn a_position_behind_the_head_is_refused() {
    let home = TempDir::new().unwrap();
    let options = EmbeddedOptions::folder(home.path().join("events"));
    let store = EmbeddedStore::open(options).await.unwrap();
    append(&store, "song-1", 3).await;
    for line in [&["streams"][..], &["events"], &["events", "song-1"], &["state", "song-1"]] {
        let told_at = async |at: &str| {
            carried_out(&store, None, Format::Json, &[line, &["--at", at]].concat()).await.1
        };
        let refused = told_at("4").await.unwrap_err();
        assert_eq!(refused.to_string(), "the log ends at position 3, before 4", "{line:?}");
        assert_eq!(refused.exit_code(), replay_tool::command::USAGE);
        let taken = told_at("3").await;
        assert!(taken.is_ok() || line[0] == "state", "{line:?}: {taken:?}");
    }
    store.close().await.unwrap();
}
