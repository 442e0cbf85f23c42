//! Clients that ask and do not read: what the server holds for them is bounded over all of them,
//! others are served meanwhile, and each goes on where it was.

use event_store::ExpectedRevision;
use event_store::grpc::ServeOptions;
use futures::future::join_all;
use prost::Message;
use tonic::Code;

use crate::arriving::{BATCH_APPEND, BatchAppend, options, proposed, uuid};
use crate::asking::{Ask, Options, PATIENCE, READ, ask, connect, fill, next};
use crate::server::{Server, event, stream};
use crate::{raw, unread};

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
        stalled.push(ask(&grpc, Options::follow()).await.expect("subscribe"));
    }
    let mut other =
        ask(&connect(&server, 65_535).await, Options::follow()).await.expect("subscribe");
    for revision in 0..EVENTS {
        assert_eq!(next(&mut other).await.expect("event").revision, revision);
    }
    let held = resident_mb().saturating_sub(before);
    println!("{STALLED} stalled subscriptions hold {held} MB");
    assert!(held < 100, "{held} MB are held");
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

/// Given many subscriptions whose client takes nothing from its socket, with windows that would let
/// everything be sent, then each holds a little of what it asked for, and others are served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_sent_and_is_not_taken_is_bounded_too() {
    let held = held_by_unread(1_000, 1_000).await;
    assert!(held < 100_000, "a call holds {held} B");
}

/// The same of events that are just not large.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_just_not_large_is_bounded_where_it_is_not_taken() {
    let held = held_by_unread(100, 60_000).await;
    assert!(held < 250_000, "a call holds {held} B");
}

/// How many bytes each of many subscriptions holds that nobody takes anything of, over a log of so
/// many events of this size.
async fn held_by_unread(events: u64, bytes: usize) -> u64 {
    const STALLED: usize = 800;
    let options = ServeOptions { reading_calls_max: STALLED + 1, ..ServeOptions::default() };
    let server = Server::start_with(options).await;
    fill(&server, events, bytes).await;
    let grpc = connect(&server, 65_535).await;
    let mut other = ask(&grpc, Options::follow()).await.expect("subscribe");
    let before = resident_mb();
    let message = Ask { options: Some(Options::follow()) }.encode_to_vec();
    let mut stalled = Vec::new();
    // A call that finds a place may have taken it from one of theirs.
    let fill_up = async {
        loop {
            let more = unread::calls(&server.address(), READ, &message, STALLED).await;
            stalled.push(more.expect("connect"));
            match ask(&grpc, Options::stream("heap-1", 1)).await {
                Ok(mut read) => while next(&mut read).await.is_some() {},
                Err(refused) => return refused,
            }
        }
    };
    let refused = tokio::time::timeout(PATIENCE, fill_up).await.expect("no place is left");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    for revision in 0..events {
        assert_eq!(next(&mut other).await.expect("event").revision, revision);
    }
    let held = resident_mb().saturating_sub(before);
    let refused = ask(&grpc, Options::stream("heap-1", 1)).await.err();
    assert!(refused.is_some(), "they are there still");
    drop(stalled);
    println!("{STALLED} subscriptions that nobody takes hold {held} MB at {bytes} B an event");
    held * (1 << 20) / STALLED as u64
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
            tokio::spawn(async move { ask(&grpc, Options::stream("heap-1", 2)).await })
        })
        .collect();
    for _ in 0..20 {
        let mut told = ask(&grpc, Options::stream("tale-1", 1)).await.expect("read");
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
    let mut followed = [
        ask(&grpc, Options::follow()).await.expect("one"),
        ask(&grpc, Options::follow()).await.expect("two"),
    ];
    for followed in &mut followed {
        assert_eq!(next(followed).await.expect("event").revision, 0);
    }
    let refused = ask(&grpc, Options::stream("heap-1", 1)).await.expect_err("refused");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    drop(followed);
    let again = async { while ask(&grpc, Options::stream("heap-1", 1)).await.is_err() {} };
    tokio::time::timeout(PATIENCE, again).await.expect("there is a place again");
}

/// Given many calls for batches, each of which has sent a large append and sends no more, then they
/// hold nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_hold_nothing_of_what_is_appended() {
    const CALLS: usize = 60;
    const BYTES: usize = 4_000_000;
    let server = Server::start().await;
    let channel = raw::connect(&server).await;
    let before = resident_mb();
    let mut calls = Vec::new();
    for number in 0..CALLS {
        let name = format!("large-{number}");
        let request = BatchAppend {
            correlation: uuid(),
            options: options(&name),
            proposed: vec![proposed(BYTES)],
            is_final: true,
        };
        let message = raw::message(raw::PLAIN, &request.encode_to_vec());
        calls.push(raw::call(&channel, BATCH_APPEND, message));
        // A look at the log's end reads no event, of which the process might keep something.
        let appended = async {
            while server.store.head().await.unwrap().get() <= number as u64 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, appended).await.expect("appended");
    }
    let held = resident_mb().saturating_sub(before);
    println!("{CALLS} calls that have appended {BYTES} B each hold {held} MB");
    assert!(held < 150, "{held} MB are held");
    drop(calls);
}
