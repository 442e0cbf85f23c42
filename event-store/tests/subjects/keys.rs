//! The store of keys: what is durable, what is noticed, and what wraps it.

use event_store::log::{Disk as _, SimDisk};
use event_store::{
    EventStore as _, PersonalError, PersonalStore, SubjectKeys, SubjectKeysError,
    SubjectKeysOptions,
};

use crate::people::{
    append, bucket_of, bytes_of, everything, keys, log, marks, named, names, options, over, stream,
    subject, unreadable, wrapping,
};

fn refused(options: SubjectKeysOptions) -> SubjectKeysError {
    SubjectKeys::open(options).err().expect("it is not opened")
}

#[tokio::test]
async fn who_is_forgotten_stays_so_and_the_others_are_not() {
    let (log, disk) = (log(&SimDisk::new()).await, SimDisk::new());
    let store = over(&log, &keys(&disk));
    for (number, who) in (0..).zip(["ada", "bea", "ada"]) {
        append(&store, named(number, who, &format!("name of {who}"))).await.unwrap();
    }
    assert_eq!(names(&store).await, ["name of ada", "name of bea", "name of ada"]);
    let store = over(&log, &keys(&disk));
    assert_eq!(names(&store).await[1], "name of bea", "another opening has the same keys");

    let forgetting = keys(&disk);
    forgetting.forget(subject("ada")).await.unwrap();
    let after = ["once ada", "name of bea", "once ada"];
    assert_eq!(names(&over(&log, &forgetting)).await, after);
    // Also who never had a key; and again.
    forgetting.forget(subject("cyn")).await.unwrap();
    forgetting.forget(subject("ada")).await.unwrap();
    let store = over(&log, &keys(&disk));
    assert_eq!(names(&store).await, after);
    for (number, who) in (3..).zip(["ada", "cyn"]) {
        append(&store, named(number, who, "told too late")).await.unwrap();
    }
    assert_eq!(names(&store).await[3..], ["once ada", "once cyn"]);
    assert!(!format!("{:?}", everything(&*log).await).contains("told too late"));
    let mut forgotten = forgetting.forgotten().await.unwrap();
    forgotten.sort_unstable();
    let mut those = [subject("ada"), subject("cyn")];
    those.sort_unstable();
    assert_eq!(forgotten, those);
}

#[tokio::test]
async fn an_older_copy_of_the_keys_is_told_again_who_is_forgotten() {
    let (log, disk) = (log(&SimDisk::new()).await, SimDisk::new());
    let now = keys(&disk);
    for (number, who) in (0..).zip(["ada", "bea"]) {
        append(&over(&log, &now), named(number, who, who)).await.unwrap();
    }
    let copy = disk.copy();
    now.forget(subject("ada")).await.unwrap();
    let restored = keys(&copy);
    assert_eq!(names(&over(&log, &restored)).await, ["ada", "bea"]);
    for subject in now.forgotten().await.unwrap() {
        restored.forget(subject).await.unwrap();
    }
    assert_eq!(names(&over(&log, &restored)).await, ["once ada", "bea"]);
}

#[tokio::test]
async fn a_key_that_is_missing_is_not_taken_for_one_that_was_forgotten() {
    let log = log(&SimDisk::new()).await;
    append(&over(&log, &keys(&SimDisk::new())), named(0, "ada", "Ada")).await.unwrap();
    let without = over(&log, &keys(&SimDisk::new()));
    let why = unreadable(&without).await.unwrap();
    assert!(matches!(why, PersonalError::KeyMissing { .. }), "{why}");
    let told = why.to_string();
    assert!(told.contains("field name of event 0 of stream person-1") && !told.contains("Ada"));
    let last = without.last_event(&stream("person-1")).await.unwrap().unwrap();
    assert!(PersonalStore::is_sealed(&last, marks));
    assert_eq!(names(&without.showing_sealed()).await, ["sealed"]);
}

#[tokio::test]
async fn every_changed_byte_of_a_key_is_noticed_and_it_can_be_forgotten_still() {
    let (log, disk) = (log(&SimDisk::new()).await, SimDisk::new());
    append(&over(&log, &keys(&disk)), named(0, "ada", "Ada")).await.unwrap();
    let (file, whole) = bucket_of(&disk, subject("ada"));
    assert_eq!(whole.len(), 128, "a subject takes 128 bytes");
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        let changed = disk.copy();
        changed.put(&file, bytes);
        let keys = keys(&changed);
        let why = unreadable(&over(&log, &keys)).await.unwrap();
        assert!(matches!(why, PersonalError::KeyDamaged { .. }), "byte {at}: {why}");
        let error = append(&over(&log, &keys), named(1, "ada", "Ada")).await.unwrap_err();
        assert!(error.to_string().contains(&file), "no other key is made: byte {at}: {error}");
        keys.forget(subject("ada")).await.unwrap();
        assert_eq!(names(&over(&log, &keys)).await, ["once ada"], "byte {at}");
        let left = changed.contents(&file).unwrap();
        let is_left = |half: &[u8]| left.windows(half.len()).any(|part| part == half);
        assert!(!whole[48..80].chunks(16).any(is_left), "byte {at}: half of the key is there");
    }
}

/// Given a slot that is damaged so that nobody can tell whose it is, when somebody is forgotten who
/// has no other, then their fields are not opened any more, and the damage is told, however often;
/// who has a slot of their own is forgotten as ever.
#[tokio::test]
async fn a_damaged_slot_that_may_be_theirs_is_told_when_somebody_is_forgotten() {
    let (log, disk) = (log(&SimDisk::new()).await, SimDisk::new());
    append(&over(&log, &keys(&disk)), named(0, "ada", "Ada")).await.unwrap();
    let (file, whole) = bucket_of(&disk, subject("ada"));
    let is_beside = |who: &String| subject(who).to_string()[..3] == subject("ada").to_string()[..3];
    let beside = (0..).map(|number| format!("bea-{number}")).find(is_beside).unwrap();
    append(&over(&log, &keys(&disk)), named(1, &beside, "Bea")).await.unwrap();
    let (_, mut both) = bucket_of(&disk, subject("ada"));
    assert_eq!(both.len(), 2 * whole.len());
    // Of the subject, and of the tag of the key.
    both[3] ^= 1;
    both[90] ^= 1;
    disk.put(&file, both);
    let keys = keys(&disk);
    for _ in 0..2 {
        let error = keys.forget(subject("ada")).await.unwrap_err().to_string();
        assert!(error.contains(&format!("{file}:0")) && error.contains("checksum"), "{error}");
        assert_eq!(names(&over(&log, &keys)).await, ["once ada", "Bea"]);
    }
    keys.forget(subject(&beside)).await.unwrap();
    let told = format!("once {beside}");
    assert_eq!(names(&over(&log, &keys)).await, ["once ada", told.as_str()]);
}

#[tokio::test]
async fn keys_are_wrapped_by_the_operators_key_and_by_another_one_later() {
    let (log, disk) = (log(&SimDisk::new()).await, SimDisk::new());
    append(&over(&log, &keys(&disk)), named(0, "ada", "Ada")).await.unwrap();
    let plain = disk.contents("store.key").unwrap();
    let opened = async |options| {
        let keys = SubjectKeys::open(options).unwrap();
        assert_eq!(names(&over(&log, &keys)).await, ["Ada"]);
        keys
    };
    opened(options(&disk).decryption(wrapping(&["1"]))).await;
    assert_eq!(disk.contents("store.key").unwrap(), plain, "only opening wraps nothing");
    let keys = opened(options(&disk).encryption(wrapping(&["1"]))).await;
    let key = &plain[104..136];
    let shown = |disk: &SimDisk| {
        bytes_of(disk).iter().any(|(_, bytes)| bytes.windows(32).any(|part| part == key))
    };
    let before = disk.copy();
    before.put("store.key", plain.clone());
    assert!(shown(&before) && !shown(&disk));
    let said = refused(options(&disk)).to_string();
    assert!(said.contains("wrapped by the key 1"), "{said}");
    let said = refused(options(&disk).encryption(wrapping(&["2"]))).to_string();
    assert!(said.contains("wrapped by the key 1") && said.ends_with('2'), "{said}");
    opened(options(&disk).encryption(wrapping(&["2", "1"]))).await;
    opened(options(&disk).decryption(wrapping(&["2"]))).await;
    assert_eq!(names(&over(&log, &keys)).await, ["Ada"], "who had it open goes on");
}

#[tokio::test]
async fn without_the_key_of_the_store_no_other_is_made() {
    let (log, disk) = (log(&SimDisk::new()).await, SimDisk::new());
    append(&over(&log, &keys(&disk)), named(0, "ada", "Ada")).await.unwrap();
    let whole = disk.contents("store.key").unwrap();
    disk.remove("store.key").unwrap();
    let said = refused(options(&disk)).to_string();
    assert!(said.contains("store.key is missing") && said.lines().count() == 1, "{said}");
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        disk.put("store.key", bytes);
        let said = refused(options(&disk)).to_string();
        assert!(said.contains("store.key is damaged") && said.contains("put a backup"), "{said}");
    }
    // That of another store is no key of these.
    let other = SimDisk::new();
    keys(&other);
    disk.put("store.key", other.contents("store.key").unwrap());
    let error = unreadable(&over(&log, &keys(&disk))).await.unwrap();
    assert!(error.to_string().contains("not opened by the key in the same folder"), "{error}");
}

#[tokio::test]
async fn a_key_costs_two_syncs_at_most_and_is_looked_up_once() {
    let (log, disk) = (log(&SimDisk::new()).await, SimDisk::new());
    let keys = keys(&disk);
    let store = over(&log, &keys);
    let before = disk.syncs();
    append(&store, named(0, "ada", "Ada")).await.unwrap();
    assert_eq!(disk.syncs() - before, 2, "a new file, and its name");
    let (syncs, bytes) = (disk.syncs(), disk.read_bytes());
    for number in 1..50 {
        append(&store, named(number, "ada", "Ada")).await.unwrap();
    }
    names(&store).await;
    assert_eq!(disk.syncs(), syncs);
    assert_eq!(disk.read_bytes() - bytes, 8 * (49 + 50), "one look a time at the generation");
}
