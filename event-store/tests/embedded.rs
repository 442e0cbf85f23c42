//! What the embedded store promises beyond the port: one sync for many, readers that never wait,
//! time that never runs backwards, followers that hold nobody up, and formats that stay readable.

#[path = "given/events.rs"]
mod given;
#[path = "given/scavenging.rs"]
mod scavenging;
#[path = "given/watched.rs"]
mod watched;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use event_store::limits::{CLEAR_BYTES, LIVE_EVENTS_MAX};
use event_store::log::{Clock, Disk, Fault, SimDisk};
use event_store::{
    AppendError, Delivery, EmbeddedOptions, EmbeddedStore, EventStore, ExpectedRevision, Index,
    ReadIndex, ReadStream, StoreError, StreamMetadata, SubscribeFrom, Subscription, WrappingKeys,
};
use futures::{StreamExt, TryStreamExt};
use given::{event, everything, stream};
use watched::{Watch, WatchedDisk};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What syncs wait at while it is shut.
#[derive(Default)]
struct Gate {
    /// How the names of the files end that wait; of all, unless said.
    ending: &'static str,
    shut: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicU64,
    file_syncs: AtomicU64,
}

impl Gate {
    fn set_shut(&self, shut: bool) {
        *self.shut.lock().unwrap() = shut;
        self.opened.notify_all();
    }

    async fn is_waited_at(&self) {
        let waited = async {
            while self.waiting.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, waited).await.expect("something comes to the gate");
    }
}

impl Watch for Gate {
    fn concerns(&self, name: &str) -> bool {
        name.ends_with(self.ending)
    }

    fn syncs(&self) {
        self.file_syncs.fetch_add(1, Ordering::SeqCst);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let shut = self.shut.lock().unwrap();
        drop(self.opened.wait_while(shut, |shut| *shut).unwrap());
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A disk whose syncs wait while its gate is shut.
fn behind(gate: &Arc<Gate>, disk: &SimDisk) -> EmbeddedOptions {
    let disk = WatchedDisk { disk: disk.clone(), watch: Arc::clone(gate) };
    EmbeddedOptions::disk(Arc::new(disk))
}

/// A clock that is set by hand.
#[derive(Default)]
struct HandClock(AtomicI64);

impl HandClock {
    fn set_seconds(&self, seconds: i64) {
        self.0.store(seconds, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.0.load(Ordering::SeqCst), 0).unwrap()
    }
}

async fn append(store: &EmbeddedStore, name: &str, number: u64) {
    let events = vec![event(number)];
    store.append(&stream(name), ExpectedRevision::Any, events).await.unwrap();
}

async fn next(subscription: &mut Subscription) -> Delivery {
    let next = tokio::time::timeout(PATIENCE, subscription.next()).await;
    next.expect("a delivery comes").expect("there is no end").expect("there is no error")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_that_wait_share_one_sync_and_readers_do_not_wait() {
    const WAITING: u64 = 63;
    let (disk, gate) = (SimDisk::new(), Arc::new(Gate::default()));
    let store = Arc::new(EmbeddedStore::open(behind(&gate, &disk)).await.unwrap());
    append(&store, "before", 0).await;
    gate.set_shut(true);
    let first = tokio::spawn({
        let store = Arc::clone(&store);
        async move { append(&store, "first", 1).await }
    });
    gate.is_waited_at().await;
    let mut waiting: Vec<_> = (0..WAITING)
        .map(|number| {
            let store = Arc::clone(&store);
            Box::pin(async move { append(&store, "waiting", 2 + number).await })
        })
        .collect();
    for append in &mut waiting {
        assert!(futures::poll!(append).is_pending());
    }
    let seen = everything(&store).await.unwrap();
    assert_eq!(seen.len(), 1, "what is not synced is not seen, and the read does not wait");
    assert!(!first.is_finished(), "nothing is acknowledged before its sync");
    let syncs = gate.file_syncs.load(Ordering::SeqCst);
    gate.set_shut(false);
    futures::future::join_all(waiting).await;
    first.await.unwrap();
    assert_eq!(gate.file_syncs.load(Ordering::SeqCst) - syncs, 1, "one sync for all");
    assert_eq!(everything(&store).await.unwrap().len() as u64, 2 + WAITING);
}

/// Given a disk that is slow to write an index, when a segment is full, then appends and reads go
/// on, and the index is there in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_segment_holds_no_writer_up() {
    const EVENTS: u64 = 25;
    let (disk, gate) = (SimDisk::new(), Arc::new(Gate { ending: ".idx.tmp", ..Gate::default() }));
    let store = EmbeddedStore::open(behind(&gate, &disk).segment_bytes(2000)).await.unwrap();
    gate.set_shut(true);
    for number in 0..EVENTS {
        append(&store, ["track-1", "track-2"][(number % 2) as usize], number).await;
    }
    gate.is_waited_at().await;
    let indexes = || disk.list().unwrap().iter().filter(|name| name.ends_with(".idx")).count();
    assert_eq!(indexes(), 0);
    let read_both = async || {
        let mut read = 0;
        for name in ["track-1", "track-2"] {
            let events = store.read_stream(ReadStream::forward(stream(name))).await.unwrap();
            read += events.try_collect::<Vec<_>>().await.unwrap().len() as u64;
        }
        read
    };
    assert_eq!(read_both().await, EVENTS);
    gate.set_shut(false);
    let written = async {
        while indexes() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.expect("the index is written");
    assert_eq!(read_both().await, EVENTS, "found through the file too");
    store.close().await.unwrap();
}

/// How many zeros were written into segments at a time.
#[derive(Default)]
struct Zeros(Mutex<Vec<usize>>);

impl Watch for Zeros {
    fn concerns(&self, name: &str) -> bool {
        name.contains(".log")
    }

    fn writes(&self, bytes: &[u8]) {
        if bytes.iter().all(|&byte| byte == 0) {
            self.0.lock().unwrap().push(bytes.len());
        }
    }
}

/// Given small appends, then what they are written over is zeros, which go there many at a time.
#[tokio::test]
async fn small_appends_are_written_over_zeros() {
    let zeros = Arc::new(Zeros::default());
    let disk = WatchedDisk { disk: SimDisk::new(), watch: Arc::clone(&zeros) };
    let store = EmbeddedStore::open(EmbeddedOptions::disk(Arc::new(disk))).await.unwrap();
    for number in 0..1000 {
        append(&store, "track-1", number).await;
    }
    let written = zeros.0.lock().unwrap();
    assert!((1..4).contains(&written.len()), "{written:?}");
    assert!(written.iter().all(|&bytes| bytes == CLEAR_BYTES), "{written:?}");
}

/// Given streams with metadata, when they are appended to again and again, then the metadata are
/// read from the disk once.
#[tokio::test]
async fn appending_to_a_stream_with_metadata_does_not_read_the_disk() {
    let disk = SimDisk::new();
    let store = EmbeddedStore::open(EmbeddedOptions::disk(Arc::new(disk.clone()))).await.unwrap();
    let name = stream("track-1");
    for max_count in [5, 3] {
        let metadata = StreamMetadata { max_count: Some(max_count), ..StreamMetadata::default() };
        store.set_stream_metadata(&name, ExpectedRevision::Any, metadata).await.unwrap();
        let before = disk.reads();
        for number in 0..50 {
            append(&store, "track-1", max_count * 100 + number).await;
        }
        assert!(disk.reads() - before < 5, "{} reads", disk.reads() - before);
        let read = store.read_stream(ReadStream::forward(name.clone())).await.unwrap();
        assert_eq!(read.try_collect::<Vec<_>>().await.unwrap().len() as u64, max_count);
    }
}

/// Given two streams in turns over many events, when one is read, then its events are found and
/// read in runs, not one by one.
#[tokio::test]
async fn a_stream_among_others_is_read_in_runs() {
    const EVENTS: u64 = 2000;
    let disk = SimDisk::new();
    let options = || EmbeddedOptions::disk(Arc::new(disk.clone())).segment_bytes(200_000);
    let store = EmbeddedStore::open(options()).await.unwrap();
    for from in (0..EVENTS).step_by(10) {
        let events = (from..from + 10).map(event).collect();
        let name = stream(["track-1", "track-2"][(from / 10 % 2) as usize]);
        store.append(&name, ExpectedRevision::Any, events).await.unwrap();
    }
    store.close().await.unwrap();
    let store = EmbeddedStore::open(options()).await.unwrap();
    for read in [ReadStream::forward(stream("track-1")), ReadStream::backward(stream("track-1"))] {
        let before = disk.reads();
        let events = store.read_stream(read).await.unwrap();
        let events: Vec<_> = events.try_collect().await.unwrap();
        assert_eq!(events.len() as u64, EVENTS / 2);
        assert!(events.iter().all(|event| event.stream.as_str() == "track-1"));
        let reads = disk.reads() - before;
        assert!(reads < EVENTS / 10, "{reads} reads");
    }
}

/// Given an append that is refused because of one before it in the same group, when the group can't
/// be made durable, then neither was: the refusal would tell of a revision that never was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_because_of_what_never_was_is_not_told() {
    let (disk, gate) = (SimDisk::new(), Arc::new(Gate::default()));
    let store = Arc::new(EmbeddedStore::open(behind(&gate, &disk)).await.unwrap());
    gate.set_shut(true);
    let first = tokio::spawn({
        let store = Arc::clone(&store);
        async move { append(&store, "first", 1).await }
    });
    gate.is_waited_at().await;
    disk.fail(Fault::SegmentSync(2));
    let (expected, name) = (ExpectedRevision::NoStream, stream("track-1"));
    let mut staged = Box::pin(store.append(&name, expected, vec![event(2)]));
    let mut refused = Box::pin(store.append(&name, expected, vec![event(3)]));
    assert!(futures::poll!(&mut staged).is_pending() && futures::poll!(&mut refused).is_pending());
    gate.set_shut(false);
    first.await.unwrap();
    for outcome in [staged.await, refused.await] {
        let poisoned = AppendError::Store(StoreError::Poisoned { reason: "".into() });
        let error = outcome.expect_err("it was not made durable");
        assert_eq!(std::mem::discriminant(&error), std::mem::discriminant(&poisoned), "{error}");
    }
}

/// Given a log of many sealed segments, when streams are begun that are in none of them, then the
/// writer need hardly look at the disk: it would once for each segment, or more.
#[tokio::test]
async fn beginning_a_stream_does_not_look_into_every_segment() {
    const OLD: u64 = 800;
    const NEW: u64 = 100;
    let disk = SimDisk::new();
    let options = || EmbeddedOptions::disk(Arc::new(disk.clone())).segment_bytes(2000);
    let store = EmbeddedStore::open(options()).await.unwrap();
    for number in 0..OLD {
        append(&store, &format!("track-{number}"), number).await;
    }
    store.close().await.unwrap();
    let store = EmbeddedStore::open(options().segment_bytes(1_000_000)).await.unwrap();
    let segments = disk.list().unwrap().iter().filter(|name| name.ends_with(".idx")).count();
    assert!(segments > 30, "{segments} segments");
    let before = disk.reads();
    for number in OLD..OLD + NEW {
        append(&store, &format!("track-{number}"), number).await;
    }
    let reads = disk.reads() - before;
    assert!(reads < NEW * 3, "{reads} reads for {NEW} streams over {segments} segments");
    for number in (0..OLD + NEW).step_by(7) {
        let last = store.last_event(&stream(&format!("track-{number}"))).await.unwrap();
        assert_eq!(last.unwrap().id, event(number).id);
    }
}

#[tokio::test]
async fn recorded_time_never_runs_backwards() {
    let clock = Arc::new(HandClock::default());
    let disk = SimDisk::new();
    let mut number = 0;
    for seconds in [100, 50, 120, 10] {
        clock.set_seconds(seconds);
        let options = EmbeddedOptions::disk(Arc::new(disk.clone())).segment_bytes(400);
        let store =
            EmbeddedStore::open(options.clock(Arc::clone(&clock) as Arc<dyn Clock>)).await.unwrap();
        for _ in 0..3 {
            append(&store, "track-1", number).await;
            number += 1;
        }
        let all = everything(&store).await.unwrap();
        assert!(all.windows(2).all(|pair| pair[0].recorded_at <= pair[1].recorded_at));
    }
}

#[tokio::test]
async fn events_older_than_max_age_are_not_read() {
    let clock = Arc::new(HandClock::default());
    let options = EmbeddedOptions::disk(Arc::new(SimDisk::new()));
    let options = options.clock(Arc::clone(&clock) as Arc<dyn Clock>);
    let store = EmbeddedStore::open(options).await.unwrap();
    let name = stream("track-1");
    for (number, seconds) in [(0, 1_000), (1, 1_050), (2, 1_100)] {
        clock.set_seconds(seconds);
        append(&store, "track-1", number).await;
    }
    let metadata = StreamMetadata { max_age_seconds: Some(60), ..StreamMetadata::default() };
    store.set_stream_metadata(&name, ExpectedRevision::Any, metadata).await.unwrap();
    for (now, expected) in [(1_100, vec![1, 2]), (1_120, vec![2]), (2_000, vec![])] {
        clock.set_seconds(now);
        let read = store.read_stream(ReadStream::forward(name.clone())).await.unwrap();
        let read: Vec<_> = read.map_ok(|event| event.revision.get()).try_collect().await.unwrap();
        assert_eq!(read, expected, "at {now}");
    }
}

#[tokio::test]
async fn a_follower_that_does_not_read_falls_behind_and_misses_nothing() {
    let store = EmbeddedStore::open(EmbeddedOptions::disk(Arc::new(SimDisk::new()))).await.unwrap();
    let mut of_all = store.subscribe_all(SubscribeFrom::Start, None).await.unwrap();
    let mut of_stream =
        store.subscribe_stream(&stream("track-1"), SubscribeFrom::Start).await.unwrap();
    for subscription in [&mut of_all, &mut of_stream] {
        assert_eq!(next(subscription).await, Delivery::CaughtUp);
    }
    let count = LIVE_EVENTS_MAX as u64 + 500;
    let events = (0..count).map(event).collect();
    store.append(&stream("track-1"), ExpectedRevision::Any, events).await.unwrap();
    for subscription in [&mut of_all, &mut of_stream] {
        assert_eq!(next(subscription).await, Delivery::FellBehind);
        for revision in 0..count {
            match next(subscription).await {
                Delivery::Event(event) => assert_eq!(event.revision.get(), revision),
                other => panic!("{other:?} instead of {revision}"),
            }
        }
        assert_eq!(next(subscription).await, Delivery::CaughtUp);
    }
}

#[tokio::test]
async fn closing_ends_followers() {
    let store = EmbeddedStore::open(EmbeddedOptions::disk(Arc::new(SimDisk::new()))).await.unwrap();
    let mut of_all = store.subscribe_all(SubscribeFrom::End, None).await.unwrap();
    let mut of_stream =
        store.subscribe_stream(&stream("track-1"), SubscribeFrom::End).await.unwrap();
    for subscription in [&mut of_all, &mut of_stream] {
        assert_eq!(next(subscription).await, Delivery::CaughtUp);
    }
    store.close().await.unwrap();
    for subscription in [&mut of_all, &mut of_stream] {
        let ended = tokio::time::timeout(PATIENCE, subscription.next()).await.expect("it ends");
        assert!(matches!(ended, Some(Err(_))), "{ended:?}");
    }
}

/// Given a writer that is at its last group, when the store is closed, then followers end all the
/// same, although that group is published behind the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_ends_followers_while_the_last_group_is_written() {
    let (disk, gate) = (SimDisk::new(), Arc::new(Gate::default()));
    let store = Arc::new(EmbeddedStore::open(behind(&gate, &disk)).await.unwrap());
    let mut of_all = store.subscribe_all(SubscribeFrom::End, None).await.unwrap();
    let mut of_stream = store.subscribe_stream(&stream("last"), SubscribeFrom::End).await.unwrap();
    for subscription in [&mut of_all, &mut of_stream] {
        assert_eq!(next(subscription).await, Delivery::CaughtUp);
    }
    gate.set_shut(true);
    let last = tokio::spawn({
        let store = Arc::clone(&store);
        async move { append(&store, "last", 1).await }
    });
    gate.is_waited_at().await;
    let mut closing = Box::pin(store.close());
    assert!(futures::poll!(&mut closing).is_pending());
    gate.set_shut(false);
    closing.await.unwrap();
    last.await.unwrap();
    for subscription in [&mut of_all, &mut of_stream] {
        let to_its_end = async { while let Some(Ok(_)) = subscription.next().await {} };
        tokio::time::timeout(PATIENCE, to_its_end).await.expect("it ends");
    }
}

/// The log of the first format version, as it was written when that was new.
const FIXTURE: &str = "tests/fixtures/format-1";

/// The same log with indexes of their second version, which had no ids.
const FIXTURE_INDEX_2: &str = "tests/fixtures/format-1-index-2";

/// The same log with indexes of their third version.
const FIXTURE_INDEX_3: &str = "tests/fixtures/format-1-index-3";

/// The same log with the hash chain.
const FIXTURE_CHAINED: &str = "tests/fixtures/format-2-index-3";

/// The same log with indexes of their fourth version, which have categories and types.
const FIXTURE_INDEX_4: &str = "tests/fixtures/format-2-index-4";

/// The same log with flags in the headers of segments.
const FIXTURE_FLAGS: &str = "tests/fixtures/format-3-index-4";

/// The same log, encrypted.
const FIXTURE_ENCRYPTED_INDEX_4: &str = "tests/fixtures/format-3-encrypted-index-4";

/// The same log with indexes of their fifth version, which have groups and first records.
const FIXTURE_INDEX_5: &str = "tests/fixtures/format-3-index-5";

/// The same log, encrypted.
const FIXTURE_ENCRYPTED_INDEX_5: &str = "tests/fixtures/format-3-encrypted-index-5";

/// The same log with indexes of their sixth version, which have a key of their hashes.
const FIXTURE_NOW: &str = "tests/fixtures/format-3-index-6";

/// The same log, encrypted.
const FIXTURE_ENCRYPTED: &str = "tests/fixtures/format-3-encrypted-index-6";

fn fixture_keys() -> WrappingKeys {
    WrappingKeys::from_text(&format!("fixture:{}", "07".repeat(32))).unwrap()
}

fn fixture_options(folder: &Path) -> EmbeddedOptions {
    EmbeddedOptions::folder(folder).segment_bytes(2000)
}

async fn open_fixture(folder: &Path) -> EmbeddedStore {
    EmbeddedStore::open(fixture_options(folder).decryption(fixture_keys())).await.unwrap()
}

async fn fill_fixture(store: &EmbeddedStore) {
    for number in 0..20 {
        append(store, ["track-1", "user-1"][usize::try_from(number % 2).unwrap()], number).await;
    }
    store.delete_stream(&stream("user-1"), ExpectedRevision::Any).await.unwrap();
    store.tombstone_stream(&stream("order-1"), ExpectedRevision::Any).await.unwrap();
}

const FIXTURES: [&str; 11] = [
    FIXTURE,
    FIXTURE_INDEX_2,
    FIXTURE_INDEX_3,
    FIXTURE_CHAINED,
    FIXTURE_INDEX_4,
    FIXTURE_FLAGS,
    FIXTURE_ENCRYPTED_INDEX_4,
    FIXTURE_INDEX_5,
    FIXTURE_ENCRYPTED_INDEX_5,
    FIXTURE_NOW,
    FIXTURE_ENCRYPTED,
];

/// Names a folder for the fixtures of a new format version.
const NEW_FIXTURE: &str = "EVENT_STORE_NEW_FIXTURE";

/// The length of each file, by its name without what is random in that of a key. Without the mark
/// of the newest segment: older fixtures are of before there was one, and open without it.
fn lengths(folder: &Path) -> BTreeMap<String, u64> {
    let named = |name: &str| match name.strip_suffix(".key") {
        Some(of) => format!("{}.key", of.split('.').next().unwrap()),
        None => name.to_owned(),
    };
    let files = fs::read_dir(folder).unwrap().map(Result::unwrap);
    files
        .map(|file| (named(file.file_name().to_str().unwrap()), file.metadata().unwrap().len()))
        .filter(|(name, _)| name != "NEWEST")
        .collect()
}

#[tokio::test]
async fn what_is_written_today_has_the_shape_of_the_fixture() {
    let here = tempfile::TempDir::new().unwrap();
    let asked = std::env::var(NEW_FIXTURE).ok();
    let folder = asked.as_deref().map_or(here.path(), Path::new);
    for fixture in [FIXTURE_NOW, FIXTURE_ENCRYPTED] {
        let folder = folder.join(Path::new(fixture).file_name().unwrap());
        let options = fixture_options(&folder);
        let is_encrypted = fixture == FIXTURE_ENCRYPTED;
        let options = if is_encrypted { options.encryption(fixture_keys()) } else { options };
        let store = EmbeddedStore::open(options).await.unwrap();
        fill_fixture(&store).await;
        store.close().await.unwrap();
        fs::remove_file(folder.join("LOCK")).unwrap();
        if asked.is_none() {
            assert_eq!(lengths(&folder), lengths(Path::new(fixture)));
        }
    }
}

/// The same log after what is hidden in it was reclaimed.
const FIXTURE_RECLAIMED: &str = "tests/fixtures/format-3-reclaimed";

/// Names a folder for a new fixture of that.
const NEW_FIXTURE_RECLAIMED: &str = "EVENT_STORE_NEW_FIXTURE_RECLAIMED";

#[tokio::test]
async fn what_is_reclaimed_today_has_the_shape_of_the_fixture() {
    let here = tempfile::TempDir::new().unwrap();
    let asked = std::env::var(NEW_FIXTURE_RECLAIMED).ok();
    let folder = asked.as_deref().map_or(here.path(), Path::new);
    let store = open_fixture(folder).await;
    fill_fixture(&store).await;
    let done = store.scavenge(scavenging::thorough()).await.unwrap();
    assert_eq!((done.progress.segments_rewritten, done.progress.events_reclaimed), (1, 6));
    store.close().await.unwrap();
    fs::remove_file(folder.join("LOCK")).unwrap();
    assert_eq!(lengths(folder), lengths(Path::new(FIXTURE_RECLAIMED)));
}

fn copied(fixture: &Path) -> tempfile::TempDir {
    let folder = tempfile::TempDir::new().unwrap();
    for file in fs::read_dir(fixture).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    folder
}

#[tokio::test]
async fn a_reclaimed_log_is_still_read() {
    let folder = copied(Path::new(FIXTURE_RECLAIMED));
    let store = open_fixture(folder.path()).await;
    let verified = store.verify(None).await.unwrap();
    // Its index is of an older version.
    assert_eq!((verified.events, verified.reclaimed, verified.indexes_mended), (22, 6, 1));
    assert_eq!(everything(&store).await.unwrap().len(), 16);
    append(&store, "user-1", 99).await;
    let last = store.last_event(&stream("user-1")).await.unwrap().unwrap();
    assert_eq!((last.id, last.revision.get()), (event(99).id, 10));
}

/// A log that was written before there was a chain is scavenged as well; the chain is made for it.
#[tokio::test]
async fn every_format_version_is_scavenged() {
    for fixture in FIXTURES {
        let folder = copied(Path::new(fixture));
        let store = open_fixture(folder.path()).await;
        let before = store.verify(None).await.unwrap();
        let done = store.scavenge(scavenging::thorough()).await.unwrap();
        assert!(done.progress.events_reclaimed >= 5, "{fixture}: {done:?}");
        let after = store.verify(Some(before.head)).await.unwrap();
        assert_eq!((after.events, after.head), (before.events, before.head));
        assert_eq!(after.reclaimed, done.progress.events_reclaimed);
        store.close().await.unwrap();
        let store = open_fixture(folder.path()).await;
        assert_eq!(store.verify(Some(before.head)).await.unwrap().reclaimed, after.reclaimed);
    }
}

#[tokio::test]
async fn every_format_version_is_still_read() {
    for fixture in FIXTURES {
        is_still_read(Path::new(fixture)).await;
    }
}

async fn is_still_read(fixture: &Path) {
    let folder = copied(fixture);
    let indexes = || {
        let names = lengths(folder.path()).into_keys().filter(|name| name.ends_with(".idx"));
        names.map(|name| fs::read(folder.path().join(name)).unwrap()).collect::<Vec<_>>()
    };
    let indexes_before = indexes();
    let old = open_fixture(folder.path()).await;
    let new = EmbeddedStore::open(EmbeddedOptions::disk(Arc::new(SimDisk::new()))).await.unwrap();
    fill_fixture(&new).await;
    let (old_events, new_events) =
        (everything(&old).await.unwrap(), everything(&new).await.unwrap());
    assert_eq!(old_events.len(), 22);
    for (old, new) in old_events.iter().zip(&new_events) {
        assert_eq!((&old.stream, old.revision), (&new.stream, new.revision));
        assert_eq!((&old.event_type, &old.data), (&new.event_type, &new.data));
    }
    assert_eq!(old.verify(None).await.unwrap().events, 22);
    let taken = indexes().starts_with(&indexes_before);
    let is_of_today = fixture.to_string_lossy().ends_with("index-6");
    assert_eq!(taken, is_of_today, "those of older versions are made again");
    let tracks = old.read_index(ReadIndex::backward(Index::category("track"))).await.unwrap();
    let ordinals: Vec<_> = tracks.map_ok(|it| it.ordinal.get()).try_collect().await.unwrap();
    assert_eq!(ordinals, (0..10).rev().collect::<Vec<_>>());
    for number in (0..20).step_by(2) {
        append(&old, "track-1", number).await;
    }
    assert_eq!(everything(&old).await.unwrap().len(), 22, "its ids are known");
    append(&old, "track-1", 99).await;
    assert_eq!(old.last_event(&stream("track-1")).await.unwrap().unwrap().id, event(99).id);
}
