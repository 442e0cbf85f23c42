//! `veza-replay` on a folder at rest, as a person and a program read it.

use std::path::Path;
use std::process::Stdio;

use event_store::{
    ContentType, EmbeddedOptions, EmbeddedStore, EventId, EventStore as _, EventType,
    ExpectedRevision, NewEvent, StreamName,
};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::process::{ended, folder, replay, veza};

/// Fills a store, one event a song, and leaves it at rest.
async fn fill(data: &Path, count: usize) {
    let store = EmbeddedStore::open(EmbeddedOptions::folder(data.join("events"))).await.unwrap();
    let event = |n| NewEvent {
        id: EventId(uuid::Uuid::from_u128(n)),
        event_type: EventType::new("Heard").unwrap(),
        content_type: ContentType::Binary,
        data: Vec::new().into(),
        metadata: Vec::new().into(),
    };
    let stream = StreamName::new("song-1").unwrap();
    let events = (1..=count as u128).map(event).collect();
    store.append(&stream, ExpectedRevision::Any, events).await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_store_that_a_command_keeps_shut_says_which() {
    let folder = folder();
    let data = folder.path();
    // More than goes into a pipe that nobody reads.
    fill(data, 5_000).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
    command.arg("--data").arg(data).args(["events", "--json"]).stdout(Stdio::piped());
    let mut reading = command.kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(reading.stdout.take().unwrap()).lines();
    lines.next_line().await.unwrap().expect("it has opened the store");
    let mut command = veza(data, &["event-store"]);
    command.env("EVENTSTORE_LISTEN", "127.0.0.1:0");
    let output = ended(command).await;
    let told = String::from_utf8(output.stderr).unwrap();
    let named = format!("is open in another process (veza-replay, {})", reading.id().unwrap());
    assert!(!output.status.success() && told.contains(&named), "{told}");
    reading.kill().await.unwrap();
}

#[tokio::test]
async fn programs_get_all_events_and_people_are_told_that_there_are_more() {
    const EVENTS: usize = 1200;
    let folder = folder();
    fill(folder.path(), EVENTS).await;

    assert_eq!(replay(folder.path(), &["events"]).await.len(), EVENTS);
    assert_eq!(replay(folder.path(), &["events", "song-1"]).await.len(), EVENTS);
    assert_eq!(replay(folder.path(), &["events", "--limit", "7"]).await.len(), 7);
    let mut command = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
    command.arg("--data").arg(folder.path()).arg("events");
    let said = String::from_utf8(ended(command).await.stdout).unwrap();
    assert_eq!(said.lines().count(), 1001);
    assert!(said.lines().last().unwrap().starts_with("(there are more: --from "), "{said}");
}
