//! Erasure on the whole: nothing personal is on the disk before, and nothing opens it afterwards.

use std::path::Path;
use std::sync::Arc;

use event_store::{
    Delivery, EmbeddedOptions, EmbeddedStore, EventStore, Index, PersonalStore, ReadIndex,
    SubjectKeys, SubjectKeysOptions, SubscribeFrom,
};
use futures::{StreamExt as _, TryStreamExt as _};
use tempfile::TempDir;

use crate::people::{append_to, data_of, event_with, marks, named, over, stream, subject};

const PEOPLE: u64 = 20;
const EVENTS: u64 = 600;

async fn open(folder: &TempDir) -> (Arc<EmbeddedStore>, SubjectKeys, PersonalStore) {
    let options = EmbeddedOptions::folder(folder.path().join("events")).segment_bytes(32 * 1024);
    let log = Arc::new(EmbeddedStore::open(options).await.unwrap());
    let keys = SubjectKeysOptions::folder(folder.path().join("keys/subjects"));
    let keys = SubjectKeys::open(keys).unwrap();
    let store = over(&log, &keys);
    (log, keys, store)
}

/// Every file below the folder.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push((entry.path().display().to_string(), std::fs::read(entry.path()).unwrap()));
        }
    }
    found
}

fn shown(folder: &Path, part: &[u8]) -> Vec<String> {
    let has = |bytes: &[u8]| bytes.windows(part.len()).any(|some| some == part);
    let found = files(folder).into_iter().filter(|(_, bytes)| has(bytes));
    found.map(|(name, _)| name).collect()
}

fn who(number: u64) -> String {
    format!("person {}", number % PEOPLE)
}

/// Given many events of many people in a log of many segments, then no file shows a word of theirs,
/// before and after; and when some are forgotten, then their keys are nowhere, everything is
/// replayed from any door, and whoever else has the folder open is told the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_forgotten_is_nowhere_and_everything_is_replayed() {
    let folder = TempDir::new().unwrap();
    let (log, keys, store) = open(&folder).await;
    for number in 0..EVENTS {
        let event = match number % 3 {
            0 => event_with(
                number,
                "Named",
                &serde_json::json!({
                    "who": who(number), "name": format!("canary-name-{number}"),
                    "bio": "canary-bio",
                    "friend": who(number + 1), "friend_name": "canary-friend",
                }),
            ),
            _ => named(number, &who(number), &format!("canary-name-{number}")),
        };
        append_to(&store, &format!("person-{}", number % PEOPLE), event).await.unwrap();
    }
    assert_eq!(shown(folder.path(), b"canary"), [""; 0], "before");
    assert!(!shown(folder.path(), b"person 7").is_empty(), "this would find it");
    let whole = data_of(&store).await;
    assert!(whole.iter().all(|data| data["name"].as_str().unwrap().starts_with("canary")));

    // Half of them, each with what is on the disk of their key.
    let mut gone = Vec::new();
    for number in (0..PEOPLE).step_by(2) {
        let subject = subject(&who(number));
        let file = format!("keys/subjects/{}.keys", &subject.to_string()[..3]);
        let bytes = std::fs::read(folder.path().join(file)).unwrap();
        let digest = blake3::hash(who(number).as_bytes());
        let mut slots = bytes.chunks(128);
        let slot = slots.find(|slot| slot[..32] == digest.as_bytes()[..]).unwrap();
        gone.push(slot[36..96].to_vec());
    }
    let (beside, _, beside_store) = {
        let keys = SubjectKeysOptions::folder(folder.path().join("keys/subjects"));
        let keys = SubjectKeys::open(keys).unwrap();
        (Arc::clone(&log), keys.clone(), over(&log, &keys))
    };
    assert_eq!(data_of(&beside_store).await, whole);
    for number in (0..PEOPLE).step_by(2) {
        keys.forget(subject(&who(number))).await.unwrap();
    }
    for (number, key) in gone.iter().enumerate() {
        assert_eq!(shown(folder.path(), key), [""; 0], "the key of person {}", 2 * number);
    }
    let replayed = data_of(&store).await;
    assert_eq!(replayed, data_of(&beside_store).await);
    for (before, after) in whole.iter().zip(&replayed) {
        let forgotten = |field: &str| {
            let number = before[field].as_str().and_then(|who| who.strip_prefix("person "));
            number.is_some_and(|number| number.parse::<u64>().unwrap() % 2 == 0)
        };
        if forgotten("who") {
            assert_eq!(after["name"], format!("once {}", before["who"].as_str().unwrap()));
        } else {
            assert_eq!(after["name"], before["name"]);
        }
        assert_eq!(after["friend_name"] == "a friend", forgotten("friend"), "{after}");
    }
    every_door_gives_the_same(&store, &replayed).await;
    drop((beside, beside_store, store));
    log.close().await.unwrap();
    let (again, _, store) = open(&folder).await;
    assert_eq!(data_of(&store).await, replayed, "after a restart");
    assert_eq!(shown(folder.path(), b"canary"), [""; 0], "after");
    again.close().await.unwrap();
}

async fn every_door_gives_the_same(store: &PersonalStore, replayed: &[serde_json::Value]) {
    let value = |event: &event_store::RecordedEvent| serde_json::from_slice(&event.data).unwrap();
    let index = ReadIndex::forward(Index::category("person"));
    let read = store.read_index(index).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    let of_index: Vec<serde_json::Value> = read.iter().map(|it| value(&it.event)).collect();
    assert_eq!(of_index, replayed);
    let mut followed: Vec<serde_json::Value> = Vec::new();
    let mut all = store.subscribe_all(SubscribeFrom::Start, None).await.unwrap();
    while let Some(delivery) = all.next().await {
        match delivery.unwrap() {
            Delivery::Event(event) => followed.push(value(&event)),
            Delivery::CaughtUp => break,
            Delivery::Checkpoint(_) | Delivery::FellBehind => {}
        }
    }
    assert_eq!(followed, replayed);
    let last = store.last_event(&stream("person-0")).await.unwrap().unwrap();
    assert_eq!(value(&last)["name"], "once person 0");
    assert!(!PersonalStore::is_sealed(&last, marks));
}
