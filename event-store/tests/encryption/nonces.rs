//! No nonce is used twice with one key, whatever becomes of what was written.
//!
//! Seen from outside: the data of every event are the same, so what was encrypted of them gives
//! away the key stream, and two records with one key stream have one key and one nonce.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use event_store::log::{Fault, SimDisk};
use event_store::{
    ContentType, EmbeddedOptions, EmbeddedStore, EventId, EventStore, EventType, ExpectedRevision,
    NewEvent, StreamMetadata,
};
use proptest::prelude::*;
use uuid::Uuid;

use super::{everything, keys, stream};
use crate::dice::Dice;
use crate::scavenging::thorough;
use crate::watched::{Watch, WatchedDisk};

const DATA: [u8; 32] = [0x5a; 32];
const STREAM: &str = "track-1";
const TYPE: &str = "Same";
const FRAME_HEADER_BYTES: usize = 56;
/// Where the data of a record begin.
const DATA_AT: usize = 64 + STREAM.len() + TYPE.len();

/// Keeps all that was ever to be written into segments. There is no room ahead, so that a full disk
/// is met in the midst of a write.
#[derive(Default)]
struct Recorder(Mutex<Vec<Vec<u8>>>);

impl Watch for Recorder {
    fn concerns(&self, name: &str) -> bool {
        name.contains(".log")
    }

    fn writes(&self, bytes: &[u8]) {
        self.0.lock().unwrap().push(bytes.to_vec());
    }

    fn has_room_ahead(&self) -> bool {
        false
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    /// The disk has so much room for it.
    Full(usize),
    FailedWrite,
    FailedSync,
    /// The disk has so much room for the pass.
    Scavenge(usize),
    Reopen,
    PowerCut(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..4_usize).prop_map(Step::Append),
        3 => (0..600_usize).prop_map(Step::Full),
        1 => Just(Step::FailedWrite),
        1 => Just(Step::FailedSync),
        2 => (0..3000_usize).prop_map(Step::Scavenge),
        1 => Just(Step::Reopen),
        2 => any::<u64>().prop_map(Step::PowerCut),
    ];
    prop::collection::vec(step, 1..30)
}

async fn open(disk: &SimDisk, recorder: &Arc<Recorder>) -> EmbeddedStore {
    let disk = WatchedDisk { disk: disk.clone(), watch: Arc::clone(recorder) };
    let options = EmbeddedOptions::disk(Arc::new(disk)).segment_bytes(2000);
    EmbeddedStore::open(options.encryption(keys(&["a"]))).await.unwrap()
}

async fn append(store: &EmbeddedStore, count: usize) -> bool {
    let event = |_| NewEvent {
        id: EventId(Uuid::new_v4()),
        event_type: EventType::new(TYPE).unwrap(),
        content_type: ContentType::Binary,
        data: Bytes::from_static(&DATA),
        metadata: Bytes::new(),
    };
    let events = (0..count).map(event).collect();
    store.append(&stream(STREAM), ExpectedRevision::Any, events).await.is_ok()
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// The records of all frames that were to be written.
fn records(written: &[Vec<u8>]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    for frame in written.iter().filter(|bytes| bytes.starts_with(b"VZFR")) {
        let mut at = FRAME_HEADER_BYTES;
        while at < frame.len() {
            let end = at + u32_at(frame, at);
            records.push(&frame[at..end]);
            at = end;
        }
    }
    records
}

/// Checks that two records have one key stream only where they are the same record, written again.
fn each_is_used_once(written: &[Vec<u8>]) -> usize {
    let mut used: HashMap<Vec<u8>, &[u8]> = HashMap::new();
    for record in records(written) {
        let data = &record[DATA_AT..DATA_AT + DATA.len()];
        let stream: Vec<u8> = data.iter().zip(DATA).map(|(one, other)| one ^ other).collect();
        let known = used.entry(stream).or_insert(record);
        assert_eq!(*known, record, "another record has its key and nonce");
    }
    used.len()
}

async fn go(steps: Vec<Step>) -> usize {
    let (mut disk, recorder) = (SimDisk::new(), Arc::default());
    let mut store = open(&disk, &recorder).await;
    let few = StreamMetadata { max_count: Some(2), ..StreamMetadata::default() };
    store.set_stream_metadata(&stream(STREAM), ExpectedRevision::Any, few).await.unwrap();
    for step in steps {
        match step {
            Step::Append(count) => drop(append(&store, count).await),
            Step::Full(room) => {
                disk.set_capacity_bytes(Some(disk.used_bytes() + room));
                append(&store, 2).await;
                append(&store, 1).await;
                disk.set_capacity_bytes(None);
            }
            Step::FailedWrite | Step::FailedSync => {
                let is_write = matches!(step, Step::FailedWrite);
                disk.fail(if is_write { Fault::Write(1) } else { Fault::SegmentSync(1) });
                append(&store, 2).await;
                disk = disk.copy();
                store = open(&disk, &recorder).await;
            }
            Step::Scavenge(room) => {
                disk.set_capacity_bytes(Some(disk.used_bytes() + room));
                // Reclaims nothing, or less, where there is no room.
                let _ = store.scavenge(thorough()).await;
                disk.set_capacity_bytes(None);
            }
            Step::Reopen => {
                store.close().await.unwrap();
                store = open(&disk, &recorder).await;
            }
            Step::PowerCut(seed) => {
                let mut dice = Dice::new(seed);
                disk = disk.cut_power(|| dice.below(2) == 0);
                store = open(&disk, &recorder).await;
            }
        }
    }
    assert!(append(&store, 1).await);
    everything(&store).await.unwrap();
    let written = recorder.0.lock().unwrap();
    each_is_used_once(&written)
}

proptest! {
    // 256 cases, or as many as `PROPTEST_CASES` says.
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn every_key_and_nonce_come_together_once(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(go(steps));
    }
}

/// Given a write that a full disk cut short, when the events that come instead are appended, then
/// they are not encrypted with the key of those that were cut off.
#[tokio::test]
async fn what_a_full_disk_cut_off_is_not_encrypted_over() {
    let mut cut_short = 0;
    for room in (0..800).step_by(10) {
        let (disk, recorder) = (SimDisk::new(), Arc::default());
        let store = open(&disk, &recorder).await;
        append(&store, 1).await;
        disk.set_capacity_bytes(Some(disk.used_bytes() + room));
        let fits = append(&store, 3).await;
        disk.set_capacity_bytes(None);
        assert!(append(&store, 3).await);
        let used = each_is_used_once(&recorder.0.lock().unwrap());
        cut_short += usize::from(!fits && used == 7);
    }
    assert!(cut_short > 20, "{cut_short} writes were cut short");
}

/// The measure itself finds what it looks for.
#[test]
#[should_panic(expected = "another record has its key and nonce")]
fn two_records_with_one_key_stream_are_found() {
    let frame = |other: u8| {
        let length = DATA_AT + DATA.len() + 16;
        let mut frame = b"VZFR".to_vec();
        frame.resize(FRAME_HEADER_BYTES, 0);
        frame.extend_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
        frame.resize(FRAME_HEADER_BYTES + length, 0);
        frame[FRAME_HEADER_BYTES + 20] = other;
        frame
    };
    each_is_used_once(&[frame(1), frame(1), frame(2)]);
}
