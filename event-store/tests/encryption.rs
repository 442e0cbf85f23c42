//! Encryption at rest: what the disk shows, what is noticed, and how keys come and go.

#[path = "given/dice.rs"]
mod dice;
#[path = "given/events.rs"]
mod given;
#[path = "given/indexed.rs"]
mod indexed;
#[path = "encryption/nonces.rs"]
mod nonces;
#[path = "encryption/rotation.rs"]
mod rotation;
#[path = "encryption/scavenged.rs"]
mod scavenged;
#[path = "given/scavenging.rs"]
mod scavenging;
#[path = "encryption/tampering.rs"]
mod tampering;
#[path = "given/watched.rs"]
mod watched;

use std::sync::Arc;

use bytes::Bytes;
use event_store::log::{Disk, Fault, KeyError, SimDisk};
use event_store::{
    EmbeddedOptions, EmbeddedStore, EventId, EventStore, EventType, ExpectedRevision, NewEvent,
    OpenError, StreamMetadata, WrappingKeys,
};
use given::{event, everything, stream};
use uuid::Uuid;

/// Wrapping keys of these names; a name always has the same key.
fn keys(names: &[&str]) -> WrappingKeys {
    let line = |name: &&str| {
        let digits: String = name.bytes().cycle().take(32).map(|it| format!("{it:02x}")).collect();
        format!("{name}:{digits}\n")
    };
    WrappingKeys::from_text(&names.iter().map(line).collect::<String>()).unwrap()
}

fn options(disk: &SimDisk) -> EmbeddedOptions {
    EmbeddedOptions::disk(Arc::new(disk.clone())).segment_bytes(2000)
}

/// Opens the store, which encrypts with the first of these keys.
async fn open(disk: &SimDisk, names: &[&str]) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open(options(disk).encryption(keys(names))).await
}

/// Opens the store, which encrypts nothing new and has these keys.
async fn open_plain(disk: &SimDisk, names: &[&str]) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open(options(disk).decryption(keys(names))).await
}

async fn append(store: &EmbeddedStore, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let (stream, any) = (stream("track-1"), ExpectedRevision::Any);
        store.append(&stream, any, vec![event(number)]).await.unwrap();
    }
}

fn files(disk: &SimDisk, ending: &str) -> Vec<String> {
    disk.list().unwrap().into_iter().filter(|name| name.ends_with(ending)).collect()
}

async fn count(store: &EmbeddedStore) -> u64 {
    everything(store).await.unwrap().len() as u64
}

/// Whether the segment says that its records are encrypted.
fn is_encrypted(disk: &SimDisk, name: &str) -> bool {
    disk.contents(name).unwrap()[72] & 1 == 1
}

/// Given words in every part of events, when they are in an encrypted log of many segments, with
/// their indexes, closed and opened again, then no file has any of them at any moment.
#[tokio::test]
async fn no_file_shows_a_word_of_what_was_appended() {
    const WORDS: [&str; 4] = ["canary-stream", "CanaryType", "canary-data", "canary-metadata"];
    let disk = SimDisk::new();
    disk.remember();
    for round in 0..2 {
        let store = open(&disk, &["a"]).await.unwrap();
        for number in 0..20 {
            let new = NewEvent {
                id: EventId(Uuid::new_v4()),
                event_type: EventType::new(WORDS[1]).unwrap(),
                content_type: event_store::ContentType::Binary,
                data: Bytes::from(WORDS[2]),
                metadata: Bytes::from(WORDS[3]),
            };
            let name = stream(&format!("{}-{}", WORDS[0], number % 3));
            store.append(&name, ExpectedRevision::Any, vec![new]).await.unwrap();
        }
        let metadata = StreamMetadata { max_count: Some(7), ..StreamMetadata::default() };
        let name = stream(&format!("{}-gone-{round}", WORDS[0]));
        store.set_stream_metadata(&name, ExpectedRevision::Any, metadata).await.unwrap();
        let name_of_one = stream(&format!("{}-0", WORDS[0]));
        let few = StreamMetadata { max_count: Some(2), ..StreamMetadata::default() };
        store.set_stream_metadata(&name_of_one, ExpectedRevision::Any, few).await.unwrap();
        let scavenged = store.scavenge(scavenging::thorough()).await.unwrap();
        assert!(scavenged.progress.events_reclaimed > 0);
        disk.fail(Fault::SegmentSync(1));
        store.tombstone_stream(&name, ExpectedRevision::Any).await.unwrap_err();
    }
    let hidden = WORDS.into_iter().chain(["maxCount", "$metadata", "$streamDeleted"]);
    let hidden: Vec<&str> = hidden.collect();
    for disk in disk.remembered().iter().step_by(7).chain([&disk]) {
        for name in disk.list().unwrap() {
            let bytes = disk.contents(&name).unwrap();
            for word in &hidden {
                let shown = bytes.windows(word.len()).any(|part| part == word.as_bytes());
                assert!(!shown, "{name} shows {word}");
            }
        }
    }
    assert!(files(&disk, ".idx").len() > 2 && files(&disk, ".log").len() > 4);
    assert!(files(&disk, ".log").iter().all(|name| is_encrypted(&disk, name)));
}

/// Given a log that is encrypted at some openings and not at others, then everything is read, what
/// is appended is as the last opening says, and the chain is that of the events alone.
#[tokio::test]
async fn encryption_is_turned_on_and_off_from_one_opening_to_the_next() {
    let disk = SimDisk::new();
    let mut next = 0;
    for encrypts in [false, true, true, false, false, true] {
        let before = files(&disk, ".log");
        let opened =
            if encrypts { open(&disk, &["a"]).await } else { open_plain(&disk, &["a"]).await };
        let store = opened.unwrap();
        append(&store, next..next + 10).await;
        next += 10;
        assert_eq!(count(&store).await, next);
        assert_eq!(store.verify(None).await.unwrap().head, store.audit_head());
        store.close().await.unwrap();
        for name in files(&disk, ".log").iter().filter(|name| !before.contains(name)) {
            assert_eq!(is_encrypted(&disk, name), encrypts, "{name}");
        }
    }
    let encrypted = files(&disk, ".log").iter().filter(|name| is_encrypted(&disk, name)).count();
    assert_eq!(files(&disk, ".key").len(), encrypted, "each has a key, and there are no others");
}

/// An opening takes a new key, but only once something is appended: else each would leave an empty
/// segment behind.
#[tokio::test]
async fn an_opening_that_appends_nothing_leaves_nothing() {
    let disk = SimDisk::new();
    append(&open(&disk, &["a"]).await.unwrap(), 0..3).await;
    let left = || (files(&disk, ".log"), files(&disk, ".key"));
    let before = left();
    for _ in 0..5 {
        let store = open(&disk, &["a"]).await.unwrap();
        assert_eq!(count(&store).await, 3);
        store.close().await.unwrap();
        assert_eq!(left(), before);
    }
    append(&open(&disk, &["a"]).await.unwrap(), 3..4).await;
    assert_eq!((left().0.len(), left().1.len()), (2, 2));
}

/// Given an empty store that is opened again and again, then its empty segment is replaced by one
/// with another key, and the key of before is gone.
#[tokio::test]
async fn an_empty_segment_is_replaced_by_one_with_another_key() {
    let disk = SimDisk::new();
    drop(open(&disk, &["a"]).await.unwrap());
    let first = files(&disk, ".key");
    let store = open(&disk, &["a"]).await.unwrap();
    append(&store, 0..1).await;
    let second = files(&disk, ".key");
    assert_eq!((first.len(), second.len(), files(&disk, ".log").len()), (1, 1, 1));
    assert_ne!(first, second);
    drop(store);
    assert_eq!(count(&open(&disk, &["a"]).await.unwrap()).await, 1);
}

/// The same with a power cut after each step: whichever segment is there has its key.
#[tokio::test]
async fn a_power_cut_while_a_segment_is_replaced_leaves_one_with_its_key() {
    let disk = SimDisk::new();
    drop(open(&disk, &["a"]).await.unwrap());
    disk.remember();
    append(&open(&disk, &["a"]).await.unwrap(), 0..1).await;
    let steps = disk.remembered();
    assert!(steps.len() > 8);
    for (step, disk) in steps.iter().enumerate() {
        for survives in [true, false] {
            let after = disk.cut_power(|| survives);
            let store =
                open(&after, &["a"]).await.unwrap_or_else(|error| panic!("{step}: {error}"));
            append(&store, 1..2).await;
            drop(store);
            let store = open(&after, &["a"]).await.unwrap();
            assert!((1..=2).contains(&count(&store).await), "step {step}");
            assert_eq!(files(&after, ".key").len(), files(&after, ".log").len(), "step {step}");
            assert!(files(&after, ".tmp").is_empty(), "step {step}");
        }
    }
}

/// Given a disk that is full when a new segment is to be begun, when appends come again and again,
/// then none leaves a file behind, and once there is room they are taken.
#[tokio::test]
async fn a_disk_that_stays_full_gathers_no_half_made_segments() {
    let disk = SimDisk::new();
    append(&open(&disk, &["a"]).await.unwrap(), 0..3).await;
    // A key and a header take 284 bytes.
    for room in (0..284).step_by(20) {
        let store = open(&disk, &["a"]).await.unwrap();
        let before = disk.list().unwrap();
        disk.set_capacity_bytes(Some(disk.used_bytes() + room));
        let any = ExpectedRevision::Any;
        for _ in 0..3 {
            store.append(&stream("track-1"), any, vec![event(3)]).await.unwrap_err();
            assert_eq!(disk.list().unwrap(), before, "with room for {room} bytes");
        }
        disk.set_capacity_bytes(None);
    }
    let store = open(&disk, &["a"]).await.unwrap();
    append(&store, 3..4).await;
    assert_eq!(count(&store).await, 4);
}

#[tokio::test]
async fn without_the_right_key_a_store_is_refused_in_one_line() {
    let disk = SimDisk::new();
    append(&open(&disk, &["a"]).await.unwrap(), 0..3).await;
    let refusal = async |opened: Result<EmbeddedStore, OpenError>| {
        let error = opened.err().expect("it is refused");
        assert!(matches!(error, OpenError::Key(_)), "{error:?}");
        let said = error.to_string();
        assert!(said.lines().count() == 1 && said.contains("00000000000000000001."), "{said}");
        said
    };
    let said = refusal(EmbeddedStore::open(options(&disk)).await).await;
    assert!(said.contains("no key was given"), "{said}");
    let said = refusal(open(&disk, &["b", "c"]).await).await;
    assert!(said.contains("wrapped by the key a") && said.ends_with("b, c"), "{said}");
    let another = WrappingKeys::from_text(&format!("a:{}", "0".repeat(64))).unwrap();
    let said = refusal(EmbeddedStore::open(options(&disk).encryption(another)).await).await;
    assert!(said.contains("not opened by the key a"), "{said}");
    let key = files(&disk, ".key").remove(0);
    let lost = disk.copy();
    lost.remove(&key).unwrap();
    let error = open(&lost, &["a"]).await.err().expect("it is refused");
    assert!(matches!(&error, OpenError::Key(KeyError::Missing { .. })), "{error}");
    assert!(error.to_string().contains(&key), "{error}");
    assert_eq!(count(&open(&disk, &["b", "a"]).await.unwrap()).await, 3, "any of them unwraps");
}
