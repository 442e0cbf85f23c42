//! What the embedded store's indexes of categories and types promise beyond the port: names with
//! one hash are told apart, ordinals are the same whatever became of the indexes, and a read costs
//! what it returns, however long the log.

#[path = "given/events.rs"]
mod given;
#[path = "given/indexed.rs"]
mod indexed;
#[path = "given/simulated.rs"]
mod simulated;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use event_store::log::{Clock, Disk as _, SimDisk};
use event_store::{
    Delivery, EmbeddedOptions, EmbeddedStore, EventStore, EventType, ExpectedRevision, Index,
    NewEvent, Ordinal, ReadAll, ReadIndex, ReadStream, SubscribeFrom,
};
use futures::{StreamExt, TryStreamExt};
use given::{event, everything, stream};
use indexed::until_indexed;
use simulated::{all_of, open};

/// Two names with one hash, by which indexes sort categories and types.
const SAME_HASH: [&str; 2] = ["8yn0iYCKYHlIj4-BwPqk", "GReLUrM4wMqfg9yzV3KQ"];

fn of_type(number: u64, name: &str) -> NewEvent {
    NewEvent { event_type: EventType::new(name).unwrap(), ..event(number) }
}

async fn append(store: &EmbeddedStore, name: &str, event: NewEvent) {
    store.append(&stream(name), ExpectedRevision::Any, vec![event]).await.unwrap();
}

/// Ordinal and position of each event of a read.
async fn places(store: &EmbeddedStore, read: ReadIndex) -> Vec<(u64, u64)> {
    let read = store.read_index(read).await.unwrap();
    read.map_ok(|it| (it.ordinal.get(), it.event.position.get())).try_collect().await.unwrap()
}

/// Given two types whose names have one hash, when each is read or followed, then it has its own
/// events only, and they have the ordinals of a common count, before a restart and after it.
#[tokio::test]
async fn types_that_share_a_hash_do_not_share_events() {
    const EVENTS: u64 = 40;
    let disk = SimDisk::new();
    let mut store = open(&disk).await.unwrap();
    let name = |number: u64| SAME_HASH[usize::try_from(number % 3).unwrap().min(1)];
    for number in 0..EVENTS {
        append(&store, "track-1", of_type(number, name(number))).await;
    }
    for _ in ["as it was written", "as it is found again"] {
        for wanted in SAME_HASH {
            let index = Index::EventType(EventType::new(wanted).unwrap());
            let numbers = (0..EVENTS).filter(|&number| name(number) == wanted);
            let told: Vec<_> = numbers.map(|number| (number, number + 1)).collect();
            assert_eq!(places(&store, ReadIndex::forward(index.clone())).await, told);
            let last = places(&store, ReadIndex::backward(index.clone()).limit(1)).await;
            assert_eq!(last, told[told.len() - 1..]);
            let mut followed =
                store.subscribe_index(&index, SubscribeFrom::After(Ordinal::new(1))).await.unwrap();
            for &(ordinal, _) in told.iter().filter(|it| it.0 > 1) {
                match followed.next().await.unwrap().unwrap() {
                    Delivery::Event(indexed) => assert_eq!(indexed.ordinal.get(), ordinal),
                    other => panic!("{other:?} in place of {ordinal}"),
                }
            }
        }
        store.close().await.unwrap();
        store = open(&disk).await.unwrap();
    }
}

/// Given a log of many segments, when any of its indexes, or all, are gone, then every event has
/// the ordinal that it had.
#[tokio::test]
async fn ordinals_are_the_same_when_indexes_are_made_again() {
    const CATEGORIES: u64 = 7;
    let disk = SimDisk::new();
    let store = open(&disk).await.unwrap();
    for number in 0..120 {
        // One begins late, and one ends early.
        let category = if number < 60 { number % CATEGORIES } else { 1 + number % CATEGORIES };
        append(&store, &format!("c{category}-{number}"), event(number)).await;
    }
    let all = everything(&store).await.unwrap();
    store.close().await.unwrap();
    let names = disk.list().unwrap();
    let indexes: Vec<&String> = names.iter().filter(|name| name.ends_with(".idx")).collect();
    assert!(indexes.len() > 8, "{names:?}");
    let one_each = indexes.iter().map(|&name| vec![name]);
    for gone in one_each.chain([indexes.clone(), Vec::new()]) {
        let damaged = disk.copy();
        gone.iter().for_each(|name| damaged.remove(name).unwrap());
        let store = open(&damaged).await.unwrap();
        for category in 0..=CATEGORIES {
            let index = Index::category(format!("c{category}"));
            let events = all.iter().filter(|event| index.has(event));
            let told: Vec<_> = (0..).zip(events.map(|event| event.position.get())).collect();
            assert!(!told.is_empty(), "{index}");
            assert_eq!(places(&store, ReadIndex::forward(index.clone())).await, told, "{gone:?}");
            for &(ordinal, position) in &told {
                let from = ReadIndex::forward(index.clone()).from(Ordinal::new(ordinal)).limit(1);
                assert_eq!(places(&store, from).await, [(ordinal, position)], "{gone:?}");
            }
        }
        drop(store);
        // Where all are gone, another key sorts the new ones.
        if gone.len() < indexes.len() {
            let is_same = |name: &&String| damaged.contents(name) == disk.contents(name);
            assert!(indexes.iter().all(is_same), "they are as they were: {gone:?}");
        }
    }
}

/// Given a log of which one event in a hundred is of a category, when that is read, then hardly
/// more is read from the disk than for a stream of as many events; and to find one event by its
/// ordinal takes a few looks, also where most segments have nothing of it.
#[tokio::test]
async fn a_read_costs_what_it_returns() {
    const EVENTS: u64 = 20_000;
    const EVERY: u64 = 100;
    const SEGMENT_BYTES: u64 = 40_000;
    let disk = SimDisk::new();
    let options = || EmbeddedOptions::disk(Arc::new(disk.clone())).segment_bytes(SEGMENT_BYTES);
    let store = EmbeddedStore::open(options()).await.unwrap();
    for first in (0..EVENTS).step_by(EVERY as usize) {
        append(&store, &format!("rare-{first}"), event(first)).await;
        append(&store, "alone", event(first + 1)).await;
        let many = (first + 2..first + EVERY).map(event).collect();
        store.append(&stream("often-1"), ExpectedRevision::Any, many).await.unwrap();
    }
    append(&store, "late-1", event(EVENTS)).await;
    store.close().await.unwrap();
    let store = EmbeddedStore::open(options()).await.unwrap();
    let segments = disk.list().unwrap().iter().filter(|name| name.ends_with(".idx")).count();
    assert!(segments > 40, "{segments}");
    let before = disk.read_bytes();
    assert_eq!(all_of(&store, "alone").await.unwrap().len() as u64, EVENTS / EVERY);
    let by_stream = disk.read_bytes() - before;
    let before = disk.read_bytes();
    let rare = places(&store, ReadIndex::forward(Index::category("rare"))).await;
    assert_eq!(rare.len() as u64, EVENTS / EVERY);
    let by_category = disk.read_bytes() - before;
    assert!(by_category < by_stream * 5 / 4, "{by_category} bytes, {by_stream} by stream");
    for (category, ordinal, most) in [("rare", 150, 60), ("late", 0, 60), ("never", 0, 20)] {
        let before = disk.reads();
        let index = Index::category(category);
        let read = ReadIndex::forward(index).from(Ordinal::new(ordinal)).limit(1);
        assert_eq!(places(&store, read).await.is_empty(), category == "never");
        let reads = disk.reads() - before;
        assert!(reads < most, "{reads} reads for {category} over {segments} segments");
    }
}

/// Time as it is set.
#[derive(Default)]
struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

/// Given a log over many segments whose events were recorded at known times, some of them at the
/// same, when it, a stream or a category is read from any time, then it begins right there, and to
/// find that takes a few looks.
#[tokio::test]
async fn a_time_is_found_exactly_and_not_by_reading_all() {
    const EVENTS: u64 = 3_000;
    let (disk, clock) = (SimDisk::new(), Arc::new(HandClock::default()));
    let options = EmbeddedOptions::disk(Arc::new(disk.clone())).segment_bytes(20_000);
    let store =
        EmbeddedStore::open(options.clock(Arc::clone(&clock) as Arc<dyn Clock>)).await.unwrap();
    for number in 0..EVENTS {
        // Three events have one time, and there is a gap of ten to the next.
        clock.0.store(i64::try_from(number / 3 * 10).unwrap(), Ordering::SeqCst);
        append(&store, ["track-1", "user-1"][(number % 2) as usize], event(number)).await;
    }
    // Writing indexes reads as well.
    until_indexed(&store).await;
    let all = everything(&store).await.unwrap();
    let micros = |number: i64| DateTime::from_timestamp_micros(number).unwrap();
    let last = all[all.len() - 1].recorded_at.timestamp_micros();
    for number in (-1..last + 2).step_by(251).chain([-1, 0, 1, last - 1, last, last + 1]) {
        for time in [micros(number), micros(number) + TimeDelta::nanoseconds(1)] {
            let before = disk.reads();
            let (from, until) = (
                store.read_all(ReadAll::forward().from_time(time).limit(1)).await.unwrap(),
                store.read_all(ReadAll::backward().from_time(time).limit(1)).await.unwrap(),
            );
            let from: Vec<_> = from.try_collect().await.unwrap();
            let until: Vec<_> = until.try_collect().await.unwrap();
            let reads = disk.reads() - before;
            assert!(reads < 60, "{reads} reads for {time}");
            assert_eq!(from.first(), all.iter().find(|event| event.recorded_at >= time));
            assert_eq!(until.first(), all.iter().rfind(|event| event.recorded_at <= time));
            let track = ReadStream::forward(stream("track-1")).from_time(time).limit(1);
            let track: Vec<_> =
                store.read_stream(track).await.unwrap().try_collect().await.unwrap();
            let mut tracks = all.iter().filter(|event| event.stream.as_str() == "track-1");
            assert_eq!(track.first(), tracks.find(|event| event.recorded_at >= time));
            let user = ReadIndex::backward(Index::category("user")).from_time(time).limit(1);
            let user = places(&store, user).await.first().map(|it| it.1);
            let mut users = all.iter().rev().filter(|event| event.stream.as_str() == "user-1");
            let told = users.find(|event| event.recorded_at <= time);
            assert_eq!(user, told.map(|event| event.position.get()));
        }
    }
}
