//! Damaged backups: refused, with the name of the file, and no store opens on what was begun.

use serde_json::{Value, json};

use super::*;
use crate::indexed::until_indexed;

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

/// What a manifest says.
fn body(disk: &SimDisk) -> Value {
    let text = String::from_utf8(disk.contents("BACKUP").unwrap()).unwrap();
    let digest_at = text.rfind("blake3 ").unwrap();
    serde_json::from_str(&text[..digest_at]).unwrap()
}

/// The backup with a manifest that says this, whose digest is right.
fn forged(backup: &SimDisk, manifest: &Value) -> SimDisk {
    let text = format!("{manifest:#}\n");
    let digest = blake3::hash(text.as_bytes()).to_hex();
    let forged = backup.copy();
    forged.put("BACKUP", format!("{text}blake3 {digest}\n").into_bytes());
    forged
}

/// Somebody who changes a segment and puts all digests of the manifest right is found by the chain.
#[tokio::test]
async fn segments_that_agree_with_the_manifest_and_not_with_each_other_are_refused() {
    let (backup, other) = (a_backup().await, a_backup().await);
    let (mut manifest, foreign) = (body(&backup), body(&other));
    let name = manifest["segments"][1]["name"].as_str().unwrap().to_owned();
    for field in ["bytes", "blake3", "salt"] {
        manifest["segments"][1][field] = foreign["segments"][1][field].clone();
    }
    let forged = forged(&backup, &manifest);
    forged.put(&name, other.contents(&name).unwrap());
    is_refused(&forged, &name, "a segment of another log").await;
}

/// Given a manifest whose digest is right and that says something else than what is there, or leads
/// out of the folder, then it is refused, naming the file.
#[tokio::test]
async fn a_manifest_that_lies_is_refused() {
    let backup = a_backup().await;
    let whole = body(&backup);
    let max = u64::MAX;
    let head = whole["head"].as_str().unwrap();
    let (_, chain) = head.split_once(':').unwrap();
    let last = whole["segments"].as_array().unwrap().len() - 1;
    let segment = |number: usize| whole["segments"][number]["name"].as_str().unwrap().to_owned();
    let (first, last_name) = (segment(0), segment(last));
    for (pointer, value, names) in [
        ("/segments/0/name", json!("../00000000000000000001.log"), "BACKUP"),
        ("/segments/0/name", json!("/etc/passwd"), "BACKUP"),
        ("/segments/0/name", json!(""), "BACKUP"),
        ("/segments/0/key", json!({ "name": "../x.key", "bytes": 1, "blake3": "" }), "BACKUP"),
        ("/segments/0/first", json!(2), "BACKUP"),
        ("/segments/0/first", json!(-1), "BACKUP"),
        ("/segments/0/end", json!(format!("{max}:{chain}")), "BACKUP"),
        ("/segments/0/bytes", json!(max), &first),
        ("/segments/0/bytes", json!(0), &first),
        ("/segments/0/blake3", json!(""), &first),
        ("/segments/0/recorded_from", json!(i64::MAX), &first),
        ("/segments/0/recorded_until", json!(0), &first),
        ("/segments", json!([]), "BACKUP"),
        ("/head", json!(format!("{max}:{chain}")), "BACKUP"),
        ("/head", json!("banana"), "BACKUP"),
        ("/format", json!(2), "this build reads 1"),
        ("/made_at", json!("yesterday"), "BACKUP"),
    ] {
        let mut manifest = whole.clone();
        match (manifest.pointer_mut(pointer), pointer.rsplit_once('/')) {
            (Some(there), _) => *there = value.clone(),
            (None, Some((above, field))) => {
                manifest.pointer_mut(above).unwrap()[field] = value.clone();
            }
            (None, None) => unreachable!("pointers begin with a slash"),
        }
        is_refused(&forged(&backup, &manifest), names, &format!("{pointer} = {value}")).await;
    }
    // The last position there can be, of a head that is the end of the last segment too.
    let mut manifest = whole.clone();
    let end = json!(format!("{max}:{chain}"));
    (manifest["head"], manifest["segments"][last]["end"]) = (end.clone(), end);
    is_refused(&forged(&backup, &manifest), &last_name, "a head out of reach").await;
    // No event, and yet a head.
    let mut manifest = whole.clone();
    (manifest["head"], manifest["segments"]) = (json!(format!("0:{chain}")), json!([]));
    is_refused(&forged(&backup, &manifest), "BACKUP", "a chain of nothing").await;
}

#[tokio::test]
async fn a_folder_with_something_in_it_is_left_alone() {
    let backup = a_backup().await;
    let (log, store, _) = small_log().await;
    until_indexed(&store).await;
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
    assert!(matches!(none, BackupError::NoBackup { unfinished: true, .. }), "{none}");
}
