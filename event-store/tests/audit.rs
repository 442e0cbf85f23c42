//! The hash chain: what was changed or cut by somebody who knows the format is found as well.

#[path = "given/encrypted.rs"]
mod encrypted;
#[path = "given/events.rs"]
mod given;
#[path = "given/simulated.rs"]
mod simulated;

use encrypted::new_disk;
use event_store::log::{AuditHead, ChainEnd, Disk, SimDisk};
use event_store::{EmbeddedStore, EventStore, ExpectedRevision, Position, Verified};
use given::{event, everything, stream};
use simulated::{all_of, open};

const SEGMENT_HEADER_BYTES: usize = 128;
const FRAME_HEADER_BYTES: usize = 56;

async fn append(store: &EmbeddedStore, numbers: std::ops::Range<u64>) {
    let events = numbers.map(event).collect();
    store.append(&stream("track-1"), ExpectedRevision::Any, events).await.unwrap();
}

/// A store of several segments, closed in peace, and the head that was exported after some events.
async fn exported(after: u64) -> (SimDisk, AuditHead) {
    exported_from(SimDisk::new(), after).await
}

async fn exported_from(disk: SimDisk, after: u64) -> (SimDisk, AuditHead) {
    let store = open(&disk).await.unwrap();
    append(&store, 0..1).await;
    append(&store, 1..after).await;
    let head = store.audit_head();
    for number in after..30 {
        append(&store, number..number + 1).await;
    }
    store.close().await.unwrap();
    (disk, head)
}

async fn verify(disk: &SimDisk, known: Option<AuditHead>) -> Result<Verified, String> {
    let store = open(disk).await.map_err(|error| error.to_string())?;
    store.verify(known).await.map_err(|error| error.to_string())
}

fn segments(disk: &SimDisk) -> Vec<String> {
    disk.list().unwrap().into_iter().filter(|name| name.ends_with(".log")).collect()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Puts the checksums right after what they cover was changed; with a chain that fits or not.
struct Forger {
    salt: u32,
    chain: [u8; 32],
}

impl Forger {
    fn seal(&self, bytes: &mut [u8]) {
        let crc = crc32c::crc32c_append(self.salt, &bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    }

    /// Forges a whole segment: changes the last byte of the event with this position.
    fn forge(&mut self, segment: &mut [u8], position: u64, with_chain: bool) {
        self.salt = u32_at(segment, 32);
        if with_chain {
            segment[40..72].copy_from_slice(&self.chain);
            let crc = crc32c::crc32c(&segment[..SEGMENT_HEADER_BYTES - 4]);
            segment[SEGMENT_HEADER_BYTES - 4..SEGMENT_HEADER_BYTES]
                .copy_from_slice(&crc.to_le_bytes());
        }
        let mut at = SEGMENT_HEADER_BYTES;
        while at < segment.len() {
            let length = u32_at(segment, at + 8) as usize;
            let frame = &mut segment[at..at + length];
            let mut record_at = FRAME_HEADER_BYTES;
            while record_at < length {
                let end = record_at + u32_at(frame, record_at) as usize;
                let record = &mut frame[record_at..end];
                if u64::from_le_bytes(record[8..16].try_into().unwrap()) == position {
                    *record.last_mut().unwrap() ^= 1;
                    self.seal(record);
                }
                let digest = blake3::hash(&record[8..]);
                let link = [self.chain.as_slice(), digest.as_bytes()].concat();
                self.chain = *blake3::hash(&link).as_bytes();
                record_at = end;
            }
            if with_chain {
                frame[24..56].copy_from_slice(&self.chain);
            }
            self.seal(frame);
            at += length;
        }
    }
}

fn forge(disk: &SimDisk, position: u64, with_chain: bool) {
    let mut forger = Forger { salt: 0, chain: [0; 32] };
    for name in segments(disk) {
        let mut bytes = disk.contents(&name).unwrap();
        forger.forge(&mut bytes, position, with_chain);
        disk.put(&name, bytes);
    }
}

#[tokio::test]
async fn a_good_log_goes_through_every_head_that_was_exported() {
    for after in [2, 5, 29] {
        let (disk, head) = exported(after).await;
        assert_eq!(head.position, Position::new(after));
        let verified = verify(&disk, Some(head)).await.unwrap();
        assert_eq!((verified.events, verified.head.position), (30, Position::new(30)));
        let start = AuditHead { position: Position::START, chain: ChainEnd::START };
        assert_eq!(verify(&disk, Some(start)).await.unwrap().head, verified.head);
    }
}

#[tokio::test]
async fn an_encrypted_log_goes_through_every_head_that_was_exported() {
    for after in [2, 5, 29] {
        let (disk, head) = exported_from(new_disk(true).await, after).await;
        let verified = verify(&disk, Some(head)).await.unwrap();
        assert_eq!((verified.events, verified.head.position), (30, Position::new(30)));
    }
}

#[tokio::test]
async fn the_chain_goes_on_over_restarts_and_segments() {
    let (disk, _) = exported(2).await;
    let whole = verify(&disk, None).await.unwrap().head;
    let again = SimDisk::new();
    for number in 0..30 {
        let store = open(&again).await.unwrap();
        append(&store, number..number + 1).await;
        let head = store.audit_head();
        assert_eq!(head.position.get() as usize, everything(&store).await.unwrap().len());
        store.close().await.unwrap();
        assert_eq!(verify(&again, Some(head)).await.unwrap().head, head);
    }
    assert_eq!(verify(&again, None).await.unwrap().head.position, whole.position);
}

#[tokio::test]
async fn an_event_that_was_changed_with_its_checksums_is_named() {
    for position in [1, 3, 17, 30] {
        let (disk, _) = exported(5).await;
        forge(&disk, position, false);
        let wrong = verify(&disk, None).await.expect_err("an event was changed");
        let named = if (2..=5).contains(&position) { 2 } else { position };
        assert!(wrong.contains(&format!("from position {named} on")), "{position}: {wrong}");
    }
}

#[tokio::test]
async fn an_event_that_was_changed_with_the_whole_chain_is_found_by_a_head_kept_elsewhere() {
    let (disk, head) = exported(29).await;
    forge(&disk, 17, true);
    verify(&disk, None).await.expect("it agrees with itself");
    let wrong = verify(&disk, Some(head)).await.expect_err("an event was changed");
    assert!(wrong.contains("up to position 29"), "{wrong}");
}

#[tokio::test]
async fn an_end_that_was_cut_off_is_found_by_a_head_kept_elsewhere() {
    let (disk, head) = exported(30).await;
    let last = segments(&disk).pop().unwrap();
    let mut bytes = disk.contents(&last).unwrap();
    bytes.truncate(SEGMENT_HEADER_BYTES);
    disk.put(&last, bytes);
    disk.remove("CLEAN").unwrap();
    verify(&disk, None).await.expect("a log that was never longer");
    assert_eq!(all_of(&open(&disk).await.unwrap(), "track-1").await.unwrap().len(), 1);
    let wrong = verify(&disk, Some(head)).await.expect_err("events are missing");
    assert!(wrong.contains("position 30") && wrong.contains("ends at"), "{wrong}");
}
