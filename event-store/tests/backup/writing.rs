//! Backups of a store that serves: what was acknowledged before is in it, and nothing that is not
//! durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use event_store::log::{Folder, SimDisk};
use event_store::{EmbeddedOptions, EmbeddedStore, EventStore, Position, StreamMetadata};

use super::locked::files;
use super::*;
use crate::scavenging::thorough;

const SEGMENT_BYTES: u64 = 20_000;

/// Given eight writers that go on, then each backup holds at least what was acknowledged before it
/// began, and restored it is exactly the beginning of the log, along the same chain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_while_eight_writers_write_is_a_prefix_of_the_log() {
    let root = tempfile::tempdir().unwrap();
    let events = root.path().join("events");
    let options = EmbeddedOptions::folder(&events).segment_bytes(SEGMENT_BYTES);
    let store = Arc::new(EmbeddedStore::open(options).await.unwrap());
    let (stop, number) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writers = (0..8).map(|writer| {
        let (store, stop, number) = (Arc::clone(&store), Arc::clone(&stop), Arc::clone(&number));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let first = number.fetch_add(3, Ordering::Relaxed);
                append(&store, &format!("writer-{writer}"), first..first + 3).await;
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut made = Vec::new();
    for turn in 0..6_u32 {
        let wanted = store.audit_head().position.get() + 200;
        // The writers are polled for: they go on.
        while store.audit_head().position.get() < wanted {
            tokio::task::yield_now().await;
        }
        let from = Folder::read_only(&events);
        let (originals, head) = loop {
            let originals = Originals::open(&from, given_keys()).unwrap();
            let head = store.head().await.unwrap();
            if originals.reach(&from, head).unwrap() {
                break (originals, head);
            }
        };
        let to = root.path().join(format!("backup-{turn}"));
        let former = turn.checked_sub(1).map(|turn| root.path().join(format!("backup-{turn}")));
        let backed_up = tokio::task::spawn_blocking(move || {
            std::fs::create_dir(&to).unwrap();
            let since = former.map(Folder::read_only);
            let since = since.as_ref().map(|since| since as &dyn Disk);
            let (to, now) = (Folder::new(to), DateTime::UNIX_EPOCH);
            back_up(&Backup { originals: &originals, head, to: &to, since, now }, &mut |_| {})
        });
        let backed_up = backed_up.await.unwrap().unwrap();
        assert!(backed_up.head.position >= Position::new(wanted));
        assert_eq!(backed_up.head.position, head);
        made.push((turn, backed_up));
    }
    assert!(made.last().unwrap().1.segments_linked > 0, "{made:?}");
    stop.store(true, Ordering::Relaxed);
    futures::future::join_all(writers).await;
    let all = everything(&store).await.unwrap();
    for (turn, backed_up) in made {
        store.verify(Some(backed_up.head)).await.expect("the log goes through its head");
        let (from, to) = (format!("backup-{turn}"), format!("restored-{turn}"));
        let (from, to) = (root.path().join(from), root.path().join(to));
        std::fs::create_dir(&to).unwrap();
        let restored = put_back(&Folder::read_only(from), &Folder::new(&to), None).unwrap();
        assert_eq!(restored.head, backed_up.head);
        let restored = EmbeddedStore::open(EmbeddedOptions::folder(to)).await.unwrap();
        let kept = everything(&restored).await.unwrap();
        assert_eq!(kept, all[..kept.len()]);
        assert_eq!(kept.len() as u64, backed_up.head.position.get());
        assert_eq!(restored.verify(None).await.unwrap().head, backed_up.head);
    }
}

#[tokio::test]
async fn a_frame_behind_the_head_is_left_out_however_whole_it_is() {
    let disk = SimDisk::new();
    let store = open(&disk).await.unwrap();
    append(&store, "track-1", 0..2).await;
    let head = store.audit_head();
    append(&store, "track-1", 2..5).await;
    let backup = SimDisk::new();
    let backed_up = back_up_to(&disk, head.position, &backup, None).unwrap();
    assert_eq!(backed_up.head, head);
    let to = SimDisk::new();
    let restored = put_back(&backup, &to, None).unwrap();
    is_log_of(&to, &restored, &everything(&store).await.unwrap()[..2]).await;
}

#[tokio::test]
async fn an_empty_log_is_backed_up_and_put_back() {
    let (disk, backup, to) = (SimDisk::new(), SimDisk::new(), SimDisk::new());
    let _store = open(&disk).await.unwrap();
    assert_eq!(back_up_to(&disk, Position::START, &backup, None).unwrap().segments, 0);
    let restored = put_back(&backup, &to, None).unwrap();
    is_log_of(&to, &restored, &[]).await;
}

/// Scavenging puts other files in the place of segments at any time: those that were opened before
/// the head was asked for are copied as they were.
#[tokio::test]
async fn what_is_scavenged_meanwhile_is_backed_up_as_it_was() {
    let (disk, store, before) = small_log().await;
    let hides = StreamMetadata { max_count: Some(1), ..StreamMetadata::default() };
    let (originals, head) =
        (Originals::open(&disk, given_keys()).unwrap(), store.head().await.unwrap());
    store.set_stream_metadata(&stream("track-1"), ExpectedRevision::Any, hides).await.unwrap();
    for number in 100..130 {
        append(&store, "filler", number..number + 1).await;
    }
    let reclaimed = store.scavenge(thorough()).await.unwrap().progress.events_reclaimed;
    assert!(reclaimed > 0);
    let (backup, to, now) = (SimDisk::new(), SimDisk::new(), DateTime::UNIX_EPOCH);
    let asked = Backup { originals: &originals, head, to: &backup, since: None, now };
    let backed_up = back_up(&asked, &mut |_| {}).unwrap();
    let restored = put_back(&backup, &to, None).unwrap();
    is_log_of(&to, &restored, &before).await;

    // And of the log as it is now, with the same chain.
    let (scavenged, to) = (SimDisk::new(), SimDisk::new());
    back_up_to(&disk, store.head().await.unwrap(), &scavenged, Some(&backup)).unwrap();
    let restored = put_back(&scavenged, &to, None).unwrap();
    is_log_of(&to, &restored, &everything(&store).await.unwrap()).await;
    let verified = open(&to).await.unwrap().verify(Some(backed_up.head)).await.unwrap();
    assert_eq!(verified.reclaimed, reclaimed);
}

#[tokio::test]
async fn the_file_with_a_segments_key_goes_with_it() {
    let (disk, store, all) = log_on(new_disk(true).await).await;
    let keys = files(&disk, ".key");
    assert!(keys.len() > 2);
    disk.put("00000000000000000001.0badc0de.key", b"of another file".to_vec());
    let (backup, to) = (SimDisk::new(), SimDisk::new());
    back_up_to(&disk, store.head().await.unwrap(), &backup, None).unwrap();
    let restored = put_back(&backup, &to, None).unwrap();
    for copy in [&backup, &to] {
        assert_eq!(files(copy, ".key"), keys);
        assert!(keys.iter().all(|key| copy.contents(key) == disk.contents(key)));
    }
    is_log_of(&to, &restored, &all).await;
}
