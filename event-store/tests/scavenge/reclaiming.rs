//! What goes, and what stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Utc};
use event_store::log::{Clock, Disk, SimDisk};
use event_store::{
    AppendError, EmbeddedOptions, EmbeddedStore, EventStore, ExpectedRevision, Revision,
    ScavengeOptions, StreamMetadata,
};

use super::{
    STREAMS, append, event, everything, hidden_in_every_way, keys_are_those_of_segments, left, log,
    max_count, names, seal, seen, set, stream, truncate_before,
};
use crate::encrypted::new_disk;
use crate::indexed::until_indexed;
use crate::scavenge;
use crate::scavenging::thorough;
use crate::simulated::open;

const LARGEST: u64 = i64::MAX as u64;

/// Given a damaged segment, then it keeps what it has, the pass tells of it, and all others give
/// back what is hidden in them.
#[tokio::test]
async fn damage_in_one_segment_holds_up_no_other() {
    let disk = SimDisk::new();
    let store = hidden_in_every_way(&disk).await;
    let mut logs = disk.list().unwrap();
    logs.retain(|name| name.ends_with(".log"));
    logs.sort();
    let length = |name: &String| disk.contents(name).unwrap().len();
    let before: Vec<_> = logs.iter().map(length).collect();
    let mut damaged = disk.contents(&logs[0]).unwrap();
    damaged[200] ^= 1;
    disk.put_into(&logs[0], &damaged);
    let told = scavenge(&store).await.unwrap_err().to_string();
    assert!(told.contains(&logs[0]), "{told}");
    assert_eq!(length(&logs[0]), before[0]);
    assert!(logs.iter().zip(before).any(|(name, before)| length(name) < before));
}

/// Given indexes of which blocks are damaged, then as much goes as would otherwise.
#[tokio::test]
async fn a_damaged_index_hides_nothing_from_a_pass() {
    let mut reclaimed = Vec::new();
    for is_damaged in [false, true] {
        let disk = SimDisk::new();
        let store = hidden_in_every_way(&disk).await;
        until_indexed(&store).await;
        for name in names(&disk, ".idx").iter().filter(|_| is_damaged) {
            let mut damaged = disk.contents(name).unwrap();
            damaged.chunks_mut(4096).for_each(|block| block[200] ^= 1);
            disk.put_into(name, &damaged);
        }
        reclaimed.push(scavenge(&store).await.unwrap().progress.events_reclaimed);
    }
    assert!(reclaimed[0] > 0 && reclaimed[0] == reclaimed[1], "{reclaimed:?}");
}

#[tokio::test]
async fn what_is_hidden_goes_and_all_else_stays() {
    for encrypted in [false, true] {
        hidden_goes_and_all_else_stays(new_disk(encrypted).await).await;
    }
}

async fn hidden_goes_and_all_else_stays(disk: SimDisk) {
    let store = hidden_in_every_way(&disk).await;
    let whole = everything(&store).await.unwrap();
    let before = futures::future::join_all(STREAMS.map(|name| seen(&store, name))).await;
    let head = store.audit_head();
    let done = scavenge(&store).await.unwrap();
    assert!(done.completed && done.progress.segments_done == done.progress.segments);
    for store in [store, open(&disk).await.unwrap()] {
        let after = futures::future::join_all(STREAMS.map(|name| seen(&store, name))).await;
        assert_eq!(after, before);
        for (name, revisions) in [
            ("whole", (0..10).collect::<Vec<_>>()),
            ("counted", vec![7, 8, 9]),
            ("$$counted", vec![1]),
            ("truncated", vec![7, 8, 9]),
            ("emptied", vec![9]),
            ("deleted", vec![9]),
            ("gone", vec![LARGEST]),
            ("$$gone", vec![1]),
        ] {
            assert_eq!(left(&store, name).await, revisions, "{name}");
        }
        let kept = everything(&store).await.unwrap();
        assert!(kept.iter().all(|event| whole.contains(event)), "what is left is as it was");
        let verified = store.verify(Some(head)).await.unwrap();
        assert_eq!(verified.events, whole.len() as u64);
        assert_eq!(verified.reclaimed, (whole.len() - kept.len()) as u64);
        assert_eq!(verified.reclaimed, done.progress.events_reclaimed);
        assert_eq!((store.audit_head(), verified.head), (head, head));
        store.close().await.unwrap();
    }
    assert!(names(&disk, ".tmp").is_empty() && disk.contents("SCAVENGE").is_none());
    assert!(keys_are_those_of_segments(&disk));
}

#[tokio::test]
async fn a_stream_goes_on_with_its_numbers() {
    let disk = SimDisk::new();
    let store = hidden_in_every_way(&disk).await;
    scavenge(&store).await.unwrap();
    store.close().await.unwrap();
    let store = open(&disk).await.unwrap();
    for name in ["counted", "truncated", "emptied", "deleted"] {
        let appended = store.append(&stream(name), ExpectedRevision::Any, vec![event(99)]).await;
        assert_eq!(appended.unwrap().last_revision, Some(Revision::new(10)), "{name}");
        assert_eq!(seen(&store, name).await.unwrap().last().unwrap().id, event(99).id);
    }
    let refused = store.append(&stream("gone"), ExpectedRevision::Any, vec![event(99)]).await;
    assert!(matches!(refused, Err(AppendError::StreamDeleted(_))), "{refused:?}");
    let metadata = StreamMetadata::default();
    let set = store.set_stream_metadata(&stream("gone"), ExpectedRevision::Any, metadata).await;
    assert_eq!(set.unwrap().last_revision, Some(Revision::new(2)));
}

#[tokio::test]
async fn no_byte_of_a_reclaimed_event_is_left() {
    const CANARY: &str = "personal-7f3a";
    let disk = SimDisk::new();
    let store = open(&disk).await.unwrap();
    let holder = format!("{CANARY}-1");
    let mut secret = event(1);
    secret.data = format!("{{\"name\":\"{CANARY}\"}}").into();
    secret.metadata = CANARY.into();
    secret.event_type = event_store::EventType::new(CANARY).unwrap();
    append(&store, "whole", 0).await;
    for stream_name in ["user-1", &holder] {
        store
            .append(&stream(stream_name), ExpectedRevision::Any, vec![secret.clone()])
            .await
            .unwrap();
    }
    append(&store, "user-1", 2).await;
    set(&store, "user-1", truncate_before(1)).await;
    let custom = [("owner".to_owned(), CANARY.into())].into_iter().collect();
    set(&store, "user-2", StreamMetadata { custom, ..StreamMetadata::default() }).await;
    for name in ["user-2", &holder] {
        store.tombstone_stream(&stream(name), ExpectedRevision::Any).await.unwrap();
    }
    set(&store, "user-2", StreamMetadata::default()).await;
    seal(&store, &disk).await;
    let found = |disk: &SimDisk| {
        let files = disk.list().unwrap().into_iter().filter_map(|name| disk.contents(&name));
        let times = |bytes: Vec<u8>| {
            bytes.windows(CANARY.len()).filter(|part| *part == CANARY.as_bytes()).count()
        };
        files.map(times).sum::<usize>()
    };
    let before = found(&disk);
    scavenge(&store).await.unwrap();
    // The name of a stream that was deleted for good stays in its tombstone.
    assert_eq!((before > 1, found(&disk)), (true, 1));
    store.close().await.unwrap();
    assert_eq!(found(&disk.cut_power(|| false)), 1, "durably so");
}

#[tokio::test]
async fn a_segment_is_written_anew_only_where_it_is_worth_it() {
    let disk = SimDisk::new();
    let store = hidden_in_every_way(&disk).await;
    let bytes = |disk: &SimDisk| {
        let names = names(disk, ".log").into_iter();
        names.map(|name| disk.contents(&name).unwrap()).collect::<Vec<_>>()
    };
    // Waits until the segments are indexed, too.
    store.scavenge(thorough().least_percent(90)).await.unwrap();
    let before = bytes(&disk);
    let none = store.scavenge(thorough().least_percent(90)).await.unwrap();
    assert!(none.completed && none.progress.segments > 3);
    assert_eq!((none.progress.segments_rewritten, none.progress.events_reclaimed), (0, 0));
    assert_eq!(bytes(&disk), before);
    let some = store.scavenge(ScavengeOptions::default()).await.unwrap().progress;
    assert!(some.segments_rewritten > 0 && some.bytes_given_back > 0, "{some:?}");
    let size = |files: &[Vec<u8>]| files.iter().map(Vec::len).sum::<usize>() as u64;
    assert_eq!(size(&before) - size(&bytes(&disk)), some.bytes_given_back);
    let again = scavenge(&store).await.unwrap().progress;
    let more = scavenge(&store).await.unwrap().progress;
    assert!(again.segments_rewritten < again.segments);
    assert_eq!((more.segments_rewritten, more.events_reclaimed), (0, 0), "nothing is left to do");
}

/// Given a stream of which a later segment was reclaimed and an earlier one was not, for that was
/// not worth it, then what is before the gap is not part of the stream any more, now and after
/// reopening, also when its metadata would show it again.
#[tokio::test]
async fn what_was_hidden_before_a_gap_stays_hidden() {
    let disk = SimDisk::new();
    let store = open(&disk).await.unwrap();
    append(&store, "user-1", 0).await;
    for number in 1..12 {
        append(&store, "whole", number).await;
    }
    for number in 12..40 {
        append(&store, "user-1", number).await;
    }
    set(&store, "user-1", max_count(2)).await;
    seal(&store, &disk).await;
    store.scavenge(thorough().least_percent(20)).await.unwrap();
    set(&store, "user-1", StreamMetadata::default()).await;
    for store in [store, open(&disk).await.unwrap()] {
        let all = left(&store, "user-1").await;
        assert!(all[0] == 0 && all[1] > 1, "there is a gap: {all:?}");
        let read = seen(&store, "user-1").await.unwrap();
        let revisions: Vec<u64> = read.iter().map(|event| event.revision.get()).collect();
        assert_eq!(revisions, all[1..]);
        store.close().await.unwrap();
    }
}

struct Turned(AtomicI64);

impl Clock for Turned {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.0.load(Ordering::SeqCst), 0).unwrap()
    }
}

#[tokio::test]
async fn what_is_too_old_goes_by_the_clock() {
    let (disk, clock) = (SimDisk::new(), Arc::new(Turned(AtomicI64::new(1_000_000))));
    let options = EmbeddedOptions::disk(Arc::new(disk.clone())).segment_bytes(2000);
    let store = EmbeddedStore::open(options.clock(clock.clone())).await.unwrap();
    let age =
        |seconds| StreamMetadata { max_age_seconds: Some(seconds), ..StreamMetadata::default() };
    for name in ["young", "old"] {
        set(&store, name, age(60)).await;
    }
    for number in 0..50 {
        append(&store, "young", number).await;
        append(&store, "old", 100 + number).await;
        clock.0.fetch_add(1, Ordering::SeqCst);
    }
    seal(&store, &disk).await;
    scavenge(&store).await.unwrap();
    assert_eq!(left(&store, "young").await.len(), 50);
    clock.0.fetch_add(40, Ordering::SeqCst);
    append(&store, "young", 50).await;
    seal(&store, &disk).await;
    let before = seen(&store, "young").await.unwrap();
    scavenge(&store).await.unwrap();
    assert_eq!(seen(&store, "young").await.unwrap(), before);
    assert_eq!(left(&store, "young").await, (31..51).collect::<Vec<_>>());
    clock.0.fetch_add(1000, Ordering::SeqCst);
    scavenge(&store).await.unwrap();
    assert_eq!(left(&store, "old").await, [49], "the last is kept");
    assert_eq!(seen(&store, "old").await.unwrap(), []);
}

#[tokio::test]
async fn a_lost_index_of_a_scavenged_segment_is_made_again() {
    for encrypted in [false, true] {
        a_lost_index_is_made_again(new_disk(encrypted).await).await;
    }
}

async fn a_lost_index_is_made_again(disk: SimDisk) {
    let store = hidden_in_every_way(&disk).await;
    scavenge(&store).await.unwrap();
    let before = log(&store).await;
    store.close().await.unwrap();
    for name in names(&disk, ".idx") {
        let index = disk.contents(&name).unwrap();
        disk.remove(&name).unwrap();
        let store = open(&disk).await.unwrap();
        assert_eq!(log(&store).await, before);
        assert_eq!(disk.contents(&name).unwrap(), index, "{name}");
        // The opening has made it again, and nothing else is to be mended.
        for made_again in [1, 0] {
            assert_eq!(store.verify(None).await.unwrap().indexes_mended, made_again);
        }
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn every_changed_byte_of_a_scavenged_segment_is_found() {
    for (encrypted, flags) in [(false, 2), (true, 3)] {
        every_changed_byte_is_found(new_disk(encrypted).await, flags).await;
    }
}

async fn every_changed_byte_is_found(disk: SimDisk, flags: u8) {
    let store = hidden_in_every_way(&disk).await;
    scavenge(&store).await.unwrap();
    let name = &names(&disk, ".log")[1];
    let whole = disk.contents(name).unwrap();
    assert_eq!((whole[8], whole[72]), (3, flags), "it was written anew");
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x04;
        disk.put_into(name, &bytes);
        store.verify(None).await.expect_err(&format!("changed at {at}"));
    }
    disk.put_into(name, &whole);
    store.verify(None).await.unwrap();
}

#[tokio::test]
async fn a_damaged_segment_is_not_written_anew() {
    for encrypted in [false, true] {
        damaged_is_not_written_anew(new_disk(encrypted).await).await;
    }
}

async fn damaged_is_not_written_anew(disk: SimDisk) {
    let store = hidden_in_every_way(&disk).await;
    until_indexed(&store).await;
    let name = &names(&disk, ".log")[1];
    let whole = disk.contents(name).unwrap();
    for at in [130, whole.len() / 2, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        disk.put_into(name, &bytes);
        let error = scavenge(&store).await.expect_err("it is damaged").to_string();
        assert!(error.contains(&**name) && error.contains("corrupt"), "{error}");
        assert_eq!(disk.contents(name).unwrap(), bytes, "it is left as it is");
        assert!(names(&disk, ".tmp").is_empty() && keys_are_those_of_segments(&disk));
    }
    disk.put_into(name, &whole);
    assert!(scavenge(&store).await.unwrap().completed);
}
