//! What a restore that ends before the position it was asked for says of it.

use clap::{FromArgMatches as _, Subcommand as _};
use event_store::{
    ContentType, EmbeddedOptions, EmbeddedStore, EventId, EventStore as _, EventType,
    ExpectedRevision, NewEvent, StreamName,
};
use replay_tool::{
    FolderCommand, Format, LogFiles, Output, ReplayCommand, Verdict, run, run_on_folder,
};
use tempfile::TempDir;
use uuid::Uuid;

fn event() -> NewEvent {
    NewEvent {
        id: EventId(Uuid::new_v4()),
        event_type: EventType::new("Heard").unwrap(),
        content_type: ContentType::Json,
        data: "{}".into(),
        metadata: "".into(),
    }
}

fn matches(command: clap::Command, line: &[&str]) -> clap::ArgMatches {
    command.get_matches_from([&["x"], line].concat())
}

/// Given events that were committed together, when a log is put back up to the first of them, then
/// it ends before it, and that is said so: whether they are of one append nobody knows any more.
#[tokio::test]
async fn a_restore_that_ends_earlier_says_what_was_not_parted() {
    let home = TempDir::new().unwrap();
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let (folder, backup, restored) = (path("events"), path("backup"), path("restored"));
    let store = EmbeddedStore::open(EmbeddedOptions::folder(&folder)).await.unwrap();
    let stream = StreamName::new("song-1").unwrap();
    for events in [1, 3] {
        let events = (0..events).map(|_| event()).collect();
        store.append(&stream, ExpectedRevision::Any, events).await.unwrap();
    }
    let mut said = Vec::new();
    let mut output = Output::new(&mut said, Format::Text);
    let command = ReplayCommand::augment_subcommands(clap::Command::new("x"));
    let backing_up = matches(command, &["backup", "--to", &backup]);
    let backing_up = ReplayCommand::from_arg_matches(&backing_up).unwrap();
    let files = LogFiles { folder: folder.into(), keys: None };
    let fold = |_: &[_]| Err("no run of a saga is looked at".to_owned());
    let made = run(&store, None, Some(&files), fold, &backing_up, &mut output).await.unwrap();
    assert_eq!(made, Verdict::Good);

    let command = FolderCommand::augment_subcommands(clap::Command::new("x"));
    let line = ["restore", "--from", &backup, "--to", &restored, "--until", "2"];
    let restoring = FolderCommand::from_arg_matches(&matches(command, &line)).unwrap();
    run_on_folder(home.path(), None, &restoring, &mut output).await.unwrap();
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("restored up to position 1: "), "{said}");
    let told = "(what is from 2 to 2 was committed together with what follows, and is not parted";
    assert!(said.contains(told) && !said.contains("of an append"), "{said}");
    store.close().await.unwrap();
}
