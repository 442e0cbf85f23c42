//! What scavenging makes of encrypted segments: others, with keys of their own.

use event_store::log::{Disk, SimDisk};
use event_store::{EmbeddedStore, EventStore, ExpectedRevision, StreamMetadata};
use futures::TryStreamExt;

use super::{append, count, files, is_encrypted, open, open_plain, stream};
use crate::scavenging::thorough;

/// Lets all but the last two events be hidden, in segments before the active one.
async fn hide(store: &EmbeddedStore) {
    let few = StreamMetadata { max_count: Some(2), ..StreamMetadata::default() };
    store.set_stream_metadata(&stream("track-1"), ExpectedRevision::Any, few).await.unwrap();
}

/// How many events a pass reclaimed.
async fn scavenge(store: &EmbeddedStore) -> u64 {
    store.scavenge(thorough()).await.unwrap().progress.events_reclaimed
}

/// Whoever kept the key of a segment and gets hold of the disk reads nothing of the new one.
#[tokio::test]
async fn a_segment_that_is_written_anew_has_another_key() {
    let disk = SimDisk::new();
    let store = open(&disk, &["a"]).await.unwrap();
    append(&store, 0..60).await;
    hide(&store).await;
    let (before, head) = (files(&disk, ".key"), store.audit_head());
    let left = 61 - scavenge(&store).await;
    let after = files(&disk, ".key");
    assert_eq!(after.len(), files(&disk, ".log").len());
    let kept: Vec<_> = before.iter().filter(|key| after.contains(key)).collect();
    assert!(kept.len() < before.len() / 2, "{kept:?} of {before:?}");
    for store in [store, open(&disk, &["a"]).await.unwrap()] {
        assert_eq!(count(&store).await, left);
        assert_eq!(store.verify(Some(head)).await.unwrap().head, head);
    }
    let lost = disk.copy();
    lost.remove(&after[0]).unwrap();
    let said = open(&lost, &["a"]).await.err().expect("it is refused").to_string();
    assert!(said.contains(&after[0]), "{said}");
}

/// Given segments in plain and encrypted ones, when they are written anew, then those stay
/// encrypted that are, whatever the opening says of new ones; and a store that encrypts also
/// encrypts the others.
#[tokio::test]
async fn no_encrypted_event_is_written_anew_in_plain() {
    for encrypts in [false, true] {
        let disk = SimDisk::new();
        let store = open_plain(&disk, &["a"]).await.unwrap();
        append(&store, 0..30).await;
        store.close().await.unwrap();
        let store = open(&disk, &["a"]).await.unwrap();
        append(&store, 30..60).await;
        store.close().await.unwrap();
        let was_encrypted = |name: &String| is_encrypted(&disk, name);
        let encrypted: Vec<_> = files(&disk, ".log").into_iter().filter(was_encrypted).collect();
        assert!(encrypted.len() > 1 && encrypted.len() + 1 < files(&disk, ".log").len());
        let opened =
            if encrypts { open(&disk, &["a"]).await } else { open_plain(&disk, &["a"]).await };
        let store = opened.unwrap();
        hide(&store).await;
        let head = store.audit_head();
        let left = 61 - scavenge(&store).await;
        assert!(left < 20, "{left}");
        for name in files(&disk, ".log") {
            let is_reclaimed = disk.contents(&name).unwrap()[72] & 2 == 2;
            let told = encrypted.contains(&name) || encrypts && is_reclaimed;
            assert!(is_encrypted(&disk, &name) || !told, "{name}");
        }
        store.close().await.unwrap();
        let store = open_plain(&disk, &["a"]).await.unwrap();
        assert_eq!(count(&store).await, left);
        assert_eq!(store.verify(Some(head)).await.unwrap().head, head);
    }
}

/// Given a reader on its way through segments that are written anew, then it reads on in those that
/// it knew, whose keys are gone from the disk.
#[tokio::test]
async fn a_reader_on_its_way_needs_no_key_of_the_disk() {
    let disk = SimDisk::new();
    let store = open(&disk, &["a"]).await.unwrap();
    append(&store, 0..60).await;
    let read = event_store::ReadStream::forward(stream("track-1"));
    let mut reader = store.read_stream(read).await.unwrap();
    let mut read = u64::from(reader.try_next().await.unwrap().is_some());
    hide(&store).await;
    assert!(scavenge(&store).await > 20);
    while let Some(event) = reader.try_next().await.unwrap() {
        assert_eq!(event.data, super::event(event.revision.get()).data);
        read += 1;
    }
    assert!(read >= 2, "{read}");
}
