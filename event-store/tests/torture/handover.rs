//! The hand-over between those who append and the one thread that writes: many at once, in groups
//! that one sync makes durable, while some don't wait for their answer, the disk fails or is full,
//! and the store is closed in between. Nobody is left without an answer, and each is true.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use event_store::log::{Fault, SimDisk};
use event_store::{
    AppendError, Appended, EmbeddedOptions, EmbeddedStore, EventStore, ExpectedRevision, Revision,
    StoreError,
};
use futures::FutureExt;

use crate::dice::Dice;
use crate::given::{event, everything, stream};
use crate::seeds::seeds;
use crate::watched::{Watch, WatchedDisk};

const WRITERS: u64 = 24;
const APPENDS: u64 = 8;
const STREAMS: u64 = 3;
const SEGMENT_BYTES: u64 = 6000;
/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lets others go first at each sync, so that appends gather behind it.
struct Slow {
    turns: u64,
    /// How many syncs there were.
    syncs: AtomicU64,
}

impl Watch for Slow {
    fn concerns(&self, name: &str) -> bool {
        name.contains(".log")
    }

    fn syncs(&self) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        (0..self.turns).for_each(|_| thread::yield_now());
    }
}

/// What became of an append.
enum Outcome {
    Acknowledged(Appended),
    /// It is not there, and never will be.
    Refused,
    /// It may be there.
    Unknown,
}

struct Append {
    stream: u64,
    numbers: Vec<u64>,
    outcome: Outcome,
}

fn name(number: u64) -> String {
    format!("track-{number}")
}

fn outcome(answer: Result<Appended, AppendError>) -> Outcome {
    match answer {
        Ok(appended) => Outcome::Acknowledged(appended),
        Err(AppendError::Store(StoreError::Poisoned { .. })) => Outcome::Unknown,
        Err(
            AppendError::WrongExpectedRevision { .. }
            | AppendError::Store(StoreError::Closed | StoreError::StorageFull),
        ) => Outcome::Refused,
        Err(other) => panic!("{other}"),
    }
}

/// One writer: it expects anything, or what it saw last; now and then it does not wait.
async fn write(
    store: Arc<EmbeddedStore>,
    writer: u64,
    mut dice: Dice,
    acknowledged: Arc<AtomicU64>,
) -> Vec<Append> {
    let mut appends = Vec::new();
    let mut last = BTreeMap::new();
    for turn in 0..APPENDS {
        let (stream_number, count) = (dice.below(STREAMS), 1 + dice.below(3));
        let first = (writer * APPENDS + turn) * 4;
        let numbers: Vec<u64> = (first..first + count).collect();
        let events = numbers.iter().map(|&number| event(number)).collect();
        let expected = match (dice.below(3), last.get(&stream_number)) {
            (0, Some(&last)) => ExpectedRevision::Exactly(last),
            _ => ExpectedRevision::Any,
        };
        let to = stream(&name(stream_number));
        let outcome = if dice.below(8) == 0 {
            match store.append(&to, expected, events).now_or_never() {
                Some(answer) => outcome(answer),
                None => Outcome::Unknown,
            }
        } else {
            let answer = tokio::time::timeout(PATIENCE, store.append(&to, expected, events)).await;
            outcome(answer.expect("everybody is answered"))
        };
        if let Outcome::Acknowledged(Appended { last_revision: Some(revision), .. }) = &outcome {
            last.insert(stream_number, *revision);
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        appends.push(Append { stream: stream_number, numbers, outcome });
    }
    appends
}

/// What was acknowledged is where it was told, what was refused is nowhere, and all else is whole
/// or not there.
async fn check(seed: u64, store: &EmbeddedStore, appends: &[Append]) {
    let held = everything(store).await.unwrap();
    let mut places = BTreeMap::new();
    for held in &held {
        let number = held.id.0.as_u128() as u64 - 1;
        assert_eq!(held.data, event(number).data, "seed {seed}");
        let twice = places.insert(number, held);
        assert!(twice.is_none(), "seed {seed}: {number} is there twice");
    }
    for Append { stream, numbers, outcome } in appends {
        let found: Vec<_> = numbers.iter().filter_map(|number| places.remove(number)).collect();
        let is_run = found.windows(2).all(|pair| {
            pair[1].position.get() == pair[0].position.get() + 1
                && pair[1].revision == Revision::new(pair[0].revision.get() + 1)
        });
        let of_stream = found.iter().all(|it| it.stream.as_str() == name(*stream));
        assert!(is_run && of_stream, "seed {seed}: {numbers:?} are apart, or elsewhere");
        let there = found.last().map(|last| Appended {
            last_revision: Some(last.revision),
            position: Some(last.position),
        });
        let is_whole = found.len() == numbers.len();
        match outcome {
            Outcome::Acknowledged(told) => {
                assert!(is_whole && there.as_ref() == Some(told), "seed {seed}: {told:?}");
            }
            Outcome::Refused => assert!(found.is_empty(), "seed {seed}: {numbers:?} was refused"),
            Outcome::Unknown => assert!(is_whole || found.is_empty(), "seed {seed}: a half"),
        }
    }
    assert!(places.is_empty(), "seed {seed}: nobody appended {places:?}");
}

/// Returns how many appends were acknowledged, and how many syncs that took.
async fn hand_over(seed: u64) -> (u64, u64) {
    let (mut dice, disk) = (Dice::new(seed), SimDisk::new());
    let watch = Arc::new(Slow { turns: dice.below(50), syncs: AtomicU64::new(0) });
    let watched = WatchedDisk { disk: disk.clone(), watch: Arc::clone(&watch) };
    let options = EmbeddedOptions::disk(Arc::new(watched)).segment_bytes(SEGMENT_BYTES);
    let store = Arc::new(EmbeddedStore::open(options).await.unwrap());
    let closes_after = WRITERS * APPENDS * dice.below(4) / 4;
    match dice.below(6) {
        0 => disk.fail(Fault::SegmentSync(1 + dice.below(40))),
        1 => disk.fail(Fault::Write(1 + dice.below(40))),
        2 => disk.set_capacity_bytes(Some(disk.used_bytes() + dice.below(12_000) as usize)),
        _ => {}
    }
    let acknowledged = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let dice = Dice::new(seed ^ (writer + 1) << 32);
            let (store, acknowledged) = (Arc::clone(&store), Arc::clone(&acknowledged));
            tokio::spawn(write(store, writer, dice, acknowledged))
        })
        .collect();
    // In one of four at once, in most when some were answered; where all were, or none more will
    // be, behind the last.
    let is_enough = || {
        acknowledged.load(Ordering::Relaxed) >= closes_after
            || writers.iter().all(tokio::task::JoinHandle::is_finished)
    };
    while !is_enough() {
        tokio::task::yield_now().await;
    }
    let closed = tokio::time::timeout(PATIENCE, store.close()).await;
    closed.expect("it is closed").unwrap();
    let mut appends = Vec::new();
    for writer in writers {
        appends.extend(writer.await.unwrap());
    }
    disk.set_capacity_bytes(None);
    let after = disk.cut_power(|| dice.below(2) == 0);
    let options = EmbeddedOptions::disk(Arc::new(after)).segment_bytes(SEGMENT_BYTES);
    check(seed, &EmbeddedStore::open(options).await.unwrap(), &appends).await;
    (acknowledged.load(Ordering::Relaxed), watch.syncs.load(Ordering::Relaxed))
}

/// Given many who append at once, some of whom do not wait, when the disk fails, is full, or the
/// store is closed in the midst of it, then everybody who waits is answered; what was acknowledged
/// is where it was told to be, what was refused is nowhere, the rest is there whole or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_is_answered_and_each_answer_is_true() {
    let (mut acknowledged, mut syncs) = (0, 0);
    for seed in seeds("everybody_is_answered_and_each_answer_is_true", 60, 1000) {
        let (answered, synced) = hand_over(seed).await;
        (acknowledged, syncs) = (acknowledged + answered, syncs + synced);
    }
    println!("{acknowledged} appends were acknowledged after {syncs} syncs");
    assert!(acknowledged > syncs, "appends share syncs");
}
