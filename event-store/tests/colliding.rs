//! Names that were chosen to have one hash: how much work they make, counted on a simulated disk.

#[path = "given/colliding.rs"]
mod colliding;
#[path = "given/events.rs"]
mod given;
#[path = "given/scavenging.rs"]
mod scavenging;

use std::sync::Arc;

use colliding::names_of_one_hash;
use event_store::log::{Disk as _, SimDisk};
use event_store::{
    EmbeddedOptions, EmbeddedStore, EventStore, ExpectedRevision, ReadStream, StreamMetadata,
};
use futures::TryStreamExt;

use given::{event, everything, stream};

/// A store of which a few hundred events fill a segment.
async fn opened(disk: &SimDisk) -> EmbeddedStore {
    let options = EmbeddedOptions::disk(Arc::new(disk.clone())).segment_bytes(200_000);
    EmbeddedStore::open(options).await.unwrap()
}

async fn append(store: &EmbeddedStore, name: &str, number: u64) {
    let events = vec![event(number)];
    store.append(&stream(name), ExpectedRevision::Any, events).await.unwrap();
}

fn sealed(disk: &SimDisk) -> u64 {
    disk.list().unwrap().iter().filter(|name| name.ends_with(".idx")).count() as u64
}

/// Given 8,192 streams of one hash, when one of them is read, or one is asked for that is not
/// there, or begun, then no other is looked at.
#[tokio::test]
async fn streams_of_one_hash_are_looked_for_one_at_a_time() {
    const ASKED: usize = 61;
    let disk = SimDisk::new();
    let store = opened(&disk).await;
    let names = names_of_one_hash(8192);
    let (there, others) = names.split_at(8192 - ASKED);
    for (number, name) in (0..).zip(there) {
        append(&store, name, number).await;
    }
    append(&store, "filler", 10_000).await;
    store.close().await.unwrap();
    let store = opened(&disk).await;
    let segments = sealed(&disk);
    assert!(segments > 10, "{segments} segments");
    let (mut asked, mut reads) = (0, [0; 3]);
    for (number, name) in there.iter().enumerate().step_by(there.len() / ASKED) {
        let before = disk.reads();
        let events = store.read_stream(ReadStream::forward(stream(name))).await.unwrap();
        let events: Vec<_> = events.try_collect().await.unwrap();
        assert_eq!(events[0].id, event(number as u64).id);
        (asked, reads[0]) = (asked + 1, reads[0] + disk.reads() - before);
    }
    for name in others {
        let before = disk.reads();
        assert!(store.last_event(&stream(name)).await.unwrap().is_none());
        reads[1] += disk.reads() - before;
    }
    for (number, name) in (20_000..).zip(others) {
        let before = disk.reads();
        append(&store, name, number).await;
        reads[2] += disk.reads() - before;
    }
    // One of a hundred filters is wrong, which costs a look into its table.
    let wrong = (asked + 2 * ASKED as u64) * segments / 30;
    assert!(reads[0] <= 5 * asked + wrong, "{reads:?} for {asked} of {segments} segments");
    assert!(reads[1] + reads[2] <= wrong, "{reads:?} for {asked} of {segments} segments");
    assert_eq!(everything(&store).await.unwrap().len(), 8193);
}

/// Given as many streams of one hash as of others, when they are scavenged, then that costs the
/// same.
#[tokio::test]
async fn streams_of_one_hash_are_scavenged_as_others_are() {
    const STREAMS: usize = 700;
    let mut costs = Vec::new();
    let others: Vec<String> = (0..STREAMS).map(|number| format!("{number:0>156}")).collect();
    for names in [others, names_of_one_hash(STREAMS)] {
        let disk = SimDisk::new();
        let store = opened(&disk).await;
        for turn in 0..2 {
            for (number, name) in (turn * 1000..).zip(&names) {
                append(&store, name, number).await;
            }
        }
        let hides = StreamMetadata { max_count: Some(1), ..StreamMetadata::default() };
        for name in &names {
            let (name, any) = (stream(name), ExpectedRevision::Any);
            store.set_stream_metadata(&name, any, hides.clone()).await.unwrap();
        }
        store.close().await.unwrap();
        let store = opened(&disk).await;
        let before = disk.reads();
        let scavenged = store.scavenge(scavenging::thorough()).await.unwrap().progress;
        assert_eq!(scavenged.events_reclaimed, STREAMS as u64);
        costs.push(disk.reads() - before);
    }
    let [usual, chosen] = costs[..] else { unreachable!("two were counted") };
    assert!(chosen <= usual + usual / 10, "{chosen} reads, and {usual} for others");
}

/// Given one id in thousands of streams of one hash, when it comes to one more, and to one of them
/// again, then no event of the others is looked at, also once the ids come from indexes.
#[tokio::test]
async fn one_id_in_streams_of_one_hash_is_looked_for_in_its_own() {
    let disk = SimDisk::new();
    let mut store = opened(&disk).await;
    let names = names_of_one_hash(2003);
    let (there, others) = names.split_at(2000);
    for name in there {
        append(&store, name, 7).await;
    }
    for other in others {
        for again in [other, &names[17], &names[1999]] {
            let before = disk.reads();
            append(&store, again, 7).await;
            let reads = disk.reads() - before;
            assert!(reads < 20, "{reads} reads");
        }
        store.close().await.unwrap();
        store = opened(&disk).await;
    }
    assert_eq!(everything(&store).await.unwrap().len(), 2003, "a retry is no event");
}
