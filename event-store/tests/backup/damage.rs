//! Damaged backups: refused, with the name of the file, and no store opens on what was begun.

use super::*;

async fn a_backup() -> SimDisk {
    let (disk, store, _) = small_log().await;
    let backup = SimDisk::new();
    back_up_to(&disk, store.head().await.unwrap(), &backup, None).unwrap();
    backup
}

/// That a restore of it is refused, naming this file, and leaves nothing that opens with events.
async fn is_refused(backup: &SimDisk, name: &str, what: &str) {
    let to = SimDisk::new();
    let refused = put_back(backup, &to, None).expect_err(what).to_string();
    assert!(refused.contains(name), "{what}: {refused}");
    if !to.list().unwrap().is_empty() {
        let error = open(&to).await.err().expect("it opens").to_string();
        assert!(error.contains("a restore into it was not finished"), "{error}");
    }
}

#[tokio::test]
async fn one_changed_byte_anywhere_in_a_backup_is_named() {
    let backup = a_backup().await;
    let mut tried = 0;
    for name in backup.list().unwrap() {
        let whole = backup.contents(&name).unwrap();
        for at in (0..whole.len()).step_by(2) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            let damaged = backup.copy();
            damaged.put(&name, bytes);
            is_refused(&damaged, &name, &format!("{name} offset {at}")).await;
            tried += 1;
        }
    }
    assert!(tried > 2000, "{tried}");
}

#[tokio::test]
async fn files_that_are_missing_cut_or_longer_are_named() {
    let backup = a_backup().await;
    for name in backup.list().unwrap() {
        let whole = backup.contents(&name).unwrap();
        let damaged = backup.copy();
        damaged.put(&name, whole[..whole.len() - 1].to_vec());
        is_refused(&damaged, &name, "cut").await;
        damaged.put(&name, [&whole[..], b"\0"].concat());
        is_refused(&damaged, &name, "longer").await;
        let missing = backup.copy();
        missing.remove(&name).unwrap();
        let named = if name == "BACKUP" { "there is no backup in the folder" } else { &name };
        is_refused(&missing, named, "missing").await;
    }
}

/// Somebody who changes a segment and puts all digests of the manifest right is found by the chain.
#[tokio::test]
async fn segments_that_agree_with_the_manifest_and_not_with_each_other_are_refused() {
    let (backup, other) = (a_backup().await, a_backup().await);
    let body = |disk: &SimDisk| {
        let text = String::from_utf8(disk.contents("BACKUP").unwrap()).unwrap();
        let digest_at = text.rfind("blake3 ").unwrap();
        serde_json::from_str::<serde_json::Value>(&text[..digest_at]).unwrap()
    };
    let (mut manifest, foreign) = (body(&backup), body(&other));
    let name = manifest["segments"][1]["name"].as_str().unwrap().to_owned();
    for field in ["bytes", "blake3", "salt"] {
        manifest["segments"][1][field] = foreign["segments"][1][field].clone();
    }
    let text = format!("{manifest:#}\n");
    let digest = blake3::hash(text.as_bytes()).to_hex();
    let forged = backup.copy();
    forged.put("BACKUP", format!("{text}blake3 {digest}\n").into_bytes());
    forged.put(&name, other.contents(&name).unwrap());
    is_refused(&forged, &name, "a segment of another log").await;
}

#[tokio::test]
async fn a_folder_with_something_in_it_is_left_alone() {
    let backup = a_backup().await;
    let (log, store, _) = small_log().await;
    let before = log.list().unwrap();
    let refused = put_back(&backup, &log, None).unwrap_err();
    assert!(matches!(refused, BackupError::NotEmpty { .. }), "{refused}");
    let head = store.head().await.unwrap();
    for full in [&log, &backup] {
        let refused = back_up_to(&log, head, full, None).unwrap_err();
        assert!(matches!(refused, BackupError::NotEmpty { .. }), "{refused}");
    }
    assert_eq!(log.list().unwrap(), before);
    let error = open(&backup).await.err().expect("a backup opens as a store").to_string();
    assert!(error.contains("it is a backup"), "{error}");
}

#[tokio::test]
async fn a_log_that_is_damaged_is_not_backed_up() {
    let (disk, store, _) = small_log().await;
    let head = store.head().await.unwrap();
    let name = "00000000000000000001.log";
    let mut bytes = disk.contents(name).unwrap();
    bytes[300] ^= 1;
    disk.put(name, bytes);
    let to = SimDisk::new();
    let refused = back_up_to(&disk, head, &to, None).unwrap_err().to_string();
    assert!(refused.contains(name), "{refused}");
    let none = put_back(&to, &SimDisk::new(), None).unwrap_err();
    assert!(matches!(none, BackupError::NoBackup { unfinished: true }), "{none}");
}
