//! What an official Rust client sees of the server: each kind of read, append, deletion and
//! subscription, and the errors it knows by their codes. Which of them, the module above says.

use std::time::Duration;

use super::{
    AppendToStreamOptions, BatchAppendOptions, Client, CurrentRevision, DeleteStreamOptions, Error,
    EventData, ExpectedRevision, ReadAllOptions, ReadEvent, ReadStream, ReadStreamOptions,
    StreamPosition, SubscribeToAllOptions, SubscribeToStreamOptions, Subscription,
    SubscriptionEvent, SubscriptionFilter, TombstoneStreamOptions, client, exactly, expecting,
    has_caught_up, offered,
};
use crate::server::Server;

/// No answer takes longer than this, whatever else the machine does.
const PATIENCE: Duration = Duration::from_secs(20);

async fn revisions(mut read: ReadStream) -> Vec<u64> {
    let mut revisions = Vec::new();
    while let Some(event) = read.next().await.expect("event") {
        revisions.push(event.get_original_event().revision);
    }
    revisions
}

async fn append(client: &Client, stream: &str, kind: &str, count: u64) {
    let options = AppendToStreamOptions::default();
    let written = client.append_to_stream(stream, &options, offered(kind, count));
    written.await.expect("append");
}

#[tokio::test]
async fn a_stream_is_read_both_ways_from_anywhere() {
    let server = Server::start().await;
    let client = client(&server);
    append(&client, "tale-1", "Told", 5).await;
    let base = ReadStreamOptions::default;
    let cases = [
        (base(), vec![0, 1, 2, 3, 4]),
        (base().max_count(2), vec![0, 1]),
        (base().position(StreamPosition::Position(3)), vec![3, 4]),
        (base().position(StreamPosition::Position(9)), vec![]),
        (base().position(StreamPosition::End), vec![4, 3, 2, 1, 0]),
        (base().position(StreamPosition::End).max_count(1), vec![4]),
        (base().position(StreamPosition::End).forwards(), vec![]),
        (base().position(StreamPosition::Start).backwards(), vec![0]),
        (base().position(StreamPosition::Position(2)).backwards(), vec![2, 1, 0]),
        (base().position(StreamPosition::Position(99)).backwards(), vec![4, 3, 2, 1, 0]),
    ];
    for (number, (options, expected)) in cases.into_iter().enumerate() {
        let read = client.read_stream("tale-1", &options).await.expect("read");
        assert_eq!(revisions(read).await, expected, "case {number}");
    }
}

#[tokio::test]
async fn a_stream_tells_its_bounds() {
    let server = Server::start().await;
    let client = client(&server);
    append(&client, "tale-1", "Told", 3).await;
    let options = ReadStreamOptions::default().position(StreamPosition::Position(7));
    let mut read = client.read_stream("tale-1", &options).await.expect("read");
    let mut bounds = Vec::new();
    while let Some(event) = read.next_read_event().await.expect("message") {
        bounds.push(match event {
            ReadEvent::FirstStreamPosition(first) => ("first", first),
            ReadEvent::LastStreamPosition(last) => ("last", last),
            _ => panic!("an event where there is none"),
        });
    }
    assert_eq!(bounds, [("first", 3), ("last", 2)]);
}

#[tokio::test]
async fn a_missing_stream_is_told_in_band() {
    let server = Server::start().await;
    let client = client(&server);
    let options = ReadStreamOptions::default();
    let mut read = client.read_stream("nobody", &options).await.expect("call");
    let answer = read.next().await;
    assert!(matches!(answer, Err(Error::ResourceNotFound)), "{answer:?}");
}

#[tokio::test]
async fn an_event_arrives_as_it_was_sent() {
    let server = Server::start().await;
    let client = client(&server);
    let id = uuid::Uuid::new_v4();
    let sent = EventData::binary("Painted", vec![0, 159, 146, 150].into())
        .id(id)
        .metadata(b"\xff\x00".to_vec().into());
    let options = expecting(ExpectedRevision::NoStream);
    let written = client.append_to_stream("wall-1", &options, sent).await.expect("append");
    assert_eq!(written.next_expected_version, 0);
    let mut read = client.read_stream("wall-1", &Default::default()).await.expect("read");
    let event = read.next().await.expect("event").expect("one");
    let event = event.get_original_event();
    assert_eq!((event.id, event.event_type.as_str()), (id, "Painted"));
    assert_eq!((event.is_json, &event.data[..]), (false, &[0, 159, 146, 150][..]));
    assert_eq!(&event.custom_metadata[..], b"\xff\x00");
    assert_eq!(event.position, written.position);
    assert!((chrono::Utc::now() - event.created).num_seconds().abs() < 60);
}

#[tokio::test]
async fn the_log_is_read_both_ways() {
    let server = Server::start().await;
    let client = client(&server);
    append(&client, "a-1", "Told", 2).await;
    append(&client, "b-1", "Told", 2).await;
    let mut forward = client.read_all(&ReadAllOptions::default()).await.expect("read");
    let mut positions = Vec::new();
    while let Some(event) = forward.next().await.expect("event") {
        positions.push(event.get_original_event().position);
    }
    assert_eq!(positions.len(), 4);
    assert!(positions.is_sorted() && positions[0].commit > 0);
    let from = StreamPosition::Position(positions[2]);
    let inclusive = client.read_all(&ReadAllOptions::default().position(from)).await;
    assert_eq!(revisions(inclusive.expect("read")).await, [0, 1]);
    let exclusive = ReadAllOptions::default().position(from).backwards();
    let exclusive = client.read_all(&exclusive).await.expect("read");
    assert_eq!(revisions(exclusive).await, [1, 0]);
    let end = ReadAllOptions::default().position(StreamPosition::End).max_count(3);
    assert_eq!(revisions(client.read_all(&end).await.expect("read")).await, [1, 0, 1]);
}

#[tokio::test]
async fn a_wrong_expectation_is_told_with_what_is_there() {
    let server = Server::start().await;
    let client = client(&server);
    append(&client, "tale-1", "Told", 2).await;
    for expected in [ExpectedRevision::NoStream, exactly(7)] {
        let options = expecting(expected);
        let refused = client.append_to_stream("tale-1", &options, offered("Told", 1)).await;
        match refused {
            Err(Error::WrongExpectedVersion {
                expected: told,
                current: CurrentRevision::Current(1),
            }) => assert_eq!(told, expected),
            other => panic!("{other:?}"),
        }
    }
    let options = expecting(ExpectedRevision::StreamExists);
    let refused = client.append_to_stream("other", &options, offered("Told", 1)).await;
    assert!(matches!(
        refused,
        Err(Error::WrongExpectedVersion { current: CurrentRevision::NoStream, .. })
    ));
}

#[tokio::test]
async fn an_append_sent_twice_is_answered_twice_and_kept_once() {
    let server = Server::start().await;
    let client = client(&server);
    let events = offered("Told", 3);
    let options = expecting(ExpectedRevision::NoStream);
    let first = client.append_to_stream("tale-1", &options, events.clone()).await.expect("first");
    let again = client.append_to_stream("tale-1", &options, events).await.expect("again");
    assert_eq!(first.next_expected_version, again.next_expected_version);
    assert_eq!(first.position, again.position);
    let read = client.read_stream("tale-1", &Default::default()).await.expect("read");
    assert_eq!(revisions(read).await, [0, 1, 2]);
}

#[tokio::test]
async fn a_batch_keeps_the_order_in_which_it_was_sent() {
    let server = Server::start().await;
    let client = client(&server);
    let batch = client.batch_append(&BatchAppendOptions::default()).await.expect("batch");
    let appends = (0..200)
        .map(|_| batch.append_to_stream("tale-1", ExpectedRevision::Any, offered("Told", 1)));
    let written = futures::future::join_all(appends).await;
    let numbers: Vec<_> =
        written.into_iter().map(|written| written.expect("append").current_revision()).collect();
    assert_eq!(numbers, (0..200).map(Some).collect::<Vec<_>>());
    let refused =
        batch.append_to_stream("tale-1", ExpectedRevision::NoStream, offered("Told", 1)).await;
    match refused {
        Err(Error::Grpc { message, .. }) => assert_eq!(message, "WrongExpectedVersion"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_deleted_stream_is_gone_until_it_is_written_again() {
    let server = Server::start().await;
    let client = client(&server);
    let options = DeleteStreamOptions::default();
    match client.delete_stream("nobody", &options).await {
        Err(Error::Grpc { message, .. }) => {
            assert!(message.contains("Actual version: -1"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    append(&client, "tale-1", "Told", 2).await;
    let deleted = client.delete_stream("tale-1", &options).await.expect("delete");
    assert!(deleted.is_some());
    let mut read = client.read_stream("tale-1", &Default::default()).await.expect("call");
    assert!(matches!(read.next().await, Err(Error::ResourceNotFound)));
    append(&client, "tale-1", "Told", 1).await;
    let read = client.read_stream("tale-1", &Default::default()).await.expect("call");
    assert_eq!(revisions(read).await, [2]);
}

#[tokio::test]
async fn a_tombstone_is_for_good() {
    let server = Server::start().await;
    let client = client(&server);
    append(&client, "tale-1", "Told", 1).await;
    let options = TombstoneStreamOptions::default();
    client.tombstone_stream("tale-1", &options).await.expect("tombstone");
    // The call itself fails, not the first event.
    let read = client.read_stream("tale-1", &Default::default()).await;
    assert!(matches!(read, Err(Error::ResourceDeleted)));
    let options = AppendToStreamOptions::default();
    let refused = client.append_to_stream("tale-1", &options, offered("Told", 1)).await;
    assert!(matches!(refused, Err(Error::ResourceDeleted)), "{refused:?}");
    let mut followed = client.subscribe_to_stream("tale-1", &Default::default()).await;
    assert!(matches!(followed.next().await, Err(Error::ResourceDeleted)));
}

async fn next(subscription: &mut Subscription) -> SubscriptionEvent {
    tokio::time::timeout(PATIENCE, subscription.next_subscription_event())
        .await
        .expect("in time")
        .expect("delivery")
}

async fn next_revision(subscription: &mut Subscription) -> u64 {
    loop {
        if let SubscriptionEvent::EventAppeared(event) = next(subscription).await {
            return event.get_original_event().revision;
        }
    }
}

#[tokio::test]
async fn a_stream_is_followed_from_the_past_to_live() {
    let server = Server::start().await;
    let client = client(&server);
    append(&client, "tale-1", "Told", 3).await;
    let options = SubscribeToStreamOptions::default().start_from(StreamPosition::Position(0));
    let mut followed = client.subscribe_to_stream("tale-1", &options).await;
    assert!(matches!(next(&mut followed).await, SubscriptionEvent::Confirmed(_)));
    assert_eq!(next_revision(&mut followed).await, 1);
    assert_eq!(next_revision(&mut followed).await, 2);
    assert!(has_caught_up(&next(&mut followed).await));
    append(&client, "tale-1", "Told", 1).await;
    assert_eq!(next_revision(&mut followed).await, 3);
}

#[tokio::test]
async fn the_log_is_followed_through_a_filter() {
    let server = Server::start().await;
    let client = client(&server);
    append(&client, "a-1", "Told", 2).await;
    append(&client, "b-1", "Sung", 2).await;
    // Only .NET's regular expressions look ahead; official clients rely on it.
    let filter = SubscriptionFilter::on_event_type().regex("^(?!(Told|\\$.+)$)");
    let options = SubscribeToAllOptions::default().filter(filter);
    let mut followed = client.subscribe_to_all(&options).await;
    let mut told = Vec::new();
    let mut checkpoint = None;
    loop {
        match next(&mut followed).await {
            event if has_caught_up(&event) => break,
            SubscriptionEvent::EventAppeared(event) => {
                told.push(event.get_original_event().event_type.clone());
            }
            SubscriptionEvent::Checkpoint(position) => checkpoint = Some(position),
            _ => {}
        }
    }
    assert_eq!(told, ["Sung", "Sung"]);
    append(&client, "a-1", "Told", 1).await;
    append(&client, "b-1", "Sung", 1).await;
    assert_eq!(next_revision(&mut followed).await, 2);
    assert!(checkpoint.is_some_and(|checkpoint| checkpoint.commit > 0));
}

/// Given a filter with a window of four, when the log grows by what it does not keep, then the
/// client is told after every four events, in the past and live, and not in between.
#[tokio::test]
async fn checkpoints_come_at_the_interval_that_the_client_asks_for() {
    const WINDOW: u32 = 4;
    let server = Server::start().await;
    let client = client(&server);
    append(&client, "b-1", "Told", 22).await;
    let filter = SubscriptionFilter::on_stream_name().add_prefix("a-").max(WINDOW);
    let options = SubscribeToAllOptions::default().filter(filter);
    let mut followed = client.subscribe_to_all(&options).await;
    let mut told = Vec::new();
    loop {
        match next(&mut followed).await {
            event if has_caught_up(&event) => break,
            SubscriptionEvent::Checkpoint(position) => told.push(position.commit),
            _ => {}
        }
    }
    assert_eq!(told, [4, 8, 12, 16, 20]);
    for _ in 0..7 {
        append(&client, "b-1", "Told", 1).await;
    }
    append(&client, "a-1", "Told", 1).await;
    for place in [24, 28] {
        let told = next(&mut followed).await;
        assert!(matches!(told, SubscriptionEvent::Checkpoint(at) if at.commit == place));
    }
    assert_eq!(next_revision(&mut followed).await, 0);
}

#[tokio::test]
async fn a_filter_that_is_no_expression_is_refused() {
    let server = Server::start().await;
    let client = client(&server);
    let filter = SubscriptionFilter::on_event_type().regex("(");
    let options = SubscribeToAllOptions::default().filter(filter);
    let mut followed = client.subscribe_to_all(&options).await;
    let refused = followed.next().await;
    match refused {
        Err(Error::Grpc { code, .. }) => {
            assert_eq!(code.to_string(), "Client specified an invalid argument")
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_subscriber_is_told_when_the_server_stops() {
    let server = Server::start().await;
    let client = client(&server);
    let mut followed = client.subscribe_to_all(&Default::default()).await;
    assert!(matches!(next(&mut followed).await, SubscriptionEvent::Confirmed(_)));
    server.shutdown.cancel();
    let ended = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Err(error) = followed.next_subscription_event().await {
                return error;
            }
        }
    });
    assert!(matches!(ended.await, Ok(Error::ServerError(_))));
    tokio::time::timeout(PATIENCE, server.serving.finished()).await.expect("stopped");
}
