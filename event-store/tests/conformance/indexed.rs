//! Categories and types: read both ways, of the past, and followed.

use std::sync::Arc;

use event_store::{
    AsOf, Delivery, EventType, ExpectedRevision, Index, IndexStart, IndexSubscription, Indexed,
    NewEvent, Ordinal, ReadIndex, StreamName, SubscribeFrom,
};
use futures::TryStreamExt;
use uuid::Uuid;

use crate::suite::deliveries::{self, next};
use crate::suite::{PATIENCE, Store, event, events, recorded_later};

/// A category that no other test has.
fn category() -> String {
    format!("c{}", Uuid::new_v4().simple())
}

fn stream(category: &str, id: u64) -> StreamName {
    StreamName::new(format!("{category}-{id}")).unwrap()
}

fn of_type(event_type: &EventType) -> NewEvent {
    NewEvent { event_type: event_type.clone(), ..event(0) }
}

async fn append(store: &Store, stream: &StreamName, events: Vec<NewEvent>) -> u64 {
    let appended = store.append(stream, ExpectedRevision::Any, events).await.unwrap();
    appended.position.unwrap().get()
}

async fn read(store: &Store, read: ReadIndex) -> Vec<Indexed> {
    let read = async { store.read_index(read).await.unwrap().try_collect().await.unwrap() };
    tokio::time::timeout(PATIENCE, read).await.expect("a read ends")
}

async fn ordinals(store: &Store, asked: ReadIndex) -> Vec<u64> {
    read(store, asked).await.iter().map(|indexed| indexed.ordinal.get()).collect()
}

/// Stream and revision of each event, in order of ordinals that have no gap.
fn gapless(read: &[Indexed]) -> Vec<(String, u64)> {
    for (number, indexed) in read.iter().enumerate() {
        assert_eq!(indexed.ordinal.get(), number as u64);
    }
    let events = read.iter().map(|indexed| &indexed.event);
    events.map(|event| (event.stream.to_string(), event.revision.get())).collect()
}

/// Given events of a category among others, when it is read both ways from anywhere, then it is in
/// the order of the log, and each event has its ordinal.
pub async fn a_category_is_read_both_ways_from_anywhere(store: Store) {
    let name = category();
    let (one, other) = (stream(&name, 1), stream(&name, 2));
    let foreign = stream(&category(), 1);
    for stream in [&one, &other, &foreign, &one, &foreign, &other] {
        append(&store, stream, events(1)).await;
    }
    append(&store, &one, events(2)).await;
    let forward = ReadIndex::forward(Index::category(&*name));
    let backward = ReadIndex::backward(Index::category(&*name));
    let expected = [(&one, 0), (&other, 0), (&one, 1), (&other, 1), (&one, 2), (&one, 3)];
    let expected = expected.map(|(stream, revision)| (stream.to_string(), revision));
    assert_eq!(gapless(&read(&store, forward.clone()).await), expected);
    let end = ReadIndex { start: IndexStart::End, ..forward.clone() };
    let begin = ReadIndex { start: IndexStart::Start, ..backward.clone() };
    let at = Ordinal::new;
    for (asked, expected) in [
        (backward.clone(), vec![5, 4, 3, 2, 1, 0]),
        (forward.clone().from(at(2)).limit(3), vec![2, 3, 4]),
        (forward.clone().from(at(6)), vec![]),
        (forward.clone().limit(0), vec![]),
        (backward.clone().from(at(2)), vec![2, 1, 0]),
        (backward.clone().from(at(99)).limit(1), vec![5]),
        (backward.limit(2), vec![5, 4]),
        (end, vec![5]),
        (begin, vec![0]),
    ] {
        let told = format!("{asked:?}");
        assert_eq!(ordinals(&store, asked).await, expected, "{told}");
    }
    for ordinal in 0..6 {
        let one = read(&store, forward.clone().from(at(ordinal)).limit(1)).await;
        let place = (one[0].event.stream.to_string(), one[0].event.revision.get());
        assert_eq!(place, expected[usize::try_from(ordinal).unwrap()]);
    }
}

/// Given events of one type in streams of any name, when the type is read, then all are there.
pub async fn a_type_is_read_across_all_streams(store: Store) {
    let wanted = EventType::new(category()).unwrap();
    let streams = [stream(&category(), 1), stream(&category(), 1)];
    let mut expected = Vec::new();
    for round in 0..3 {
        for stream in &streams {
            append(&store, stream, vec![event(0), of_type(&wanted)]).await;
            expected.push((stream.to_string(), 2 * round + 1));
        }
    }
    let read = read(&store, ReadIndex::forward(Index::EventType(wanted))).await;
    assert_eq!(gapless(&read), expected);
}

/// Given streams whose names have no category, when they are looked for, then there is nothing.
pub async fn names_without_a_category_are_in_none(store: Store) {
    let name = category();
    for stream in [name.clone(), format!("-{name}"), format!("${name}-1")] {
        append(&store, &StreamName::new(stream).unwrap(), events(1)).await;
    }
    for none in [name.clone(), String::new(), format!("${name}"), format!("-{name}")] {
        let read = read(&store, ReadIndex::forward(Index::category(none))).await;
        assert!(read.iter().all(|indexed| !indexed.event.stream.as_str().contains(&name)));
    }
    let missing = Index::EventType(EventType::new(&name).unwrap());
    assert_eq!(read(&store, ReadIndex::backward(missing)).await, []);
}

/// Given a category that went on, when it is read as of a moment, then nothing later is there.
pub async fn the_past_of_an_index_is_read(store: Store) {
    let name = category();
    let stream = stream(&name, 1);
    append(&store, &stream, events(2)).await;
    let middle = append(&store, &stream, events(1)).await;
    let then = recorded_later(&store, &stream).await;
    let all = read(&store, ReadIndex::forward(Index::category(&*name))).await;
    let early = all.iter().filter(|indexed| indexed.event.recorded_at < then).count() as u64;
    let by_position = AsOf::Position(event_store::Position::new(middle));
    let last_early = all[usize::try_from(early).unwrap() - 1].event.recorded_at;
    for (moment, count) in [(by_position, 3), (AsOf::Time(last_early), early)] {
        let forward = ReadIndex::forward(Index::category(&*name)).as_of(moment);
        let backward = ReadIndex::backward(Index::category(&*name)).as_of(moment);
        assert_eq!(ordinals(&store, forward.clone()).await, (0..count).collect::<Vec<_>>());
        assert_eq!(ordinals(&store, backward.clone()).await, (0..count).rev().collect::<Vec<_>>());
        assert!(ordinals(&store, forward.from(Ordinal::new(count))).await.is_empty());
        let far = backward.from(Ordinal::new(count)).limit(1);
        assert_eq!(ordinals(&store, far).await, [count - 1]);
    }
}

/// Given a category, when it is read from a time, then forward from the first event at it or later,
/// backward from the last one until then.
pub async fn an_index_is_read_from_a_time(store: Store) {
    let name = category();
    let stream = stream(&name, 1);
    append(&store, &stream, events(2)).await;
    let later = recorded_later(&store, &stream).await;
    append(&store, &stream, events(2)).await;
    let all = read(&store, ReadIndex::forward(Index::category(&*name))).await;
    let first = all.iter().position(|indexed| indexed.event.recorded_at >= later).unwrap() as u64;
    let last = all.iter().rposition(|indexed| indexed.event.recorded_at <= later).unwrap() as u64;
    let forward = ReadIndex::forward(Index::category(&*name)).from_time(later);
    let backward = ReadIndex::backward(Index::category(&*name)).from_time(later);
    let end = all.len() as u64;
    assert_eq!(ordinals(&store, forward).await, (first..end).collect::<Vec<_>>());
    assert_eq!(ordinals(&store, backward).await, (0..=last).rev().collect::<Vec<_>>());
}

/// Given a deleted stream, when its category is read, then all is there: as in a read of the log.
pub async fn what_is_hidden_of_a_stream_is_in_its_category(store: Store) {
    let name = category();
    append(&store, &stream(&name, 1), events(2)).await;
    append(&store, &stream(&name, 2), events(1)).await;
    store.delete_stream(&stream(&name, 1), ExpectedRevision::Any).await.unwrap();
    store.tombstone_stream(&stream(&name, 2), ExpectedRevision::Any).await.unwrap();
    let read = read(&store, ReadIndex::forward(Index::category(&*name))).await;
    assert_eq!(gapless(&read).len(), 4, "a tombstone is an event of its stream");
}

/// Given a category longer than a page, when it is read, then it is whole.
pub async fn a_long_category_is_read_whole(store: Store) {
    const STREAMS: u64 = 4_500;
    let name = category();
    for from in (0..STREAMS).step_by(500) {
        let appends = (from..from + 500).map(|id| {
            let (store, stream) = (Arc::clone(&store), stream(&name, id));
            async move { append(&store, &stream, events(1)).await }
        });
        futures::future::join_all(appends).await;
    }
    let mut forward = read(&store, ReadIndex::forward(Index::category(&*name))).await;
    assert_eq!(gapless(&forward).len() as u64, STREAMS);
    forward.reverse();
    assert_eq!(read(&store, ReadIndex::backward(Index::category(name))).await, forward);
}

async fn next_ordinal(subscription: &mut IndexSubscription) -> u64 {
    loop {
        if let Delivery::Event(indexed) = next(subscription).await.unwrap() {
            return indexed.ordinal.get();
        }
    }
}

async fn until_caught_up(subscription: &mut IndexSubscription) -> Vec<u64> {
    let indexed = deliveries::until_caught_up(subscription).await;
    indexed.iter().map(|indexed| indexed.ordinal.get()).collect()
}

/// Given a category, when it is followed from each place, then first what is there and then what
/// comes is delivered.
pub async fn an_index_is_followed_from_the_past_to_live(store: Store) {
    let name = category();
    append(&store, &stream(&name, 1), events(3)).await;
    let index = Index::category(&*name);
    let follow = |from| store.subscribe_index(&index, from);
    let mut whole = follow(SubscribeFrom::Start).await.unwrap();
    let mut behind = follow(SubscribeFrom::After(Ordinal::new(1))).await.unwrap();
    let mut ahead = follow(SubscribeFrom::After(Ordinal::new(3))).await.unwrap();
    let mut new = follow(SubscribeFrom::End).await.unwrap();
    assert_eq!(until_caught_up(&mut whole).await, [0, 1, 2]);
    assert_eq!(until_caught_up(&mut behind).await, [2]);
    assert!(until_caught_up(&mut ahead).await.is_empty());
    assert!(until_caught_up(&mut new).await.is_empty());
    for ordinal in 3..6 {
        append(&store, &stream(&category(), 1), events(1)).await;
        append(&store, &stream(&name, ordinal), events(1)).await;
        for subscription in [&mut whole, &mut behind, &mut new] {
            assert_eq!(next_ordinal(subscription).await, ordinal);
        }
    }
    assert_eq!(next_ordinal(&mut ahead).await, 4, "what comes before the place is not delivered");
}

/// Given writers at work, when a category and a type are followed, then each event comes once.
pub async fn followers_of_an_index_see_each_event_once_under_load(store: Store) {
    const WRITERS: u64 = 4;
    const APPENDS: u64 = 40;
    let name = category();
    let wanted = EventType::new(&name).unwrap();
    let start = SubscribeFrom::Start;
    let mut of_category = store.subscribe_index(&Index::category(&*name), start).await.unwrap();
    let of_type_index = Index::EventType(wanted.clone());
    let mut of_types = store.subscribe_index(&of_type_index, start).await.unwrap();
    for writer in 0..WRITERS {
        let (store, name, wanted) = (Arc::clone(&store), name.clone(), wanted.clone());
        tokio::spawn(async move {
            for _ in 0..APPENDS {
                append(&store, &stream(&name, writer), vec![event(0), of_type(&wanted)]).await;
                append(&store, &stream(&category(), 1), events(1)).await;
            }
        });
    }
    for ordinal in 0..WRITERS * APPENDS {
        assert_eq!(next_ordinal(&mut of_category).await, 2 * ordinal);
        assert_eq!(next_ordinal(&mut of_category).await, 2 * ordinal + 1);
        assert_eq!(next_ordinal(&mut of_types).await, ordinal);
    }
}
