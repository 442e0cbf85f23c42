//! Scrubbing: what rots in a sealed segment is found and named, and the rest is served.

#[path = "given/events.rs"]
mod given;
#[path = "given/indexed.rs"]
mod indexed;
#[path = "given/simulated.rs"]
mod simulated;

use std::time::Duration;

use event_store::log::{Disk, SimDisk};
use event_store::{
    EmbeddedStore, EventStore, ExpectedRevision, Position, ReadStream, Revision, ScrubOptions,
    Scrubbed,
};
use futures::TryStreamExt as _;
use given::{event, everything, stream};
use indexed::until_indexed;
use simulated::{all_of, open};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

const FIRST: &str = "00000000000000000001.log";

/// A log of several segments, which have given back the room behind them.
async fn small_log() -> (SimDisk, EmbeddedStore) {
    let disk = SimDisk::new();
    let store = open(&disk).await.unwrap();
    for number in 0..30 {
        let name = if number < 5 { "old" } else { "new" };
        store.append(&stream(name), ExpectedRevision::Any, vec![event(number)]).await.unwrap();
    }
    until_indexed(&store).await;
    (disk, store)
}

async fn scrub(store: &EmbeddedStore) -> Scrubbed {
    store.scrub(ScrubOptions::default().bytes_per_second(u64::MAX)).await.unwrap()
}

#[tokio::test]
async fn a_whole_log_is_read_to_its_end() {
    let (disk, store) = small_log().await;
    let sealed =
        disk.list().unwrap().iter().filter(|name| name.ends_with(".log")).count() as u64 - 1;
    assert_eq!(store.last_scrub(), None);
    for _ in 0..2 {
        let scrubbed = scrub(&store).await;
        assert!(scrubbed.completed && scrubbed.bytes > 3000);
        assert_eq!((scrubbed.segments, scrubbed.rotten), (sealed, 0));
        assert!(store.last_scrub().is_some());
    }
    assert!(store.rot().is_empty());
}

/// Given any byte of a sealed segment changed, also in frame headers, which no reader needs, then a
/// scrub names it, after a restart too, and what is elsewhere is served meanwhile.
#[tokio::test]
async fn any_changed_byte_is_named_and_the_rest_is_served() {
    let (disk, store) = small_log().await;
    let whole = disk.contents(FIRST).unwrap();
    let new = all_of(&store, "new").await.unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        disk.put_into(FIRST, &bytes);
        let scrubbed = scrub(&store).await;
        assert_eq!((scrubbed.rotten, scrubbed.completed), (1, true), "at {at}");
        let rot = store.rot();
        assert_eq!((rot.len(), rot[0].segment), (1, Position::new(1)), "at {at}");
        assert!(rot[0].what.contains(FIRST) && rot[0].what.contains("offset"), "{rot:?}");
        assert!(store.last_scrub().is_none(), "at {at}");
        disk.put_into(FIRST, &whole);
    }
    let mut bytes = whole.clone();
    bytes[200] ^= 1;
    disk.put_into(FIRST, &bytes);
    scrub(&store).await;
    assert!(all_of(&store, "old").await.is_err(), "what is damaged is not served");
    let last = new.last().unwrap();
    let read = store.last_event(&stream("new")).await.unwrap();
    assert_eq!(read.as_ref(), Some(last));
    store.append(&stream("new"), ExpectedRevision::Any, vec![event(99)]).await.unwrap();
    store.close().await.unwrap();

    let store = open(&disk).await.unwrap();
    assert_eq!(store.rot().len(), 1, "it is known after a restart");
    assert_eq!(scrub(&store).await.rotten, 1);
    disk.put_into(FIRST, &whole);
    assert_eq!(scrub(&store).await.rotten, 0);
    assert!(store.rot().is_empty(), "it was mended");
    everything(&store).await.unwrap();
    store.close().await.unwrap();
    assert!(open(&disk).await.unwrap().rot().is_empty(), "and stays so");
}

/// The file `SCRUB` as it was before it kept what is damaged: of a scrub that came so far.
fn older_mark(at_micros: i64, next: u64) -> Vec<u8> {
    let mut bytes = b"VEZASCR\0".to_vec();
    bytes.extend(at_micros.to_le_bytes());
    bytes.extend(next.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

#[tokio::test]
async fn an_older_mark_is_read_and_a_damaged_one_is_none() {
    let (disk, store) = small_log().await;
    let all = scrub(&store).await.segments;
    store.close().await.unwrap();
    disk.put("SCRUB", older_mark(1_000_000, 0));
    let store = open(&disk).await.unwrap();
    assert_eq!(store.last_scrub().map(|ended| ended.timestamp()), Some(1));
    store.close().await.unwrap();
    let second = disk.list().unwrap().into_iter().filter(|name| name.ends_with(".log")).nth(1);
    let second = second.unwrap().trim_end_matches(".log").parse().unwrap();
    disk.put("SCRUB", older_mark(1_000_000, second));
    let store = open(&disk).await.unwrap();
    assert_eq!((store.last_scrub(), scrub(&store).await.segments), (None, all - 1));
    // With a list of what is damaged, so that bytes of it are changed too.
    disk.put_into(FIRST, &changed(&disk.contents(FIRST).unwrap(), 200));
    scrub(&store).await;
    store.close().await.unwrap();
    let mark = disk.contents("SCRUB").unwrap();
    for at in 0..mark.len() {
        for damaged in [changed(&mark, at), mark[..at].to_vec()] {
            disk.put("SCRUB", damaged);
            let store = open(&disk).await.unwrap();
            assert!(store.rot().is_empty() && store.last_scrub().is_none(), "at {at}");
        }
    }
}

/// Given a `SCRUB` that somebody has written who knows the format, then what it says stays in one
/// line, and does nothing to a terminal.
#[tokio::test]
async fn control_characters_in_what_was_kept_are_escaped() {
    let (disk, store) = small_log().await;
    store.close().await.unwrap();
    let text = "é\u{1b}[2J\r\nforged: all is whole\u{9b}\t\\\0";
    let mut mark = older_mark(1_000_000, 0);
    mark[24..28].copy_from_slice(&1_u32.to_le_bytes());
    mark.extend(1_u64.to_le_bytes());
    mark.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
    mark.extend(text.as_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&mark[..28]), &mark[32..]);
    mark[28..32].copy_from_slice(&crc.to_le_bytes());
    disk.put("SCRUB", mark);
    let escaped = "é\\u{1b}[2J\\r\\nforged: all is whole\\u{9b}\\t\\\\u{0}";
    let looked = event_store::inspect::inspect(&disk, None).unwrap().scrub.unwrap();
    assert_eq!(&*looked.damaged[0].what, escaped);
    assert_eq!(&*open(&disk).await.unwrap().rot()[0].what, escaped);
}

fn changed(whole: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    bytes[at] ^= 1;
    bytes
}

/// Where this event's data stands in a file.
fn place_of(bytes: &[u8], number: u64) -> usize {
    let data = event(number).data;
    bytes.windows(data.len()).position(|bytes| bytes == data).unwrap()
}

/// Given that a stream's first record in a sealed segment is damaged, by which it is known there,
/// then its others tell what it is, and it goes on.
#[tokio::test]
async fn a_stream_is_served_but_for_what_is_damaged_of_it() {
    let (disk, store) = small_log().await;
    let old = all_of(&store, "old").await.unwrap();
    let whole = disk.contents(FIRST).unwrap();
    disk.put_into(FIRST, &changed(&whole, place_of(&whole, 0)));
    assert!(all_of(&store, "old").await.is_err(), "what is damaged is not served");
    assert_eq!(store.last_event(&stream("old")).await.unwrap().as_ref(), old.last());
    let rest = ReadStream::forward(stream("old")).from(Revision::new(1));
    let rest: Vec<_> = store.read_stream(rest).await.unwrap().try_collect().await.unwrap();
    assert_eq!(rest, old[1..]);
    let next = ExpectedRevision::Exactly(old.last().unwrap().revision);
    store.append(&stream("old"), next, vec![event(99)]).await.unwrap();
}

/// Given damage in a sealed segment that no scrub came to, then whoever reads there is told, and
/// the store tells it as a scrub would, once, and after a restart too, until a scrub of the
/// restored segment, which looks there first.
#[tokio::test]
async fn damage_that_a_read_meets_is_told_and_remembered() {
    let (disk, store) = small_log().await;
    scrub(&store).await;
    let whole = disk.contents(FIRST).unwrap();
    disk.put_into(FIRST, &changed(&whole, place_of(&whole, 1)));
    for _ in 0..3 {
        all_of(&store, "old").await.unwrap_err();
        everything(&store).await.unwrap_err();
        let rot = store.rot();
        assert_eq!((rot.len(), rot[0].segment), (1, Position::new(1)));
        assert!(rot[0].what.contains(FIRST) && rot[0].what.contains("offset"), "{rot:?}");
    }
    assert_eq!(store.last_scrub(), None, "so that the next is due at once");
    let told = store.rot();
    store.close().await.unwrap();

    let store = open(&disk).await.unwrap();
    assert_eq!(store.rot(), told);
    all_of(&store, "old").await.unwrap_err();
    store.close().await.unwrap();
    disk.put_into(FIRST, &whole);
    let store = open(&disk).await.unwrap();
    assert_eq!(store.rot(), told, "nobody has looked at it yet");
    everything(&store).await.unwrap();
    assert_eq!(scrub(&store).await.rotten, 0);
    assert!(store.rot().is_empty() && store.last_scrub().is_some());
}

/// Given damage that was met, and nobody who scrubs, then verifying a log that is whole again
/// forgets it, and no other does.
#[tokio::test]
async fn what_was_damaged_is_forgotten_by_verifying() {
    let (disk, store) = small_log().await;
    let whole = disk.contents(FIRST).unwrap();
    disk.put_into(FIRST, &changed(&whole, place_of(&whole, 1)));
    everything(&store).await.unwrap_err();
    store.verify(None).await.unwrap_err();
    assert_eq!(store.rot().len(), 1);
    disk.put_into(FIRST, &whole);
    store.verify(None).await.unwrap();
    assert!(store.rot().is_empty());
    store.close().await.unwrap();
    assert!(open(&disk).await.unwrap().rot().is_empty());
}

/// Given damage in the active segment that a read meets, then it is told as well, and forgotten by
/// an opening, which reads that segment whole.
#[tokio::test]
async fn damage_in_the_active_segment_is_told_until_it_is_opened_whole() {
    let (disk, store) = small_log().await;
    let active = disk.list().unwrap().into_iter().rfind(|name| name.ends_with(".log")).unwrap();
    let whole = disk.contents(&active).unwrap();
    disk.put_into(&active, &changed(&whole, place_of(&whole, 29)));
    everything(&store).await.unwrap_err();
    assert!(store.rot()[0].what.contains(&active), "{:?}", store.rot());
    disk.put_into(&active, &whole);
    store.close().await.unwrap();
    for _ in 0..2 {
        let store = open(&disk).await.unwrap();
        assert!(store.rot().is_empty());
        store.close().await.unwrap();
    }
}

/// A scrub that is slow is ended by a close, and the next store goes on where it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrub_that_a_close_ends_goes_on_where_it_was() {
    let (disk, store) = small_log().await;
    // So many that the last is far away when the first is read.
    for number in 30..400 {
        store.append(&stream("new"), ExpectedRevision::Any, vec![event(number)]).await.unwrap();
    }
    let all = scrub(&store).await;
    let store = std::sync::Arc::new(store);
    let slow = std::sync::Arc::clone(&store);
    // Each segment, of some 2,000 bytes, takes about half a second.
    let options = ScrubOptions::default().bytes_per_second(4000);
    let scrubbing = tokio::spawn(async move { slow.scrub(options).await });
    // A scrub that has read a segment says so.
    let read = async {
        while store.last_scrub().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("a segment is read");
    store.close().await.unwrap();
    let first = scrubbing.await.unwrap().unwrap();
    assert!(!first.completed && first.segments > 0 && first.segments < all.segments, "{first:?}");
    let rest = scrub(&open(&disk).await.unwrap()).await;
    // The segment that was the active one may have become no sealed one by the reopening.
    assert_eq!(first.segments + rest.segments, all.segments, "{first:?} {rest:?}");
    assert!(rest.completed);
}
