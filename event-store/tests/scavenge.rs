//! Scavenging: what no reader can see goes, all else stays as it was, and the hash chain with it.

#[path = "scavenge/crashes.rs"]
mod crashes;
#[path = "given/cuts.rs"]
mod cuts;
#[path = "given/deliveries.rs"]
mod deliveries;
#[path = "given/dice.rs"]
mod dice;
#[path = "given/encrypted.rs"]
mod encrypted;
#[path = "given/events.rs"]
mod given;
#[path = "given/indexed.rs"]
mod indexed;
#[path = "scavenge/passes.rs"]
mod passes;
#[path = "scavenge/past.rs"]
mod past;
#[path = "scavenge/readers.rs"]
mod readers;
#[path = "scavenge/reclaiming.rs"]
mod reclaiming;
#[path = "given/scavenging.rs"]
mod scavenging;
#[path = "given/simulated.rs"]
mod simulated;

use std::sync::atomic::{AtomicU64, Ordering};

use event_store::log::{Disk, SimDisk};
use event_store::{
    EmbeddedStore, EventStore, ExpectedRevision, ReadError, RecordedEvent, ScavengeError,
    Scavenged, StreamMetadata,
};
use given::{event, everything, stream};
use simulated::all_of;

/// One thorough pass, from the first segment on or from where the last one was stopped.
async fn scavenge(store: &EmbeddedStore) -> Result<Scavenged, ScavengeError> {
    store.scavenge(scavenging::thorough()).await
}

/// Appends one event, whose id and data follow from its number.
async fn append(store: &EmbeddedStore, name: &str, number: u64) {
    store.append(&stream(name), ExpectedRevision::Any, vec![event(number)]).await.unwrap();
}

async fn set(store: &EmbeddedStore, name: &str, metadata: StreamMetadata) {
    store.set_stream_metadata(&stream(name), ExpectedRevision::Any, metadata).await.unwrap();
}

fn max_count(count: u64) -> StreamMetadata {
    StreamMetadata { max_count: Some(count), ..StreamMetadata::default() }
}

fn truncate_before(revision: u64) -> StreamMetadata {
    StreamMetadata { truncate_before: Some(revision), ..StreamMetadata::default() }
}

/// Appends until all that was appended before is in sealed segments: only those are scavenged.
async fn seal(store: &EmbeddedStore, disk: &SimDisk) {
    static NUMBER: AtomicU64 = AtomicU64::new(1_000_000);
    let segments = || names(disk, ".log").len();
    let before = segments();
    while segments() == before {
        append(store, "filler", NUMBER.fetch_add(1, Ordering::Relaxed)).await;
    }
}

/// Whether each encrypted segment has its key beside it, and there are no others.
fn keys_are_those_of_segments(disk: &SimDisk) -> bool {
    let logs = names(disk, ".log").into_iter();
    let header = logs.map(|name| disk.contents(&name).unwrap());
    let encrypted = header.filter(|bytes| bytes[72] & 1 == 1);
    let salts = encrypted.map(|bytes| u32::from_le_bytes(bytes[32..36].try_into().unwrap()));
    let keys = names(disk, ".key");
    keys.len() == names(disk, ".log").len() * usize::from(!keys.is_empty())
        && salts.zip(&keys).all(|(salt, key)| key.ends_with(&format!(".{salt:08x}.key")))
}

fn names(disk: &SimDisk, ending: &str) -> Vec<String> {
    let mut names = disk.list().unwrap();
    names.retain(|name| name.ends_with(ending));
    names
}

/// Stream and revision of each event of the log.
async fn log(store: &EmbeddedStore) -> Vec<(String, u64)> {
    let name = |event: RecordedEvent| (event.stream.as_str().to_owned(), event.revision.get());
    everything(store).await.unwrap().into_iter().map(name).collect()
}

/// The revisions of a stream that the whole log gives.
async fn left(store: &EmbeddedStore, name: &str) -> Vec<u64> {
    let log = log(store).await.into_iter();
    log.filter(|(stream, _)| stream == name).map(|(_, revision)| revision).collect()
}

/// What a reader of the stream gets.
async fn seen(store: &EmbeddedStore, name: &str) -> Result<Vec<RecordedEvent>, String> {
    all_of(store, name).await.map_err(|error: ReadError| error.to_string())
}

/// Five streams, each with its events hidden in another way, and one with none; all sealed.
async fn hidden_in_every_way(disk: &SimDisk) -> EmbeddedStore {
    let store = simulated::open(disk).await.unwrap();
    for number in 0..60 {
        append(&store, STREAMS[usize::try_from(number).unwrap() % STREAMS.len()], number).await;
    }
    set(&store, "counted", max_count(4)).await;
    set(&store, "counted", max_count(3)).await;
    set(&store, "truncated", truncate_before(7)).await;
    set(&store, "emptied", truncate_before(10)).await;
    store.delete_stream(&stream("deleted"), ExpectedRevision::Any).await.unwrap();
    set(&store, "gone", max_count(5)).await;
    set(&store, "gone", max_count(4)).await;
    store.tombstone_stream(&stream("gone"), ExpectedRevision::Any).await.unwrap();
    seal(&store, disk).await;
    store
}

const STREAMS: [&str; 6] = ["whole", "counted", "truncated", "emptied", "deleted", "gone"];
