//! The store as a process has it: killed at any moment, and wanted by two at once.

#[path = "given/dice.rs"]
mod dice;
#[path = "given/events.rs"]
mod given;
#[path = "given/seeds.rs"]
mod seeds;

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use dice::Dice;
use event_store::{
    EmbeddedOptions, EmbeddedStore, EventId, EventStore, ExpectedRevision, NewEvent, OpenError,
};
use given::{event, everything, stream};
use seeds::seeds;
use tempfile::TempDir;
use uuid::Uuid;

/// Names the folder to the process that writes until it is killed.
const FOLDER: &str = "EVENT_STORE_TEST_FOLDER";
const SEGMENT_BYTES: u64 = 64 * 1024;
const WRITERS: usize = 8;
const APPEND_EVENTS: usize = 3;

async fn open(folder: &Path) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open(EmbeddedOptions::folder(folder).segment_bytes(SEGMENT_BYTES)).await
}

/// Runs the writer below as a process of its own.
fn spawn_writer(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "many_writers_write_side_by_side", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Writes with several writers at once: so many appends each, or without end for the kill tests,
/// which run it as a process of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_write_side_by_side() {
    const APPENDS: usize = 5;
    let here = TempDir::new().unwrap();
    let asked = std::env::var(FOLDER).ok();
    let folder = asked.as_deref().map_or(here.path(), Path::new);
    let appends = if asked.is_some() { usize::MAX } else { APPENDS };
    let store = Arc::new(open(folder).await.unwrap());
    let writers =
        (0..WRITERS).map(|writer| tokio::spawn(write(Arc::clone(&store), writer, appends)));
    for written in futures::future::join_all(writers).await {
        written.unwrap();
    }
    let held = everything(&store).await.unwrap();
    assert_eq!(held.len(), WRITERS * APPENDS * APPEND_EVENTS);
}

async fn write(store: Arc<EmbeddedStore>, writer: usize, appends: usize) {
    let stream = stream(&format!("writer-{writer}"));
    for _ in 0..appends {
        let events: Vec<NewEvent> = (0..APPEND_EVENTS as u64)
            .map(|number| NewEvent { id: EventId(Uuid::new_v4()), ..event(number) })
            .collect();
        let ids: Vec<String> = events.iter().map(|event| event.id.to_string()).collect();
        store.append(&stream, ExpectedRevision::Any, events).await.unwrap();
        let line = format!("ack {}\n", ids.join(" "));
        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
    }
}

#[tokio::test]
async fn what_a_killed_process_acknowledged_is_there() {
    const ROUNDS_A_FOLDER: usize = 10;
    let mut folder = TempDir::new().unwrap();
    let mut acknowledged: HashSet<EventId> = HashSet::new();
    let mut all = 0;
    for (round, seed) in seeds("what_a_killed_process_acknowledged_is_there", 100, 2000).enumerate()
    {
        if round % ROUNDS_A_FOLDER == 0 {
            all += acknowledged.len();
            acknowledged.clear();
            folder = TempDir::new().unwrap();
        }
        let mut child = spawn_writer(folder.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let acks_before_the_kill = 1 + Dice::new(seed).below(300) as usize;
        let mut acks = 0;
        let mut take = |line: String, acks: &mut usize| {
            // The line that the kill cut short acknowledged nothing that we know of.
            let ids = line.split("ack ").nth(1).map(|ids| ids.split(' ').collect::<Vec<_>>());
            if let Some(ids) = ids.filter(|ids| ids.len() == 3 && ids[2].len() == 36) {
                *acks += 1;
                acknowledged.extend(ids.iter().map(|id| EventId(id.parse().unwrap())));
            }
        };
        while acks < acks_before_the_kill {
            take(lines.next().expect("the writer goes on").unwrap(), &mut acks);
        }
        child.kill().unwrap();
        lines.map_while(Result::ok).for_each(|line| take(line, &mut acks));
        child.wait().unwrap();
        let store = open(folder.path()).await.unwrap();
        let held = everything(&store).await.unwrap();
        let ids: HashSet<EventId> = held.iter().map(|event| event.id).collect();
        assert_eq!(ids.len(), held.len(), "round {round}: something is there twice");
        assert!(acknowledged.is_subset(&ids), "round {round}: something is lost");
        for writer in 0..WRITERS {
            let name = format!("writer-{writer}");
            let revisions: Vec<u64> = held
                .iter()
                .filter(|event| event.stream.as_str() == name)
                .map(|event| event.revision.get())
                .collect();
            assert_eq!(revisions, (0..revisions.len() as u64).collect::<Vec<_>>());
            assert_eq!(revisions.len() % APPEND_EVENTS, 0, "round {round}: half an append");
        }
    }
    println!("{} events were acknowledged before the kills", all + acknowledged.len());
}

#[tokio::test]
async fn a_folder_is_open_in_one_process_only() {
    let folder = TempDir::new().unwrap();
    let mut child = spawn_writer(folder.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.by_ref().map_while(Result::ok).find(|line| line.contains("ack ")).expect("it writes");
    let refused = open(folder.path()).await.err().expect("it is locked");
    assert!(matches!(refused, OpenError::Locked { pid: Some(pid), .. } if pid == child.id()));
    let told = refused.to_string();
    assert!(told.contains("(process-"), "it names the program: {told}");
    assert!(told.contains(&child.id().to_string()) && !told.contains('\n'), "{told}");
    child.kill().unwrap();
    child.wait().unwrap();
    open(folder.path()).await.expect("the kernel let go of the lock");
}

#[tokio::test]
async fn a_closed_store_refuses_and_can_be_opened_again_at_once() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await.unwrap();
    let one = stream("track-1");
    store.append(&one, ExpectedRevision::NoStream, vec![event(0)]).await.unwrap();
    assert!(matches!(open(folder.path()).await, Err(OpenError::Locked { .. })));
    store.close().await.unwrap();
    let again = open(folder.path()).await.unwrap();
    let refused = store.append(&one, ExpectedRevision::Any, vec![event(1)]).await;
    assert!(refused.is_err() && everything(&store).await.is_err());
    assert_eq!(everything(&again).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_folder_that_can_not_be_is_told_in_one_line() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let refused = open(&file.path().join("events")).await.err().expect("a file is no folder");
    let source = std::error::Error::source(&refused).expect("the system said why").to_string();
    let told = refused.to_string();
    assert!(!told.contains('\n') && !told.contains(&source), "{told}, and then {source}");
}
