//! Passes: one at a time, stopped, gone on with, and ended with the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use event_store::log::{Fault, SimDisk};
use event_store::{EmbeddedStore, ScavengeError, ScavengeProgress, ScavengeStatus, StoreError};

use super::{
    append, hidden_in_every_way, keys_are_those_of_segments, left, log, max_count, names, seal, set,
};
use crate::encrypted::new_disk;
use crate::indexed::until_indexed;
use crate::scavenge;
use crate::scavenging::thorough;
use crate::simulated::open;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// So slow that somebody can look on.
const SLOW: u64 = 20_000;

fn progress(store: &EmbeddedStore) -> ScavengeProgress {
    match store.scavenge_status() {
        ScavengeStatus::Running(progress) | ScavengeStatus::Stopped(progress) => progress,
        status => panic!("{status:?}"),
    }
}

/// A store whose pass was stopped after some segments, and how far it was.
async fn stopped_half_way(disk: &SimDisk) -> (Arc<EmbeddedStore>, ScavengeProgress) {
    let store = Arc::new(hidden_in_every_way(disk).await);
    assert_eq!(store.scavenge_status(), ScavengeStatus::Idle);
    assert!(!store.stop_scavenge(), "there is none");
    let scavenging = Arc::clone(&store);
    let pass =
        tokio::spawn(async move { scavenging.scavenge(thorough().bytes_per_second(SLOW)).await });
    let looked = async {
        while store.scavenge_status() == ScavengeStatus::Idle
            || progress(&store).segments_rewritten < 2
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, looked).await.expect("it comes along");
    let second = store.scavenge(thorough()).await;
    assert!(matches!(second, Err(ScavengeError::Running)), "{second:?}");
    assert!(store.stop_scavenge());
    let stopped = tokio::time::timeout(PATIENCE, pass).await.expect("it stops").unwrap().unwrap();
    assert!(!stopped.completed);
    assert_eq!(store.scavenge_status(), ScavengeStatus::Stopped(stopped.progress));
    assert!(stopped.progress.segments_done < stopped.progress.segments);
    assert!(names(disk, ".tmp").is_empty());
    (store, stopped.progress)
}

#[tokio::test]
async fn a_stopped_pass_is_gone_on_with() {
    for reopened in [false, true] {
        let disk = SimDisk::new();
        let (store, stopped) = stopped_half_way(&disk).await;
        // Hidden only now, and in segments that are done: for the next pass, not for this one.
        set(&store, "whole", max_count(1)).await;
        let store = if reopened {
            store.close().await.unwrap();
            Arc::new(open(&disk).await.unwrap())
        } else {
            store
        };
        let done = scavenge(&store).await.unwrap();
        assert!(done.completed);
        assert_eq!(done.progress.segments_done, done.progress.segments);
        let looked_at = done.progress.segments - stopped.segments_done;
        assert!(done.progress.segments_rewritten <= looked_at, "{done:?} after {stopped:?}");
        assert_eq!(left(&store, "whole").await[0], 0, "the first segments are not done again");
        assert_eq!(left(&store, "deleted").await, [9]);
        let next = scavenge(&store).await.unwrap();
        assert!(next.progress.events_reclaimed > 0);
        assert_eq!(left(&store, "whole").await, [9]);
        assert_eq!(store.scavenge_status(), ScavengeStatus::Completed(next.progress));
    }
}

#[tokio::test]
async fn a_stopped_pass_is_left_when_that_is_asked() {
    let disk = SimDisk::new();
    let (store, _) = stopped_half_way(&disk).await;
    set(&store, "whole", max_count(1)).await;
    store.scavenge(thorough().afresh()).await.unwrap();
    assert_eq!(left(&store, "whole").await, [9]);
}

#[tokio::test]
async fn a_store_that_is_closed_stops_its_pass() {
    let disk = SimDisk::new();
    let store = Arc::new(hidden_in_every_way(&disk).await);
    let before = super::seen(&store, "counted").await.unwrap();
    let scavenging = Arc::clone(&store);
    let pass =
        tokio::spawn(async move { scavenging.scavenge(thorough().bytes_per_second(1)).await });
    while store.scavenge_status() == ScavengeStatus::Idle {
        tokio::task::yield_now().await;
    }
    tokio::time::timeout(PATIENCE, store.close()).await.expect("it closes").unwrap();
    let stopped = tokio::time::timeout(PATIENCE, pass).await.expect("it stops").unwrap().unwrap();
    assert!(!stopped.completed);
    let refused = store.scavenge(thorough()).await;
    assert!(matches!(refused, Err(ScavengeError::Store(StoreError::Closed))), "{refused:?}");
    drop(store);
    let store = open(&disk).await.unwrap();
    assert!(scavenge(&store).await.unwrap().completed);
    assert_eq!(super::seen(&store, "counted").await.unwrap(), before);
}

/// Given any sync or write of a pass that fails, then it says so, nothing that can be seen is lost,
/// appends go on, and the next pass comes to its end.
#[tokio::test]
async fn a_pass_that_fails_does_no_harm() {
    for encrypted in [false, true] {
        passes_that_fail_do_no_harm(encrypted).await;
    }
}

async fn passes_that_fail_do_no_harm(encrypted: bool) {
    let mut failed = 0;
    for nth in 1..40 {
        for fault in [Fault::Sync(nth), Fault::Write(nth)] {
            let disk = new_disk(encrypted).await;
            let store = hidden_in_every_way(&disk).await;
            until_indexed(&store).await;
            let before = super::seen(&store, "counted").await;
            disk.fail(fault);
            if scavenge(&store).await.is_err() {
                failed += 1;
                assert!(matches!(store.scavenge_status(), ScavengeStatus::Failed { .. }));
                append(&store, "whole", 500).await;
            }
            assert_eq!(super::seen(&store, "counted").await, before, "{fault:?}");
            let store = open(&disk.cut_power(|| nth % 2 == 0)).await.unwrap();
            assert_eq!(super::seen(&store, "counted").await, before, "{fault:?}");
            assert!(scavenge(&store).await.unwrap().completed);
            store.verify(None).await.unwrap();
        }
    }
    assert!(failed > 20, "{failed} passes failed");
}

#[tokio::test]
async fn a_full_disk_ends_a_pass_and_nothing_else() {
    for encrypted in [false, true] {
        a_full_disk_ends_a_pass_only(new_disk(encrypted).await).await;
    }
}

async fn a_full_disk_ends_a_pass_only(disk: SimDisk) {
    let store = hidden_in_every_way(&disk).await;
    // What writes indexes leaves a file when the disk is full.
    until_indexed(&store).await;
    let before = log(&store).await;
    disk.set_capacity_bytes(Some(disk.used_bytes() + 600));
    let full = scavenge(&store).await;
    assert!(matches!(full, Err(ScavengeError::Store(StoreError::StorageFull))), "{full:?}");
    assert!(names(&disk, ".tmp").is_empty() && keys_are_those_of_segments(&disk));
    assert_eq!(log(&store).await, before);
    append(&store, "whole", 600).await;
    disk.set_capacity_bytes(None);
    assert!(scavenge(&store).await.unwrap().completed);
}

/// Given writers that append without a break, and hide what they appended, while the store is
/// scavenged again and again, then all that is to be seen is seen, and the chain holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_go_on_beside_a_pass() {
    let disk = SimDisk::new();
    let store = Arc::new(open(&disk).await.unwrap());
    let writers = [0, 1, 2, 3].map(|writer| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let name = format!("user-{writer}");
            set(&store, &name, max_count(3)).await;
            for number in 0..200 {
                append(&store, &name, writer * 1000 + number).await;
            }
        })
    });
    let (ended, scavenging) = (Arc::new(AtomicBool::new(false)), Arc::clone(&store));
    let is_ended = Arc::clone(&ended);
    // Each pass is waited for: what one does that nobody waits for is counted nowhere.
    let passes = tokio::spawn(async move {
        let mut rewritten = 0;
        while !is_ended.load(Ordering::Acquire) {
            rewritten += scavenge(&scavenging).await.unwrap().progress.segments_rewritten;
        }
        rewritten
    });
    for writer in futures::future::join_all(writers).await {
        writer.unwrap();
    }
    ended.store(true, Ordering::Release);
    let mut rewritten = passes.await.unwrap();
    seal(&store, &disk).await;
    rewritten += scavenge(&store).await.unwrap().progress.segments_rewritten;
    assert!(rewritten > 10, "{rewritten}");
    let head = store.audit_head();
    for store in [&*store, &open(&disk.copy()).await.unwrap()] {
        for writer in 0..4 {
            let name = format!("user-{writer}");
            assert_eq!(left(store, &name).await, [197, 198, 199]);
            assert_eq!(super::seen(store, &name).await.unwrap().len(), 3);
        }
        assert_eq!(store.verify(Some(head)).await.unwrap().head, head);
    }
}
