//! `veza-replay` on a folder at rest, as a person and a program read it.

use event_store::{
    ContentType, EmbeddedOptions, EmbeddedStore, EventId, EventStore as _, EventType,
    ExpectedRevision, NewEvent, StreamName,
};
use tokio::process::Command;

use crate::process::{ended, folder, replay};

#[tokio::test]
async fn programs_get_all_events_and_people_are_told_that_there_are_more() {
    const EVENTS: usize = 1200;
    let folder = folder();
    let options = EmbeddedOptions::folder(folder.path().join("events"));
    let store = EmbeddedStore::open(options).await.unwrap();
    let event = |n| NewEvent {
        id: EventId(uuid::Uuid::from_u128(n)),
        event_type: EventType::new("Heard").unwrap(),
        content_type: ContentType::Binary,
        data: Vec::new().into(),
        metadata: Vec::new().into(),
    };
    let stream = StreamName::new("song-1").unwrap();
    let events = (1..=EVENTS as u128).map(event).collect();
    store.append(&stream, ExpectedRevision::Any, events).await.unwrap();
    store.close().await.unwrap();

    assert_eq!(replay(folder.path(), &["events"]).await.len(), EVENTS);
    assert_eq!(replay(folder.path(), &["events", "song-1"]).await.len(), EVENTS);
    assert_eq!(replay(folder.path(), &["events", "--limit", "7"]).await.len(), 7);
    let mut command = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
    command.arg("--data").arg(folder.path()).arg("events");
    let said = String::from_utf8(ended(command).await.stdout).unwrap();
    assert_eq!(said.lines().count(), 1001);
    assert!(said.lines().last().unwrap().starts_with("(there are more: --from "), "{said}");
}
