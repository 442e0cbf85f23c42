//! Folders that are to be filled, and what is in them already.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use event_store::backup::TargetFolder;
use event_store::log::Folder;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;

/// Given something in the folder, also beside the mark of an earlier beginning, then it is named,
/// nothing is written through it, and nothing is added.
#[tokio::test]
async fn a_folder_with_somebody_elses_files_or_links_is_left_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let precious = root.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    let folder = root.path().join("folder");
    for (name, marked, link) in [
        ("notes", false, false),
        ("00000000000000000001.log", false, false),
        ("BACKUP", false, false),
        ("LOCK", false, true),
        ("BACKUP.unfinished", false, true),
        ("RESTORE.unfinished", false, true),
        ("00000000000000000001.log", true, true),
    ] {
        fs::create_dir(&folder).unwrap();
        if marked {
            fs::write(folder.join("BACKUP.unfinished"), "").unwrap();
        }
        if link {
            symlink(&precious, folder.join(name)).unwrap();
        } else {
            fs::write(folder.join(name), "notes").unwrap();
        }
        let refused = TargetFolder::make(&folder).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("{name} is in the folder: a new or an empty one is needed")
        );
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious", "{name}");
        let left = fs::read_dir(&folder).unwrap().count();
        assert_eq!(left, 1 + usize::from(marked), "{name}");
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir_all(folder.join("BACKUP.unfinished")).unwrap();
    assert!(matches!(TargetFolder::make(&folder), Err(BackupError::NotEmpty { .. })));
}

/// A folder can be reached by a link, and be begun in once more; but not by two at a time.
#[tokio::test]
async fn a_folder_is_filled_through_a_link_and_by_one_at_a_time() {
    let root = tempfile::tempdir().unwrap();
    let (folder, link) = (root.path().join("folder"), root.path().join("link"));
    fs::create_dir(&folder).unwrap();
    symlink(&folder, &link).unwrap();
    let (disk, store, all) = small_log().await;
    let head = store.head().await.unwrap();
    let target = TargetFolder::make(&link).unwrap();
    let second = TargetFolder::make(&folder).unwrap_err().to_string();
    assert!(second.contains("is open in another process"), "{second}");
    drop(target);
    fs::write(folder.join("BACKUP.unfinished"), "").unwrap();
    fs::write(folder.join("00000000000000000001.log"), "half").unwrap();
    let target = TargetFolder::make(&link).unwrap();
    back_up_to(&disk, head, &*target, None).unwrap();
    let to = SimDisk::new();
    let restored = put_back(&Folder::read_only(&link), &to, None).unwrap();
    is_log_of(&to, &restored, &all).await;
    let full = TargetFolder::make(&folder);
    drop(target);
    assert!(matches!(full, Err(BackupError::NotEmpty { .. })), "{full:?}");
}

/// Given a folder or a pipe where a file of the backup should be, then it is named, and nobody
/// waits.
#[tokio::test]
async fn what_is_no_file_is_named() {
    let root = tempfile::tempdir().unwrap();
    let (disk, store, _) = small_log().await;
    let (folder, to) = (root.path().join("backup"), root.path().join("to"));
    let target = TargetFolder::make(&folder).unwrap();
    back_up_to(&disk, store.head().await.unwrap(), &*target, None).unwrap();
    for name in ["00000000000000000001.log", "BACKUP"] {
        let file = folder.join(name);
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        for _ in 0..2 {
            let to = TargetFolder::make(&to).unwrap();
            let refused = put_back(&Folder::read_only(&folder), &*to, None).unwrap_err();
            let said = format!("{refused:?}");
            assert!(said.contains(&format!("{name} is no file")), "{said}");
            if file.is_dir() {
                fs::remove_dir(&file).unwrap();
                mknodat(CWD, &file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
            }
        }
    }
}

/// Given a restore that is refused before anything was put back, then its new folder is gone; one
/// that was there before is left.
#[test]
fn a_folder_that_was_made_for_nothing_is_removed() {
    let root = tempfile::tempdir().unwrap();
    let (empty, new, old) =
        (root.path().join("empty"), root.path().join("new/events"), root.path().join("old"));
    fs::create_dir(&empty).unwrap();
    fs::create_dir(&old).unwrap();
    for to in [&new, &old] {
        let to = TargetFolder::make(to).unwrap();
        let none = put_back(&Folder::read_only(&empty), &*to, None).unwrap_err();
        assert!(matches!(none, BackupError::NoBackup { unfinished: false, .. }), "{none}");
    }
    assert_eq!((root.path().join("new").exists(), old.exists()), (false, true));
}

/// A platform's other parts are beside its log, and may be another user's, who passes through.
#[test]
fn folders_that_are_made_above_can_be_passed_through() {
    let root = tempfile::tempdir().unwrap();
    let above = root.path().join("data");
    TargetFolder::make(above.join("events")).unwrap().keep();
    assert_eq!(fs::metadata(&above).unwrap().permissions().mode() & 0o777, 0o711);
}

/// A file where the folder of a backup should be is no backup.
#[test]
fn a_file_is_no_backup() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "a file").unwrap();
    let none = put_back(&Folder::read_only(&file), &SimDisk::new(), None).unwrap_err();
    assert!(matches!(none, BackupError::NoBackup { unfinished: false, .. }), "{none}");
    let refused = TargetFolder::make(&file).unwrap_err().to_string();
    assert!(refused.contains("can't use the folder"), "{refused}");
}
