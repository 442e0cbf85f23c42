//! Keys whose own key is lost or damaged: they are moved aside, and others are made.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use event_store::log::SimDisk;
use event_store::{EmbeddedStore, SubjectKeys, SubjectKeysError, SubjectKeysOptions};
use tempfile::TempDir;

use crate::people::{append_to, log, named, names, over, subject, unreadable};

fn options(folder: &Path) -> SubjectKeysOptions {
    SubjectKeysOptions::folder(folder)
}

/// A log with three people, of whom the first is forgotten, and their keys in this folder.
async fn three_people(keys: &Path) -> Arc<EmbeddedStore> {
    let log = log(&SimDisk::new()).await;
    let keys = SubjectKeys::open(options(keys)).unwrap();
    let store = over(&log, &keys);
    for (number, who) in (0..).zip(["ada", "bea", "cyn"]) {
        append_to(&store, &format!("home-{who}"), named(number, who, who)).await.unwrap();
    }
    keys.forget(subject("ada")).await.unwrap();
    log
}

/// Takes the key of the store away: whole, by one byte, or all of its bytes.
fn lose(store_key: &Path, how: u8) {
    let mut bytes = fs::read(store_key).unwrap();
    match how {
        0 => fs::remove_file(store_key).unwrap(),
        1 => {
            bytes[110] ^= 1;
            fs::write(store_key, bytes).unwrap();
        }
        _ => fs::write(store_key, b"").unwrap(),
    }
}

/// Given a store whose own key is lost or damaged, when others are made, then the old ones are kept
/// beside, as they were, who was forgotten is so still, and the others can be; and the key, once it
/// is found, opens what was moved.
#[tokio::test]
async fn keys_that_nothing_opens_are_moved_aside_and_kept() {
    for how in 0..3 {
        let folder = TempDir::new().unwrap();
        let (keys, aside) = (folder.path().join("keys"), folder.path().join("keys.unopened-1"));
        let log = three_people(&keys).await;
        let found = fs::read(keys.join("store.key")).unwrap();
        lose(&keys.join("store.key"), how);
        let refused = SubjectKeys::open(options(&keys)).err().unwrap();
        let is_told = matches!(refused, SubjectKeysError::Lost | SubjectKeysError::Damaged { .. });
        assert!(is_told, "{how}: {refused}");
        assert_eq!(SubjectKeys::forgotten_in(&keys).unwrap(), [subject("ada")]);

        let (others, moved_to) = SubjectKeys::open_anew(options(&keys)).unwrap();
        assert_eq!(moved_to.as_deref(), Some(&*aside), "{how}");
        assert_eq!(SubjectKeys::forgotten_in(&keys).unwrap(), [subject("ada"); 2]);
        let store = over(&log, &others);
        assert_eq!(names(&over(&log, &others).showing_sealed()).await[0], "once ada", "{how}");
        assert!(append_to(&store, "home-bea", named(3, "bea", "bea")).await.is_err(), "no second");
        others.forget(subject("bea")).await.unwrap();
        others.forget(subject("cyn")).await.unwrap();
        append_to(&store, "home-dan", named(4, "dan", "Dan")).await.unwrap();
        assert!(unreadable(&store).await.is_none());
        assert_eq!(names(&store).await, ["once ada", "once bea", "once cyn", "Dan"]);
        // Once more, nothing is wrong and nothing moved.
        let (again, moved_to) = SubjectKeys::open_anew(options(&keys)).unwrap();
        assert_eq!(moved_to, None);
        assert_eq!(names(&over(&log, &again)).await[3], "Dan");

        fs::write(aside.join("store.key"), found).unwrap();
        let old = SubjectKeys::open(options(&aside)).unwrap();
        let shown = names(&over(&log, &old).showing_sealed()).await;
        assert_eq!(shown, ["once ada", "bea", "cyn", "sealed"], "{how}");
    }
}

/// A process that dies behind any step of it leaves what a repetition ends: behind the move, behind
/// the making of the new key, and with some of the forgotten forgotten again.
#[tokio::test]
async fn a_move_that_is_cut_off_is_ended_by_a_repetition() {
    for steps in 0..3 {
        let folder = TempDir::new().unwrap();
        let (keys, aside) = (folder.path().join("keys"), folder.path().join("keys.unopened-1"));
        let log = three_people(&keys).await;
        SubjectKeys::open(options(&keys)).unwrap().forget(subject("bea")).await.unwrap();
        fs::remove_file(keys.join("store.key")).unwrap();
        fs::rename(&keys, &aside).unwrap();
        if steps > 0 {
            let others = SubjectKeys::open(options(&keys)).unwrap();
            if steps > 1 {
                others.forget(subject("bea")).await.unwrap();
            }
        }
        let (others, moved_to) = SubjectKeys::open_anew(options(&keys)).unwrap();
        assert_eq!(moved_to, None, "{steps}");
        let shown = names(&over(&log, &others).showing_sealed()).await;
        assert_eq!(shown, ["once ada", "once bea", "sealed"], "{steps}");
    }
}

/// A second loss is moved beside the first.
#[tokio::test]
async fn each_is_moved_to_a_name_of_its_own() {
    let folder = TempDir::new().unwrap();
    let keys = folder.path().join("keys");
    three_people(&keys).await;
    for number in 1..=3 {
        fs::remove_file(keys.join("store.key")).unwrap();
        let (_, moved_to) = SubjectKeys::open_anew(options(&keys)).unwrap();
        let expected = folder.path().join(format!("keys.unopened-{number}"));
        assert_eq!(moved_to, Some(expected), "{number}");
    }
}
