//! Changed and missing bytes: reported or repaired, never served.

#[path = "given/encrypted.rs"]
mod encrypted;
#[path = "given/events.rs"]
mod given;
#[path = "given/simulated.rs"]
mod simulated;

use std::sync::Arc;

use encrypted::new_disk;
use event_store::inspect::{IndexState, RecoveryStep, inspect};
use event_store::log::{Disk, SimDisk};
use event_store::{
    EmbeddedOptions, EmbeddedStore, EventStore, ExpectedRevision, Index, ReadIndex, RecordedEvent,
};
use futures::TryStreamExt;
use given::{event, everything, stream};
use simulated::{all_of, keys, open, options};

const STREAMS: [&str; 3] = ["track-1", "track-2", "user-1"];

/// A small store of several segments, encrypted or not, closed in peace; and all that is in it.
async fn small_store(encrypted: bool) -> (SimDisk, Vec<RecordedEvent>) {
    let disk = new_disk(encrypted).await;
    let store = open(&disk).await.unwrap();
    for number in 0..30 {
        let name = STREAMS[usize::try_from(number).unwrap() % STREAMS.len()];
        store.append(&stream(name), ExpectedRevision::Any, vec![event(number)]).await.unwrap();
    }
    let all = everything(&store).await.unwrap();
    store.close().await.unwrap();
    (disk, all)
}

async fn names(disk: &SimDisk) -> Vec<String> {
    event_store::log::Disk::list(disk).unwrap()
}

/// Opens and reads in every way; an error anywhere is what went wrong.
async fn read_in_every_way(disk: &SimDisk) -> Result<Vec<RecordedEvent>, String> {
    let store: EmbeddedStore = open(disk).await.map_err(|error| error.to_string())?;
    let all = everything(&store).await.map_err(|error| error.to_string())?;
    let mut by_stream = Vec::new();
    for name in STREAMS {
        by_stream.extend(all_of(&store, name).await.map_err(|error| error.to_string())?);
    }
    by_stream.sort_by_key(|event| event.position);
    assert_eq!(by_stream, all, "the streams and the log agree");
    let of_type = Index::EventType(all[0].event_type.clone());
    for index in [Index::category("track"), of_type] {
        let read = store.read_index(ReadIndex::forward(index.clone())).await;
        let read = read.map_err(|error| error.to_string())?.try_collect::<Vec<_>>().await;
        let read = read.map_err(|error| error.to_string())?;
        assert!((0..).zip(&read).all(|(place, it)| it.ordinal.get() == place), "{index}");
        let told: Vec<_> = all.iter().filter(|event| index.has(event)).collect();
        assert_eq!(read.iter().map(|it| &it.event).collect::<Vec<_>>(), told, "{index}");
    }
    Ok(all)
}

/// Looks at every byte of the log, also at those that no reader needs.
async fn verify(disk: &SimDisk) -> Result<u64, String> {
    let store = open(disk).await.map_err(|error| error.to_string())?;
    let verified = store.verify(None).await.map_err(|error| error.to_string())?;
    Ok(verified.events)
}

#[tokio::test]
async fn a_good_log_verifies() {
    for encrypted in [false, true] {
        let (disk, all) = small_store(encrypted).await;
        assert_eq!(verify(&disk).await, Ok(all.len() as u64));
    }
}

/// Whether a file can be made again when it is lost.
fn can_be_made_again(name: &str) -> bool {
    !name.ends_with(".log") && !name.ends_with(".key")
}

#[tokio::test]
async fn one_changed_byte_anywhere_is_noticed_or_makes_no_difference() {
    changed_bytes_are_noticed_or_make_no_difference(false).await;
}

#[tokio::test]
async fn one_changed_byte_anywhere_in_an_encrypted_store_is_noticed_too() {
    changed_bytes_are_noticed_or_make_no_difference(true).await;
}

async fn changed_bytes_are_noticed_or_make_no_difference(encrypted: bool) {
    let (disk, all) = small_store(encrypted).await;
    let (mut reported, mut harmless) = (0, 0);
    for name in names(&disk).await {
        let whole = disk.contents(&name).unwrap();
        // An index is long, most of it zeros, and every byte of a block is checked alike.
        let step = if name.ends_with(".idx") { 7 } else { 1 };
        for at in (0..whole.len()).step_by(step) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            let damaged = disk.copy();
            damaged.put(&name, bytes);
            match read_in_every_way(&damaged).await {
                Ok(read) => {
                    assert_eq!(read, all, "{name} byte {at}");
                    let found = verify(&damaged).await;
                    assert_ne!(found.is_err(), can_be_made_again(&name), "{name} byte {at}");
                    harmless += 1;
                }
                Err(_) => {
                    assert!(!can_be_made_again(&name), "{name} byte {at} can be made again");
                    reported += 1;
                }
            }
        }
    }
    assert!(reported > 1000 && harmless > 500, "{reported} {harmless}");
}

#[tokio::test]
async fn a_missing_segment_or_key_is_refused_and_a_missing_index_made_again() {
    let (disk, all) = small_store(true).await;
    for name in names(&disk).await {
        let damaged = disk.copy();
        event_store::log::Disk::remove(&damaged, &name).unwrap();
        match read_in_every_way(&damaged).await {
            Ok(read) => {
                assert!(can_be_made_again(&name), "{name} is missed");
                assert_eq!(read, all, "without {name}");
            }
            Err(error) => assert!(!can_be_made_again(&name), "without {name}: {error}"),
        }
        let again = damaged.contents(&name).is_some();
        assert_eq!(again, can_be_made_again(&name), "{name} is there again");
    }
}

/// Given a store that was killed, and its newest segment lost since or cut to nothing, then it is
/// refused, whether that was the first or had followed another; until the mark is removed too.
#[tokio::test]
async fn a_newest_segment_that_is_lost_after_a_kill_is_missed() {
    for (appends, encrypted) in [(1, false), (1, true), (30, false), (30, true)] {
        let given = new_disk(encrypted).await;
        let store = open(&given).await.unwrap();
        for number in 0..appends {
            store
                .append(&stream("user-1"), ExpectedRevision::Any, vec![event(number)])
                .await
                .unwrap();
        }
        let given = given.cut_power(|| true);
        let newest = names(&given).await.into_iter().rfind(|name| name.ends_with(".log")).unwrap();
        for left in [None, Some(0), Some(100)] {
            let lost = given.copy();
            event_store::log::Disk::remove(&lost, &newest).unwrap();
            if let Some(left) = left {
                lost.put(&newest, given.contents(&newest).unwrap()[..left].to_vec());
            }
            let error = read_in_every_way(&lost).await.unwrap_err();
            assert!(error.contains(&newest), "{error}");
            assert!(left.is_some() || error.contains("NEWEST"), "{error}");
            let found = inspect(&lost, Some(Arc::new(keys()))).unwrap();
            assert!(!found.is_good(), "{found:?}");
            assert_eq!(
                found.recovery.last().unwrap().to_string(),
                format!("refuse to open: {error}")
            );
            event_store::log::Disk::remove(&lost, "NEWEST").unwrap();
            let store = open(&lost).await.unwrap();
            assert!(everything(&store).await.unwrap().len() < appends as usize);
        }
    }
}

/// Given a store that runs, and a segment that is removed under it, which it reads on, then a
/// verification misses it.
#[tokio::test]
async fn a_segment_that_is_lost_under_a_store_is_missed_by_verifying() {
    let (given, _) = small_store(false).await;
    for name in names(&given).await.into_iter().filter(|name| name.ends_with(".log")) {
        let disk = given.copy();
        let store = open(&disk).await.unwrap();
        store.verify(None).await.unwrap();
        event_store::log::Disk::remove(&disk, &name).unwrap();
        let error = store.verify(None).await.unwrap_err().to_string();
        assert!(error.contains(&name) && error.contains("not in the folder"), "{error}");
    }
}

/// Given a store that runs, and its mark of the newest segment damaged or gone, then a verification
/// writes it again.
#[tokio::test]
async fn a_damaged_mark_of_the_newest_segment_is_mended() {
    let (disk, _) = small_store(false).await;
    let store = open(&disk).await.unwrap();
    let mark = disk.contents("NEWEST").unwrap();
    disk.put_into("NEWEST", &changed(&mark, 9));
    store.verify(None).await.unwrap();
    assert_eq!(disk.contents("NEWEST").unwrap(), mark);
    event_store::log::Disk::remove(&disk, "NEWEST").unwrap();
    store.verify(None).await.unwrap();
    assert_eq!(disk.contents("NEWEST").unwrap(), mark);
}

fn changed(whole: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    bytes[at] ^= 0x20;
    bytes
}

#[tokio::test]
async fn every_changed_byte_of_the_log_and_its_indexes_is_found_by_verifying() {
    every_changed_byte_is_found_by_verifying(false).await;
}

#[tokio::test]
async fn every_changed_byte_of_an_encrypted_store_is_found_by_verifying() {
    every_changed_byte_is_found_by_verifying(true).await;
}

async fn every_changed_byte_is_found_by_verifying(encrypted: bool) {
    let (disk, all) = small_store(encrypted).await;
    let files = names(&disk).await;
    let store = open(&disk).await.unwrap();
    for name in files.iter().filter(|name| name.ends_with(".log") || name.ends_with(".key")) {
        let whole = disk.contents(name).unwrap();
        for at in 0..whole.len() {
            disk.put_into(name, &changed(&whole, at));
            store.verify(None).await.expect_err(&format!("{name} was changed at {at}"));
        }
        disk.put_into(name, &whole);
    }
    drop(store);
    for name in files.iter().filter(|name| name.ends_with(".idx")) {
        let whole = disk.contents(name).unwrap();
        for at in (0..whole.len()).step_by(41) {
            let store = open(&disk).await.unwrap();
            disk.put_into(name, &changed(&whole, at));
            let verified = store.verify(None).await.unwrap();
            assert_eq!(verified.indexes_mended, 1, "{name} was changed at {at}");
            assert_eq!(disk.contents(name).unwrap(), whole);
        }
    }
    let verified = open(&disk).await.unwrap().verify(None).await.unwrap();
    assert_eq!((verified.events, verified.indexes_mended), (all.len() as u64, 0));
}

/// Given indexes that are missing or damaged when a store is opened, then its first verification
/// tells of them, though the opening has made them again.
#[tokio::test]
async fn an_index_that_an_opening_made_again_is_told_by_verifying() {
    let (disk, _) = small_store(false).await;
    let name = "00000000000000000001.idx";
    let whole = disk.contents(name).unwrap();
    for damaged in [Some(changed(&whole, 0)), Some(changed(&whole, whole.len() - 1)), None] {
        match damaged {
            Some(bytes) => disk.put(name, bytes),
            None => disk.remove(name).unwrap(),
        }
        let store = open(&disk).await.unwrap();
        let verified = store.verify(None).await.unwrap();
        assert_eq!((verified.indexes_mended, verified.indexes_unwritten), (1, 0));
        assert!(disk.contents(name).unwrap() == whole);
        assert_eq!(store.verify(None).await.unwrap().indexes_mended, 0, "it is told once");
    }
}

/// Given two indexes of one log that are equally long, when a block of one stands in the place of
/// the same of the other, under a store or before it is opened, then it is damage, and never
/// served.
#[tokio::test]
async fn a_block_of_another_index_is_damage() {
    const BLOCK_BYTES: usize = 4096;
    const EVENTS: u64 = 1500;
    let disk = SimDisk::new();
    let opened = |disk: &SimDisk| EmbeddedStore::open(options(disk).segment_bytes(80_000));
    let store = opened(&disk).await.unwrap();
    for number in 0..EVENTS {
        let name = stream(&format!("track-{number:04}"));
        store.append(&name, ExpectedRevision::Any, vec![event(number)]).await.unwrap();
    }
    store.close().await.unwrap();
    let indexes: Vec<String> =
        names(&disk).await.into_iter().filter(|it| it.ends_with(".idx")).collect();
    let [one, other] = [&indexes[0], &indexes[1]].map(|name| disk.contents(name).unwrap());
    assert!(one.len() == other.len() && one.len() > 4 * BLOCK_BYTES, "{} bytes", one.len());
    let all_found = async |store: &EmbeddedStore, place: usize| {
        for number in 0..EVENTS {
            let name = stream(&format!("track-{number:04}"));
            let found = store.last_event(&name).await.unwrap().expect("it is there");
            assert_eq!(found.id, event(number).id, "with block {place} of another");
        }
    };
    for (place, block) in one.chunks(BLOCK_BYTES).enumerate() {
        let mut mixed = other.clone();
        mixed[place * BLOCK_BYTES..][..BLOCK_BYTES].copy_from_slice(block);
        let damaged = disk.copy();
        let store = opened(&damaged).await.unwrap();
        damaged.put_into(&indexes[1], &mixed);
        all_found(&store, place).await;
        assert_eq!(store.verify(None).await.unwrap().indexes_mended, 1, "block {place}");
        store.close().await.unwrap();
        damaged.put(&indexes[1], mixed);
        let looked = inspect(&damaged, None).unwrap().segments.swap_remove(1).index.unwrap();
        assert!(!matches!(looked, IndexState::Fits { .. }), "block {place}");
        all_found(&opened(&damaged).await.unwrap(), place).await;
    }
}

/// Given two logs that began as one, when an index of one stands in the place of the other's, of a
/// segment that is as long and was begun before they parted, then it is made again.
#[tokio::test]
async fn an_index_of_a_log_that_began_as_this_one_is_made_again() {
    let (one, _) = small_store(false).await;
    let other = one.copy();
    for (disk, turns) in [(&one, 1), (&other, 3)] {
        let store = open(disk).await.unwrap();
        for number in 0..30 {
            let name = STREAMS[usize::try_from(number / turns % 2).unwrap()];
            let event = vec![event(100 + number)];
            store.append(&stream(name), ExpectedRevision::Any, event).await.unwrap();
        }
        store.close().await.unwrap();
    }
    let all = read_in_every_way(&other).await.unwrap();
    let mut logs = names(&one).await;
    logs.retain(|name| name.ends_with(".log"));
    logs.sort();
    let mut exchanged = 0;
    for (number, name) in logs.iter().enumerate() {
        let index = &name.replace(".log", ".idx");
        let [log, twin] = [&one, &other].map(|disk| disk.contents(name).unwrap());
        let parted = log.len() == twin.len() && log[..128] == twin[..128] && log != twin;
        if let Some(bytes) = one.contents(index).filter(|_| parted) {
            other.put(index, bytes);
            let looked = inspect(&other, None).unwrap().segments.swap_remove(number).index;
            assert_eq!(looked, Some(IndexState::OfAnother));
            exchanged += 1;
        }
    }
    assert!(exchanged > 0, "they parted within a segment");
    assert_eq!(read_in_every_way(&other).await, Ok(all));
}

/// Given a log whose first index is gone, when it is opened, then that is made again with the key
/// of the others, which stay as they are; and one whose key is another is made again too.
#[tokio::test]
async fn all_indexes_of_a_log_have_one_key() {
    let (disk, all) = small_store(false).await;
    let files = names(&disk).await;
    let indexes: Vec<&String> = files.iter().filter(|name| name.ends_with(".idx")).collect();
    assert!(indexes.len() > 1, "{files:?}");
    let contents = |disk: &SimDisk| indexes.iter().map(|&it| disk.contents(it)).collect::<Vec<_>>();
    let first_lost = disk.copy();
    first_lost.remove(indexes[0]).unwrap();
    assert_eq!(read_in_every_way(&first_lost).await.as_ref(), Ok(&all));
    assert!(contents(&first_lost) == contents(&disk), "with the same key it has the same bytes");

    let (another, _) = small_store(false).await;
    let first_foreign = disk.copy();
    first_foreign.put(indexes[0], another.contents(indexes[0]).unwrap());
    assert_eq!(read_in_every_way(&first_foreign).await.as_ref(), Ok(&all));
    assert!(contents(&first_foreign) == contents(&disk), "its key is nobody's here");

    let all_lost = disk.copy();
    indexes.iter().for_each(|name| all_lost.remove(name).unwrap());
    assert_eq!(read_in_every_way(&all_lost).await.as_ref(), Ok(&all));
    let pairs = contents(&all_lost).into_iter().zip(contents(&disk));
    assert!(pairs.into_iter().all(|(one, other)| one != other), "a new key makes other bytes");

    let mixed = disk.copy();
    mixed.put(indexes[1], all_lost.contents(indexes[1]).unwrap());
    let found = inspect(&mixed, None).unwrap();
    assert_eq!(found.segments[1].index, Some(IndexState::OfAnother));
    let again = RecoveryStep::MakeIndex(found.segments[1].name.clone());
    assert_eq!(found.recovery, [again]);
    let store = open(&mixed).await.unwrap();
    for number in 0..30 {
        let name = STREAMS[usize::try_from(number).unwrap() % STREAMS.len()];
        store.append(&stream(name), ExpectedRevision::Any, vec![event(number)]).await.unwrap();
    }
    assert_eq!(everything(&store).await.unwrap(), all, "retries are known");
    store.close().await.unwrap();
    assert!(contents(&mixed) == contents(&disk));
}

/// Given a folder in the place of an index, then that can't be written, and whoever verifies is
/// told.
#[tokio::test]
async fn an_index_that_can_not_be_written_is_told_by_verifying() {
    let home = tempfile::tempdir().unwrap();
    let options = || EmbeddedOptions::folder(home.path()).segment_bytes(2000);
    let store = EmbeddedStore::open(options()).await.unwrap();
    for number in 0..30 {
        store.append(&stream("track-1"), ExpectedRevision::Any, vec![event(number)]).await.unwrap();
    }
    store.close().await.unwrap();
    let index = home.path().join("00000000000000000001.idx");
    std::fs::remove_file(&index).unwrap();
    std::fs::create_dir(&index).unwrap();
    let store = EmbeddedStore::open(options()).await.unwrap();
    for _ in 0..2 {
        let verified = store.verify(None).await.unwrap();
        assert_eq!((verified.indexes_mended, verified.indexes_unwritten), (0, 1));
    }
    std::fs::remove_dir(&index).unwrap();
    assert_eq!(store.verify(None).await.unwrap().indexes_unwritten, 0);
    assert!(index.is_file(), "it is written as soon as it can be");
}

/// Given an index that a reader found damaged, whether it is mended beside the readers by then or
/// not, when the log is verified, then its file is as it was.
#[tokio::test]
async fn an_index_that_a_reader_found_damaged_is_mended_by_verifying() {
    let (disk, all) = small_store(false).await;
    let name = "00000000000000000001.idx";
    let whole = disk.contents(name).unwrap();
    let store = open(&disk).await.unwrap();
    disk.put_into(name, &changed(&whole, 0));
    assert_eq!(everything(&store).await.unwrap(), all);
    assert_eq!(store.verify(None).await.unwrap().indexes_mended, 1);
    assert!(disk.contents(name).unwrap() == whole);
}

#[tokio::test]
async fn a_changed_byte_in_the_middle_of_a_log_closed_in_peace_is_told_as_damage() {
    let (disk, _) = small_store(true).await;
    let last = names(&disk).await.into_iter().rfind(|name| name.ends_with(".log")).unwrap();
    let whole = disk.contents(&last).unwrap();
    let frames = whole.windows(4).enumerate().filter(|(_, four)| four == b"VZFR");
    let frames: Vec<usize> = frames.map(|(at, _)| at).collect();
    assert!(frames.len() > 2, "the last segment has {} frames", frames.len());
    disk.put(&last, changed(&whole, frames[0] + 4));
    let error = read_in_every_way(&disk).await.unwrap_err();
    assert!(error.contains("a frame is damaged, and a whole one follows"), "{error}");
}

#[tokio::test]
async fn a_cut_at_any_length_after_a_close_in_peace_is_refused() {
    let (disk, _) = small_store(true).await;
    let last = names(&disk).await.into_iter().rfind(|name| name.ends_with(".log")).unwrap();
    let whole = disk.contents(&last).unwrap();
    for length in 0..whole.len() {
        let damaged = disk.copy();
        damaged.put(&last, whole[..length].to_vec());
        assert!(read_in_every_way(&damaged).await.is_err(), "{last} cut at {length}");
    }
}

/// The small store with this byte in the header of its first segment, and the checksum right.
async fn with_header_byte(at: usize, byte: u8) -> SimDisk {
    let (disk, _) = small_store(false).await;
    let name = "00000000000000000001.log";
    let mut bytes = disk.contents(name).unwrap();
    bytes[at] = byte;
    let crc = crc32c::crc32c(&bytes[..124]);
    bytes[124..128].copy_from_slice(&crc.to_le_bytes());
    disk.put(name, bytes);
    disk
}

/// Given a last segment of nothing but a header that a newer build made, then the store does not
/// open, and the segment stays.
#[tokio::test]
async fn an_empty_segment_of_a_newer_build_is_left_as_it_is() {
    for (at, byte) in [(8, 77), (72, 0x80)] {
        let disk = SimDisk::new();
        let store = open(&disk).await.unwrap();
        store.append(&stream("track-1"), ExpectedRevision::Any, vec![event(1)]).await.unwrap();
        drop(store);
        let name = "00000000000000000001.log";
        let mut bytes = disk.contents(name).unwrap()[..128].to_vec();
        bytes[at] = byte;
        let crc = crc32c::crc32c(&bytes[..124]);
        bytes[124..].copy_from_slice(&crc.to_le_bytes());
        let disk = SimDisk::new();
        disk.put(name, bytes.clone());
        let error = read_in_every_way(&disk).await.unwrap_err();
        assert!(error.contains("version 77") || error.contains("flags 0x80"), "{error}");
        assert_eq!(disk.contents(name), Some(bytes));
    }
}

#[tokio::test]
async fn a_log_of_another_format_version_is_refused() {
    let error = read_in_every_way(&with_header_byte(8, 77).await).await.unwrap_err();
    assert!(error.contains("version 77, this build reads up to 3"), "{error}");
}

#[tokio::test]
async fn a_segment_with_flags_that_are_not_known_is_refused() {
    let error = read_in_every_way(&with_header_byte(72, 0x80).await).await.unwrap_err();
    assert!(error.contains("flags 0x80"), "{error}");
}
