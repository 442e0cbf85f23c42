//! The bounds of a stream, as a read tells them: its first position ahead of the events, and its
//! last behind them.

use event_store::{ExpectedRevision, StreamMetadata};
use tonic::client::Grpc;
use tonic::transport::Channel;

use crate::asking::{Options, PATIENCE, ask, connect};
use crate::server::{Server, event, stream};

const EVERYTHING: u64 = i64::MAX as u64;

/// What a read tells, in its order.
#[derive(Debug, PartialEq)]
enum Told {
    First(u64),
    Event(u64),
    Last(u64),
}
use Told::{First, Last};

async fn told(server: &Server, options: Options) -> Vec<Told> {
    told_by(&connect(server, 1 << 20).await, options).await
}

async fn told_by(grpc: &Grpc<Channel>, options: Options) -> Vec<Told> {
    let mut call = ask(grpc, options.bounded()).await.expect("read");
    let mut all = Vec::new();
    loop {
        let reply = tokio::time::timeout(PATIENCE, call.message()).await.expect("in time");
        let Some(reply) = reply.expect("reply") else { return all };
        all.extend(reply.first.map(First));
        let event = reply.event.and_then(|read| read.event);
        all.extend(event.map(|event| Told::Event(event.revision)));
        all.extend(reply.last.map(Last));
    }
}

/// A server with a stream of so many events, which these metadata hide.
async fn hidden(events: u64, metadata: StreamMetadata) -> Server {
    let server = Server::start().await;
    let (name, any) = (stream("tale-1"), ExpectedRevision::Any);
    let all = (0..events).map(event).collect();
    server.store.append(&name, any, all).await.expect("append");
    server.store.set_stream_metadata(&name, any, metadata).await.expect("metadata");
    server
}

fn forward(count: u64) -> Options {
    Options::stream("tale-1", count)
}

fn truncated(before: u64) -> StreamMetadata {
    StreamMetadata { truncate_before: Some(before), ..StreamMetadata::default() }
}

fn counted(count: u64) -> StreamMetadata {
    StreamMetadata { max_count: Some(count), ..StreamMetadata::default() }
}

fn framed(
    first: Option<u64>,
    events: impl IntoIterator<Item = u64>,
    last: Option<u64>,
) -> Vec<Told> {
    let events = events.into_iter().map(Told::Event);
    first.map(First).into_iter().chain(events).chain(last.map(Last)).collect()
}

/// Given a stream that is truncated, when it is read from its start, then the first position is
/// told ahead where all of the first page, of 32 or as many as are asked for, is hidden.
#[tokio::test]
async fn a_truncated_stream_tells_ahead_where_it_begins() {
    for (metadata, count, first, from) in [
        (truncated(0), EVERYTHING, None, 0),
        (truncated(31), EVERYTHING, None, 31),
        (truncated(32), EVERYTHING, Some(32), 32),
        (truncated(32), 40, Some(32), 32),
        (truncated(5), 5, Some(5), 5),
        (truncated(5), 6, None, 5),
        (truncated(1), 1, Some(1), 1),
        (counted(32), EVERYTHING, Some(32), 32),
        (counted(33), EVERYTHING, None, 31),
    ] {
        let server = hidden(64, metadata.clone()).await;
        let events = (from..64).take(usize::try_from(count).expect("small"));
        let expected = framed(first, events, Some(63));
        assert_eq!(told(&server, forward(count)).await, expected, "{metadata:?} {count}");
        let later = told(&server, forward(EVERYTHING).from(Some(40))).await;
        assert_eq!(later, framed(None, 40..64, Some(63)), "{metadata:?}");
        let back = told(&server, forward(EVERYTHING).from(None).backward()).await;
        assert_eq!(back, framed(None, (from..64).rev(), Some(63)), "{metadata:?}");
    }
}

/// Given a stream of which nothing can be read, or not where it was asked for, then its bounds are
/// told all the same.
#[tokio::test]
async fn a_read_of_nothing_tells_the_bounds() {
    let age = StreamMetadata { max_age_seconds: Some(0), ..StreamMetadata::default() };
    let none = StreamMetadata::default;
    for (metadata, from, first) in [
        // Behind the last event, as far as the first page goes; farther than that, where it begins.
        (truncated(5), 0, Some(5)),
        (truncated(20), 0, Some(5)),
        (truncated(100), 0, Some(100)),
        (truncated(100), 3, Some(100)),
        (truncated(100), 90, Some(5)),
        (counted(0), 0, Some(5)),
        (age.clone(), 0, Some(5)),
        (age.clone(), 5, None),
        (none(), 5, None),
        (none(), 10, Some(5)),
        (none(), EVERYTHING, Some(5)),
    ] {
        let server = hidden(5, metadata.clone()).await;
        let read = forward(EVERYTHING);
        let read = if from == 0 { read } else { read.from(Some(from)) };
        let expected = framed(first, [], Some(4));
        assert_eq!(told(&server, read).await, expected, "{metadata:?} from {from}");
    }
    let server = hidden(5, none()).await;
    assert_eq!(told(&server, forward(9).from(None)).await, [First(5), Last(4)]);
    for metadata in [truncated(100), age] {
        let server = hidden(5, metadata).await;
        let back = forward(9).from(None).backward();
        assert_eq!(told(&server, back).await, [Last(4)]);
    }
}

/// Given metadata that were written often, of which only the last is read, then where that is is
/// told ahead.
#[tokio::test]
async fn metadata_tell_their_bounds() {
    let server = hidden(1, truncated(0)).await;
    let holder = Options::stream("$$tale-1", EVERYTHING);
    assert_eq!(told(&server, holder.clone()).await, framed(None, [0], Some(0)));
    for before in 1..40 {
        let (name, any) = (stream("tale-1"), ExpectedRevision::Any);
        let set = server.store.set_stream_metadata(&name, any, truncated(before)).await;
        set.expect("metadata");
    }
    assert_eq!(told(&server, holder).await, framed(Some(39), [39], Some(39)));
}

/// Given links to a category, of which the first are deleted, then the bounds of what is left are
/// told.
#[tokio::test]
async fn links_tell_their_bounds() {
    let server = hidden(40, StreamMetadata::default()).await;
    let client = eventstore::ProjectionClient::new(
        server.connection_string().parse().expect("connection string"),
    );
    client.enable("$by_category", &Default::default()).await.expect("enable");
    let links = |from: u64| Options::stream("$ce-tale", EVERYTHING).from(Some(from));
    assert_eq!(told(&server, links(50)).await, [First(40), Last(39)]);
    let options = Default::default();
    server.client().delete_stream("$ce-tale", &options).await.expect("delete");
    server
        .store
        .append(&stream("tale-1"), ExpectedRevision::Any, vec![event(40)])
        .await
        .expect("it");
    let expected = framed(Some(40), [40], Some(40));
    assert_eq!(told(&server, links(0)).await, expected);
    assert_eq!(told(&server, links(41)).await, [Last(40)]);
}

/// Given an event that is appended while readers look for it, then each is told either the event or
/// bounds that it is behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_meanwhile_is_read_or_is_behind_what_is_told() {
    const EVENTS: u64 = 300;
    const READS: u64 = 8;
    let server = hidden(1, StreamMetadata::default()).await;
    let (grpc, name) = (connect(&server, 1 << 20).await, stream("tale-1"));
    for next in 1..EVENTS {
        let read = || told_by(&grpc, forward(EVERYTHING).from(Some(next)));
        let reads = futures::future::join_all((0..READS).map(|_| read()));
        let appended = server.store.append(&name, ExpectedRevision::Any, vec![event(next)]);
        let (reads, appended) = tokio::join!(reads, appended);
        appended.expect("append");
        for told in reads {
            let found = told.contains(&Told::Event(next));
            let expected =
                if found { framed(None, [next], Some(next)) } else { vec![Last(next - 1)] };
            assert_eq!(told, expected);
        }
    }
}
