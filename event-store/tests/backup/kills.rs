//! Kills and power cuts at any step of a backup and of a restore.

use super::*;
use crate::cuts::{SEEDS, cut};

/// The disk as it is found after a kill, or a power cut, at each step.
fn cuts(disk: &SimDisk) -> impl Iterator<Item = (usize, SimDisk)> {
    let steps = disk.remembered();
    assert!(steps.len() > 20, "{} steps", steps.len());
    let steps = steps.into_iter().enumerate();
    steps.flat_map(|(step, disk)| (0..SEEDS).map(move |seed| (step, cut(&disk, step, seed))))
}

#[tokio::test]
async fn a_backup_that_is_killed_is_none_and_can_be_begun_again() {
    for encrypted in [false, true] {
        killed_backups_of(log_on(new_disk(encrypted).await).await).await;
    }
}

async fn killed_backups_of((disk, store, all): (SimDisk, EmbeddedStore, Vec<RecordedEvent>)) {
    let head = store.head().await.unwrap();
    let backup = SimDisk::new();
    backup.remember();
    back_up_to(&disk, head, &backup, None).unwrap();
    let (mut whole, mut none) = (0, 0);
    for (step, found) in cuts(&backup) {
        let to = SimDisk::new();
        match put_back(&found, &to, None) {
            Ok(restored) => {
                whole += 1;
                is_log_of(&to, &restored, &all).await;
            }
            Err(BackupError::NoBackup { .. }) => {
                none += 1;
                back_up_to(&disk, head, &found, None).unwrap_or_else(|e| panic!("{step}: {e}"));
                let restored = put_back(&found, &to, None).unwrap();
                is_log_of(&to, &restored, &all).await;
            }
            Err(error) => panic!("step {step}: {error}"),
        }
    }
    assert!(whole > 0 && none > 50, "{whole} whole, {none} not there");
}

/// Given a restore that is killed at any step, then no store opens with a part of the log, and the
/// next restore into the same folder is whole.
#[tokio::test]
async fn a_restore_that_is_killed_opens_whole_or_not_at_all() {
    for encrypted in [false, true] {
        killed_restores_of(log_on(new_disk(encrypted).await).await).await;
    }
}

async fn killed_restores_of((disk, store, all): (SimDisk, EmbeddedStore, Vec<RecordedEvent>)) {
    let backup = SimDisk::new();
    back_up_to(&disk, store.head().await.unwrap(), &backup, None).unwrap();
    for until in [None, Some(AsOf::Position(Position::new(23)))] {
        let to = SimDisk::new();
        to.remember();
        let restored = put_back(&backup, &to, until).unwrap();
        let kept = &all[..usize::try_from(restored.head.position.get()).unwrap()];
        let (mut whole, mut refused) = (0, 0);
        for (step, found) in cuts(&to) {
            if found.list().unwrap().is_empty() {
                continue;
            }
            match open(&found.copy()).await {
                Ok(store) => {
                    whole += 1;
                    assert_eq!(everything(&store).await.unwrap(), kept, "step {step}");
                    assert_eq!(store.audit_head(), restored.head);
                }
                Err(error) => {
                    refused += 1;
                    let error = error.to_string();
                    assert!(error.contains("was not finished"), "step {step}: {error}");
                    let again = put_back(&backup, &found, until);
                    assert_eq!(again.unwrap(), restored, "step {step}");
                    is_log_of(&found, &restored, kept).await;
                }
            }
        }
        assert!(whole > 0 && refused > 50, "{whole} whole, {refused} refused");
    }
}

/// Given a disk that is full at some byte, then neither a backup nor a restore counts as there, and
/// each can be begun again in the same folder once there is room.
#[tokio::test]
async fn a_full_disk_leaves_nothing_that_counts_and_it_can_be_begun_again() {
    let (disk, store, all) = log_on(new_disk(true).await).await;
    let head = store.head().await.unwrap();
    let (backup, to) = (SimDisk::new(), SimDisk::new());
    back_up_to(&disk, head, &backup, None).unwrap();
    put_back(&backup, &to, None).unwrap();
    let mut tried = 0;
    for capacity in (0..backup.used_bytes()).step_by(97) {
        let full = SimDisk::new();
        full.set_capacity_bytes(Some(capacity));
        let refused = back_up_to(&disk, head, &full, None).unwrap_err();
        assert!(refused.to_string().contains("the disk is full"), "{capacity}: {refused}");
        let none = put_back(&full, &SimDisk::new(), None).unwrap_err();
        assert!(matches!(none, BackupError::NoBackup { .. }), "{capacity}: {none}");
        full.set_capacity_bytes(None);
        back_up_to(&disk, head, &full, None).unwrap();
        assert_eq!(put_back(&full, &SimDisk::new(), None).unwrap().backup_end, head);
        tried += 1;
    }
    for capacity in (0..to.used_bytes()).step_by(97) {
        let full = SimDisk::new();
        full.set_capacity_bytes(Some(capacity));
        let outcome = put_back(&backup, &full, None);
        full.set_capacity_bytes(None);
        let restored = match outcome {
            // An index that finds no room is made by the first opening.
            Ok(restored) => restored,
            Err(refused) => {
                tried += 1;
                assert!(refused.to_string().contains("the disk is full"), "{capacity}: {refused}");
                let error = open(&full).await.err().expect("it opens").to_string();
                assert!(error.contains("was not finished"), "{capacity}: {error}");
                put_back(&backup, &full, None).unwrap()
            }
        };
        let store = open(&full).await.unwrap();
        assert_eq!(everything(&store).await.unwrap(), all, "{capacity}");
        store.verify(Some(restored.head)).await.unwrap();
    }
    assert!(tried > 100, "{tried}");
}
