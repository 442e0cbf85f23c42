//! Clients that ask and do not read: what the server holds for them is bounded over all of them,
//! others are served meanwhile, and each goes on where it was.

use std::time::Duration;

use event_store::grpc::ServeOptions;
use event_store::{ExpectedRevision, NewEvent};
use futures::future::join_all;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

use crate::server::{Server, event, stream};
use crate::trailers::Name;

const PATIENCE: Duration = Duration::from_secs(120);

const READ: &str = "/event_store.client.streams.Streams/Read";

#[derive(Clone, PartialEq, prost::Message)]
struct Ask {
    #[prost(message, optional, tag = "1")]
    options: Option<Options>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Options {
    #[prost(message, optional, tag = "1")]
    stream: Option<OfStream>,
    #[prost(message, optional, tag = "2")]
    all: Option<OfAll>,
    #[prost(uint64, optional, tag = "5")]
    count: Option<u64>,
    #[prost(message, optional, tag = "6")]
    subscription: Option<()>,
    #[prost(message, optional, tag = "8")]
    no_filter: Option<()>,
    #[prost(message, optional, tag = "9")]
    uuid: Option<UuidForm>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OfStream {
    #[prost(message, optional, tag = "1")]
    name: Option<Name>,
    #[prost(message, optional, tag = "3")]
    start: Option<()>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OfAll {
    #[prost(message, optional, tag = "2")]
    start: Option<()>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct UuidForm {
    #[prost(message, optional, tag = "2")]
    text: Option<()>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Reply {
    #[prost(message, optional, tag = "1")]
    event: Option<ReadEvent>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ReadEvent {
    #[prost(message, optional, tag = "1")]
    event: Option<Recorded>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Recorded {
    #[prost(uint64, tag = "3")]
    revision: u64,
    #[prost(bytes = "vec", tag = "8")]
    data: Vec<u8>,
}

/// A connection whose calls take this many bytes ahead of what was read of them.
async fn connect(server: &Server, window: u32) -> Grpc<Channel> {
    let endpoint = Endpoint::new(format!("http://{}", server.address())).expect("endpoint");
    let endpoint =
        endpoint.initial_stream_window_size(window).initial_connection_window_size(64 << 20);
    let mut grpc =
        Grpc::new(endpoint.connect().await.expect("connect")).max_decoding_message_size(32 << 20);
    grpc.ready().await.expect("ready");
    grpc
}

async fn ask(grpc: &Grpc<Channel>, options: Options) -> Result<Streaming<Reply>, Status> {
    let mut grpc = grpc.clone();
    grpc.ready().await.expect("ready");
    let codec = tonic_prost::ProstCodec::<Ask, Reply>::default();
    let path = http::uri::PathAndQuery::from_static(READ);
    let (no_filter, uuid) = (Some(()), Some(UuidForm { text: Some(()) }));
    let options = Some(Options { no_filter, uuid, ..options });
    let asked = grpc.server_streaming(Request::new(Ask { options }), path, codec);
    Ok(tokio::time::timeout(PATIENCE, asked).await.expect("in time")?.into_inner())
}

/// Follows the log from its start.
async fn follow(grpc: &Grpc<Channel>) -> Result<Streaming<Reply>, Status> {
    let all = Some(OfAll { start: Some(()) });
    ask(grpc, Options { all, subscription: Some(()), ..Options::default() }).await
}

/// Reads so many events of a stream.
async fn read(grpc: &Grpc<Channel>, name: &str, count: u64) -> Result<Streaming<Reply>, Status> {
    let name = Some(Name { stream_name: name.as_bytes().to_vec() });
    let stream = Some(OfStream { name, start: Some(()) });
    ask(grpc, Options { stream, count: Some(count), ..Options::default() }).await
}

/// The next event of a call.
async fn next(call: &mut Streaming<Reply>) -> Option<Recorded> {
    loop {
        let reply = tokio::time::timeout(PATIENCE, call.message()).await.expect("in time");
        match reply.expect("reply")?.event {
            Some(event) => return event.event,
            None => continue,
        }
    }
}

/// Appends so many events of this size.
async fn fill(server: &Server, events: u64, bytes: usize) {
    for number in 0..events {
        let data = vec![b'a' + u8::try_from(number % 26).expect("small"); bytes];
        let offered = vec![NewEvent { data: data.into(), ..event(number) }];
        let written = server.store.append(&stream("heap-1"), ExpectedRevision::Any, offered).await;
        written.expect("append");
    }
}

/// The memory of this process, server and clients together, in MB.
fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("a line");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") / 1024
}

/// Given many subscriptions on one connection that nobody reads, then the memory they hold is a
/// small part of the pages they are at, others read everything meanwhile, and those that go on get
/// every event once and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_that_stall_hold_little_and_lose_nothing() {
    const EVENTS: u64 = 1_000;
    const STALLED: usize = 1_000;
    let server = Server::start().await;
    fill(&server, EVENTS, 1_000).await;
    let grpc = connect(&server, 1_000).await;
    let before = resident_mb();
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        stalled.push(follow(&grpc).await.expect("subscribe"));
    }
    let mut other = follow(&connect(&server, 65_535).await).await.expect("subscribe");
    for revision in 0..EVENTS {
        assert_eq!(next(&mut other).await.expect("event").revision, revision);
    }
    let held = resident_mb().saturating_sub(before);
    println!("{STALLED} stalled subscriptions hold {held} MB");
    assert!(held < 300, "{held} MB are held");
    let go_on = stalled.iter_mut().step_by(STALLED / 100).map(|followed| async move {
        for revision in 0..EVENTS {
            assert_eq!(next(followed).await.expect("event").revision, revision);
        }
    });
    join_all(go_on).await;
    let live = vec![event(EVENTS)];
    server.store.append(&stream("heap-1"), ExpectedRevision::Any, live).await.expect("append");
    assert_eq!(next(&mut other).await.expect("event").revision, EVENTS, "it is live");
}

/// Given reads of large events that nobody takes, then those that find no room wait without holding
/// anything, a small read is answered, and all get theirs as soon as they are read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_events_share_what_may_be_on_its_way() {
    const LARGE: usize = 8_000_000;
    const READS: usize = 30;
    let options = ServeOptions { large_bytes_max: 20_000_000, ..ServeOptions::default() };
    let server = Server::start_with(options).await;
    fill(&server, 2, LARGE).await;
    let small = vec![event(77)];
    server.store.append(&stream("tale-1"), ExpectedRevision::Any, small).await.expect("append");
    let grpc = connect(&server, 65_535).await;
    let before = resident_mb();
    // The first event is there before a read is answered.
    let asked: Vec<_> = (0..READS)
        .map(|_| {
            let grpc = grpc.clone();
            tokio::spawn(async move { read(&grpc, "heap-1", 2).await })
        })
        .collect();
    for _ in 0..20 {
        let mut told = read(&grpc, "tale-1", 1).await.expect("read");
        assert!(next(&mut told).await.is_some(), "small ones are not held up");
    }
    let held = resident_mb().saturating_sub(before);
    println!("{READS} reads of large events that nobody takes hold {held} MB");
    // What was read and let go for want of room, the allocator keeps in part.
    assert!(held < 350, "{held} MB are held");
    let take = asked.into_iter().map(|asked| async move {
        let mut read = asked.await.expect("no panic").expect("read");
        let mut sizes = Vec::new();
        while let Some(event) = next(&mut read).await {
            sizes.push(event.data.len());
        }
        assert_eq!(sizes, [LARGE; 2]);
    });
    tokio::time::timeout(PATIENCE, join_all(take)).await.expect("all get theirs");
}

/// Given as many reading calls as may be, then one more is refused with a status that says so, and
/// let in when one of them has gone.
#[tokio::test]
async fn more_reads_than_may_be_are_refused() {
    let options = ServeOptions { reading_calls_max: 2, ..ServeOptions::default() };
    let server = Server::start_with(options).await;
    fill(&server, 1, 10).await;
    let grpc = connect(&server, 65_535).await;
    let mut followed = [follow(&grpc).await.expect("one"), follow(&grpc).await.expect("two")];
    for followed in &mut followed {
        assert_eq!(next(followed).await.expect("event").revision, 0);
    }
    let refused = read(&grpc, "heap-1", 1).await.expect_err("refused");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    drop(followed);
    let again = async { while read(&grpc, "heap-1", 1).await.is_err() {} };
    tokio::time::timeout(PATIENCE, again).await.expect("there is a place again");
}
