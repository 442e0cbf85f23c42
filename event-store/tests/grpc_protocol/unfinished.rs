//! Messages that are begun and not ended: they are bounded in time and, all together, in bytes; so
//! is how many calls there are that may send more.

use std::time::Duration;

use event_store::grpc::ServeOptions;
use tonic::Code;

use crate::arriving::{APPEND, BATCH_APPEND, append};
use crate::raw::{call, connect, ended};
use crate::server::Server;

const PATIENCE: Duration = Duration::from_secs(30);

/// A message of this length of which so much is there.
fn begun(length: u32, there: usize) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(length.to_be_bytes());
    bytes.resize(bytes.len() + there, 0);
    bytes
}

/// Given messages that are not whole and nearly fill what the server may hold, when others come,
/// then large ones are refused until those are gone, and small ones are not.
#[tokio::test]
async fn messages_that_are_not_whole_share_what_may_be_held() {
    let options = ServeOptions { held_bytes_max: 1_000_000, ..ServeOptions::default() };
    let server = Server::start_with(options).await;
    for path in [APPEND, BATCH_APPEND] {
        let channel = connect(&server).await;
        let half = || call(&channel, path, begun(1_500_000, 450_000));
        // Polls: nobody is told when the halves have arrived, but what they leave is no room for
        // this. Where it came before them, they are refused, and begun again.
        let refused = async {
            loop {
                let halves = [half(), half()];
                while halves.iter().all(|(_, call)| !call.is_finished()) {
                    if let Err(refused) = append(&server, "other-1", 132_800).await
                        && halves.iter().all(|(_, call)| !call.is_finished())
                    {
                        return (refused, halves);
                    }
                }
            }
        };
        let (refused, halves) = tokio::time::timeout(PATIENCE, refused).await.expect("refused");
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        append(&server, "other-1", 1_000).await.expect("there is room for a small one");
        let (_more, third) = half();
        assert_eq!(ended(third).await.code(), Code::ResourceExhausted);
        for (sender, half) in halves {
            drop(sender);
            assert_ne!(ended(half).await.code(), Code::Ok, "it was never whole");
        }
        append(&server, "other-1", 300_000).await.expect("there is room again");
    }
}

/// Given a message that is begun, when its rest does not come, then the call ends.
#[tokio::test]
async fn a_message_that_does_not_come_whole_is_ended() {
    let arrival_time_max = Duration::from_millis(200);
    let server =
        Server::start_with(ServeOptions { arrival_time_max, ..ServeOptions::default() }).await;
    let channel = connect(&server).await;
    for there in [0, 10, 100_000] {
        let (_more, half) = call(&channel, BATCH_APPEND, begun(200_000, there));
        assert_eq!(ended(half).await.code(), Code::DeadlineExceeded, "{there}");
    }
}

/// Given appends of which more may come, when the server stops, then they end: nobody knows when
/// they would be whole.
#[tokio::test]
async fn appends_that_are_not_whole_end_with_the_server() {
    let server = Server::start().await;
    let channel = connect(&server).await;
    let calls = [APPEND, BATCH_APPEND].map(|path| call(&channel, path, Vec::new()));
    // One that came after them is answered, so they are there.
    let (sender, last) = call(&channel, BATCH_APPEND, Vec::new());
    drop(sender);
    assert_eq!(ended(last).await.code(), Code::Ok);
    server.shutdown.cancel();
    for (_more, call) in calls {
        assert_eq!(ended(call).await.code(), Code::Unavailable);
    }
}

/// Given a message that says it is larger than any may be, then the call tells so, also where it
/// has been answered already.
#[tokio::test]
async fn a_message_that_is_too_large_is_told_so() {
    let server = Server::start().await;
    let channel = connect(&server).await;
    for path in [APPEND, BATCH_APPEND] {
        let (_more, huge) = call(&channel, path, begun(64 * 1024 * 1024, 10));
        assert_eq!(ended(huge).await.code(), Code::ResourceExhausted, "{path}");
    }
}

/// Given as many calls that may send more as there may be, then another is refused until one has
/// ended its requests.
#[tokio::test]
async fn calls_that_have_not_ended_their_requests_are_counted() {
    let options = ServeOptions { arriving_calls_max: 3, ..ServeOptions::default() };
    let server = Server::start_with(options).await;
    let channel = connect(&server).await;
    let full = async {
        let mut calls = Vec::new();
        loop {
            if calls.len() < 3 {
                calls.push(call(&channel, BATCH_APPEND, Vec::new()));
            }
            if let Err(refused) = append(&server, "other-1", 10).await {
                return (refused, calls);
            }
        }
    };
    let (refused, mut calls) = tokio::time::timeout(PATIENCE, full).await.expect("refused");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let (sender, call) = calls.remove(0);
    drop(sender);
    assert_eq!(ended(call).await.code(), Code::Ok);
    append(&server, "other-1", 10).await.expect("there is a place again");
}
