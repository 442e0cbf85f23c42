//! Power cuts and failures at any step of a pass, also one after the other.

use event_store::log::{Fault, SimDisk};

use super::{STREAMS, everything, hidden_in_every_way, keys_are_those_of_segments, names, seen};
use crate::cuts::{SEEDS, cut};
use crate::encrypted::new_disk;
use crate::indexed::until_indexed;
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

type Kind = fn(u64) -> Fault;

/// Each kind of failure, at each of its calls up to so many.
fn faults(kinds: &[(Kind, u64)]) -> Vec<Fault> {
    kinds.iter().flat_map(|(kind, until)| (1..=*until).map(kind)).collect()
}

/// Given a pass that fails at any call, and another after it that fails at any call too, then each
/// segment has its key, after a restart and after a power cut, and readers see what they saw.
#[tokio::test]
async fn no_failures_one_after_the_other_take_a_key() {
    // Up to those of the second segment that is written anew.
    let firsts = faults(&[(Fault::Sync, 14), (Fault::Rename, 5), (Fault::Remove, 4)]);
    let seconds = faults(&[(Fault::Write, 5), (Fault::Sync, 9), (Fault::Rename, 4)]);
    let seconds = [seconds, faults(&[(Fault::Read, 9), (Fault::Remove, 2)])].concat();
    let given = new_disk(true).await;
    let store = hidden_in_every_way(&given).await;
    until_indexed(&store).await;
    let before = futures::future::join_all(STREAMS.map(|name| seen(&store, name))).await;
    store.close().await.unwrap();
    let mut failed = 0;
    for first in firsts {
        for &second in &seconds {
            let disk = given.copy();
            let store = open(&disk).await.unwrap();
            for fault in [first, second] {
                disk.fail(fault);
                failed += u32::from(scavenge(&store).await.is_err());
            }
            let (killed, kept) = (disk.copy(), disk.cut_power(|| failed % 2 == 0));
            for disk in [killed, kept] {
                let store = open(&disk).await;
                let store = store.unwrap_or_else(|error| panic!("{first:?} {second:?}: {error}"));
                let read = futures::future::join_all(STREAMS.map(|name| seen(&store, name))).await;
                assert_eq!(read, before, "{first:?} {second:?}");
                assert!(keys_are_those_of_segments(&disk), "{first:?} {second:?}");
            }
        }
    }
    assert!(failed > 800, "{failed}");
}

/// Given a process that is killed after any step of a pass, and power that is cut once the store
/// was opened again, then each segment has its key.
#[tokio::test]
async fn no_power_cut_behind_a_kill_takes_a_key() {
    let disk = new_disk(true).await;
    let store = hidden_in_every_way(&disk).await;
    until_indexed(&store).await;
    disk.remember();
    scavenge(&store).await.unwrap();
    for (step, killed) in disk.remembered().into_iter().enumerate() {
        killed.remember();
        open(&killed).await.unwrap_or_else(|error| panic!("step {step}: {error}"));
        for (opening, disk) in killed.remembered().into_iter().enumerate() {
            // Of what was not synced, each part survives or not.
            let store = open(&cut(&disk, step + opening, SEEDS - 1)).await;
            store.unwrap_or_else(|error| panic!("step {step}, {opening}: {error}"));
        }
    }
}
