//! Looking at a folder from outside: all is told, nothing is changed.

#[path = "given/encrypted.rs"]
mod encrypted;
#[path = "given/events.rs"]
mod given;
#[path = "given/indexed.rs"]
mod indexed;
#[path = "given/scavenging.rs"]
mod scavenging;
#[path = "given/simulated.rs"]
mod simulated;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use encrypted::new_disk;
use event_store::inspect::{IndexState, Inspected, InspectedSegment, RecoveryStep, inspect};
use event_store::log::{Disk, Folder, SimDisk};
use event_store::{
    EmbeddedOptions, EmbeddedStore, EventId, EventStore, ExpectedRevision, Position, ScrubOptions,
    StreamMetadata, WrappingKeys,
};
use given::{event, everything, stream};
use indexed::until_indexed;
use simulated::{all_of, keys, open, options};
use uuid::Uuid;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

async fn append(store: &EmbeddedStore, name: &str, number: u64) {
    store.append(&stream(name), ExpectedRevision::Any, vec![event(number)]).await.unwrap();
}

fn given_keys() -> Option<Arc<WrappingKeys>> {
    Some(Arc::new(keys()))
}

async fn thirty_events() -> (SimDisk, EmbeddedStore) {
    thirty_on(SimDisk::new()).await
}

/// Several segments, all of which but the last have their indexes: nothing is written any more.
async fn thirty_on(disk: SimDisk) -> (SimDisk, EmbeddedStore) {
    let store = open(&disk).await.unwrap();
    for number in 0..30 {
        append(&store, ["track-1", "track-2", "user-1"][number as usize % 3], number).await;
    }
    until_indexed(&store).await;
    (disk, store)
}

/// What is found, and that looking has left every byte as it was.
fn looked_at(disk: &SimDisk) -> Inspected {
    let all = |disk: &SimDisk| {
        let names = disk.list().unwrap();
        names.iter().map(|name| (name.clone(), disk.contents(name).unwrap())).collect::<Vec<_>>()
    };
    let before = all(disk);
    let found = inspect(disk, given_keys()).unwrap();
    assert!(all(disk) == before, "looking has changed something");
    found
}

fn recovery(found: &Inspected) -> String {
    found.recovery.iter().map(RecoveryStep::to_string).collect::<Vec<_>>().join("; ")
}

#[tokio::test]
async fn a_log_is_told_as_its_store_has_it() {
    let (disk, store) = thirty_events().await;
    let found = looked_at(&disk);
    assert!(found.is_good() && found.clean.is_none(), "{found:?}");
    assert_eq!(found.head, Some(store.audit_head()));
    assert_eq!(recovery(&found), "write the last frame once more");
    let statistics = &found.statistics;
    assert_eq!((statistics.events, statistics.streams), (30, 3));
    assert!(statistics.all_streams_counted);
    let largest: Vec<_> =
        statistics.largest_categories.iter().map(|it| (it.name.as_str(), it.events)).collect();
    assert_eq!(largest, [("track", 20), ("user", 10)]);
    let (last, sealed) = found.segments.split_last().unwrap();
    assert!(!last.sealed && last.index.is_none() && last.last == Some(Position::new(30)));
    assert!(last.room_bytes > 0, "room is ahead of the writing");
    assert!(sealed.len() > 1);
    for segment in sealed {
        assert!(matches!(segment.index, Some(IndexState::Fits { .. })), "{segment:?}");
        assert!(segment.header.unwrap().version == 3 && segment.room_bytes == 0);
    }

    store.close().await.unwrap();
    let found = looked_at(&disk);
    assert!(found.clean.is_some() && found.is_good());
    assert_eq!(recovery(&found), "");
}

#[tokio::test]
async fn what_was_reclaimed_is_counted_apart() {
    let (disk, store) = thirty_events().await;
    let hides = StreamMetadata { max_count: Some(1), ..StreamMetadata::default() };
    store.set_stream_metadata(&stream("track-1"), ExpectedRevision::Any, hides).await.unwrap();
    let scavenged = store.scavenge(scavenging::thorough()).await.unwrap().progress;
    let found = looked_at(&disk);
    assert_eq!(found.statistics.reclaimed, scavenged.events_reclaimed);
    assert_eq!(found.statistics.events, everything(&store).await.unwrap().len() as u64);
    assert!(found.is_good() && found.head == Some(store.audit_head()));
    assert_eq!(all_of(&store, "track-1").await.unwrap().len(), 1);
}

/// Given a group with a checkpoint, a pass of scavenging and a scrub that were stopped half-way,
/// and a segment that has rotted, then all of it is told, without a store.
#[tokio::test]
async fn how_far_groups_scavenging_and_scrubs_are_is_told() {
    let (disk, store) = thirty_events().await;
    let found = looked_at(&disk);
    assert!(found.checkpoints.is_empty() && found.scavenge.is_none() && found.scrub.is_none());
    let checkpoints = "$persistentsubscription-track-1::workers-checkpoint";
    for place in ["3", "7"] {
        let mut kept = event(1000);
        (kept.id, kept.data) = (EventId(Uuid::new_v4()), format!("\"{place}\"").into());
        store.append(&stream(checkpoints), ExpectedRevision::Any, vec![kept]).await.unwrap();
    }
    let scrubbed = store.scrub(ScrubOptions::default().bytes_per_second(u64::MAX)).await.unwrap();
    let found = looked_at(&disk);
    let [checkpoint] = &found.checkpoints[..] else { panic!("{:?}", found.checkpoints) };
    assert_eq!((checkpoint.group.as_str(), checkpoint.place.as_str()), ("track-1::workers", "7"));
    let scrub = found.scrub.unwrap();
    assert_eq!((scrub.at, scrub.next), (store.last_scrub(), None));
    assert_eq!(scrub.segments_done as u64, scrubbed.segments);
    assert_eq!(scrub.damaged, []);

    // Half-way: what a store that is killed leaves.
    let second = found.segments[1].first;
    let half = |magic: &[u8; 8], numbers: [u64; 2]| {
        let mut bytes = magic.to_vec();
        numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        bytes.extend([0; 4]);
        let crc = crc32c::crc32c(&bytes);
        bytes.extend(crc.to_le_bytes());
        bytes
    };
    disk.put("SCAVENGE", half(b"VEZASCV\0", [5_000_000, second.get()]));
    disk.put("SCRUB", half(b"VEZASCR\0", [7_000_000, second.get()]));
    let found = looked_at(&disk);
    let scavenge = found.scavenge.unwrap();
    assert_eq!((scavenge.began.timestamp(), scavenge.next), (5, second));
    assert_eq!(scavenge.segments_done, 1);
    let scrub = found.scrub.unwrap();
    assert_eq!((scrub.at.unwrap().timestamp(), scrub.next), (7, Some(second)));
    assert_eq!(scrub.segments_done, 1);

    store.delete_stream(&stream(checkpoints), ExpectedRevision::Any).await.unwrap();
    assert_eq!(looked_at(&disk).checkpoints, [], "the group is gone");

    let mut rotten = disk.contents(&found.segments[0].name).unwrap();
    rotten[300] ^= 1;
    disk.put_into(&found.segments[0].name, &rotten);
    store.scrub(ScrubOptions::default().bytes_per_second(u64::MAX)).await.unwrap();
    let damaged = looked_at(&disk).scrub.unwrap().damaged;
    assert_eq!(damaged, store.rot());
    assert_eq!(damaged[0].segment, Position::new(1));
}

#[tokio::test]
async fn a_torn_write_is_told_and_not_cut() {
    let (disk, store) = thirty_events().await;
    let last = looked_at(&disk).segments.pop().unwrap();
    drop(store);
    disk.remove("CLEAN").unwrap();
    let mut bytes = disk.contents(&last.name).unwrap();
    bytes.truncate(usize::try_from(last.bytes).unwrap() - 10);
    disk.put(&last.name, bytes);
    disk.put("00000000000000000001.log.tmp", b"half".to_vec());
    let found = looked_at(&disk);
    let torn = found.segments.last().unwrap().torn_bytes;
    assert!(found.is_good() && torn > 0);
    let told = recovery(&found);
    assert!(told.starts_with("remove 00000000000000000001.log.tmp"), "{told}");
    let cut = format!("cut {torn} bytes off {} that were not written whole", last.name);
    assert!(told.contains(&cut), "{told}");
    assert_eq!(open(&disk).await.unwrap().torn_bytes(), torn);
}

#[tokio::test]
async fn damage_is_named_and_whether_a_store_would_open() {
    let (disk, store) = thirty_events().await;
    store.close().await.unwrap();
    let segments = looked_at(&disk).segments;
    let active = &segments.last().unwrap().name;
    let last_sealed = &segments[segments.len() - 2].name;
    let with = |name: &str, at: usize| {
        let damaged = disk.copy();
        let mut bytes = disk.contents(name).unwrap();
        bytes[at] ^= 1;
        damaged.put(name, bytes);
        damaged
    };
    for (name, at, refuses) in [
        ("00000000000000000001.log", 300, false),
        ("00000000000000000001.log", 20, true),
        (last_sealed.as_str(), 300, false),
        (active.as_str(), 200, true),
    ] {
        let damaged = with(name, at);
        let found = looked_at(&damaged);
        assert!(!found.is_good() && found.head.is_none());
        let wrong: Vec<_> = found.segments.iter().filter_map(|it| it.wrong.as_deref()).collect();
        assert!(wrong[0].contains(name) && wrong[0].contains("offset"), "{wrong:?}");
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        let told = recovery(&found).contains("refuse to open");
        assert_eq!((told, open(&damaged).await.is_err()), (refuses, refuses), "{name} {at}");
    }
    let index = with("00000000000000000001.idx", 100);
    let found = looked_at(&index);
    assert_eq!(found.segments[0].index, Some(IndexState::Damaged));
    assert!(found.is_good());
    assert_eq!(recovery(&found), "make the index of 00000000000000000001.log again");
    index.remove("00000000000000000001.idx").unwrap();
    assert_eq!(looked_at(&index).segments[0].index, Some(IndexState::Missing));
    for lost in &segments[..segments.len() - 1] {
        let without = disk.copy();
        without.remove(&lost.name).unwrap();
        let found = looked_at(&without);
        assert!(recovery(&found).contains("refuse to open"), "{} is lost: {found:?}", lost.name);
        assert!(!found.is_good() && open(&without).await.is_err());
    }
    disk.remove(active).unwrap();
    let found = looked_at(&disk);
    assert!(!found.is_good() && recovery(&found).contains("is missing"), "{found:?}");
}

/// Given an index of many blocks of which one is damaged, then what is foretold is what opening
/// does: its first block, its filters and the last ids are read then, all else by who looks for it.
#[tokio::test]
async fn an_index_is_foretold_to_be_made_again_where_opening_does_it() {
    let disk = SimDisk::new();
    let opened = |disk: &SimDisk| EmbeddedStore::open(options(disk).segment_bytes(250_000));
    let store = opened(&disk).await.unwrap();
    for number in (0..3000).step_by(20) {
        let events = (number..number + 20).map(event).collect();
        let name = stream(&format!("track-{}", number % 140));
        store.append(&name, ExpectedRevision::Any, events).await.unwrap();
    }
    store.close().await.unwrap();
    let name = "00000000000000000001.idx";
    let whole = disk.contents(name).unwrap();
    assert!(whole.len() > 4 * 4096, "there are too few blocks");
    let mut made_again = Vec::new();
    for at in (7..whole.len()).step_by(4096) {
        let damaged = disk.copy();
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        damaged.put(name, bytes.clone());
        let found = looked_at(&damaged);
        assert!(found.is_good(), "{at}: {found:?}");
        let foretold =
            recovery(&found).contains("make the index of 00000000000000000001.log again");
        opened(&damaged).await.unwrap().close().await.unwrap();
        assert_eq!(foretold, damaged.contents(name).unwrap() != bytes, "{at} of {}", whole.len());
        made_again.push(foretold);

        // With damage in the segment besides, that is met by whoever reads it.
        let segment = "00000000000000000001.log";
        let mut bytes = disk.contents(segment).unwrap();
        bytes[300] ^= 1;
        damaged.put(segment, bytes);
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        damaged.put(name, bytes);
        let refused = recovery(&looked_at(&damaged)).contains("refuse to open");
        assert_eq!(refused, opened(&damaged).await.is_err(), "{at} of {}", whole.len());
        assert_eq!(refused, foretold);
    }
    assert!(made_again[0] && made_again.last() == Some(&true), "{made_again:?}");
    assert!(made_again.contains(&false), "{made_again:?}");
}

/// Given a folder in the place of a segment, then it is named as what is wrong, all is told of the
/// others, and no store opens.
#[tokio::test]
async fn a_folder_in_the_place_of_a_segment_is_named_beside_the_others() {
    let home = tempfile::tempdir().unwrap();
    let options = || EmbeddedOptions::folder(home.path()).segment_bytes(2000);
    let store = EmbeddedStore::open(options()).await.unwrap();
    for number in 0..30 {
        append(&store, "track-1", number).await;
    }
    store.close().await.unwrap();
    let look = || inspect(&Folder::read_only(home.path()), None).unwrap();
    let whole = look();
    assert!(whole.is_good() && whole.segments.len() > 2, "{whole:?}");
    for place in 0..whole.segments.len() {
        let name = &whole.segments[place].name;
        let (path, aside) = (home.path().join(name), home.path().join("aside"));
        std::fs::rename(&path, &aside).unwrap();
        std::fs::create_dir(&path).unwrap();
        let found = look();
        assert_eq!(found.segments.len(), whole.segments.len());
        for (number, (now, before)) in found.segments.iter().zip(&whole.segments).enumerate() {
            match &now.wrong {
                Some(wrong) => {
                    assert_eq!(number, place, "{wrong}");
                    assert!(wrong.contains(name) && wrong.contains("is no file"), "{wrong}");
                }
                None => assert_eq!((now.last, &now.index), (before.last, &before.index)),
            }
        }
        assert!(!found.is_good() && found.head.is_none());
        let told = recovery(&found);
        assert!(told.contains("refuse to open: ") && told.contains(name), "{told}");
        assert!(EmbeddedStore::open(options()).await.is_err(), "{name}");
        std::fs::remove_dir(&path).unwrap();
        std::fs::rename(&aside, &path).unwrap();
    }
    assert!(look().is_good());
}

/// Given an encrypted log, then all is told with its keys; without, what the headers and the frames
/// say, which segments are locked, and that this is not found bad but where no key opens it.
#[tokio::test]
async fn an_encrypted_log_is_told_as_far_as_the_keys_go() {
    let (disk, store) = thirty_on(new_disk(true).await).await;
    store.close().await.unwrap();
    let whole = looked_at(&disk);
    assert!(whole.is_good() && whole.head == Some(store.audit_head()));
    assert!(whole.segments.iter().all(|it| it.header.unwrap().encrypted && it.locked.is_none()));
    assert_eq!((whole.statistics.events, recovery(&whole).as_str()), (30, ""));

    let other = WrappingKeys::from_text(&format!("other:{}", "07".repeat(32))).unwrap();
    for (keys, words) in [(None, "no key was given"), (Some(other), "not among those given")] {
        let found = inspect(&disk, keys.map(Arc::new)).unwrap();
        assert!(found.is_good() && found.head.is_none());
        assert_eq!(found.statistics.events, 0);
        for (locked, known) in found.segments.iter().zip(&whole.segments) {
            assert!(locked.locked.as_ref().unwrap().contains(words), "{locked:?}");
            let seen = |it: &InspectedSegment| (it.last, it.bytes, it.room_bytes, it.header);
            assert_eq!(seen(locked), seen(known));
            assert_eq!((&locked.index, locked.recorded), (&known.index, None));
        }
        let told = recovery(&found);
        assert!(told.starts_with("refuse to open: ") && told.contains(words), "{told}");
    }

    let damaged = |name: &str, at: usize| {
        let (damaged, mut bytes) = (disk.copy(), disk.contents(name).unwrap());
        bytes[at] ^= 1;
        damaged.put(name, bytes);
        damaged
    };
    // The frames are checked without keys.
    let first = "00000000000000000001.log";
    let found = inspect(&damaged(first, 300), None).unwrap();
    assert!(!found.is_good() && found.segments[0].wrong.as_ref().unwrap().contains(first));
    let name = disk.list().unwrap().into_iter().find(|it| it.ends_with(".key")).unwrap();
    let missing = disk.copy();
    missing.remove(&name).unwrap();
    let another = WrappingKeys::from_text(&format!("key:{}", "08".repeat(32))).unwrap();
    for (disk, keys) in [
        (&missing, given_keys()),
        (&damaged(&name, 110), given_keys()),
        (&disk, Some(Arc::new(another))),
    ] {
        let found = inspect(disk, keys).unwrap();
        let segment = &found.segments[0];
        assert!(!found.is_good() && segment.locked.is_some(), "{segment:?}");
        let wrong = segment.wrong.as_ref().unwrap();
        assert!(wrong.contains(&name) && wrong.lines().count() == 1, "{wrong}");
        assert!(recovery(&found).contains(wrong), "{}", recovery(&found));
    }
}

/// Every format that was ever written is looked at, on the real disk and read-only.
#[test]
fn old_formats_are_looked_at() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for (name, version, index) in [
        ("format-1", 1, None),
        ("format-2-index-3", 2, Some(3)),
        ("format-2-index-4", 2, None),
        ("format-3-index-5", 3, Some(5)),
        ("format-3-reclaimed", 3, None),
    ] {
        let found = inspect(&Folder::read_only(fixtures.join(name)), None).unwrap();
        assert!(found.is_good(), "{name}: {found:?}");
        assert_eq!(found.segments[0].header.unwrap().version, version, "{name}");
        if let Some(index) = index {
            assert_eq!(found.segments[0].index, Some(IndexState::OtherVersion(index)), "{name}");
        }
    }
}

/// Given garbage under names that are nearly those of segments, then it is nobody's; under the name
/// of one it is named.
#[tokio::test]
async fn garbage_is_told_from_segments() {
    let empty = SimDisk::new();
    let found = looked_at(&empty);
    assert!(found.is_good() && found.segments.is_empty());
    assert_eq!(recovery(&found), "begin a new log");

    let (disk, store) = thirty_events().await;
    store.close().await.unwrap();
    for name in ["7.log", "+0000000000000000009.log", "99999999999999999999.log", ".log", "x.log"] {
        disk.put(name, b"garbage".to_vec());
    }
    let found = looked_at(&disk);
    assert!(found.is_good() && found.statistics.events == 30, "{found:?}");
    assert_eq!(everything(&open(&disk).await.unwrap()).await.unwrap().len(), 30);

    let garbage = SimDisk::new();
    garbage.put("00000000000000000001.log", vec![7; 5000]);
    let found = looked_at(&garbage);
    let wrong = found.segments[0].wrong.as_ref().unwrap();
    assert!(!found.is_good() && wrong.contains("00000000000000000001.log"), "{wrong}");
    assert!(recovery(&found).starts_with("refuse to open: "), "{}", recovery(&found));
    assert!(open(&garbage).await.is_err());
    // No longer than a header: cut off while it was made.
    garbage.put("00000000000000000001.log", vec![7; 100]);
    let found = looked_at(&garbage);
    assert!(found.is_good());
    let told = "remove 00000000000000000001.log, cut off at its creation; begin a new log";
    assert_eq!(recovery(&found), told);
    open(&garbage).await.unwrap();
}

/// A last segment that a newer build has just made has no event yet, and is not for this one to
/// remove.
#[tokio::test]
async fn a_new_segment_of_a_newer_build_is_bad_and_stays() {
    let disk = SimDisk::new();
    open(&disk).await.unwrap().close().await.unwrap();
    let name = "00000000000000000001.log";
    let mut header = disk.contents(name).unwrap()[..128].to_vec();
    header[8] = 99;
    let crc = crc32c::crc32c(&header[..124]);
    header[124..].copy_from_slice(&crc.to_le_bytes());
    disk.put(name, header);
    let found = looked_at(&disk);
    assert!(!found.is_good(), "{found:?}");
    let told = recovery(&found);
    assert!(told.starts_with("refuse to open: ") && told.contains("version 99"), "{told}");
    let refused = open(&disk).await.err().unwrap().to_string();
    assert!(refused.contains("version 99"), "{refused}");
}

/// Given a segment that does not continue the hash chain, sealed or active, with its index or
/// without, then that is bad; but no refusal is foretold, for opening does not go along the chain.
#[tokio::test]
async fn a_broken_chain_is_bad_and_no_refusal() {
    let (disk, store) = thirty_events().await;
    store.close().await.unwrap();
    let segments = looked_at(&disk).segments;
    for broken in &segments[1..] {
        let changed = disk.copy();
        let mut bytes = disk.contents(&broken.name).unwrap();
        bytes[40] ^= 1;
        let crc = crc32c::crc32c(&bytes[..124]);
        bytes[124..128].copy_from_slice(&crc.to_le_bytes());
        changed.put(&broken.name, bytes);
        for has_index in [true, false] {
            if !has_index && broken.sealed {
                changed.remove(&broken.name.replace(".log", ".idx")).unwrap();
            }
            let found = looked_at(&changed);
            let told = found.segments.iter().find(|it| it.name == broken.name).unwrap();
            assert!(!found.is_good() && told.breaks_chain, "{told:?}");
            assert!(told.wrong.as_ref().unwrap().contains("the chain before"), "{told:?}");
            assert!(!recovery(&found).contains("refuse"), "{}", recovery(&found));
            let opened = open(&changed.copy()).await.unwrap();
            assert_eq!(everything(&opened).await.unwrap().len(), 30);
            assert!(opened.verify(None).await.is_err());
        }
    }
}

/// Given a torn write, and behind it a segment that was cut off while it was made, then both are
/// foretold to be removed, as they are.
#[tokio::test]
async fn a_torn_write_before_a_segment_that_was_cut_off_is_no_refusal() {
    let (disk, store) = thirty_events().await;
    store.close().await.unwrap();
    let last = looked_at(&disk).segments.pop().unwrap();
    disk.remove("CLEAN").unwrap();
    let mut bytes = disk.contents(&last.name).unwrap();
    bytes.truncate(usize::try_from(last.bytes).unwrap() - 10);
    disk.put(&last.name, bytes);
    let unborn = "00000000000000000031.log";
    disk.put(unborn, vec![0; 50]);
    let found = looked_at(&disk);
    let torn = found.segments[found.segments.len() - 2].torn_bytes;
    assert!(found.is_good() && torn > 0, "{found:?}");
    let (told, last) = (recovery(&found), last.name);
    assert_eq!(
        told,
        format!(
            "remove {unborn}, cut off at its creation; cut {torn} bytes off {last} that were not \
             written whole; write the last frame once more"
        )
    );
    assert_eq!(everything(&open(&disk).await.unwrap()).await.unwrap().len(), 29);
}

/// What somebody who looks again and again has seen happen.
#[derive(Debug, Default)]
struct Seen {
    looks: u32,
    rolls: u32,
    scavenges: u32,
    /// The segments and the reclaimed events of the last look.
    last: (usize, u64),
}

impl Seen {
    fn add(&mut self, found: &Inspected) {
        let now = (found.segments.len(), found.statistics.reclaimed);
        self.looks += 1;
        self.rolls += u32::from(now.0 > self.last.0);
        self.scavenges += u32::from(now.1 > self.last.1);
        self.last = now;
    }

    fn is_enough(&self) -> bool {
        self.looks >= 60 && self.rolls > 3 && self.scavenges >= 3
    }
}

/// Given writers, rolls, scavenging and closings, then whoever looks meanwhile never finds anything
/// bad, for nothing is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_found_bad_beside_a_store_that_works() {
    const REOPENINGS: u32 = 3;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let options = || EmbeddedOptions::folder(&path).segment_bytes(100_000).encryption(keys());
    let store = EmbeddedStore::open(options()).await.unwrap();
    append(&store, "track-1", 0).await;
    let hides = StreamMetadata { max_count: Some(3), ..StreamMetadata::default() };
    store.set_stream_metadata(&stream("track-1"), ExpectedRevision::Any, hides).await.unwrap();
    let (looks, reopenings) = (path.clone(), Arc::new(AtomicU32::new(0)));
    let reopened = Arc::clone(&reopenings);
    let looking = tokio::task::spawn_blocking(move || {
        let (mut seen, begun) = (Seen::default(), Instant::now());
        while !seen.is_enough() || reopened.load(Ordering::Relaxed) < REOPENINGS {
            assert!(begun.elapsed() < PATIENCE, "no more than {seen:?} and {reopened:?} openings");
            let found = inspect(&Folder::read_only(&looks), given_keys()).unwrap();
            assert!(found.is_good(), "{:?}; {:?}", found.recovery, found.segments);
            seen.add(&found);
        }
    });
    let mut store = store;
    let mut number = 1;
    while !looking.is_finished() {
        for turn in 0..40 {
            let events = (number..number + 5).map(event).collect();
            let name = stream(if turn % 2 == 0 { "track-1" } else { "track-2" });
            store.append(&name, ExpectedRevision::Any, events).await.unwrap();
            number += 5;
        }
        store.scavenge(scavenging::thorough()).await.unwrap();
        if number % 3 == 0 {
            store.close().await.unwrap();
            store = EmbeddedStore::open(options()).await.unwrap();
            reopenings.fetch_add(1, Ordering::Relaxed);
        }
    }
    looking.await.unwrap();
}
