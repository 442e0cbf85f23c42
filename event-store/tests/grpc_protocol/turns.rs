//! Calls that look through the log for what hardly ever comes: they take turns with all others.

use std::time::{Duration, Instant};

use event_store::ExpectedRevision;
use event_store::grpc::ServeOptions;
use event_store::limits::{FILTER_PREFIXES_MAX, READ_SILENCE_EVENTS_MAX};
use futures::future::join_all;

use crate::asking::{Options, PATIENCE, ask, connect, fill, next};
use crate::server::{Server, event, stream};

/// So many that to look through them takes many turns.
const EVENTS: u64 = 300_000;

/// A server that lets one call at a time hold a page, for turns that are short beside a search,
/// with much in its log between the two events of a stream.
async fn given_two_events_far_apart() -> Server {
    let turn = Duration::from_millis(10);
    let options = ServeOptions { pages_max: 1, turn, ..ServeOptions::default() };
    let server = Server::start_with(options).await;
    let tell = async |number| {
        let written = vec![event(EVENTS + number)];
        server
            .store
            .append(&stream("tale-1"), ExpectedRevision::Any, written)
            .await
            .expect("append")
    };
    tell(0).await;
    fill(&server, EVENTS, 10).await;
    tell(1).await;
    server
}

/// Keeps those two alone, and takes its time for it.
fn rare(options: Options) -> Options {
    let mut prefixes: Vec<_> = (1..FILTER_PREFIXES_MAX).map(|n| format!("nobody-{n}")).collect();
    prefixes.push("tale-".to_owned());
    options.of_streams(prefixes)
}

/// Given more of these calls than may hold a page, then each begins, and a read is answered, while
/// they look for their second event; and each finds it, with nothing lost, repeated or added.
async fn let_others_go_on(options: Options, revisions: [u64; 2]) {
    let server = given_two_events_far_apart().await;
    let grpc = connect(&server, 65_535).await;
    let begun = Instant::now();
    let mut looking = Vec::new();
    for _ in 0..3 {
        let mut call = ask(&grpc, rare(options.clone())).await.expect("ask");
        assert_eq!(next(&mut call).await.expect("event").revision, revisions[0]);
        looking.push(tokio::spawn(async move {
            assert_eq!(next(&mut call).await.expect("event").revision, revisions[1]);
            call
        }));
    }
    let mut told = ask(&grpc, Options::stream("tale-1", 1)).await.expect("read");
    assert!(next(&mut told).await.is_some());
    let served = begun.elapsed();
    // One after the other, two would be by now.
    let through = looking.iter().filter(|one| one.is_finished()).count();
    assert!(through < 2, "a read waited for whole searches");
    let all = tokio::time::timeout(PATIENCE, join_all(looking)).await.expect("they get there");
    println!("served after {served:?}, all through after {:?}", begun.elapsed());
    for call in all {
        let mut call = call.expect("what was asked for");
        if options == Options::backwards(2) {
            assert!(next(&mut call).await.is_none(), "it asked for two");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_that_find_nothing_let_others_go_on() {
    let_others_go_on(Options::follow(), [0, 1]).await;
}

/// Given a filter that keeps nothing, when the log is read, then the client is told again and again
/// how far that has come, and in the end where it ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_find_nothing_say_how_far_they_are() {
    const EVENTS: u64 = 40_000;
    let server = Server::start().await;
    fill(&server, EVENTS, 10).await;
    let grpc = connect(&server, 65_535).await;
    let calls = [(Options::forwards(1), true, EVENTS), (Options::backwards(1), false, 1)];
    for (options, ascending, end) in calls {
        let options = options.of_streams(vec!["nobody".to_owned()]);
        let mut call = ask(&grpc, options).await.expect("ask");
        let mut reached = Vec::new();
        while let Some(reply) = call.message().await.expect("reply") {
            reached.push(reply.checkpoint.expect("how far it is").commit);
        }
        assert!(reached.len() as u64 > EVENTS / READ_SILENCE_EVENTS_MAX, "{reached:?}");
        assert!(reached.is_sorted_by(|one, next| (one < next) == ascending), "{reached:?}");
        assert_eq!(reached.last(), Some(&end));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_find_nothing_let_others_go_on() {
    let_others_go_on(Options::backwards(2), [1, 0]).await;
}
