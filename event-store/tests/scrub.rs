//! Scrubbing: what rots in a sealed segment is found and named, and the rest is served.

#[path = "given/events.rs"]
mod given;
#[path = "given/indexed.rs"]
mod indexed;
#[path = "given/simulated.rs"]
mod simulated;

use std::time::Duration;

use event_store::log::{Disk, SimDisk};
use event_store::{EmbeddedStore, EventStore, ExpectedRevision, Position, ScrubOptions, Scrubbed};
use given::{event, everything, stream};
use indexed::until_indexed;
use simulated::{all_of, open};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

const FIRST: &str = "00000000000000000001.log";

/// A log of several segments, which have given back the room behind them.
async fn small_log() -> (SimDisk, EmbeddedStore) {
    let disk = SimDisk::new();
    let store = open(&disk).await.unwrap();
    for number in 0..30 {
        let name = if number < 5 { "old" } else { "new" };
        store.append(&stream(name), ExpectedRevision::Any, vec![event(number)]).await.unwrap();
    }
    until_indexed(&store).await;
    (disk, store)
}

async fn scrub(store: &EmbeddedStore) -> Scrubbed {
    store.scrub(ScrubOptions::default().bytes_per_second(u64::MAX)).await.unwrap()
}

#[tokio::test]
async fn a_whole_log_is_read_to_its_end() {
    let (disk, store) = small_log().await;
    let sealed =
        disk.list().unwrap().iter().filter(|name| name.ends_with(".log")).count() as u64 - 1;
    assert_eq!(store.last_scrub().await.unwrap(), None);
    for _ in 0..2 {
        let scrubbed = scrub(&store).await;
        assert!(scrubbed.completed && scrubbed.bytes > 3000);
        assert_eq!((scrubbed.segments, scrubbed.rotten), (sealed, 0));
        assert!(store.last_scrub().await.unwrap().is_some());
    }
    assert!(store.rot().is_empty());
}

/// Given any byte of a sealed segment changed, also in frame headers, which no reader needs, then a
/// scrub names it, after a restart too, and what is elsewhere is served meanwhile.
#[tokio::test]
async fn any_changed_byte_is_named_and_the_rest_is_served() {
    let (disk, store) = small_log().await;
    let whole = disk.contents(FIRST).unwrap();
    let new = all_of(&store, "new").await.unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        disk.put_into(FIRST, &bytes);
        let scrubbed = scrub(&store).await;
        assert_eq!((scrubbed.rotten, scrubbed.completed), (1, true), "at {at}");
        let rot = store.rot();
        assert_eq!((rot.len(), rot[0].segment), (1, Position::new(1)), "at {at}");
        assert!(rot[0].what.contains(FIRST) && rot[0].what.contains("offset"), "{rot:?}");
        assert!(store.last_scrub().await.unwrap().is_none(), "at {at}");
        disk.put_into(FIRST, &whole);
    }
    let mut bytes = whole.clone();
    bytes[200] ^= 1;
    disk.put_into(FIRST, &bytes);
    scrub(&store).await;
    assert!(all_of(&store, "old").await.is_err(), "what is damaged is not served");
    let last = new.last().unwrap();
    let read = store.last_event(&stream("new")).await.unwrap();
    assert_eq!(read.as_ref(), Some(last));
    store.append(&stream("new"), ExpectedRevision::Any, vec![event(99)]).await.unwrap();
    store.close().await.unwrap();

    let store = open(&disk).await.unwrap();
    assert!(store.rot().is_empty());
    assert_eq!(scrub(&store).await.rotten, 1);
    disk.put_into(FIRST, &whole);
    assert_eq!(scrub(&store).await.rotten, 0);
    assert!(store.rot().is_empty(), "it was mended");
    everything(&store).await.unwrap();
}

/// A scrub that is slow is ended by a close, and the next store goes on where it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrub_that_a_close_ends_goes_on_where_it_was() {
    let (disk, store) = small_log().await;
    // So many that the last is far away when the first is read.
    for number in 30..400 {
        store.append(&stream("new"), ExpectedRevision::Any, vec![event(number)]).await.unwrap();
    }
    let all = scrub(&store).await;
    let store = std::sync::Arc::new(store);
    let slow = std::sync::Arc::clone(&store);
    // Each segment, of some 2,000 bytes, takes about half a second.
    let options = ScrubOptions::default().bytes_per_second(4000);
    let scrubbing = tokio::spawn(async move { slow.scrub(options).await });
    // A scrub that has read a segment says so.
    let read = async {
        while store.last_scrub().await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("a segment is read");
    store.close().await.unwrap();
    let first = scrubbing.await.unwrap().unwrap();
    assert!(!first.completed && first.segments > 0 && first.segments < all.segments, "{first:?}");
    let rest = scrub(&open(&disk).await.unwrap()).await;
    // The segment that was the active one may have become no sealed one by the reopening.
    assert_eq!(first.segments + rest.segments, all.segments, "{first:?} {rest:?}");
    assert!(rest.completed);
}
