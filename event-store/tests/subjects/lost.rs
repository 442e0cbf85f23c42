//! Keys that are lost, older than the log, or of another: nobody gets a second one, and who is read
//! beside those who can't be.

use event_store::log::{Disk as _, SimDisk};
use event_store::{PersonalStore, ReadError, StoreError};
use futures::future::join_all;

use crate::people::{
    append, append_to, bucket_of, bytes_of, data_of, everything, is_lost, keys, log, marks, named,
    names, over, subject, unreadable,
};

/// Given keys that are older than the log, when something is appended about somebody whose key is
/// newer, in whatever stream, then that is refused, and they get no second key; others get theirs.
#[tokio::test]
async fn who_has_something_sealed_gets_no_second_key() {
    let (log, disk) = (log(&SimDisk::new()).await, SimDisk::new());
    let now = keys(&disk);
    append_to(&over(&log, &now), "home-ada", named(0, "ada", "Ada")).await.unwrap();
    let old = disk.copy();
    append_to(&over(&log, &now), "home-bea", named(1, "bea", "Bea")).await.unwrap();
    let (before, store) = (bytes_of(&old), over(&log, &keys(&old)));
    for stream in ["home-bea", "elsewhere-1"] {
        let error = append_to(&store, stream, named(2, "bea", "Bea")).await.unwrap_err();
        assert!(is_lost(&error) && !error.to_string().contains("Bea"), "{error}");
    }
    assert_eq!(bytes_of(&old), before, "no key was made");
    append_to(&store, "home-ada", named(3, "ada", "Ada")).await.unwrap();
    append_to(&store, "home-cyn", named(4, "cyn", "Cyn")).await.unwrap();
    let with_right_keys = over(&log, &now).showing_sealed();
    assert_eq!(names(&with_right_keys).await, ["Ada", "Bea", "Ada", "sealed"]);
    // Given up, they are as forgotten as others.
    keys(&old).forget(subject("bea")).await.unwrap();
    append_to(&store, "home-bea", named(5, "bea", "Bea")).await.unwrap();
    assert_eq!(names(&store).await, ["Ada", "once bea", "Ada", "Cyn", "once bea"]);
}

/// Many at once append the first of somebody: each finds the key that another made, and takes none
/// for lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_that_another_makes_meanwhile_is_not_taken_for_lost() {
    let (log, keys) = (log(&SimDisk::new()).await, keys(&SimDisk::new()));
    let store = over(&log, &keys);
    for person in 0..30 {
        let who = format!("person {person}");
        let home = format!("home-{who}");
        let appends =
            (0..16).map(|number| append_to(&store, &home, named(16 * person + number, &who, &who)));
        for appended in join_all(appends).await {
            appended.unwrap();
        }
    }
    assert!(unreadable(&store).await.is_none());
}

#[tokio::test]
async fn who_was_forgotten_in_keys_that_are_lost_gets_no_key_again() {
    let (log, disk) = (log(&SimDisk::new()).await, SimDisk::new());
    let old = disk.copy();
    let now = keys(&disk);
    now.forget(subject("ada")).await.unwrap();
    append_to(&over(&log, &now), "home-ada", named(0, "ada", "Ada")).await.unwrap();
    let store = over(&log, &keys(&old));
    assert!(is_lost(&append(&store, named(1, "ada", "Ada")).await.unwrap_err()));
}

#[tokio::test]
async fn who_is_in_the_log_from_before_sealing_gets_a_key_and_so_does_who_is_only_named_there() {
    let (log, disk) = (log(&SimDisk::new()).await, SimDisk::new());
    append_to(&*log, "home-ada", named(0, "ada", "Ada")).await.unwrap();
    let store = over(&log, &keys(&disk));
    append_to(&store, "home-ada", named(1, "ada", "Ada")).await.unwrap();
    append_to(&store, "home-cyn", named(2, "bea", "Bea")).await.unwrap();
    append_to(&store, "home-cyn", named(3, "cyn", "Cyn")).await.unwrap();
    assert_eq!(names(&store).await, ["Ada", "Ada", "Bea", "Cyn"]);
}

/// Given the key of one is lost, when all is read, then the others are open and that one's field is
/// sealed, told once however often it is read, until the key is back.
#[tokio::test]
async fn what_no_key_opens_is_left_sealed_and_told_until_the_key_is_back() {
    let (log, disk) = (log(&SimDisk::new()).await, SimDisk::new());
    let store = over(&log, &keys(&disk));
    for (number, who) in (0..).zip(["ada", "bea", "ada"]) {
        append(&store, named(number, who, who)).await.unwrap();
    }
    let (file, bytes) = bucket_of(&disk, subject("ada"));
    disk.remove(&file).unwrap();
    let store = over(&log, &keys(&disk));
    for _ in 0..2 {
        let events = everything(&store).await.unwrap();
        let is_sealed = events.iter().map(|event| PersonalStore::is_sealed(event, marks));
        assert_eq!(is_sealed.collect::<Vec<_>>(), [true, false, true]);
        let (count, why) = store.unreadable().first().unwrap();
        assert_eq!(count, 2, "{why}");
        assert!(why.to_string().starts_with("field name of event 0 of stream person-1"), "{why}");
    }
    assert_eq!(data_of(&store).await[0]["number"], 0, "the rest of it is read");
    disk.put(&file, bytes);
    assert!(unreadable(&store).await.is_none());
    assert_eq!(names(&store).await, ["ada", "bea", "ada"]);
}

/// A folder that is away is no folder whose keys are lost: who reads fails, and can try again.
#[tokio::test]
async fn keys_that_are_all_away_are_an_error_that_passes() {
    let (log, disk) = (log(&SimDisk::new()).await, SimDisk::new());
    append(&over(&log, &keys(&disk)), named(0, "ada", "Ada")).await.unwrap();
    let store = over(&log, &keys(&disk));
    let files: Vec<_> = bytes_of(&disk);
    for (name, _) in
        files.iter().filter(|(name, _)| name.ends_with("key") || name.ends_with("keys"))
    {
        disk.remove(name).unwrap();
    }
    let error = everything(&store).await.unwrap_err();
    let is_away = matches!(error, ReadError::Store(StoreError::Unavailable { .. }));
    assert!(is_away && error.to_string().contains("store.key"), "{error}");
    assert!(append(&store, named(1, "bea", "Bea")).await.is_err());
    for (name, bytes) in files {
        disk.put(&name, bytes);
    }
    assert_eq!(names(&store).await, ["Ada"]);
    assert!(store.unreadable().first().is_none());
}
