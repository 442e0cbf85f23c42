//! What the store promises, seen through its port: a server that is killed at any moment, under
//! official clients who append, send again what they were not answered, and follow.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use event_store::{EmbeddedOptions, EmbeddedStore};
use eventstore::{
    AppendToStreamOptions, Client, Error, EventData, ExpectedRevision, Position, ReadAllOptions,
    StreamPosition, SubscribeToAllOptions, SubscribeToStreamOptions, SubscriptionFilter,
};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::dice::Dice;
use crate::seeds::seeds;
use crate::server::{Server, offered, stream};

/// What the process that serves is told.
const FOLDER: &str = "EVENT_STORE_SERVED_FOLDER";
const ADDRESS: &str = "EVENT_STORE_SERVED_ADDRESS";

const SEGMENT_BYTES: u64 = 64 * 1024;
const WRITERS: usize = 4;
const APPEND_EVENTS: u64 = 3;

/// How many appends are acknowledged between two kills, at most.
const APPENDS: u64 = 60;

/// Nothing takes longer, whatever else the machine does.
const PATIENCE: Duration = Duration::from_secs(60);

/// Serves a folder: for a moment, or as the process that is killed below, which also ends when
/// whoever started it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_a_folder() {
    let here = TempDir::new().expect("folder");
    let asked = std::env::var(FOLDER).ok();
    let folder = asked.as_deref().map_or(here.path(), Path::new);
    let address = std::env::var(ADDRESS).unwrap_or("127.0.0.1:0".to_owned());
    let options = EmbeddedOptions::folder(folder).segment_bytes(SEGMENT_BYTES);
    let store = Arc::new(EmbeddedStore::open(options).await.expect("store"));
    let server = Server::over(store, &address).await;
    println!("\nserving {}", server.address());
    if asked.is_some() {
        tokio::io::stdin().read_to_end(&mut Vec::new()).await.expect("its end");
        return;
    }
    let append = server.client();
    let append = append.append_to_stream("a", &Default::default(), offered("Told", 1)).await;
    append.expect("append");
    assert!(server.store.last_event(&stream("a")).await.expect("read").is_some());
}

/// A process with the server above; it is killed when this goes.
struct Process {
    child: Child,
    address: String,
}

impl Process {
    fn start(folder: &Path, address: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("a program"))
            .args(["--exact", "killed::a_server_of_a_folder", "--nocapture"])
            .env(FOLDER, folder)
            .env(ADDRESS, address)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let serving = |line: String| line.strip_prefix("serving ").map(str::to_owned);
        let address = lines.map_while(Result::ok).find_map(serving).expect("it serves");
        Self { child, address }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }
}

fn connect(address: &str) -> Client {
    let uri = format!("esdb://{address}?tls=false&discoveryInterval=20");
    Client::new(uri.parse().expect("settings")).expect("client")
}

/// The ids of each append of a writer that was acknowledged.
type Acknowledged = Arc<Mutex<Vec<Vec<Uuid>>>>;

/// Appends until it is stopped, and each append until it is answered.
async fn write(address: String, writer: usize, told: Acknowledged, stop: CancellationToken) {
    let mut client = connect(&address);
    let mut last = None;
    while !stop.is_cancelled() {
        let ids: Vec<Uuid> = (0..APPEND_EVENTS).map(|_| Uuid::new_v4()).collect();
        let expected = match last {
            _ if writer.is_multiple_of(2) => ExpectedRevision::Any,
            None => ExpectedRevision::NoStream,
            Some(last) => ExpectedRevision::Exact(last),
        };
        let options = AppendToStreamOptions::default().expected_revision(expected);
        let name = format!("writer-{writer}");
        let revision = loop {
            let event = |id: &Uuid| EventData::binary("Told", vec![b'x'; 100].into()).id(*id);
            let events: Vec<EventData> = ids.iter().map(event).collect();
            match client.append_to_stream(name.as_str(), &options, events).await {
                Ok(written) => break written.next_expected_version,
                Err(error @ (Error::WrongExpectedVersion { .. } | Error::ResourceDeleted)) => {
                    panic!("{name}: {error}")
                }
                // The client gives up for good when the server is away.
                Err(_) => client = connect(&address),
            }
            tokio::time::sleep(Duration::from_millis(5)).await; // poll
        };
        assert_eq!(revision, last.map_or(0, |last| last + 1) + APPEND_EVENTS - 1, "{name}");
        last = Some(revision);
        told.lock().expect("no panic").push(ids);
    }
}

/// What is followed.
#[derive(Clone, Copy, Debug)]
enum Followed {
    All,
    Filtered,
    Stream,
}

/// The stream that is followed.
const STREAM: &str = "writer-1";

/// Follows without end: where it breaks off, it goes on after what it has seen.
async fn follow(address: String, what: Followed, seen: Arc<Mutex<Vec<Uuid>>>) {
    let mut after: Option<(u64, Position)> = None;
    loop {
        let client = connect(&address);
        let from = after.map_or(StreamPosition::Start, |(_, it)| StreamPosition::Position(it));
        let all = SubscribeToAllOptions::default().position(from);
        let mut followed = match what {
            Followed::All => client.subscribe_to_all(&all).await,
            Followed::Filtered => {
                let filter = SubscriptionFilter::on_stream_name().add_prefix("writer-");
                client.subscribe_to_all(&all.filter(filter)).await
            }
            Followed::Stream => {
                let from = after.map_or(StreamPosition::Start, |(revision, _)| {
                    StreamPosition::Position(revision)
                });
                let options = SubscribeToStreamOptions::default().start_from(from);
                client.subscribe_to_stream(STREAM, &options).await
            }
        };
        while let Ok(told) = followed.next().await {
            let event = told.get_original_event();
            seen.lock().expect("no panic").push(event.id);
            after = Some((event.revision, event.position));
        }
        tokio::time::sleep(Duration::from_millis(5)).await; // poll
    }
}

/// An event of the log.
struct Told {
    stream: String,
    revision: u64,
    id: Uuid,
}

/// All that is in the log, of which what was acknowledged is there once, in order and whole.
async fn all_is_there(address: &str, told: &[Acknowledged]) -> Vec<Told> {
    let acknowledged: Vec<Vec<Vec<Uuid>>> =
        told.iter().map(|told| told.lock().expect("no panic").clone()).collect();
    let mut read = connect(address).read_all(&ReadAllOptions::default()).await.expect("read");
    let mut all = Vec::new();
    while let Some(event) = read.next().await.expect("read") {
        let event = event.get_original_event();
        let (stream, revision, id) = (event.stream_id.clone(), event.revision, event.id);
        all.push(Told { stream, revision, id });
    }
    let ids: HashSet<Uuid> = all.iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), all.len(), "something is there twice");
    for (writer, acknowledged) in acknowledged.iter().enumerate() {
        let name = format!("writer-{writer}");
        let of: Vec<_> = all.iter().filter(|event| event.stream == name).collect();
        let revisions: Vec<u64> = of.iter().map(|event| event.revision).collect();
        assert_eq!(revisions, (0..of.len() as u64).collect::<Vec<_>>(), "{name}");
        assert_eq!(of.len() as u64 % APPEND_EVENTS, 0, "{name}: a part of an append");
        let first = of.iter().map(|event| event.id).take(acknowledged.concat().len());
        assert_eq!(first.collect::<Vec<_>>(), acknowledged.concat(), "{name}");
    }
    all
}

async fn until(what: &str, so: impl Fn() -> bool) {
    let polled = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await; // poll
        }
    };
    tokio::time::timeout(PATIENCE, polled).await.unwrap_or_else(|_late| panic!("{what} in time"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_server_acknowledged_is_there_and_is_followed_once() {
    let folder = TempDir::new().expect("folder");
    let mut process = Process::start(folder.path(), "127.0.0.1:0");
    let (address, stop) = (process.address.clone(), CancellationToken::new());
    let told: Vec<Acknowledged> = (0..WRITERS).map(|_| Acknowledged::default()).collect();
    let mut writers = JoinSet::new();
    for (writer, told) in told.iter().enumerate() {
        writers.spawn(write(address.clone(), writer, Arc::clone(told), stop.clone()));
    }
    let mut followers = JoinSet::new();
    let seen = [Followed::All, Followed::Filtered, Followed::Stream].map(|what| {
        let seen = Arc::default();
        followers.spawn(follow(address.clone(), what, Arc::clone(&seen)));
        (what, seen)
    });
    let count = || told.iter().map(|told| told.lock().expect("no panic").len() as u64).sum::<u64>();
    let test = "what_a_killed_server_acknowledged_is_there_and_is_followed_once";
    for seed in seeds(test, 10, 200) {
        let enough: u64 = count() + 1 + Dice::new(seed).below(APPENDS);
        until("appends are acknowledged", || count() >= enough).await;
        drop(process);
        process = Process::start(folder.path(), &address);
        all_is_there(&address, &told).await;
    }
    stop.cancel();
    while let Some(ended) = writers.join_next().await {
        ended.expect("no writer was told what is wrong");
    }
    let all = all_is_there(&address, &told).await;
    assert_eq!(all.len() as u64, count() * APPEND_EVENTS, "nothing else is there");
    for (what, seen) in seen {
        let is_in = |event: &&Told| match what {
            Followed::All | Followed::Filtered => true,
            Followed::Stream => event.stream == STREAM,
        };
        let expected: Vec<Uuid> = all.iter().filter(is_in).map(|event| event.id).collect();
        let seen = || seen.lock().expect("no panic").clone();
        until("all was followed", || seen().len() >= expected.len()).await;
        assert_eq!(seen(), expected, "{what:?}");
    }
    println!("{} appends were acknowledged between the kills", count());
}
