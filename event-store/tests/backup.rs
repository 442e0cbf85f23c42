//! Backups while writers write, putting them back, and what is found wrong with them.

#[path = "given/cuts.rs"]
mod cuts;
#[path = "backup/damage.rs"]
mod damage;
#[path = "given/dice.rs"]
mod dice;
#[path = "given/encrypted.rs"]
mod encrypted;
#[path = "backup/folders.rs"]
mod folders;
#[path = "given/events.rs"]
mod given;
#[path = "backup/increments.rs"]
mod increments;
#[path = "given/indexed.rs"]
mod indexed;
#[path = "backup/kills.rs"]
mod kills;
#[path = "backup/locked.rs"]
mod locked;
#[path = "backup/moments.rs"]
mod moments;
#[path = "given/scavenging.rs"]
mod scavenging;
#[path = "given/simulated.rs"]
mod simulated;
#[path = "backup/writing.rs"]
mod writing;

use std::sync::Arc;

use chrono::DateTime;
use encrypted::new_disk;
use event_store::backup::{BackedUp, Backup, BackupError, Originals, Restored, back_up, restore};
use event_store::log::{Disk, SimDisk};
use event_store::{
    AsOf, EmbeddedStore, EventStore, ExpectedRevision, Position, RecordedEvent, WrappingKeys,
};
use given::{event, everything, stream};
use simulated::{all_of, keys, open};

/// The keys of all logs here that are encrypted.
fn given_keys() -> Option<Arc<WrappingKeys>> {
    Some(Arc::new(keys()))
}

/// Backs up what the disk has up to this head.
fn back_up_to(
    from: &dyn Disk,
    head: Position,
    to: &dyn Disk,
    since: Option<&dyn Disk>,
) -> Result<BackedUp, BackupError> {
    let originals = Originals::open(from, given_keys())?;
    assert!(originals.reach(from, head)?);
    let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    back_up(&Backup { originals: &originals, head, to, since, now }, &mut |_| {})
}

fn put_back(from: &dyn Disk, to: &dyn Disk, until: Option<AsOf>) -> Result<Restored, BackupError> {
    restore(from, to, given_keys(), until, &mut |_| {})
}

async fn append(store: &EmbeddedStore, name: &str, numbers: std::ops::Range<u64>) {
    let events = numbers.map(event).collect();
    store.append(&stream(name), ExpectedRevision::Any, events).await.unwrap();
}

/// A log of several segments: appends of one to four events each. And its events.
async fn small_log() -> (SimDisk, EmbeddedStore, Vec<RecordedEvent>) {
    log_on(SimDisk::new()).await
}

/// The same on this disk.
async fn log_on(disk: SimDisk) -> (SimDisk, EmbeddedStore, Vec<RecordedEvent>) {
    let store = open(&disk).await.unwrap();
    let mut number = 0;
    for turn in 0..16 {
        let count = turn % 4 + 1;
        append(&store, ["track-1", "track-2", "user-1"][turn as usize % 3], number..number + count)
            .await;
        number += count;
    }
    let all = everything(&store).await.unwrap();
    (disk, store, all)
}

/// That a restored disk opens, verifies along the chain, and holds these events.
async fn is_log_of(disk: &SimDisk, restored: &Restored, events: &[RecordedEvent]) {
    let store = open(disk).await.unwrap();
    assert_eq!(everything(&store).await.unwrap(), events);
    let verified = store.verify(Some(restored.head)).await.unwrap();
    assert_eq!((verified.head, verified.indexes_mended), (restored.head, 0));
    append(&store, "afterwards", 900..901).await;
    assert_eq!(
        all_of(&store, "afterwards").await.unwrap(),
        everything(&store).await.unwrap()[events.len()..]
    );
    store.close().await.unwrap();
}
