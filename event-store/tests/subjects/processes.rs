//! Several processes on one folder of keys, as handles that share nothing but the folder.

use std::sync::Arc;

use event_store::log::{Fault, SimDisk};
use event_store::{SubjectKeys, SubjectKeysOptions};
use futures::future::join_all;
use tempfile::TempDir;

use crate::people::{append, everything, keys, log, named, names, over, subject};

fn on(folder: &TempDir) -> SubjectKeys {
    SubjectKeys::open(SubjectKeysOptions::folder(folder.path().join("keys/subjects"))).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_make_the_same_keys() {
    let (log, folder) = (log(&SimDisk::new()).await, TempDir::new().unwrap());
    let processes: Vec<SubjectKeys> = (0..4).map(|_| on(&folder)).collect();
    let appends = (0..80_u64).map(|number| {
        let store = over(&log, &processes[number as usize % 4]);
        // Each person is named by all of them at once.
        async move { append(&store, named(number, &(number / 8).to_string(), "x")).await.unwrap() }
    });
    join_all(appends).await;
    for keys in processes.iter().chain([&on(&folder)]) {
        assert_eq!(names(&over(&log, keys)).await, ["x"; 80]);
    }
    assert_eq!(everything(&*log).await.unwrap().len(), 80);
}

#[tokio::test]
async fn who_is_forgotten_by_one_is_forgotten_by_all_at_once() {
    let (log, folder) = (log(&SimDisk::new()).await, TempDir::new().unwrap());
    let (one, other) = (on(&folder), on(&folder));
    for round in 0..20 {
        let who = round.to_string();
        append(&over(&log, &one), named(round, &who, "x")).await.unwrap();
        assert_eq!(names(&over(&log, &one)).await.last().unwrap(), "x", "it has it in memory");
        other.forget(subject(&who)).await.unwrap();
        assert_eq!(*names(&over(&log, &one)).await.last().unwrap(), format!("once {who}"));
        // Also to seal for them.
        append(&over(&log, &one), named(1000 + round, &who, "late")).await.unwrap();
    }
    let raw = format!("{:?}", everything(&*log).await.unwrap());
    assert!(!raw.contains("late"));
    assert!(names(&over(&log, &one)).await.iter().all(|name| name.starts_with("once ")));
}

/// Given a process that dies in the midst of forgetting, behind its write, then the others go by
/// what they find on the disk, and not by what they remember.
#[tokio::test]
async fn a_process_that_dies_in_the_midst_of_forgetting_leaves_nobody_behind() {
    let (log, disk) = (log(&SimDisk::new()).await, SimDisk::new());
    let (one, other) = (keys(&disk), keys(&disk));
    append(&over(&log, &one), named(0, "ada", "Ada")).await.unwrap();
    append(&over(&log, &one), named(1, "bea", "Bea")).await.unwrap();
    assert_eq!(names(&over(&log, &one)).await, ["Ada", "Bea"]);
    disk.fail(Fault::Sync(1));
    other.forget(subject("ada")).await.unwrap_err();
    assert_eq!(names(&over(&log, &one)).await, ["once ada", "Bea"]);
    append(&over(&log, &one), named(2, "cyn", "Cyn")).await.unwrap();
    // The next process puts it right.
    let next = keys(&disk);
    let held = Arc::new(over(&log, &one));
    assert_eq!(names(&*held).await, ["once ada", "Bea", "Cyn"]);
    next.forget(subject("bea")).await.unwrap();
    assert_eq!(names(&*held).await, ["once ada", "once bea", "Cyn"]);
}

#[tokio::test]
async fn the_folder_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = TempDir::new().unwrap();
    assert!(!SubjectKeys::are_in(&folder.path().join("keys/subjects")));
    on(&folder);
    let path = folder.path().join("keys/subjects");
    assert!(SubjectKeys::are_in(&path));
    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
}
