//! Power cuts at any step of a pass.

use event_store::log::SimDisk;

use super::{STREAMS, everything, hidden_in_every_way, keys_are_those_of_segments, names, seen};
use crate::cuts::{SEEDS, cut};
use crate::encrypted::new_disk;
use crate::scavenge;
use crate::simulated::open;

/// Given a power cut, or a kill, after any single step of a pass, whatever sectors survive, then
/// readers see what they saw before, each event that is left is as it was, the chain goes through
/// the head that was exported before, and the next pass comes to the same end.
#[tokio::test]
async fn nothing_that_can_be_seen_is_lost_at_any_step() {
    nothing_is_lost_at_any_step(SimDisk::new()).await;
}

/// The same where each segment that is written anew gets a key of its own.
#[tokio::test]
async fn nothing_of_an_encrypted_log_is_lost_at_any_step() {
    nothing_is_lost_at_any_step(new_disk(true).await).await;
}

async fn nothing_is_lost_at_any_step(disk: SimDisk) {
    let store = hidden_in_every_way(&disk).await;
    let (head, whole) = (store.audit_head(), everything(&store).await.unwrap());
    let before = futures::future::join_all(STREAMS.map(|name| seen(&store, name))).await;
    store.close().await.unwrap();
    let store = open(&disk).await.unwrap();
    disk.remember();
    scavenge(&store).await.unwrap();
    let end = everything(&store).await.unwrap();
    let steps = disk.remembered();
    assert!(steps.len() > 60, "{} steps", steps.len());
    let mut half_way = 0;
    for (step, disk) in steps.into_iter().enumerate() {
        for seed in 0..SEEDS {
            let after = cut(&disk, step, seed);
            let store = open(&after).await.unwrap_or_else(|error| panic!("step {step}: {error}"));
            assert!(names(&after, ".tmp").is_empty(), "step {step}");
            assert!(keys_are_those_of_segments(&after), "step {step}");
            let read = futures::future::join_all(STREAMS.map(|name| seen(&store, name))).await;
            assert_eq!(read, before, "step {step}");
            let left = everything(&store).await.unwrap();
            assert!(left.iter().all(|event| whole.contains(event)), "step {step}");
            assert!(end.iter().all(|event| left.contains(event)), "step {step}");
            half_way += u32::from(left.len() > end.len() && left.len() < whole.len());
            let verified = store.verify(Some(head)).await.unwrap();
            assert_eq!((verified.head, verified.events), (head, whole.len() as u64));
            assert_eq!(verified.reclaimed, (whole.len() - left.len()) as u64, "step {step}");
            assert!(scavenge(&store).await.unwrap().completed, "step {step}");
            assert_eq!(everything(&store).await.unwrap(), end, "step {step}");
        }
    }
    assert!(half_way > 50, "{half_way}");
}
