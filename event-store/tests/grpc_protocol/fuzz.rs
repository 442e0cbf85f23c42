//! A fuzz target: whatever bytes a client sends to a call, it is answered in words of the protocol.
//! Nothing panics, and the server goes on.
//!
//! The first byte of an input says which call it is, the second what is edited of its messages, and
//! the rest are the edits. Each input has a server of its own, so that it can be repeated.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use event_store::grpc::ServeOptions;
use event_store::log::SimDisk;
use event_store::maintenance::Scavenges;
use event_store::{EmbeddedOptions, EmbeddedStore, EventStore, ExpectedRevision};
use tokio::runtime::Runtime;
use tonic::{Code, Status};

use crate::fuzzing::{edit, target};
use crate::raw::{PLAIN, call, connect, ended, message};
use crate::server::{Server, event, stream};

const STREAMS: &str = "/event_store.client.streams.Streams/";
const SEVERAL: &str = "/kurrentdb.protocol.v2.streams.StreamsService/";
const GROUPS: &str = "/event_store.client.persistent_subscriptions.PersistentSubscriptions/";
const USERS: &str = "/event_store.client.users.Users/";
const PROJECTIONS: &str = "/event_store.client.projections.Projections/";
const OPERATIONS: &str = "/event_store.client.operations.Operations/";
const STATISTICS: &str = "/event_store.client.monitoring.Monitoring/Stats";
const GOSSIP: &str = "/event_store.client.gossip.Gossip/Read";
const FEATURES: &str = "/event_store.client.server_features.ServerFeatures/GetSupportedMethods";

const SEGMENT_BYTES: u64 = 64 * 1024;

/// How long a call that may go on without end is listened to.
const LISTENING: Duration = Duration::from_millis(50);

/// A stream, a group of it and a projection that are there.
const THERE: &[u8] = b"there-1";

/// A call as it should be: its path, and its messages.
type Asked = (String, Vec<Vec<u8>>);

/// A field that is a message, a text or bytes.
fn field(tag: u8, content: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = vec![tag << 3 | 2];
    prost::encoding::encode_varint(content.as_ref().len() as u64, &mut bytes);
    bytes.extend(content.as_ref());
    bytes
}

/// A field that is a number.
fn number(tag: u8, value: u64) -> Vec<u8> {
    let mut bytes = vec![tag << 3];
    prost::encoding::encode_varint(value, &mut bytes);
    bytes
}

/// The message that most calls have: options with these fields.
fn options(fields: &[Vec<u8>]) -> Vec<Vec<u8>> {
    vec![field(1, fields.concat())]
}

/// The field that names the stream.
fn named(tag: u8) -> Vec<u8> {
    field(tag, field(3, THERE))
}

fn empty(tag: u8) -> Vec<u8> {
    field(tag, "")
}

fn pair(tag: u8, name: &str, value: &str) -> Vec<u8> {
    field(tag, [field(1, name), field(2, value)].concat())
}

fn id(tag: u8) -> Vec<u8> {
    field(tag, field(2, "00000000-0000-0000-0000-000000000007"))
}

fn proposed(tag: u8) -> Vec<u8> {
    let (kind, content) = (pair(2, "type", "Told"), pair(2, "content-type", "application/json"));
    field(tag, [id(1), kind, content, field(3, "{}"), field(4, "{\"a\": 1}")].concat())
}

fn filter(tag: u8) -> Vec<u8> {
    let expression = field(2, [field(1, "^(?!\\$)."), field(2, "Told")].concat());
    field(tag, [expression, number(3, 32), number(5, 1)].concat())
}

fn of_streams() -> Vec<Asked> {
    let strings = || field(9, empty(2));
    let page = [number(3, 0), number(4, 1), number(5, 10), empty(8), strings(), empty(10)].concat();
    let read = [field(1, [named(1), number(2, 1)].concat()), page];
    let all = field(2, field(1, [number(1, 2), number(2, 2)].concat()));
    let all = [all, number(3, 1), number(5, 10), filter(7), strings()];
    let followed = [field(1, [named(1), empty(3)].concat()), empty(6), empty(8), strings()];
    let filtered = [field(2, empty(2)), empty(6), filter(7), strings()];
    let append = vec![field(1, [named(1), number(2, 2)].concat()), proposed(2)];
    let deadline = field(7, [number(1, 2), number(2, 5)].concat());
    let batch = [id(1), field(2, [named(1), empty(4), deadline].concat())];
    let batch = [batch.concat(), proposed(3), proposed(3), number(4, 1)].concat();
    let record = |tag| {
        let properties = field(2, [field(1, "key"), field(2, field(3, "value"))].concat());
        let schema = field(3, [number(1, 1), field(2, "Told")].concat());
        let id = field(1, "00000000-0000-0000-0000-000000000007");
        field(tag, [id, properties, schema, field(4, "{}"), field(5, THERE)].concat())
    };
    let session = [field(1, THERE), record(2), number(3, 4)].concat();
    let check = field(2, field(1, [field(1, THERE), number(2, 4)].concat()));
    vec![
        (format!("{STREAMS}Read"), options(&read)),
        (format!("{STREAMS}Read"), options(&all)),
        (format!("{STREAMS}Read"), options(&followed)),
        (format!("{STREAMS}Read"), options(&filtered)),
        (format!("{STREAMS}Append"), append),
        (format!("{STREAMS}BatchAppend"), vec![batch]),
        (format!("{STREAMS}Delete"), options(&[named(1), empty(4)])),
        (format!("{STREAMS}Tombstone"), options(&[named(1), number(2, 2)])),
        (format!("{SEVERAL}AppendSession"), vec![session.clone(), session]),
        (format!("{SEVERAL}AppendRecords"), vec![[record(1), record(1), check].concat()]),
    ]
}

fn settings(tag: u8) -> Vec<u8> {
    let numbers = [(5, 10), (7, 10), (8, 1000), (10, 500), (11, 20), (12, 500), (14, 1000)];
    let numbers = numbers.map(|(tag, value)| number(tag, value)).concat();
    field(tag, [numbers, number(13, 1), number(15, 1000)].concat())
}

fn group_of_stream(group: &[u8]) -> Vec<Vec<u8>> {
    options(&[field(4, [named(1), empty(3)].concat()), field(2, group), settings(3)])
}

fn of_groups() -> Vec<Asked> {
    let all = field(5, [empty(2), filter(4)].concat());
    let strings = field(4, empty(2));
    let read = field(1, [named(1), field(2, THERE), number(3, 10), strings].concat());
    let ack = field(2, id(2));
    let nack = field(3, [id(2), number(3, 1), field(4, "why")].concat());
    let parked = [field(1, THERE), named(2), number(4, 5)];
    vec![
        (format!("{GROUPS}Create"), group_of_stream(b"new")),
        (format!("{GROUPS}Create"), options(&[all, field(2, "new"), settings(3)])),
        (format!("{GROUPS}Update"), group_of_stream(THERE)),
        (format!("{GROUPS}Delete"), options(&[named(1), field(2, THERE)])),
        (format!("{GROUPS}Read"), vec![read, ack, nack]),
        (format!("{GROUPS}GetInfo"), options(&[named(1), field(3, THERE)])),
        (format!("{GROUPS}ReplayParked"), options(&parked)),
        (format!("{GROUPS}TruncateParked"), options(&parked)),
        (format!("{GROUPS}List"), options(&[field(2, named(1))])),
        (format!("{GROUPS}RestartSubsystem"), vec![vec![]]),
    ]
}

fn projection(name: &[u8]) -> Vec<Vec<u8>> {
    let continuous = field(3, [field(1, name), number(2, 1), number(3, 1)].concat());
    options(&[continuous, field(4, "fromAll().when({$init: () => 0, $any: s => s + 1})")])
}

fn of_the_rest() -> Vec<Asked> {
    let mut all = Vec::new();
    for (method, fields) in [
        ("Create", vec!["ann", "secret", "Ann", "players"]),
        ("Update", vec!["ops", "", "Ops", "$ops"]),
        ("Delete", vec!["ann"]),
        ("Disable", vec!["ann"]),
        ("Enable", vec!["ann"]),
        ("Details", vec![""]),
        ("ChangePassword", vec!["ann", "secret", "other"]),
        ("ResetPassword", vec!["ann", "other"]),
    ] {
        let fields: Vec<_> = (1..).zip(fields).map(|(tag, text)| field(tag, text)).collect();
        all.push((format!("{USERS}{method}"), options(&fields)));
    }
    all.push((format!("{PROJECTIONS}Create"), projection(b"new")));
    let query = field(2, "fromStream('there-1').when({$any: (s, e) => emit('a', 'B', {})})");
    all.push((format!("{PROJECTIONS}Update"), options(&[field(1, THERE), query, number(3, 1)])));
    let flags = [number(2, 1), number(3, 1), number(4, 1)].concat();
    all.push((format!("{PROJECTIONS}Delete"), options(&[field(1, THERE), flags])));
    all.push((format!("{PROJECTIONS}Statistics"), options(&[empty(4)])));
    for method in ["Disable", "Enable", "Reset", "State", "Result"] {
        all.push((format!("{PROJECTIONS}{method}"), options(&[field(1, THERE)])));
    }
    all.push((format!("{PROJECTIONS}RestartSubsystem"), vec![vec![]]));
    let scavenge = options(&[number(1, 1), number(2, 0)]);
    all.push((format!("{OPERATIONS}StartScavenge"), scavenge));
    all.push((format!("{OPERATIONS}StopScavenge"), options(&[field(1, "none")])));
    all.push((format!("{OPERATIONS}SetNodePriority"), vec![number(1, 7)]));
    for method in ["Shutdown", "MergeIndexes", "ResignNode", "RestartPersistentSubscriptions"] {
        all.push((format!("{OPERATIONS}{method}"), vec![vec![]]));
    }
    all.push((STATISTICS.to_owned(), vec![[number(1, 1), number(4, 50)].concat()]));
    all.push((GOSSIP.to_owned(), vec![vec![]]));
    all.push((FEATURES.to_owned(), vec![vec![]]));
    all
}

/// What is asked by these bytes: where to, and what is sent.
fn asked(input: &[u8]) -> (String, Vec<u8>) {
    let mut all = of_streams();
    all.extend(of_groups());
    all.extend(of_the_rest());
    let (which, input) = input.split_first().unwrap_or((&0, &[]));
    let (how, edits) = input.split_first().unwrap_or((&0, &[]));
    let (path, mut messages) = all.swap_remove(usize::from(*which) % all.len());
    // One message, the bytes that are sent, or a message of nothing but what is left of the input.
    match how % 4 {
        0 | 1 => {
            let at = usize::from(how >> 2) % messages.len();
            edit(&mut messages[at], edits);
        }
        2 => messages = vec![edits.to_vec()],
        _ => {}
    }
    let mut sent: Vec<u8> = messages.iter().flat_map(|it| message(PLAIN, it)).collect();
    if how % 4 == 3 {
        edit(&mut sent, edits);
    }
    (path, sent)
}

target!(requests, |runtime, input| is_answered(runtime, input));

/// How many tasks and threads panicked.
static PANICS: AtomicU64 = AtomicU64::new(0);

fn is_answered(runtime: &Runtime, input: &[u8]) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            before(panic);
        }));
    });
    let (path, sent) = asked(input);
    runtime.block_on(async {
        let server = server().await;
        let channel = connect(&server).await;
        let ask = async |path: &str, sent: Vec<u8>| {
            let (_, answered) = call(&channel, path, sent);
            ended(answered).await
        };
        let whole = |messages: &[Vec<u8>]| -> Vec<u8> {
            messages.iter().flat_map(|it| message(PLAIN, it)).collect()
        };
        for (service, method, messages) in
            [(GROUPS, "Create", group_of_stream(THERE)), (PROJECTIONS, "Create", projection(THERE))]
        {
            if path.starts_with(service) {
                let made = ask(&format!("{service}{method}"), whole(&messages)).await;
                assert_eq!(made.code(), Code::Ok, "{made}");
            }
        }
        let answered = ask(&path, sent);
        match goes_on(&path) {
            true => match tokio::time::timeout(LISTENING, answered).await {
                Ok(status) => is_of_the_protocol(&path, &status),
                Err(_goes_on) => {}
            },
            false => is_of_the_protocol(&path, &answered.await),
        }
        let still = ask(GOSSIP, message(PLAIN, &[])).await;
        assert_eq!(still.code(), Code::Ok, "{path}: {still}");
        server.shutdown.cancel();
        server.serving.finished().await;
    });
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "{path}");
}

async fn server() -> Server {
    let options = EmbeddedOptions::disk(Arc::new(SimDisk::new())).segment_bytes(SEGMENT_BYTES);
    let store = Arc::new(EmbeddedStore::open(options).await.expect("store"));
    let events = (0..3).map(event).collect();
    let name = stream(str::from_utf8(THERE).expect("a name"));
    store.append(&name, ExpectedRevision::NoStream, events).await.expect("append");
    let scavenges = Some(Scavenges::new(Arc::clone(&store), "node:1".to_owned()));
    let options = ServeOptions { scavenges, ..ServeOptions::default() };
    Server::serving(store, "127.0.0.1:0", options).await
}

/// Whether an answer may be without end.
fn goes_on(path: &str) -> bool {
    path == STATISTICS || path.ends_with("/Read") && path != GOSSIP
}

/// Whether official clients know what it means; and nothing but a message that is none is the
/// server's fault in their eyes, as they would connect anew.
fn is_of_the_protocol(path: &str, status: &Status) {
    let exception = status.metadata().get("exception").and_then(|it| it.to_str().ok());
    let fits = match status.code() {
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::PermissionDenied => true,
        Code::Aborted => path.starts_with(SEVERAL),
        Code::Unknown => path.starts_with(PROJECTIONS),
        Code::Internal => {
            exception == Some("persistent-subscription-failed") || is_no_message(status.message())
        }
        // As is said of a message that is too long, by tonic and by us.
        Code::OutOfRange => status.message().contains("bytes"),
        Code::ResourceExhausted => status.message().starts_with("Received message exceeds"),
        _ => false,
    };
    assert!(fits, "{path}: {status:?}");
}

/// Whether this is said of what is no message.
fn is_no_message(words: &str) -> bool {
    [
        "failed to decode Protobuf message",
        "protocol error",
        "Unexpected EOF",
        "Error decompressing",
        "Missing request message",
        "a message can't be",
        "a message is compressed in no known way",
        "the request ends within a message",
    ]
    .iter()
    .any(|beginning| words.starts_with(beginning))
}
