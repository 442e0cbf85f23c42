//! What restarts and kills leave: nothing unfinished is lost, nothing before the checkpoint comes
//! again.

use event_store::persistent::{EventSource, GroupId, NackAction, StartFrom};
use event_store::{EventStore, Filter, ReadStream};
use futures::TryStreamExt;

use super::{Place, is_quiet, next, numbers, settings};
use crate::given::{everything, stream};

/// Takes these many messages and acknowledges them.
async fn work(consumer: &mut super::Consumer, count: usize) -> Vec<u64> {
    let mut done = Vec::new();
    for _ in 0..count {
        let delivered = next(consumer).await.unwrap();
        done.push(super::number(&delivered));
        consumer.acknowledger.ack(vec![delivered.message.id()]).await.unwrap();
    }
    done
}

#[tokio::test]
async fn after_a_restart_a_group_goes_on_behind_its_checkpoint() {
    let place = Place::new().await;
    place.append("s", 0..10).await;
    // So few that only the end brings a checkpoint.
    let change = |it: &mut super::Settings| {
        (it.min_checkpoint_count, it.max_checkpoint_count) = (100, 1000);
    };
    let group = place.group("s", change).await;
    let mut consumer = place.connect(&group, 10).await;
    assert_eq!(work(&mut consumer, 4).await, [0, 1, 2, 3]);
    place.until(&group, |info| info.total_items == 4).await;
    let place = place.restart().await;
    let info = place.until(&group, |info| info.last_known.is_some()).await;
    assert_eq!(info.last_checkpointed.unwrap().to_string(), "3");
    let mut consumer = place.connect(&group, 10).await;
    assert_eq!(work(&mut consumer, 6).await, [4, 5, 6, 7, 8, 9]);
}

#[tokio::test]
async fn a_kill_loses_nothing_and_repeats_nothing_before_the_checkpoint() {
    let mut place = Place::new().await;
    place.append("s", 0..30).await;
    let group = place.group("s", |_| {}).await;
    for killed in 0..3 {
        let mut consumer = place.connect(&group, 10).await;
        let first = killed * 5;
        assert_eq!(work(&mut consumer, 5).await, (first..first + 5).collect::<Vec<_>>());
        let last = (first + 4).to_string();
        place
            .until(&group, |info| info.last_checkpointed.is_some_and(|it| it.to_string() == last))
            .await;
        // One that is behind an unfinished one is done again, and the unfinished one too.
        let skipped = next(&mut consumer).await.unwrap();
        assert_eq!(super::number(&skipped), first + 5);
        work(&mut consumer, 1).await;
        place = place.kill().await;
    }
    let mut consumer = place.connect(&group, 10).await;
    assert_eq!(work(&mut consumer, 15).await, (15..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn checkpoints_do_not_grow() {
    let place = Place::new().await;
    place.append("s", 0..50).await;
    let group = place.group("s", |_| {}).await;
    let mut consumer = place.connect(&group, 1).await;
    work(&mut consumer, 50).await;
    place
        .until(&group, |info| info.last_checkpointed.is_some_and(|it| it.to_string() == "49"))
        .await;
    let read = ReadStream::forward(group.checkpoint_stream());
    let kept: Vec<_> = place.store.read_stream(read).await.unwrap().try_collect().await.unwrap();
    assert_eq!(kept.len(), 2);
    let last = kept.last().unwrap();
    assert_eq!(last.event_type.as_str(), "$SubscriptionCheckpoint");
    assert_eq!(&last.data[..], b"\"49\"");
}

#[tokio::test]
async fn parked_messages_come_back_first_and_survive_a_kill_halfway() {
    let place = Place::new().await;
    place.append("s", 0..4).await;
    let group = place.group("s", |_| {}).await;
    let mut consumer = place.connect(&group, 10).await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(next(&mut consumer).await.unwrap().message.id());
    }
    consumer.acknowledger.nack(NackAction::Park, ids, "later").await.unwrap();
    place.until(&group, |info| info.parked_count == 4 && info.oldest_parked.is_some()).await;
    place.subscriptions.replay_parked(&group, Some(2)).await.unwrap();
    let replayed = next(&mut consumer).await.unwrap();
    assert_eq!(super::number(&replayed), 0);
    assert_eq!(&replayed.message.resolved_link().unwrap().data[..], b"0@s");
    assert_eq!(numbers(&mut consumer, 1).await, [(1, 0)]);
    assert!(is_quiet(&mut consumer), "two were asked for");
    consumer.acknowledger.ack(vec![replayed.message.id()]).await.unwrap();
    place.until(&group, |info| info.total_items == 1).await;
    // Else what was parked is read from the source once more, behind what is replayed.
    place
        .until(&group, |info| info.last_checkpointed.is_some_and(|it| it.to_string() == "3"))
        .await;

    let place = place.kill().await;
    let left = place.until(&group, |info| info.last_known.is_some()).await.parked_count;
    assert!((3..=4).contains(&left), "the unfinished ones are still parked: {left}");
    place.append("s", [4]).await;
    place.until(&group, |info| info.last_known.is_some_and(|it| it.to_string() == "4")).await;
    place.subscriptions.replay_parked(&group, None).await.unwrap();
    place.until(&group, |info| info.retry_buffer_count == left).await;
    let mut consumer = place.connect(&group, 10).await;
    let first = 4 - left;
    assert_eq!(work(&mut consumer, left as usize + 1).await, (first..5).collect::<Vec<_>>());
    let info = place.until(&group, |info| info.parked_count == 0).await;
    assert_eq!(info.oldest_parked, None);
    let place = place.kill().await;
    let info = place.until(&group, |info| info.status.to_string() == "Live").await;
    assert_eq!(info.parked_count, 0);
}

#[tokio::test]
async fn parked_messages_that_are_let_go_never_come_back() {
    let place = Place::new().await;
    place.append("s", 0..4).await;
    let group = place.group("s", |_| {}).await;
    let mut consumer = place.connect(&group, 10).await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(next(&mut consumer).await.unwrap().message.id());
    }
    consumer.acknowledger.nack(NackAction::Park, ids, "later").await.unwrap();
    place.until(&group, |info| info.parked_count == 4).await;
    place.subscriptions.truncate_parked(&group, Some(3)).await.unwrap();
    assert_eq!(place.subscriptions.info(&group).await.unwrap().parked_count, 1, "told at once");
    place
        .until(&group, |info| info.last_checkpointed.is_some_and(|it| it.to_string() == "3"))
        .await;

    let place = place.kill().await;
    let known = place.until(&group, |info| info.last_known.is_some()).await;
    assert!((1..=4).contains(&known.parked_count), "the kill may have come first");
    place.subscriptions.truncate_parked(&group, Some(3)).await.unwrap();
    place.subscriptions.replay_parked(&group, None).await.unwrap();
    let mut consumer = place.connect(&group, 10).await;
    assert_eq!(numbers(&mut consumer, 1).await, [(3, 0)]);
    assert!(is_quiet(&mut consumer), "the others are gone");
}

#[tokio::test]
async fn the_end_is_where_it_was_when_the_group_was_made() {
    let place = Place::new().await;
    place.append("full", [0, 1]).await;
    let full = place.group("full", |it| it.start_from = StartFrom::End).await;
    let empty = place.group("empty", |it| it.start_from = StartFrom::End).await;
    let all = GroupId::new(EventSource::All, "workers").unwrap();
    let settings = super::Settings { start_from: StartFrom::End, ..settings() };
    let filter = Some(Filter::type_prefixes(["Numbered"]));
    place.subscriptions.create(&all, filter, settings).await.unwrap();
    place.append("full", [2]).await;
    place.append("empty", [3]).await;
    let place = place.kill().await;
    for (group, expected) in [(&full, &[2][..]), (&empty, &[3]), (&all, &[2, 3])] {
        let mut consumer = place.connect(group, 10).await;
        assert_eq!(work(&mut consumer, expected.len()).await, expected, "{group}");
        assert!(is_quiet(&mut consumer));
    }
}

#[tokio::test]
async fn a_group_of_the_log_keeps_to_its_filter_and_rests() {
    let place = Place::new().await;
    for number in 0..6 {
        let stream = if number % 2 == 0 { "even" } else { "odd" };
        place.append(stream, [number]).await;
    }
    let filtered = GroupId::new(EventSource::All, "filtered").unwrap();
    let filter = Some(Filter::stream_prefixes(["odd"]));
    place.subscriptions.create(&filtered, filter, settings()).await.unwrap();
    let mut consumer = place.connect(&filtered, 10).await;
    assert_eq!(work(&mut consumer, 3).await, [1, 3, 5]);
    let whole = GroupId::new(EventSource::All, "whole").unwrap();
    place.subscriptions.create(&whole, None, settings()).await.unwrap();
    let mut consumer = place.connect(&whole, 10).await;
    // The last that it sees of the subscriptions is how they are kept.
    loop {
        let delivered = next(&mut consumer).await.unwrap().message;
        let original = delivered.original();
        assert!(!original.stream.as_str().contains("$persistentsubscription-"));
        consumer.acknowledger.ack(vec![delivered.id()]).await.unwrap();
        if original.stream.as_str() == "$persistentSubscriptionConfig"
            && original.revision.get() == 1
        {
            break;
        }
    }
    place.until(&whole, |info| info.last_checkpointed == info.last_known).await;
    // What it keeps for itself gives it no more to do.
    assert!(everything(&place.store).await.unwrap().len() < 60);
    let place = place.restart().await;
    let info = place.until(&whole, |info| info.status.to_string() == "Live").await;
    assert_eq!(info.settings, settings());
    assert_eq!((info.in_flight_count, info.live_buffer_count, info.read_buffer_count), (0, 0, 0));
    place.append("odd", [7]).await;
    let mut consumer = place.connect(&filtered, 10).await;
    assert_eq!(work(&mut consumer, 1).await, [7]);
}

#[tokio::test]
async fn a_group_begins_with_the_place_it_is_given() {
    let place = Place::new().await;
    place.append("s", 0..5).await;
    let read = ReadStream::forward(stream("s"));
    let events: Vec<_> = place.store.read_stream(read).await.unwrap().try_collect().await.unwrap();
    let (revision, position) = (events[2].revision, events[2].position);
    let at = |place| StartFrom::At(place);
    let from = at(event_store::persistent::Place::Revision(revision));
    let of_stream = place.group("s", |it| it.start_from = from).await;
    let from = at(event_store::persistent::Place::Position(position));
    let of_log = place.group("$all", |it| it.start_from = from).await;
    for group in [&of_stream, &of_log] {
        let mut consumer = place.connect(group, 10).await;
        assert_eq!(work(&mut consumer, 3).await, [2, 3, 4], "{group}");
    }
}

#[tokio::test]
async fn a_store_that_can_not_write_is_told_of_and_tried_again() {
    let place = Place::without_room().await;
    place.append("s", 0..2).await;
    let group = place.group("s", |_| {}).await;
    let mut consumer = place.connect(&group, 10).await;
    place.disk.set_capacity_bytes(Some(place.disk.used_bytes()));
    let ids = [next(&mut consumer).await.unwrap(), next(&mut consumer).await.unwrap()];
    let [first, second] = ids.map(|delivered| delivered.message.id());
    consumer.acknowledger.ack(vec![first]).await.unwrap();
    consumer.acknowledger.nack(NackAction::Park, vec![second], "").await.unwrap();
    let info = place.until(&group, |info| info.failure.is_some()).await;
    assert!(info.failure.unwrap().contains("the disk is full"));
    assert_eq!((info.parked_count, info.last_checkpointed), (0, None));
    place.disk.set_capacity_bytes(None);
    let info = place
        .until(&group, |info| info.last_checkpointed.is_some_and(|it| it.to_string() == "1"))
        .await;
    assert_eq!((info.parked_count, info.failure), (1, None));
}
