//! Flipped bits under an open store: what is read is what was written, or an error that names it.

use std::sync::Arc;

use event_store::log::{Disk, SimDisk};
use event_store::{
    EmbeddedOptions, EmbeddedStore, EventStore, ExpectedRevision, ReadError, RecordedEvent,
    StoreError,
};

use crate::given::{event, everything, stream};
use crate::seeds::long_seconds;

/// Of segments, indexes and room: 64 KiB of them are written by events.
const STORE_BYTES: usize = 92 * 1024;
const SEGMENT_BYTES: u64 = 16 * 1024;

fn options(disk: &SimDisk) -> EmbeddedOptions {
    EmbeddedOptions::disk(Arc::new(disk.clone())).segment_bytes(SEGMENT_BYTES)
}

/// A store of several segments, the last of which is active; and all that is in it.
async fn store() -> (SimDisk, EmbeddedStore, Vec<RecordedEvent>) {
    let disk = SimDisk::new();
    let store = EmbeddedStore::open(options(&disk)).await.unwrap();
    let mut number = 0;
    while disk.used_bytes() < STORE_BYTES {
        let name = stream(&format!("track-{}", number % 7));
        let events = (number..number + 3).map(event).collect();
        store.append(&name, ExpectedRevision::Any, events).await.unwrap();
        number += 3;
    }
    store.close().await.unwrap();
    let store = EmbeddedStore::open(options(&disk)).await.unwrap();
    let all = everything(&store).await.unwrap();
    (disk, store, all)
}

/// Each byte of the segments and the indexes, or one in so many where time is short.
fn places(disk: &SimDisk) -> Vec<(String, usize)> {
    const STEP: usize = 61;
    let is_checked = |name: &String| name.ends_with(".log") || name.ends_with(".idx");
    let names = disk.list().unwrap().into_iter().filter(is_checked);
    let step = if long_seconds().is_some() { 1 } else { STEP };
    names
        .flat_map(|name| {
            let length = disk.contents(&name).unwrap().len();
            (0..length).step_by(step).map(move |at| (name.clone(), at))
        })
        .collect()
}

/// Given a store of 64 KiB, when a bit of any byte of its segments or indexes is flipped, then all
/// events are read as they were written, or the file is named; and who verifies finds it: a segment
/// is named, an index is as it was.
#[tokio::test]
async fn every_flipped_bit_is_named_or_does_not_matter() {
    let (disk, store, all) = store().await;
    let (places, mut named) = (places(&disk), 0);
    let in_segments = places.iter().filter(|(name, _)| name.ends_with(".log")).count();
    for (count, (name, at)) in places.iter().enumerate() {
        let whole = disk.contents(name).unwrap();
        let mut flipped = whole.clone();
        flipped[*at] ^= 1 << (count % 8);
        disk.put_into(name, &flipped);
        match everything(&store).await {
            Ok(read) => assert_eq!(read, all, "{name} byte {at}"),
            Err(ReadError::Store(StoreError::Corrupt { place, .. })) => {
                assert!(place.contains(name.as_str()), "{name} byte {at}: {place}");
                named += 1;
            }
            Err(other) => panic!("{name} byte {at}: {other}"),
        }
        match store.verify(None).await {
            Ok(_) => assert!(disk.contents(name).as_ref() == Some(&whole), "{name} byte {at}"),
            Err(StoreError::Corrupt { place, .. }) => {
                assert!(place.contains(name.as_str()), "{name} byte {at}: {place}");
                assert!(name.ends_with(".log"), "{name} byte {at} can be made again");
            }
            Err(other) => panic!("{name} byte {at}: {other}"),
        }
        disk.put_into(name, &whole);
    }
    println!("{} bits flipped, {named} named by a reader", places.len());
    assert!(named > in_segments / 2, "most bytes are those of events");
    assert_eq!(store.verify(None).await.unwrap().events, all.len() as u64);
}
