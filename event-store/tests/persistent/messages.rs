//! How messages come to consumers, and what their answers lead to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use event_store::persistent::{
    EventSource, GroupId, GroupInfo, NackAction, Settings, StartFrom, Strategy,
};
use event_store::{
    ContentType, EventId, EventStore, EventType, ExpectedRevision, Filter, NewEvent, ReadStream,
};
use futures::{StreamExt, TryStreamExt};
use uuid::Uuid;

use super::{PATIENCE, Place, is_quiet, next, number, numbers, settings};
use crate::given::{event, stream};

#[tokio::test]
async fn each_refusal_leads_to_its_end() {
    let place = Place::new().await;
    place.append("s", 0..6).await;
    let group = place.group("s", |_| {}).await;
    let mut consumer = place.connect(&group, 10).await;
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(next(&mut consumer).await.unwrap().message.id());
    }
    let answer = consumer.acknowledger.clone();
    answer.ack(vec![ids[0]]).await.unwrap();
    answer.nack(NackAction::Park, vec![ids[1]], "bad").await.unwrap();
    answer.nack(NackAction::Retry, vec![ids[2]], "").await.unwrap();
    answer.nack(NackAction::Skip, vec![ids[3]], "").await.unwrap();
    answer.nack(NackAction::Stop, vec![ids[4]], "").await.unwrap();
    answer.nack(NackAction::Unknown, vec![ids[5]], "").await.unwrap();
    assert_eq!(numbers(&mut consumer, 2).await, [(2, 1), (5, 1)]);
    assert!(is_quiet(&mut consumer));
    let info = place.until(&group, |info| info.parked_count == 1).await;
    assert_eq!((info.in_flight_count, info.total_items), (3, 1), "2, 4 and 5 are in flight");
    answer.ack(vec![ids[2], ids[4], ids[5]]).await.unwrap();
    place
        .until(&group, |info| info.last_checkpointed.is_some_and(|it| it.to_string() == "5"))
        .await;
    let parked = place.store.read_stream(ReadStream::forward(group.parked_stream())).await.unwrap();
    let parked: Vec<_> = parked.try_collect().await.unwrap();
    let [link] = parked.as_slice() else { panic!("one is parked: {parked:?}") };
    assert_eq!((link.event_type.as_str(), &link.data[..]), ("$>", &b"1@s"[..]));
    let metadata: serde_json::Value = serde_json::from_slice(&link.metadata).unwrap();
    assert_eq!(
        (&metadata["reason"], &metadata["subscriptionEventNumber"]),
        (&"bad".into(), &1.into())
    );
}

#[tokio::test]
async fn what_is_not_answered_in_time_comes_again_and_is_parked_at_last() {
    let place = Place::new().await;
    place.append("s", [0]).await;
    let change = |it: &mut Settings| {
        (it.message_timeout, it.max_retry_count) = (Duration::from_millis(20), 2);
    };
    let group = place.group("s", change).await;
    let mut consumer = place.connect(&group, 1).await;
    assert_eq!(numbers(&mut consumer, 3).await, [(0, 0), (0, 1), (0, 2)]);
    place.until(&group, |info| info.parked_count == 1 && info.in_flight_count == 0).await;
}

#[tokio::test]
async fn what_a_consumer_had_goes_to_another_at_once() {
    let place = Place::new().await;
    place.append("s", 0..3).await;
    let group = place.group("s", |_| {}).await;
    let mut first = place.connect(&group, 10).await;
    assert_eq!(numbers(&mut first, 2).await, [(0, 0), (1, 0)]);
    let mut second = place.connect(&group, 10).await;
    drop(first);
    assert_eq!(numbers(&mut second, 3).await, [(0, 1), (1, 1), (2, 1)]);
    place.until(&group, |info| info.consumers.len() == 1).await;
}

#[tokio::test]
async fn a_slow_consumer_holds_no_more_than_its_buffer() {
    let place = Place::new().await;
    place.append("s", 0..3000).await;
    let change = |it: &mut Settings| {
        (it.read_batch_size, it.history_buffer_size, it.live_buffer_size) = (5, 20, 10);
    };
    let group = place.group("s", change).await;
    let mut consumer = place.connect(&group, 3).await;
    let info = place.until(&group, |info| info.in_flight_count == 3).await;
    let held =
        |info: &GroupInfo| info.in_flight_count + info.read_buffer_count + info.live_buffer_count;
    assert!(held(&info) <= 23, "{info:?}");
    place.append("s", 3000..3100).await;
    for expected in 0..3100 {
        let delivered = next(&mut consumer).await.unwrap();
        assert_eq!((number(&delivered), delivered.retry_count), (expected, 0));
        consumer.acknowledger.ack(vec![delivered.message.id()]).await.unwrap();
        if expected % 100 == 0 {
            assert!(held(&place.info(&group).await) <= 23);
        }
    }
    let info = place.until(&group, |info| info.status.to_string() == "Live").await;
    assert_eq!(info.failure, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_consumers_share_ten_thousand_events_once_each() {
    const EVENTS: u64 = 10_000;
    let place = Place::new().await;
    let group = place.group("s", |it| it.max_checkpoint_count = 1000).await;
    let mut at_work = Vec::new();
    for _ in 0..16 {
        let mut consumer = place.connect(&group, 10).await;
        at_work.push(tokio::spawn(async move {
            let mut got = Vec::new();
            while let Some(Ok(delivered)) = consumer.deliveries.next().await {
                assert_eq!(delivered.retry_count, 0);
                got.push(number(&delivered));
                consumer.acknowledger.ack(vec![delivered.message.id()]).await.unwrap();
            }
            got
        }));
    }
    for from in (0..EVENTS).step_by(500) {
        place.append("s", from..from + 500).await;
    }
    place.until(&group, |info| info.total_items == EVENTS).await;
    place.subscriptions.close().await;
    let mut all = Vec::new();
    for consumer in at_work {
        let got = tokio::time::timeout(PATIENCE, consumer).await.unwrap().unwrap();
        assert!(!got.is_empty(), "each has its share");
        all.extend(got);
    }
    assert_eq!(all.len() as u64, EVENTS);
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), (0..EVENTS).collect());
}

/// Who got which streams, of 8 streams with 5 events each and 3 consumers with this buffer.
async fn spread(strategy: Strategy, buffer: u32) -> Vec<BTreeMap<String, usize>> {
    let place = Place::new().await;
    for number in 0..40 {
        place.append(&format!("s{}", number % 8), [number]).await;
    }
    let group = GroupId::new(EventSource::All, "workers").unwrap();
    let mut settings = settings();
    settings.strategy = strategy;
    let filter = Filter::stream_prefixes(["s"]);
    // All consumers are there before the first message is.
    settings.start_from = StartFrom::End;
    place.subscriptions.create(&group, Some(filter), settings).await.unwrap();
    let mut consumers = Vec::new();
    for _ in 0..3 {
        consumers.push(place.connect(&group, buffer).await);
    }
    for number in 40..80 {
        place.append(&format!("s{}", number % 8), [number]).await;
    }
    let all = (3 * u64::from(buffer)).min(40);
    place.until(&group, |info| info.in_flight_count == all).await;
    let mut got = Vec::new();
    for consumer in &mut consumers {
        let mut streams = BTreeMap::new();
        while let Some(Some(Ok(it))) = futures::FutureExt::now_or_never(consumer.deliveries.next())
        {
            let stream = it.message.original().stream.to_string();
            *streams.entry(stream).or_default() += 1;
        }
        got.push(streams);
    }
    got
}

#[tokio::test]
async fn each_strategy_spreads_in_its_way() {
    let sizes = |got: &[BTreeMap<String, usize>]| -> Vec<usize> {
        got.iter().map(|streams| streams.values().sum()).collect()
    };
    assert_eq!(sizes(&spread(Strategy::RoundRobin, 40).await), [14, 13, 13]);
    assert_eq!(sizes(&spread(Strategy::DispatchToSingle, 40).await), [40, 0, 0]);
    for strategy in [Strategy::Pinned, Strategy::PinnedByCorrelation] {
        let pinned = spread(strategy, 40).await;
        let streams: usize = pinned.iter().map(BTreeMap::len).sum();
        assert_eq!(streams, 8, "each stream is with one consumer: {pinned:?}");
        assert!(pinned.iter().flat_map(BTreeMap::values).all(|count| *count == 5));
        assert!(pinned.iter().filter(|it| !it.is_empty()).count() > 1, "{pinned:?}");
    }
}

#[tokio::test]
async fn links_are_followed_and_acknowledged_as_links() {
    let place = Place::new().await;
    place.append("s", [0]).await;
    let links = stream("links");
    let link = |id: u128, to: &str| NewEvent {
        id: EventId(Uuid::from_u128(id)),
        event_type: EventType::new("$>").unwrap(),
        content_type: ContentType::Binary,
        data: Bytes::copy_from_slice(to.as_bytes()),
        metadata: Bytes::new(),
    };
    let events = vec![link(1 << 100, "0@s"), link(1 << 101, "7@nothing"), link(1 << 102, "junk")];
    place.store.append(&links, ExpectedRevision::Any, events).await.unwrap();
    let group = place.group("links", |it| it.resolve_links = true).await;
    let mut consumer = place.connect(&group, 10).await;
    let resolved = next(&mut consumer).await.unwrap().message;
    assert_eq!(resolved.content().unwrap().id, event(0).id);
    assert_eq!(resolved.id(), EventId(Uuid::from_u128(1 << 100)));
    for id in [1 << 101, 1 << 102] {
        let broken = next(&mut consumer).await.unwrap().message;
        assert_eq!((broken.content(), broken.id()), (None, EventId(Uuid::from_u128(id))));
        consumer.acknowledger.ack(vec![broken.id()]).await.unwrap();
    }
    consumer.acknowledger.ack(vec![resolved.id()]).await.unwrap();
    place.until(&group, |info| info.total_items == 3 && info.in_flight_count == 0).await;
}
