//! What many connections and subscriptions cost a server, which is a process of its own here:
//! `cargo nextest run -p event-store --test many --run-ignored all --no-capture`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use event_store::grpc::{ServeOptions, serve};
use event_store::{
    ClientStore, ContentType, EmbeddedOptions, EmbeddedStore, EventId, EventStore, EventType,
    ExpectedRevision, NewEvent, StreamName,
};
use futures::StreamExt;
use h2::RecvStream;
use h2::client::SendRequest;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Names the folder to the process that serves.
const FOLDER: &str = "EVENT_STORE_MANY_FOLDER";

const CONNECTIONS: usize = 5_000;
const SUBSCRIPTIONS: usize = 10_000;
const STREAMS: usize = 1_000;
const MEMORY_MAX: u64 = 1 << 30;
const FILES: u64 = 20_000;
const PATIENCE: Duration = Duration::from_secs(300);

const READ: &str = "/event_store.client.streams.Streams/Read";

/// Lets this process have so many sockets; false where it may not.
fn raise_files() -> bool {
    let limit = getrlimit(Resource::Nofile);
    let may = limit.maximum.is_none_or(|maximum| maximum >= FILES);
    may && setrlimit(Resource::Nofile, Rlimit { current: Some(FILES), ..limit }).is_ok()
}

/// Ends with its test.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Serving {
    /// Runs the server below as a process of its own; returns its address too.
    fn start(folder: &Path) -> (Self, String) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_server_for_many", "--ignored", "--nocapture"])
            .env(FOLDER, folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let serving = Self(child);
        let address = lines
            .map_while(Result::ok)
            .find_map(|line| line.split_once("listens on ").map(|(_, address)| address.to_owned()));
        (serving, address.expect("it listens"))
    }

    /// How much memory it has, in bytes.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_ascii_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
    }
}

/// The server's process: it serves until it is killed, when it is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it is the server of the other test"]
async fn a_server_for_many() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    assert!(raise_files());
    let store = EmbeddedStore::open(EmbeddedOptions::folder(folder)).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (options, shutdown) = (ServeOptions::default(), CancellationToken::new());
    let serving = serve(listener, Arc::new(store), options, shutdown).unwrap();
    println!("listens on {}", serving.local_addr());
    serving.finished().await;
}

/// A subscription to a stream from its start, as a message of gRPC.
fn subscription(stream: &str) -> Bytes {
    let field = |number: u8, bytes: &[u8]| {
        let length = u8::try_from(bytes.len()).unwrap();
        [&[number << 3 | 2, length], bytes].concat()
    };
    let identifier = field(1, &field(3, stream.as_bytes()));
    let stream = field(1, &[identifier, field(3, b"")].concat());
    let options = [stream, field(6, b""), field(8, b""), field(9, &field(2, b""))].concat();
    let request = field(1, &options);
    let header = [&[0][..], &u32::try_from(request.len()).unwrap().to_be_bytes()].concat();
    [header, request].concat().into()
}

async fn connected(address: &str) -> SendRequest<Bytes> {
    let socket = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    sender.ready().await.unwrap()
}

async fn subscribed(sender: &mut SendRequest<Bytes>, stream: &str) -> RecvStream {
    let request = http::Request::post(format!("http://here{READ}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (response, mut body) = sender.send_request(request, false).unwrap();
    body.send_data(subscription(stream), true).unwrap();
    let mut replies = response.await.unwrap().into_body();
    told(&mut replies).await;
    replies
}

/// Takes the next piece of what is told.
async fn told(replies: &mut RecvStream) -> usize {
    let piece = replies.data().await.expect("it goes on").expect("no failure");
    replies.flow_control().release_capacity(piece.len()).unwrap();
    piece.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes a minute, and 20,000 open files"]
async fn many_connections_and_subscriptions_stay_within_bounds() {
    assert!(raise_files(), "the limit of open files is too low for this test");
    let folder = TempDir::new().unwrap();
    let (serving, address) = Serving::start(&folder.path().join("events"));
    let at_first = serving.memory();
    let since = Instant::now();
    let connecting = (0..CONNECTIONS).map(|_| connected(&address));
    let mut senders: Vec<_> =
        futures::stream::iter(connecting).buffer_unordered(64).collect().await;
    let with_connections = serving.memory();
    let mut following = Vec::new();
    for number in 0..SUBSCRIPTIONS {
        let sender = &mut senders[number % CONNECTIONS];
        following.push(subscribed(sender, &format!("s-{}", number % STREAMS)).await);
    }
    let with_subscriptions = serving.memory();
    println!(
        "{CONNECTIONS} connections: {} KB each; {SUBSCRIPTIONS} subscriptions: {} KB each; \
         {} MB in all, after {:?}",
        (with_connections - at_first) / 1024 / CONNECTIONS as u64,
        with_subscriptions.saturating_sub(with_connections) / 1024 / SUBSCRIPTIONS as u64,
        with_subscriptions >> 20,
        since.elapsed()
    );
    // All of them get what comes.
    let store = ClientStore::new(&format!("esdb://{address}?tls=false")).unwrap();
    for number in 0..STREAMS {
        let event = NewEvent {
            id: EventId(Uuid::new_v4()),
            event_type: EventType::new("Told").unwrap(),
            content_type: ContentType::Json,
            data: vec![b'1'; 256].into(),
            metadata: Vec::new().into(),
        };
        let stream = StreamName::new(format!("s-{number}")).unwrap();
        store.append(&stream, ExpectedRevision::Any, vec![event]).await.unwrap();
    }
    let everybody = async {
        for replies in &mut following {
            let mut bytes = 0;
            while bytes < 256 {
                bytes += told(replies).await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, everybody).await.expect("all are told");
    let in_the_end = serving.memory();
    println!("after an event for each: {} MB, after {:?}", in_the_end >> 20, since.elapsed());
    assert!(in_the_end < MEMORY_MAX, "{in_the_end} bytes");
}
