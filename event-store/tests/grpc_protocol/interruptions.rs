//! Connections that break, servers that stop, clients that stall: nobody loses an event or waits
//! for another.

use std::sync::Arc;
use std::time::Duration;

use event_store::{
    ClientStore, Delivery, EventStore, ExpectedRevision, Filter, NewEvent, Position, ReadAll,
    ReadStream, SubscribeFrom, Subscription,
};
use futures::StreamExt;

use crate::proxy::Proxy;
use crate::server::{Server, event, offered, stream};

/// Longer than any answer takes, so that a test that would hang fails.
const PATIENCE: Duration = Duration::from_secs(30);

async fn append(store: &dyn EventStore, name: &str, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let events = vec![event(number)];
        store.append(&stream(name), ExpectedRevision::Any, events).await.expect("append");
    }
}

/// The revisions of the next events.
async fn revisions(followed: &mut Subscription, count: usize) -> Vec<u64> {
    let mut revisions = Vec::new();
    while revisions.len() < count {
        let delivery = tokio::time::timeout(PATIENCE, followed.next())
            .await
            .expect("in time")
            .expect("no end")
            .expect("delivery");
        if let Delivery::Event(event) = delivery {
            revisions.push(event.revision.get());
        }
    }
    revisions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_goes_on_where_it_broke_off() {
    let server = Server::start().await;
    let proxy = Proxy::start(server.serving.local_addr()).await;
    let client =
        ClientStore::new(&format!("esdb://{}?tls=false", proxy.address())).expect("client");
    append(&*server.store, "tale-1", 0..10).await;
    let filter = Some(Filter::stream_prefixes(["tale-"]));
    let mut followed = [
        client.subscribe_all(SubscribeFrom::Start, filter).await.expect("subscribe"),
        client.subscribe_stream(&stream("tale-1"), SubscribeFrom::Start).await.expect("subscribe"),
    ];
    let mut seen = [Vec::new(), Vec::new()];
    for round in 1..4 {
        for (followed, seen) in followed.iter_mut().zip(&mut seen) {
            seen.extend(revisions(followed, 10).await);
        }
        proxy.cut();
        append(&*server.store, "tale-1", round * 10..round * 10 + 10).await;
    }
    for (followed, mut seen) in followed.iter_mut().zip(seen) {
        seen.extend(revisions(followed, 10).await);
        assert_eq!(seen, (0..40).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_the_end_is_not_lost_when_the_connection_breaks_at_once() {
    let server = Server::start().await;
    let proxy = Proxy::start(server.serving.local_addr()).await;
    let client =
        ClientStore::new(&format!("esdb://{}?tls=false", proxy.address())).expect("client");
    append(&*server.store, "tale-1", 0..3).await;
    let from = SubscribeFrom::End;
    let mut followed = client.subscribe_all(from, None).await.expect("subscribe");
    proxy.cut();
    append(&*server.store, "tale-1", 3..6).await;
    assert_eq!(revisions(&mut followed, 3).await, [3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_outlives_a_server_that_was_away() {
    let server = Server::start().await;
    let client = ClientStore::new(&server.connection_string()).expect("client");
    append(&client, "tale-1", 0..3).await;
    let address = server.address();
    let (store, shutdown) = (Arc::clone(&server.store), server.shutdown.clone());
    shutdown.cancel();
    let Server { serving, folder, .. } = server;
    serving.finished().await;
    // The official client gives up for good here; ours must not.
    while client.head().await.is_ok() {}
    let refused = client.append(&stream("tale-1"), ExpectedRevision::Any, vec![event(9)]).await;
    assert!(refused.is_err());
    let again = Server::over(store, &address).await;
    let answered = async { while client.head().await.is_err() {} };
    tokio::time::timeout(PATIENCE, answered).await.expect("answered");
    append(&client, "tale-1", 3..5).await;
    let last = client.last_event(&stream("tale-1")).await.expect("read");
    assert_eq!(last.expect("an event").revision.get(), 4);
    again.shutdown.cancel();
    drop(folder);
}

/// A model of two logs would be a model of none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_is_not_resumed_to_another_log() {
    let (server, other) = (Server::start().await, Server::start().await);
    append(&*server.store, "tale-1", 0..5).await;
    append(&*other.store, "tale-1", 100..120).await;
    let client = ClientStore::new(&server.connection_string()).expect("client");
    let name = stream("tale-1");
    let last = server.store.last_event(&name).await.expect("read").expect("an event");
    let filter = Some(Filter::stream_prefixes(["tale-"]));
    let after = SubscribeFrom::After(last.position);
    let mut read = [
        client.subscribe_all(SubscribeFrom::Start, None).await.expect("subscribe"),
        client.subscribe_all(SubscribeFrom::Start, filter.clone()).await.expect("subscribe"),
        client.subscribe_stream(&name, SubscribeFrom::Start).await.expect("subscribe"),
    ];
    for followed in &mut read {
        assert_eq!(revisions(followed, 5).await, [0, 1, 2, 3, 4]);
    }
    let mut behind = vec![
        client.subscribe_all(after, None).await.expect("subscribe"),
        client.subscribe_all(after, filter).await.expect("subscribe"),
        client
            .subscribe_stream(&name, SubscribeFrom::After(last.revision))
            .await
            .expect("subscribe"),
    ];
    behind.extend(read);
    let address = server.address();
    server.shutdown.cancel();
    server.serving.finished().await;
    let exchanged = Server::over(Arc::clone(&other.store), &address).await;
    for followed in &mut behind {
        let ended = async {
            loop {
                match followed.next().await.expect("it does not end in peace") {
                    Ok(Delivery::Event(event)) => panic!("{event:?} is of another log"),
                    Ok(_) => {}
                    Err(error) => return error.to_string(),
                }
            }
        };
        let why = tokio::time::timeout(PATIENCE, ended).await.expect("in time");
        assert!(why.contains("another log"), "{why}");
    }
    exchanged.shutdown.cancel();
}

/// Whoever makes a model of what they read must not take a part of the log for all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_is_cut_short_never_looks_like_a_whole_one() {
    const EVENTS: usize = 400;
    let server = Server::start().await;
    for number in 0..EVENTS as u64 {
        let large = NewEvent { data: vec![b'x'; 50_000].into(), ..event(number) };
        let expected = ExpectedRevision::Any;
        server.store.append(&stream("heap-1"), expected, vec![large]).await.expect("append");
    }
    let proxy = Proxy::start(server.serving.local_addr()).await;
    let through = format!("esdb://{}?tls=false", proxy.address());
    let client = ClientStore::new(&through).expect("client");
    let filter = Filter::stream_prefixes(["heap-"]);
    let cuts: [&dyn Fn(); 2] = [&|| proxy.cut(), &|| server.shutdown.cancel()];
    for cut in cuts {
        let mut whole = client.read_all(ReadAll::forward()).await.expect("read");
        let mut filtered =
            client.read_all(ReadAll::forward().filter(filter.clone())).await.expect("read");
        let mut one =
            client.read_stream(ReadStream::forward(stream("heap-1"))).await.expect("read");
        for reader in [&mut whole, &mut filtered, &mut one] {
            reader.next().await.expect("one").expect("event");
        }
        cut();
        for reader in [whole, filtered, one] {
            let rest: Vec<_> = reader.collect().await;
            let events = 1 + rest.iter().filter(|event| event.is_ok()).count();
            let failed = rest.iter().any(Result::is_err);
            assert!(failed || events >= EVENTS, "it ended in peace after {events} events");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stalls_holds_nobody_up() {
    const EVENTS: u64 = 200;
    const EVENT_BYTES: usize = 100_000;
    let server = Server::start().await;
    let client = server.client();
    let options = eventstore::AppendToStreamOptions::default();
    for number in 0..EVENTS {
        let data = vec![0; EVENT_BYTES].into();
        let large = eventstore::EventData::binary("Large", data)
            .id(uuid::Uuid::from_u128(u128::from(number) + 1));
        let written = client.append_to_stream("heap-1", &options, large).await;
        written.expect("append");
    }
    let mut stalled = client.read_all(&Default::default()).await.expect("read");
    assert!(stalled.next().await.expect("event").is_some());
    let other = server.client();
    let written = other.append_to_stream("tale-1", &options, offered("Told", 3));
    let written = tokio::time::timeout(PATIENCE, written).await.expect("in time");
    assert_eq!(written.expect("append").next_expected_version, 2);
    let mut rest = 1;
    while stalled.next().await.expect("event").is_some() {
        rest += 1;
    }
    assert!(rest >= EVENTS);
}

/// Given many subscribers who are busy with what they have while much more comes, then their own
/// questions and others' are answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_that_do_not_read_hold_up_no_question() {
    const SUBSCRIBERS: usize = 12;
    const EVENTS: u64 = 200;
    const EVENT_BYTES: usize = 50_000;
    let server = Server::start().await;
    let client = ClientStore::new(&server.connection_string()).expect("client");
    append(&*server.store, "tale-1", 0..1).await;
    let mut busy = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let mut followed = client.subscribe_all(SubscribeFrom::Start, None).await.expect("follow");
        let first = tokio::time::timeout(PATIENCE, followed.next()).await.expect("in time");
        assert!(matches!(first, Some(Ok(Delivery::Event(_)))), "{first:?}");
        busy.push(followed);
    }
    for number in 0..EVENTS {
        let large = NewEvent { data: vec![0; EVENT_BYTES].into(), ..event(1000 + number) };
        let name = stream("heap-1");
        server.store.append(&name, ExpectedRevision::Any, vec![large]).await.expect("append");
    }
    // What they do not read fills their windows by and by: until then questions prove nothing.
    for _ in 0..200 {
        let head = tokio::time::timeout(PATIENCE, client.head()).await.expect("in time");
        assert_eq!(head.expect("head").get(), EVENTS + 1);
    }
    for mut followed in busy {
        let mut left = EVENTS;
        while left > 0 {
            let next = tokio::time::timeout(PATIENCE, followed.next()).await.expect("in time");
            left -= u64::from(matches!(next, Some(Ok(Delivery::Event(_)))));
        }
    }
}

/// Whoever takes a log that has a last event for an empty one makes an empty model of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_event_is_there_however_fast_others_append() {
    const EVENTS: u64 = 2_000;
    let server = Server::start().await;
    append(&*server.store, "tale-1", 0..1).await;
    let client = ClientStore::new(&server.connection_string()).expect("client");
    let store = Arc::clone(&server.store);
    let writing = tokio::spawn(async move { append(&*store, "tale-1", 1..EVENTS).await });
    let mut before = Position::START;
    while !writing.is_finished() {
        let head = client.head().await.expect("head");
        assert!(head > Position::START && head >= before, "{head} after {before}");
        let last = client.last_event(&stream("tale-1")).await.expect("read").expect("an event");
        assert!(last.position >= head, "{} after {head}", last.position);
        before = head;
    }
    writing.await.expect("no panic");
    assert_eq!(client.head().await.expect("head").get(), EVENTS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_lose_do_not_disturb_others() {
    const WRITERS: u64 = 8;
    const APPENDS: u64 = 20;
    let server = Server::start().await;
    let client = ClientStore::new(&server.connection_string()).expect("client");
    append(&client, "fought-1", 0..1).await;
    let writers = (0..WRITERS).map(|writer| {
        let client = client.clone();
        async move {
            for number in 0..APPENDS {
                let id = 1_000 + writer * APPENDS + number;
                let own = stream(&format!("own-{writer}"));
                let expected = ExpectedRevision::Any;
                client.append(&own, expected, vec![event(id)]).await.expect("append");
                let fought = stream("fought-1");
                let lost = ExpectedRevision::NoStream;
                let lost = client.append(&fought, lost, vec![event(id)]).await;
                assert!(lost.is_err());
            }
        }
    });
    futures::future::join_all(writers).await;
    let mut log = client.read_all(ReadAll::forward()).await.expect("read");
    let mut count = 0;
    while let Some(event) = log.next().await {
        event.expect("event");
        count += 1;
    }
    assert_eq!(count, 1 + WRITERS * APPENDS);
}
