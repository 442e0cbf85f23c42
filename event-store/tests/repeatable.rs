//! A run of the engine is repeated from its seed, to the byte: disk, clock and chance are all that
//! it takes from outside.

#[path = "given/events.rs"]
mod given;
#[path = "given/scavenging.rs"]
mod scavenging;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Utc};
use event_store::log::{Clock, Disk, SimDisk, SimEntropy};
use event_store::{
    EmbeddedOptions, EmbeddedStore, EventStore, EventType, ExpectedRevision, PersonalField,
    PersonalStore, StreamMetadata, SubjectKeys, SubjectKeysOptions, WrappingKeys,
};
use given::{event, everything, stream};

/// A clock that goes on by a microsecond whenever it is looked at.
#[derive(Default)]
struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0.fetch_add(1, Ordering::Relaxed)).unwrap()
    }
}

/// Segments of a few events.
const SEGMENT_BYTES: u64 = 2000;

const NUMBERS: &[PersonalField] =
    &[PersonalField { name: "number", subject: "whose", home: "home", stand_in: str::to_owned }];

fn marks(event_type: &EventType) -> &'static [PersonalField] {
    if event_type.as_str() == "Numbered" { NUMBERS } else { &[] }
}

fn keys() -> WrappingKeys {
    WrappingKeys::from_text(&format!("key:{}", "07".repeat(32))).unwrap()
}

/// The bytes of all files.
fn files(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let names = disk.list().unwrap();
    names.into_iter().map(|name| (name.clone(), disk.contents(&name).unwrap())).collect()
}

/// What a run leaves on the disks of the log and of the keys: it appends over many segments, hides,
/// deletes, tombstones, scavenges and opens again, encrypted and with personal fields.
async fn run(seed: u64) -> [BTreeMap<String, Vec<u8>>; 2] {
    let (disk, key_disk) = (SimDisk::new(), SimDisk::new());
    let chance = Arc::new(SimEntropy::new(seed));
    let clock = Arc::new(Ticking::default());
    for opening in 0..3 {
        let options = EmbeddedOptions::disk(Arc::new(disk.clone())).segment_bytes(SEGMENT_BYTES);
        let options = options.encryption(keys()).clock(Arc::clone(&clock) as _);
        let options = options.entropy(Arc::clone(&chance) as _);
        let store = Arc::new(EmbeddedStore::open(options).await.unwrap());
        let of_subjects = SubjectKeysOptions::disk(Arc::new(key_disk.clone()));
        let of_subjects = of_subjects.encryption(keys()).entropy(Arc::clone(&chance) as _);
        let of_subjects = SubjectKeys::open(of_subjects).unwrap();
        let personal = PersonalStore::over(Arc::clone(&store) as _, of_subjects, marks);
        for number in 0..20 {
            let number = opening * 100 + number;
            let mut about = event(number);
            about.data = format!("{{\"number\":{number},\"whose\":\"{}\"}}", number % 3).into();
            let to = stream(["track-1", "user-1", "user-2"][number as usize % 3]);
            personal.append(&to, ExpectedRevision::Any, vec![about]).await.unwrap();
        }
        let hides = StreamMetadata { max_count: Some(2), ..StreamMetadata::default() };
        let any = ExpectedRevision::Any;
        store.set_stream_metadata(&stream("track-1"), any, hides).await.unwrap();
        store.delete_stream(&stream("user-1"), any).await.unwrap();
        store.append(&stream("gone-1"), any, vec![event(1000 + opening)]).await.ok();
        store.tombstone_stream(&stream("gone-1"), any).await.ok();
        store.scavenge(scavenging::thorough()).await.unwrap();
        assert!(everything(&store).await.unwrap().len() > 5);
        store.close().await.unwrap();
    }
    [files(&disk), files(&key_disk)]
}

#[tokio::test]
async fn a_run_is_repeated_from_its_seed_to_the_byte() {
    let [log, subjects] = run(7).await;
    assert!(log.keys().filter(|name| name.ends_with(".key")).count() > 3, "{:?}", log.keys());
    assert!(!subjects.is_empty());
    for time in 1..4 {
        let again = run(7).await;
        for (files, again) in [&log, &subjects].into_iter().zip(&again) {
            assert!(files.keys().eq(again.keys()), "time {time}: {:?}", again.keys());
            for (name, bytes) in files {
                assert!(again[name] == *bytes, "time {time}: {name} has other bytes");
            }
        }
    }
    let [other, _] = run(8).await;
    assert!(!log.keys().eq(other.keys()), "another seed gives other salts");
}
