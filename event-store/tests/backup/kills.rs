//! Kills and power cuts at any step of a backup and of a restore.

use super::*;
use crate::dice::Dice;

/// The disk as it is found after a kill, or a power cut that leaves these sectors, at each step.
fn cuts(disk: &SimDisk) -> impl Iterator<Item = (usize, SimDisk)> {
    let steps = disk.remembered();
    assert!(steps.len() > 20, "{} steps", steps.len());
    steps.into_iter().enumerate().flat_map(|(step, disk)| {
        (0..3).map(move |seed| {
            let mut dice = Dice::new(seed + step as u64 * 3);
            let survives = || match seed {
                0 => true,
                1 => false,
                _ => dice.below(2) == 0,
            };
            (step, disk.cut_power(survives))
        })
    })
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
