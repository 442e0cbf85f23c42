//! Pieces put in the places of others, with checksums that fit: nothing of it is served.

use event_store::EmbeddedStore;
use event_store::log::SimDisk;

use super::{append, everything, files, open};

const SEGMENT_HEADER_BYTES: usize = 128;
const FRAME_HEADER_BYTES: usize = 56;
/// What of a record is not encrypted.
const RECORD_PLAIN_BYTES: usize = 16;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Where the records of a segment are, which are one a frame.
fn records(segment: &[u8]) -> Vec<std::ops::Range<usize>> {
    let (mut records, mut at) = (Vec::new(), SEGMENT_HEADER_BYTES);
    while at < segment.len() {
        let end = at + u32_at(segment, at + 8) as usize;
        records.push(at + FRAME_HEADER_BYTES..end);
        at = end;
    }
    records
}

/// Puts the checksums of every record and frame right.
fn put_right(segment: &mut [u8]) {
    let salt = u32_at(segment, 32);
    let seal = |bytes: &mut [u8]| {
        let crc = crc32c::crc32c_append(salt, &bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    };
    for record in records(segment) {
        let frame = record.start - FRAME_HEADER_BYTES..record.end;
        seal(&mut segment[record]);
        seal(&mut segment[frame]);
    }
}

/// A store of several segments of several records each, closed in peace.
async fn several_segments() -> SimDisk {
    let disk = SimDisk::new();
    let store = open(&disk, &["a"]).await.unwrap();
    append(&store, 100..140).await;
    store.close().await.unwrap();
    disk
}

/// What opening, reading and verifying say; `None` when all is well.
async fn complaint(disk: &SimDisk) -> Option<String> {
    let store: EmbeddedStore = match open(disk, &["a"]).await {
        Ok(store) => store,
        Err(error) => return Some(error.to_string()),
    };
    let read = everything(&store).await.err().map(|error| error.to_string());
    let verified = store.verify(None).await.err().map(|error| error.to_string());
    assert_eq!(read.is_some(), verified.is_some(), "{read:?}, {verified:?}");
    read
}

#[tokio::test]
async fn a_record_in_the_place_of_another_is_refused() {
    let whole = several_segments().await;
    assert_eq!(complaint(&whole).await, None);
    let names = files(&whole, ".log");
    for name in [&names[0], names.last().unwrap()] {
        let segment = whole.contents(name).unwrap();
        let all = records(&segment);
        assert!(all.len() > 3, "{} records", all.len());
        let (one, other) = (all[0].clone(), all[2].clone());
        assert_eq!(one.len(), other.len());
        for from in [0, RECORD_PLAIN_BYTES] {
            let mut forged = segment.clone();
            forged[one.start + from..one.end].copy_from_slice(&segment[other.clone()][from..]);
            forged[other.start + from..other.end].copy_from_slice(&segment[one.clone()][from..]);
            put_right(&mut forged);
            let disk = whole.copy();
            disk.put(name, forged);
            let said = complaint(&disk).await.expect("two records were swapped");
            assert!(said.contains(name.as_str()), "{said}");
        }
    }
}

#[tokio::test]
async fn a_record_of_another_segment_or_store_is_refused() {
    let (whole, other) = (several_segments().await, several_segments().await);
    let names = files(&whole, ".log");
    let target = whole.contents(&names[0]).unwrap();
    for source in [whole.contents(&names[1]).unwrap(), other.contents(&names[0]).unwrap()] {
        let (to, from) = (records(&target)[1].clone(), records(&source)[1].clone());
        assert_eq!(to.len(), from.len());
        let mut forged = target.clone();
        forged[to.start + RECORD_PLAIN_BYTES..to.end]
            .copy_from_slice(&source[from][RECORD_PLAIN_BYTES..]);
        put_right(&mut forged);
        let disk = whole.copy();
        disk.put(&names[0], forged);
        let said = complaint(&disk).await.expect("a record is another one");
        assert!(said.contains("not what was encrypted at its place"), "{said}");
    }
}

#[tokio::test]
async fn a_segment_or_a_key_in_the_place_of_another_is_refused() {
    let (whole, other) = (several_segments().await, several_segments().await);
    for ending in [".log", ".key"] {
        let names = files(&whole, ending);
        let disk = whole.copy();
        disk.put(&names[0], whole.contents(&names[1]).unwrap());
        disk.put(&names[1], whole.contents(&names[0]).unwrap());
        complaint(&disk).await.expect("two files were swapped");
        let disk = whole.copy();
        disk.put(&names[0], other.contents(&files(&other, ending)[0]).unwrap());
        complaint(&disk).await.expect("a file is that of another store");
    }
}

/// Given a segment of another store with its key under the names they have there, then the chain
/// does not go through it.
#[tokio::test]
async fn a_segment_of_another_store_with_its_key_breaks_the_chain() {
    let (whole, other) = (several_segments().await, several_segments().await);
    let (segment, key) = (files(&other, ".log").remove(0), files(&other, ".key").remove(0));
    let disk = whole.copy();
    disk.put(&segment, other.contents(&segment).unwrap());
    disk.put(&key, other.contents(&key).unwrap());
    let store = open(&disk, &["a"]).await.unwrap();
    let said = store.verify(None).await.unwrap_err().to_string();
    assert!(said.contains("the chain before this segment"), "{said}");
}
