//! How groups are made, changed, looked at and deleted, and what is refused.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use event_store::limits::{ACK_IDS_MAX, CONSUMER_BUFFER_MAX};
use event_store::log::{Clock, SimDisk};
use event_store::persistent::{
    Connecting, EventSource, GroupId, PersistentError, PersistentSubscriptions, Settings,
    StartFrom, Strategy,
};
use event_store::{
    EmbeddedOptions, EventId, EventStore, ExpectedRevision, Filter, FilterSubject, Pattern,
    Position, StoreError,
};
use futures::StreamExt;
use uuid::Uuid;

use super::{PATIENCE, Place, is_quiet, next, number, numbers, settings};
use crate::given::stream;

fn group(source: &str, name: &str) -> GroupId {
    GroupId::new(EventSource::new(source).unwrap(), name).unwrap()
}

#[tokio::test]
async fn what_can_not_be_is_refused() {
    let place = Place::new().await;
    let subscriptions = &place.subscriptions;
    let made = place.group("s", |it| it.max_subscriber_count = 1).await;
    let again = subscriptions.create(&made, None, settings()).await;
    assert!(matches!(again, Err(PersistentError::Exists(it)) if it == made));
    subscriptions.create(&group("a", "b::c"), None, settings()).await.unwrap();
    let same_streams = subscriptions.create(&group("a::b", "c"), None, settings()).await;
    assert!(matches!(same_streams, Err(PersistentError::Exists(_))));

    let none = group("s", "none");
    let missing = |error| matches!(error, PersistentError::DoesNotExist(it) if it == none);
    assert!(missing(subscriptions.update(&none, settings()).await.unwrap_err()));
    assert!(missing(subscriptions.delete(&none).await.unwrap_err()));
    assert!(missing(subscriptions.info(&none).await.unwrap_err()));
    assert!(missing(subscriptions.replay_parked(&none, None).await.unwrap_err()));
    let connecting = Connecting::new("", 1);
    assert!(missing(subscriptions.connect(&none, connecting.clone()).await.err().unwrap()));

    let batch = Settings { read_batch_size: 500, ..settings() };
    let behind = event_store::persistent::Place::Position(Position::new(1_000_000));
    let start = Settings { start_from: StartFrom::At(behind), ..settings() };
    for (group, filter, settings) in [
        (&none, None, batch),
        (&group("$all", "g"), None, start),
        (&none, Some(Filter::type_prefixes(["T"])), settings()),
        (&group("$all", "g"), Some(Filter::type_prefixes(["x".repeat(20_000)])), settings()),
    ] {
        let refused = subscriptions.create(group, filter, settings).await;
        assert!(matches!(refused, Err(PersistentError::Failed { .. })), "{refused:?}");
    }
    let (subject, pattern) = (FilterSubject::EventType, Pattern::Regex("(".to_owned()));
    let filter = Filter { subject, pattern, checkpoint_events: None };
    let refused = subscriptions.create(&group("$all", "g"), Some(filter), settings()).await;
    assert!(matches!(refused, Err(PersistentError::BadFilter(_))), "{refused:?}");

    let consumer = place.connect(&made, 1).await;
    let second = subscriptions.connect(&made, connecting).await.err().unwrap();
    assert!(matches!(second, PersistentError::MaximumSubscribersReached { max: 1, .. }));
    for buffer in [0, CONSUMER_BUFFER_MAX + 1] {
        let refused = subscriptions.connect(&made, Connecting::new("", buffer)).await.err();
        assert!(matches!(refused, Some(PersistentError::BadConsumer(_))));
    }
    let ids = vec![EventId(Uuid::nil()); ACK_IDS_MAX + 1];
    let refused = consumer.acknowledger.ack(ids).await;
    assert!(matches!(refused, Err(PersistentError::TooManyIds { .. })));
    drop(consumer);
    place.connect(&made, 1).await;
}

#[tokio::test]
async fn an_update_drops_consumers_and_keeps_the_rest() {
    let place = Place::new().await;
    place.append("s", 0..4).await;
    let group = place.group("s", |it| it.strategy = Strategy::Pinned).await;
    let mut consumer = place.connect(&group, 2).await;
    let first = next(&mut consumer).await.unwrap();
    consumer.acknowledger.ack(vec![first.message.id()]).await.unwrap();
    place.until(&group, |info| info.total_items == 1).await;
    let changed = Settings { max_retry_count: 3, ..settings() };
    place.subscriptions.update(&group, changed.clone()).await.unwrap();
    // What it did not look at yet is withdrawn.
    let end = next(&mut consumer).await;
    assert!(matches!(end, Err(PersistentError::Dropped(it)) if it == group));
    assert!(consumer.deliveries.next().await.is_none());
    let late = consumer.acknowledger.ack(vec![first.message.id()]).await;
    assert!(matches!(late, Err(PersistentError::Dropped(_))));
    assert_eq!(place.info(&group).await.settings, changed);
    let mut consumer = place.connect(&group, 10).await;
    assert_eq!(numbers(&mut consumer, 3).await, [(1, 0), (2, 0), (3, 0)]);
    let place = place.kill().await;
    assert_eq!(place.info(&group).await.settings, changed);
}

#[tokio::test]
async fn a_deleted_group_ends_its_consumers_and_leaves_nothing() {
    let place = Place::new().await;
    place.append("s", 0..2).await;
    let group = place.group("s", |_| {}).await;
    let mut consumer = place.connect(&group, 1).await;
    let first = next(&mut consumer).await.unwrap();
    consumer.acknowledger.ack(vec![first.message.id()]).await.unwrap();
    place.until(&group, |info| info.last_checkpointed.is_some()).await;
    let mut waiting = place.connect(&group, 1).await;
    let ended = tokio::spawn(async move { next(&mut waiting).await });
    place.subscriptions.delete(&group).await.unwrap();
    let end = tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap();
    assert!(matches!(end, Err(PersistentError::DoesNotExist(it)) if it == group));
    assert!(place.store.last_event(&group.checkpoint_stream()).await.unwrap().is_none());
    assert!(place.subscriptions.list(None).await.unwrap().is_empty());

    let place = place.kill().await;
    assert!(place.subscriptions.list(None).await.unwrap().is_empty());
    place.subscriptions.create(&group, None, settings()).await.unwrap();
    let mut consumer = place.connect(&group, 1).await;
    assert_eq!(numbers(&mut consumer, 1).await, [(0, 0)], "it begins at its start");
    consumer.acknowledger.ack(vec![first.message.id()]).await.unwrap();
    place.until(&group, |info| info.last_checkpointed.is_some()).await;
    // Deleting a stream takes its metadata; the bound is set again.
    let bound = async {
        loop {
            let stream = group.checkpoint_stream();
            let (metadata, _) = place.store.stream_metadata(&stream).await.unwrap();
            if metadata.max_count == Some(2) {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, bound).await.expect("the checkpoints are bounded again");
}

#[tokio::test]
async fn groups_are_listed_and_told_of() {
    let place = Place::new().await;
    place.append("a", 0..3).await;
    let first = place.group("a", |it| it.extra_statistics = true).await;
    let second = group("a", "others");
    place.subscriptions.create(&second, None, settings()).await.unwrap();
    place.group("$all", |_| {}).await;
    assert_eq!(place.subscriptions.list(None).await.unwrap().len(), 3);
    let of_a = place.subscriptions.list(Some(first.source())).await.unwrap();
    assert_eq!(of_a.iter().map(|it| &it.group).collect::<Vec<_>>(), [&second, &first]);

    let connecting = Connecting {
        from: "127.0.0.1:1".to_owned(),
        user: "ops".to_owned(),
        ..Connecting::new("printer", 2)
    };
    let mut consumer = place.subscriptions.connect(&first, connecting).await.unwrap();
    let id = next(&mut consumer).await.unwrap().message.id();
    consumer.acknowledger.ack(vec![id]).await.unwrap();
    let info = place.until(&first, |info| info.last_checkpointed.is_some()).await;
    assert_eq!((info.status.to_string().as_str(), info.failure), ("Live", None));
    assert_eq!(info.last_known.unwrap().to_string(), "2");
    let [told] = info.consumers.as_slice() else { panic!("one is told of: {:?}", info.consumers) };
    assert_eq!((&*told.name, &*told.from, &*told.user), ("printer", "127.0.0.1:1", "ops"));
    assert_eq!((told.total_items, told.in_flight_count, told.available_slots), (1, 2, 0));
    assert!(!told.measurements.is_empty());
}

#[tokio::test]
async fn a_restart_of_the_subscriptions_reads_the_groups_again() {
    let place = Place::new().await;
    let group = place.group("s", |_| {}).await;
    let mut consumer = place.connect(&group, 1).await;
    let elsewhere = PersistentSubscriptions::start(Arc::clone(&place.store) as _).await.unwrap();
    elsewhere.delete(&group).await.unwrap();
    let changed = place.subscriptions.update(&group, settings()).await;
    assert!(matches!(changed, Err(PersistentError::ChangedElsewhere)), "{changed:?}");
    place.subscriptions.restart().await.unwrap();
    assert!(matches!(next(&mut consumer).await, Err(PersistentError::Dropped(_))));
    assert!(place.subscriptions.list(None).await.unwrap().is_empty());
    place.subscriptions.create(&group, None, settings()).await.unwrap();
}

#[tokio::test]
async fn a_store_that_is_closed_ends_consumers() {
    let place = Place::new().await;
    let group = place.group("s", |_| {}).await;
    let mut consumer = place.connect(&group, 1).await;
    place.store.close().await.unwrap();
    let end = next(&mut consumer).await;
    assert!(matches!(end, Err(PersistentError::Store(StoreError::Closed))), "{end:?}");
}

#[tokio::test]
async fn a_tombstoned_stream_is_told_of_and_what_was_read_is_finished() {
    let place = Place::new().await;
    place.append("s", 0..2).await;
    let group = place.group("s", |_| {}).await;
    place.until(&group, |info| info.status.to_string() == "Live").await;
    place.store.tombstone_stream(&stream("s"), ExpectedRevision::Any).await.unwrap();
    let info = place.until(&group, |info| info.failure.is_some()).await;
    assert!(info.failure.unwrap().contains("stream s is deleted"));
    let mut consumer = place.connect(&group, 10).await;
    assert_eq!(numbers(&mut consumer, 2).await, [(0, 0), (1, 0)]);
    assert_eq!(
        next(&mut consumer).await.unwrap().message.original().event_type.as_str(),
        "$streamDeleted"
    );
    assert!(is_quiet(&mut consumer));
}

/// Given a group whose buffer is full and that nobody consumes, then it holds nothing that was read
/// ahead: the first consumer's messages are read once more, and none is lost or comes twice.
#[tokio::test]
async fn a_group_that_nobody_consumes_holds_nothing_that_was_read_ahead() {
    const EVENTS: u64 = 500;
    let place = Place::new().await;
    place.append("s", 0..EVENTS).await;
    // So that the store has none of them in memory for those who follow.
    let place = place.restart().await;
    let small = |it: &mut Settings| (it.read_batch_size, it.history_buffer_size) = (5, 10);
    let group = place.group("s", small).await;
    place.until(&group, |it| it.read_buffer_count + it.live_buffer_count == 10).await;
    let before = place.disk.read_bytes();
    let mut consumer = place.connect(&group, 20).await;
    for told in 0..EVENTS {
        let delivered = next(&mut consumer).await.unwrap();
        assert_eq!(number(&delivered), told);
        consumer.acknowledger.ack(vec![delivered.message.id()]).await.unwrap();
    }
    let bytes = place.disk.read_bytes() - before;
    assert!(bytes > EVENTS * 64, "{bytes} bytes were read");
}

/// Given a clock of a store that is far behind, then no link is new, and a group that begins at the
/// end of links begins behind them as of any other stream.
#[tokio::test]
async fn a_group_at_the_end_of_links_gets_none_of_before() {
    let disk = SimDisk::new();
    let options = EmbeddedOptions::disk(Arc::new(disk.clone())).clock(Arc::new(LongAgo));
    let place = Place::opened(disk, options).await;
    place.append("$et-Numbered", 0..3).await;
    let group = place.group("$et-Numbered", |it| it.start_from = StartFrom::End).await;
    let mut consumer = place.connect(&group, 10).await;
    place.append("$et-Numbered", 3..4).await;
    assert_eq!(numbers(&mut consumer, 1).await, [(3, 0)]);
}

/// A clock that stands.
struct LongAgo;

impl Clock for LongAgo {
    fn now(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }
}
