//! Backups since a former one: what is there is not copied again, and another log is refused.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use event_store::log::Folder;

use super::*;

async fn backed_up(
    disk: &SimDisk,
    store: &EmbeddedStore,
    to: &Path,
    since: Option<&Path>,
) -> BackedUp {
    std::fs::create_dir(to).unwrap();
    let since = since.map(Folder::read_only);
    let since = since.as_ref().map(|since| since as &dyn Disk);
    back_up_to(disk, store.head().await.unwrap(), &Folder::new(to), since).unwrap()
}

async fn holds(backup: &Path, events: &[RecordedEvent]) {
    let to = SimDisk::new();
    let restored = put_back(&Folder::read_only(backup), &to, None).unwrap();
    is_log_of(&to, &restored, events).await;
}

/// Given a backup, more events and a roll, then an increment copies only what is new, and is whole
/// when the former one is gone.
#[tokio::test]
async fn an_increment_copies_what_is_new_and_is_whole_by_itself() {
    let root = tempfile::tempdir().unwrap();
    let folder = |name: &str| root.path().join(name);
    let (disk, store, first_events) = small_log().await;
    let first = backed_up(&disk, &store, &folder("1"), None).await;
    assert_eq!((first.segments_linked, first.bytes_copied), (0, first.bytes));
    for number in 100..120 {
        append(&store, "track-1", number..number + 1).await;
    }
    let all = everything(&store).await.unwrap();
    let second = backed_up(&disk, &store, &folder("2"), Some(&folder("1"))).await;
    // All but the one that was the active one then are shared.
    assert_eq!(second.segments_linked, first.segments - 1);
    assert!(second.segments > first.segments && second.bytes_copied < second.bytes);
    let shared = folder("2").join("00000000000000000001.log");
    assert_eq!(std::fs::metadata(shared).unwrap().nlink(), 2);
    holds(&folder("1"), &first_events).await;
    std::fs::remove_dir_all(folder("1")).unwrap();
    holds(&folder("2"), &all).await;

    // Nothing is new: but the last segment all is shared.
    let third = backed_up(&disk, &store, &folder("3"), Some(&folder("2"))).await;
    assert_eq!((third.head, third.segments_linked), (second.head, second.segments - 1));
    holds(&folder("3"), &all).await;
}

#[tokio::test]
async fn a_segment_that_is_damaged_in_the_former_backup_is_copied_from_the_log() {
    let root = tempfile::tempdir().unwrap();
    let folder = |name: &str| root.path().join(name);
    let (disk, store, all) = small_log().await;
    let first = backed_up(&disk, &store, &folder("1"), None).await;
    let rotten = folder("1").join("00000000000000000001.log");
    let mut bytes = std::fs::read(&rotten).unwrap();
    bytes[200] ^= 1;
    std::fs::write(&rotten, bytes).unwrap();
    let second = backed_up(&disk, &store, &folder("2"), Some(&folder("1"))).await;
    assert_eq!((second.former_damaged, second.segments_linked), (1, first.segments - 2));
    holds(&folder("2"), &all).await;
}

#[tokio::test]
async fn a_former_backup_of_another_log_is_refused() {
    let (disk, store, _) = small_log().await;
    let former = SimDisk::new();
    back_up_to(&disk, store.head().await.unwrap(), &former, None).unwrap();

    // Another log from its first event on.
    let (other, other_store, _) = small_log().await;
    let head = other_store.head().await.unwrap();
    let refused = back_up_to(&other, head, &SimDisk::new(), Some(&former));
    assert!(matches!(refused, Err(BackupError::OfAnotherLog { .. })), "{refused:?}");

    // The same log, put back as it was before, and gone on from there in another way or not at all.
    let to = SimDisk::new();
    put_back(&former, &to, Some(AsOf::Position(Position::new(6)))).unwrap();
    let store = open(&to).await.unwrap();
    for more in [0, 60] {
        append(&store, "track-1", 500..500 + more).await;
        let head = store.head().await.unwrap();
        let refused = back_up_to(&to, head, &SimDisk::new(), Some(&former));
        assert!(matches!(refused, Err(BackupError::OfAnotherLog { .. })), "{refused:?}");
    }
    let unfinished = SimDisk::new();
    unfinished.put("BACKUP.unfinished", Vec::new());
    for (none, text) in [(&SimDisk::new(), "no backup in"), (&unfinished, "not finished")] {
        let head = store.head().await.unwrap();
        let refused = back_up_to(&to, head, &SimDisk::new(), Some(none)).unwrap_err();
        assert!(refused.to_string().contains(text), "{refused}");
    }
}
