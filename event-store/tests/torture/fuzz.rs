//! Fuzz targets: whatever the bytes of a log or an index are, also those that somebody has made to
//! agree with their checksums, the store opens it or says what is corrupt. It never panics, never
//! hangs, and never takes memory for what is not there. An input is a list of edits of a folder
//! that is good.

use std::fs;

use crc32c::{crc32c, crc32c_append};
use event_store::log::{Disk, SimDisk};
use event_store::{
    EmbeddedStore, EventStore, EventType, ExpectedRevision, Index, IndexError, OpenError, Ordinal,
    ReadError, ReadIndex, StoreError,
};
use futures::TryStreamExt;
use tokio::runtime::Runtime;

use crate::fuzzing::{edit, target};
use crate::given::{event, everything, stream};
use crate::simulated::{all_of, open};

/// A log of two segments, the first with its index; written by the store itself.
const GOOD: &str = "tests/fixtures/format-3-index-6";
/// The same, of which the sealed segment is without half of its events.
const RECLAIMED: &str = "tests/fixtures/format-3-reclaimed";
const SEALED: &str = "00000000000000000001.log";
const ACTIVE: &str = "00000000000000000013.log";
const INDEX: &str = "00000000000000000001.idx";
const STREAMS: [&str; 4] = ["track-1", "user-1", "order-1", "$$user-1"];
const CATEGORIES: [&str; 3] = ["track", "user", "order"];
const TYPES: [&str; 2] = ["Numbered", "$metadata"];

const SEGMENT_HEADER_BYTES: usize = 128;
const FRAME_HEADER_BYTES: usize = 56;
const BLOCK_BYTES: usize = 4096;
const INDEX_HEADER_BYTES: usize = 88;
const INDEX_KEY_AT: usize = 72;

fn good(folder: &str) -> SimDisk {
    let disk = SimDisk::new();
    for file in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        disk.put(file.file_name().to_str().unwrap(), fs::read(file.path()).unwrap());
    }
    // Without it the end of the log is judged by its bytes alone.
    disk.remove("CLEAN").unwrap();
    disk
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

fn seal(bytes: &mut [u8], salt: u32) {
    let crc = crc32c_append(salt, &bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// The records of all frames of a segment.
fn records_of(segment: &[u8]) -> Vec<u8> {
    let (mut records, mut at) = (Vec::new(), SEGMENT_HEADER_BYTES);
    while at < segment.len() {
        let end = at + u32_at(segment, at + 8);
        records.extend_from_slice(&segment[at + FRAME_HEADER_BYTES..end]);
        at = end;
    }
    records
}

/// Makes of all that follows the first frame's header the records of that frame, as their lengths
/// say, with checksums that agree.
fn seal_records(segment: &mut [u8]) {
    let salt = u32_at(segment, 32) as u32;
    let frame = &mut segment[SEGMENT_HEADER_BYTES..];
    let (mut at, mut count) = (FRAME_HEADER_BYTES, 0_u32);
    while at + 8 <= frame.len() {
        let length = u32_at(frame, at);
        if length < 8 || length > frame.len() - at {
            break;
        }
        seal(&mut frame[at..at + length], salt);
        at += length;
        count += 1;
    }
    let length = u32::try_from(frame.len()).unwrap();
    frame[8..12].copy_from_slice(&length.to_le_bytes());
    frame[12..16].copy_from_slice(&count.to_le_bytes());
    seal(frame, salt);
}

target!(records, |runtime, input| edit_records(runtime, &good(GOOD), ACTIVE, input));

target!(reclaimed, |runtime, input| {
    let disk = good(RECLAIMED);
    // So that the segment is scanned.
    disk.remove(INDEX).unwrap();
    edit_records(runtime, &disk, SEALED, input);
});

/// Edits the records of a segment, all in one frame then.
fn edit_records(runtime: &Runtime, disk: &SimDisk, name: &str, input: &[u8]) {
    let mut segment = disk.contents(name).unwrap();
    let mut records = records_of(&segment);
    segment.truncate(SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES);
    edit(&mut records, input);
    segment.append(&mut records);
    seal_records(&mut segment);
    disk.put(name, segment);
    runtime.block_on(is_read_or_refused(disk));
}

target!(segments, |runtime, input| {
    let disk = good(GOOD);
    // The first byte says of which segment, and whether the header's checksum is made to agree.
    let (how, input) = input.split_first().unwrap_or((&0, &[]));
    let name = [SEALED, ACTIVE][usize::from(how % 2)];
    let mut segment = disk.contents(name).unwrap();
    edit(&mut segment, input);
    if how & 2 != 0 && segment.len() >= SEGMENT_HEADER_BYTES {
        let crc = crc32c(&segment[..SEGMENT_HEADER_BYTES - 4]);
        segment[SEGMENT_HEADER_BYTES - 4..SEGMENT_HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    }
    disk.put(name, segment);
    if how & 4 != 0 {
        disk.remove(INDEX).unwrap();
    }
    runtime.block_on(is_read_or_refused(&disk));
});

target!(indexes, |runtime, input| {
    let disk = good(GOOD);
    let mut index = disk.contents(INDEX).unwrap();
    edit(&mut index, input);
    // What the checksums begin with stands in the first block.
    let seed = index.first_chunk().map_or(0, |head: &[u8; INDEX_HEADER_BYTES]| {
        crc32c_append(u32_at(head, 12) as u32, &head[INDEX_KEY_AT..])
    });
    for (number, block) in index.chunks_exact_mut(BLOCK_BYTES).enumerate() {
        let crc = crc32c_append(seed, &(number as u32).to_le_bytes());
        let crc = crc32c_append(crc, &block[..BLOCK_BYTES - 4]);
        block[BLOCK_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    }
    disk.put(INDEX, index);
    runtime.block_on(is_read_or_refused(&disk));
});

fn all_indexes() -> impl Iterator<Item = Index> {
    let types = TYPES.map(|name| Index::EventType(EventType::new(name).unwrap()));
    CATEGORIES.map(Index::category).into_iter().chain(types)
}

/// How many events a read of an index returns.
async fn read_index(store: &EmbeddedStore, read: ReadIndex) -> Result<usize, IndexError> {
    Ok(store.read_index(read).await?.try_collect::<Vec<_>>().await?.len())
}

/// Given the folder that all inputs edit, when nothing is edited, then the store opens it as it is
/// and finds all that it looks for: else the targets would try what nobody writes any more.
#[tokio::test]
async fn the_folder_that_is_edited_is_as_the_store_writes_it_now() {
    let disk = good(GOOD);
    let index = disk.contents(INDEX).unwrap();
    let store = open(&disk).await.unwrap();
    let all = everything(&store).await.unwrap();
    let tracks = all_of(&store, STREAMS[0]).await.unwrap().len();
    let mut counts = Vec::new();
    for index in all_indexes() {
        counts.push(read_index(&store, ReadIndex::forward(index)).await.unwrap());
    }
    assert!(tracks > 6 && counts[0] == tracks, "{tracks} and {counts:?} of {}", all.len());
    store.append(&stream("track-1"), ExpectedRevision::Any, vec![event(99)]).await.unwrap();
    store.close().await.unwrap();
    assert_eq!(disk.contents(INDEX).unwrap(), index, "the index is made again");
}

/// Opens the store and reads it in every way. What is wrong must be called corrupt, which a panic
/// somewhere in the store is not.
async fn is_read_or_refused(disk: &SimDisk) {
    let corrupt = |error: StoreError| match error {
        StoreError::Corrupt { place, .. } => assert!(!place.is_empty()),
        other => panic!("{other:?}"),
    };
    let store = match open(disk).await {
        Ok(store) => store,
        Err(OpenError::Store(error)) => return corrupt(error),
        // A header that is whole may say that it is encrypted.
        Err(OpenError::Key(_)) => return,
        Err(other) => panic!("{other}"),
    };
    if let Err(ReadError::Store(error)) = everything(&store).await {
        corrupt(error);
    }
    for name in STREAMS {
        match all_of(&store, name).await {
            Ok(_) | Err(ReadError::StreamNotFound(_) | ReadError::StreamDeleted(_)) => {}
            Err(ReadError::Store(error)) => corrupt(error),
            Err(other) => panic!("{other}"),
        }
    }
    for index in all_indexes() {
        for read in [
            ReadIndex::forward(index.clone()),
            ReadIndex::backward(index.clone()),
            ReadIndex::forward(index.clone()).from(Ordinal::new(3)),
        ] {
            match read_index(&store, read).await {
                Ok(_) => {}
                Err(IndexError::Store(error)) => corrupt(error),
                Err(other) => panic!("{other}"),
            }
        }
    }
    match store.verify(None).await {
        // What the index said is the segment's word by then.
        Ok(verified) => {
            let left = everything(&store).await.unwrap().len() as u64;
            assert_eq!(left + verified.reclaimed, verified.events);
        }
        Err(error) => corrupt(error),
    }
    store.close().await.unwrap();
}
