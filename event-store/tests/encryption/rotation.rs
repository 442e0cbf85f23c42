//! The wrapping key is changed while the store serves, and a kill at any moment loses nothing.

use std::sync::Arc;

use event_store::log::{Fault, KeyError, RotatedKeys, SimDisk};
use event_store::{EmbeddedStore, ExpectedRevision, StreamMetadata};

use super::{EventStore, append, count, event, files, keys, open, open_plain, stream};
use crate::indexed::until_indexed;
use crate::scavenging::thorough;

/// A store of several segments, wrapped by the key `old`, and nothing is written any more.
async fn several_segments() -> (SimDisk, EmbeddedStore) {
    let disk = SimDisk::new();
    let store = open(&disk, &["old"]).await.unwrap();
    append(&store, 0..60).await;
    until_indexed(&store).await;
    (disk, store)
}

#[tokio::test]
async fn after_a_rotation_the_old_key_is_not_needed() {
    let (disk, store) = several_segments().await;
    let all = files(&disk, ".key").len() as u64;
    assert!(all > 3);
    let rotated = store.rotate_keys(keys(&["new", "old"])).await.unwrap();
    assert_eq!(rotated, RotatedKeys { keys: all, rewrapped: all });
    append(&store, 60..80).await;
    let again = store.rotate_keys(keys(&["new"])).await.unwrap();
    assert!(again.keys > all && again.rewrapped == 0, "{again:?}");
    assert_eq!(store.verify(None).await.unwrap().events, 80);
    drop(store);
    assert_eq!(count(&open(&disk, &["new"]).await.unwrap()).await, 80);
    assert!(open(&disk, &["old"]).await.is_err());
    assert!(files(&disk, ".tmp").is_empty());
}

#[tokio::test]
async fn keys_that_do_not_open_everything_change_nothing() {
    let (disk, store) = several_segments().await;
    let refused = store.rotate_keys(keys(&["new"])).await.unwrap_err();
    assert!(matches!(&refused, KeyError::NotGiven { id, .. } if **id == *"old"), "{refused}");
    append(&store, 60..80).await;
    drop(store);
    assert_eq!(count(&open(&disk, &["old"]).await.unwrap()).await, 80);
}

/// Given writers that fill segment after segment, and scavenging that writes them anew, when the
/// key is changed again and again beside them, then every append is taken, the log always verifies,
/// and in the end the last key opens everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_is_changed_beside_writers() {
    const WRITERS: u64 = 4;
    const EACH: u64 = 100;
    const NAMES: [&str; 3] = ["one", "two", "three"];
    let disk = SimDisk::new();
    let store = Arc::new(open(&disk, &[NAMES[0]]).await.unwrap());
    for writer in 0..WRITERS {
        let (name, any) = (stream(&format!("track-{writer}")), ExpectedRevision::Any);
        let few = StreamMetadata { max_count: Some(3), ..StreamMetadata::default() };
        store.set_stream_metadata(&name, any, few).await.unwrap();
    }
    let writers = (0..WRITERS).map(|writer| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for number in 0..EACH {
                let (stream, any) = (stream(&format!("track-{writer}")), ExpectedRevision::Any);
                let events = vec![event(writer * EACH + number)];
                store.append(&stream, any, events).await.unwrap();
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let (mut rotations, mut reclaimed, mut written) = (0, 0, false);
    // The last pass begins when all is written.
    while !written || rotations < 4 {
        written = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let (old, new) = (NAMES[rotations % 3], NAMES[(rotations + 1) % 3]);
        let (rotated, scavenged, verified) = tokio::join!(
            store.rotate_keys(keys(&[new, old])),
            store.scavenge(thorough()),
            store.verify(None)
        );
        rotated.unwrap();
        verified.unwrap();
        reclaimed += scavenged.unwrap().progress.events_reclaimed;
        rotations += 1;
    }
    assert!(reclaimed > WRITERS * EACH / 4, "{reclaimed}");
    for writer in writers {
        writer.await.unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    let store = open(&disk, &[NAMES[rotations % 3]]).await.unwrap();
    let verified = store.verify(None).await.unwrap();
    assert_eq!((verified.events, verified.reclaimed), (WRITERS * (EACH + 1), reclaimed));
    assert_eq!(count(&store).await, verified.events - reclaimed);
    assert_eq!(files(&disk, ".key").len(), files(&disk, ".log").len(), "no key is left over");
}

/// Given a rotation that is killed, or loses power, after any of its steps, then both keys open the
/// store, and the rotation is done again to its end.
#[tokio::test]
async fn a_rotation_that_was_cut_off_anywhere_is_done_again() {
    let (disk, store) = several_segments().await;
    disk.remember();
    store.rotate_keys(keys(&["new", "old"])).await.unwrap();
    let steps = disk.remembered();
    assert!(steps.len() > 12, "{} steps", steps.len());
    for (step, disk) in steps.iter().enumerate() {
        for after in [disk.copy(), disk.cut_power(|| true), disk.cut_power(|| false)] {
            let store = open_plain(&after, &["new", "old"]).await.unwrap();
            assert_eq!(count(&store).await, 60, "step {step}");
            store.rotate_keys(keys(&["new", "old"])).await.unwrap();
            // What was done is durable.
            let after = after.cut_power(|| false);
            assert_eq!(count(&open_plain(&after, &["new"]).await.unwrap()).await, 60);
        }
    }
}

/// Given a disk that fails in the midst of a rotation, then the store serves on, and both keys open
/// it, until the rotation was done again.
#[tokio::test]
async fn a_rotation_that_failed_is_done_again() {
    for fault in (1..5).flat_map(|nth| [Fault::Write(nth), Fault::Sync(nth)]) {
        let (disk, store) = several_segments().await;
        disk.fail(fault);
        store.rotate_keys(keys(&["new", "old"])).await.unwrap_err();
        append(&store, 60..61).await;
        store.close().await.unwrap();
        let store = open(&disk, &["old", "new"]).await.unwrap();
        assert_eq!(count(&store).await, 61, "{fault:?}");
        store.rotate_keys(keys(&["new", "old"])).await.unwrap();
        drop(store);
        assert_eq!(count(&open(&disk, &["new"]).await.unwrap()).await, 61, "{fault:?}");
    }
}
