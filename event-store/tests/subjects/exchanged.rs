//! Files that change under a store of keys that is open: nothing is sealed that a restart could not
//! open, and nobody gets a second key.

use std::fs;
use std::path::Path;

use event_store::log::{Disk as _, SimDisk};
use event_store::{AppendError, StoreError, SubjectKeys, SubjectKeysOptions};
use tempfile::TempDir;

use crate::people::{
    append_to, bucket_of, bytes_of, is_lost, keys, log, named, names, options, over, subject,
    unreadable, wrapping,
};

fn on(folder: &Path) -> SubjectKeys {
    SubjectKeys::open(SubjectKeysOptions::folder(folder)).unwrap()
}

/// The files of a folder, by name.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let name = |entry: &fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut files: Vec<_> =
        entries.map(|entry| (name(&entry), fs::read(entry.path()).unwrap())).collect();
    files.sort_unstable();
    files
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for (name, bytes) in files(from) {
        fs::write(to.join(name), bytes).unwrap();
    }
}

fn is_unavailable(error: &AppendError) -> bool {
    matches!(error, AppendError::Store(StoreError::Unavailable { .. }))
}

/// Given keys that are open, when an older copy of their folder, or nothing, is put in its place,
/// then nothing is made or sealed, for who has a key that is remembered as for who is new, until it
/// is back.
#[tokio::test]
async fn a_folder_that_is_exchanged_or_taken_away_gets_no_key_and_seals_nothing() {
    let (log, folder) = (log(&SimDisk::new()).await, TempDir::new().unwrap());
    let path = |name: &str| folder.path().join(name);
    append_to(&over(&log, &on(&path("keys"))), "home-ada", named(0, "ada", "Ada")).await.unwrap();
    copy(&path("keys"), &path("old"));
    append_to(&over(&log, &on(&path("keys"))), "home-bea", named(1, "bea", "Bea")).await.unwrap();

    let keys = on(&path("keys"));
    let store = over(&log, &keys);
    assert_eq!(names(&store).await, ["Ada", "Bea"], "both are remembered, to be read");
    append_to(&store, "home-ada", named(2, "ada", "Ada")).await.unwrap();
    keys.are_in_place().unwrap();
    fs::rename(path("keys"), path("newer")).unwrap();
    for (is_there, number) in [(false, 10), (true, 20)] {
        if is_there {
            copy(&path("old"), &path("keys"));
        }
        for (number, who) in (number..).zip(["ada", "bea", "cyn"]) {
            let event = named(number, who, who);
            let error = append_to(&store, &format!("home-{who}"), event).await.unwrap_err();
            assert!(is_unavailable(&error) || is_lost(&error), "{who}: {error}");
        }
        assert!(keys.forget(subject("ada")).await.is_err(), "in another folder");
        let told = keys.are_in_place().unwrap_err().to_string();
        assert!(told.contains("not the one that was opened"), "{told}");
    }
    assert_eq!(files(&path("keys")), files(&path("old")), "no key was made");
    let why = unreadable(&store).await.unwrap();
    assert!(why.to_string().contains("stream home-bea"), "as a new process finds it: {why}");

    fs::remove_dir_all(path("keys")).unwrap();
    fs::rename(path("newer"), path("keys")).unwrap();
    keys.are_in_place().unwrap();
    for (number, who) in (30..).zip(["ada", "bea", "cyn"]) {
        append_to(&store, &format!("home-{who}"), named(number, who, who)).await.unwrap();
    }
    let after = ["Ada", "Bea", "Ada", "ada", "bea", "cyn"];
    assert_eq!(names(&over(&log, &on(&path("keys")))).await, after);
}

/// Three people in one file of slots.
fn neighbours() -> [String; 3] {
    let bucket = |who: &String| subject(who).to_string()[..3].to_owned();
    let first = "0".to_owned();
    let others = (1..).map(|number: u32| number.to_string());
    let mut others = others.filter(|who| bucket(who) == bucket(&first));
    let (second, third) = (others.next().unwrap(), others.next().unwrap());
    [first, second, third]
}

/// Given a key that was made, and is remembered to seal with, when its file is removed, or is an
/// older one, by another file or written over, then nothing is sealed with it, and nobody in that
/// file gets a key, until it is whole again.
#[tokio::test]
async fn a_file_of_keys_that_is_removed_or_an_older_one_seals_nothing() {
    let [first, second, third] = &neighbours();
    let (log, disk) = (log(&SimDisk::new()).await, SimDisk::new());
    let store = over(&log, &keys(&disk));
    let seal = async |number, who: &str| {
        append_to(&store, &format!("home-{who}"), named(number, who, who)).await
    };
    seal(0, first).await.unwrap();
    let (file, old) = bucket_of(&disk, subject(first));
    seal(1, second).await.unwrap();
    let (_, whole) = bucket_of(&disk, subject(second));
    assert_eq!((old.len(), whole.len()), (128, 256));
    seal(2, second).await.unwrap();
    let changes: [(&str, &dyn Fn()); 3] = [
        ("removed", &|| disk.remove(&file).unwrap()),
        ("another file", &|| disk.put(&file, old.clone())),
        ("written over", &|| disk.put_into(&file, &old)),
    ];
    for (number, (how, change)) in (1..).zip(changes) {
        change();
        let before = bytes_of(&disk);
        let error = seal(10 * number, second).await.unwrap_err();
        assert!(is_lost(&error), "{how}: {error}");
        let error = seal(10 * number + 1, third).await.unwrap_err();
        assert!(error.to_string().contains("an older copy"), "{how}: {error}");
        assert_eq!(bytes_of(&disk), before, "{how}: no key was made");
        if how != "removed" {
            seal(10 * number + 2, first).await.unwrap();
            let error = seal(10 * number + 3, third).await.unwrap_err();
            assert!(error.to_string().contains("an older copy"), "{how}, still: {error}");
        }
        disk.put(&file, whole.clone());
        seal(10 * number + 4, second).await.unwrap();
    }
    seal(50, third).await.unwrap();
    assert!(unreadable(&over(&log, &keys(&disk))).await.is_none(), "a restart opens all of it");
}

/// What another process wrote into a file, or somebody put there, is made durable before it is used
/// to seal, also where this process had made durable what was there before.
#[tokio::test]
async fn a_copy_that_is_put_back_is_made_durable_before_it_seals() {
    let (log, disk) = (log(&SimDisk::new()).await, SimDisk::new());
    let store = over(&log, &keys(&disk));
    append_to(&store, "home-ada", named(0, "ada", "Ada")).await.unwrap();
    let (file, bytes) = bucket_of(&disk, subject("ada"));
    disk.remove(&file).unwrap();
    disk.open(&file, true).unwrap().write_at(&bytes, 0).unwrap();
    append_to(&store, "home-ada", named(1, "ada", "Ada")).await.unwrap();
    let after = disk.cut_power(|| false);
    assert_eq!(names(&over(&log, &keys(&after))).await, ["Ada", "Ada"]);
}

/// Given a key that is remembered, when the key of the store is away, damaged or that of another
/// store, then nothing is sealed, and nobody gets a key that it would not open.
#[tokio::test]
async fn without_the_key_that_wraps_them_keys_seal_nothing() {
    let (log, disk) = (log(&SimDisk::new()).await, SimDisk::new());
    let held = keys(&disk);
    let store = over(&log, &held);
    append_to(&store, "home-ada", named(0, "ada", "Ada")).await.unwrap();
    let right = disk.contents("store.key").unwrap();
    let mut damaged = right.clone();
    damaged[120] ^= 1;
    let other = SimDisk::new();
    drop(SubjectKeys::open(options(&other).encryption(wrapping(&["9"]))).unwrap());
    let other = other.contents("store.key").unwrap();
    for (number, wrong) in (1..).zip([None, Some(damaged), Some(other)]) {
        disk.remove("store.key").unwrap();
        if let Some(wrong) = wrong {
            disk.put("store.key", wrong);
        }
        let before = bytes_of(&disk);
        for (number, who) in (10 * number..).zip(["ada", "cyn"]) {
            let event = named(number, who, who);
            let error = append_to(&store, &format!("home-{who}"), event).await.unwrap_err();
            assert!(is_unavailable(&error), "{error}");
            assert!(error.to_string().contains("store.key of the keys of subjects"), "{error}");
        }
        assert!(held.are_in_place().is_err());
        assert_eq!(bytes_of(&disk), before);
        disk.put("store.key", right.clone());
        append_to(&store, "home-ada", named(100 + number, "ada", "Ada")).await.unwrap();
    }
    // The same key, wrapped by one that this process was not given.
    drop(SubjectKeys::open(options(&disk).encryption(wrapping(&["1"]))).unwrap());
    for (number, who) in (200..).zip(["ada", "cyn"]) {
        append_to(&store, &format!("home-{who}"), named(number, who, who)).await.unwrap();
    }
    held.are_in_place().unwrap();
    let anew = SubjectKeys::open(options(&disk).decryption(wrapping(&["1"]))).unwrap();
    assert_eq!(names(&over(&log, &anew)).await.last().unwrap(), "cyn");
}
