//! Retries that expect nothing: known among the last events of the log, also after it was opened
//! again, whatever became of the indexes, and without reading the whole log for it.

#[path = "given/events.rs"]
mod given;

use std::ops::Range;
use std::sync::Arc;

use event_store::limits::{APPEND_EVENTS_MAX, RECENT_IDS_MAX};
use event_store::log::{Disk as _, SimDisk};
use event_store::{Appended, EmbeddedOptions, EmbeddedStore, EventStore, ExpectedRevision};
use given::{event, everything, stream};

/// Two names with one hash, by which the store's indexes sort streams.
const SAME_HASH: [&str; 2] = ["8yn0iYCKYHlIj4-BwPqk", "GReLUrM4wMqfg9yzV3KQ"];

async fn open(disk: SimDisk, segment_bytes: u64) -> EmbeddedStore {
    let options = EmbeddedOptions::disk(Arc::new(disk)).segment_bytes(segment_bytes);
    EmbeddedStore::open(options).await.unwrap()
}

async fn append(store: &EmbeddedStore, name: &str, numbers: Range<u64>) -> Appended {
    let events = numbers.map(event).collect();
    store.append(&stream(name), ExpectedRevision::Any, events).await.unwrap()
}

async fn head(store: &EmbeddedStore) -> u64 {
    store.head().await.unwrap().get()
}

/// Given more events than are remembered, in many segments, when the store is opened again, then
/// retries of all that are remembered append nothing, and the one before them is forgotten.
#[tokio::test]
async fn the_ids_of_the_last_million_events_are_known_after_reopening() {
    const FORGOTTEN: u64 = 1000;
    const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
    let disk = SimDisk::new();
    let store = open(disk.clone(), SEGMENT_BYTES).await;
    let end = RECENT_IDS_MAX as u64 + FORGOTTEN;
    for first in (0..end).step_by(APPEND_EVENTS_MAX) {
        append(&store, "track-1", first..end.min(first + APPEND_EVENTS_MAX as u64)).await;
    }
    store.close().await.unwrap();
    let store = open(disk, SEGMENT_BYTES).await;
    for first in (FORGOTTEN..end).step_by(10_007) {
        let appended = append(&store, "track-1", first..end.min(first + 3)).await;
        assert_eq!(appended.last_revision.unwrap().get(), end.min(first + 3) - 1);
    }
    assert_eq!(head(&store).await, end);
    append(&store, "track-1", FORGOTTEN - 1..FORGOTTEN).await;
    assert_eq!(head(&store).await, end + 1);
}

/// Given a log of large events, when it is opened, then of its sealed segments hardly more is read
/// than the ids, and all of them are known.
#[tokio::test]
async fn opening_does_not_read_the_events_for_their_ids() {
    const EVENTS: u64 = 1000;
    const EVENT_BYTES: usize = 20_000;
    const SEGMENT_BYTES: u64 = 1024 * 1024;
    let disk = SimDisk::new();
    let store = open(disk.clone(), SEGMENT_BYTES).await;
    let large = |number| {
        let mut large = event(number);
        large.data = vec![b'x'; EVENT_BYTES].into();
        large
    };
    for number in 0..EVENTS {
        let events = vec![large(number)];
        store.append(&stream("track-1"), ExpectedRevision::Any, events).await.unwrap();
    }
    store.close().await.unwrap();
    let before = disk.read_bytes();
    let store = open(disk.clone(), SEGMENT_BYTES).await;
    let read_bytes = disk.read_bytes() - before;
    // The active segment is checked whole, and each index has two blocks or three.
    assert!(read_bytes < 2 * SEGMENT_BYTES, "{read_bytes} bytes");
    append(&store, "track-1", 0..EVENTS).await;
    assert_eq!(head(&store).await, EVENTS);
}

/// Given indexes whose ids are damaged or which are gone, when the store is opened, then all ids
/// are known: they are in the segments.
#[tokio::test]
async fn ids_are_known_when_the_indexes_are_damaged_or_gone() {
    const EVENTS: u64 = 2000;
    const SEGMENT_BYTES: u64 = 40_000;
    let disk = SimDisk::new();
    let store = open(disk.clone(), SEGMENT_BYTES).await;
    for first in (0..EVENTS).step_by(10) {
        append(&store, ["track-1", "track-2"][(first / 10 % 2) as usize], first..first + 10).await;
    }
    store.close().await.unwrap();
    let names = disk.list().unwrap();
    let indexes: Vec<&String> = names.iter().filter(|name| name.ends_with(".idx")).collect();
    assert!(indexes.len() > 3, "{names:?}");
    for damage in ["its last block", "all of it"] {
        let damaged = disk.copy();
        for name in &indexes {
            let mut bytes = damaged.contents(name).unwrap();
            assert!(bytes.len() > 8192, "the ids have blocks of their own");
            match damage {
                "its last block" => *bytes.last_mut().unwrap() ^= 1,
                _ => bytes.clear(),
            }
            damaged.put(name, bytes);
        }
        let store = open(damaged, SEGMENT_BYTES).await;
        for first in (0..EVENTS).step_by(10) {
            let name = ["track-1", "track-2"][(first / 10 % 2) as usize];
            append(&store, name, first..first + 10).await;
        }
        assert_eq!(head(&store).await, EVENTS, "{damage}");
    }
}

/// Given two streams whose names have one hash, when one id is appended to both, then each is an
/// event of its own, and a retry is answered with that of its own stream.
#[tokio::test]
async fn streams_that_share_a_hash_do_not_share_ids() {
    let disk = SimDisk::new();
    let store = open(disk.clone(), 1_000_000).await;
    let first = append(&store, SAME_HASH[0], 0..1).await;
    let second = append(&store, SAME_HASH[1], 0..1).await;
    assert_eq!(head(&store).await, 2);
    append(&store, SAME_HASH[1], 1..2).await;
    let store = open(disk.cut_power(|| false), 1_000_000).await;
    assert_eq!(append(&store, SAME_HASH[0], 0..1).await, first);
    assert_eq!(append(&store, SAME_HASH[1], 0..1).await, second);
    append(&store, SAME_HASH[0], 1..2).await;
    let held = everything(&store).await.unwrap();
    let places: Vec<_> = held.iter().map(|event| (event.stream.as_str(), event.id)).collect();
    let [one, other] = SAME_HASH;
    let (zero, unit) = (event(0).id, event(1).id);
    assert_eq!(places, [(one, zero), (other, zero), (other, unit), (one, unit)]);
}
