//! Any single call that the disk refuses: what was acknowledged is there, what was refused is not,
//! and nothing is told as damage.

use event_store::log::{Fault, SimDisk};
use event_store::{
    AppendError, EmbeddedStore, EventStore, ExpectedRevision, OpenError, ReadError, ScavengeError,
    ScrubOptions, StoreError, StreamMetadata,
};

use crate::cuts::cut;
use crate::encrypted::new_disk;
use crate::given::{event, everything, stream};
use crate::is_event;
use crate::scavenging::thorough;
use crate::simulated::{all_of, open};

const KEPT: &str = "track-1";
/// Of this stream only the last event can be seen, so that there is something to reclaim.
const HIDING: &str = "track-2";

/// What is known of the streams.
#[derive(Clone, Default)]
struct Known {
    /// By stream, the numbers of the events that must be there.
    acknowledged: [Vec<u64>; 2],
    /// Of which stream an append was cut off, and its numbers: all of them are there or none.
    doubtful: Option<(usize, Vec<u64>)>,
}

fn name(which: usize) -> &'static str {
    [KEPT, HIDING][which]
}

/// Whether it is the failure that was asked for, and not damage or a panic.
fn is_refusal(error: &StoreError) -> bool {
    match error {
        StoreError::Poisoned { reason } => reason.contains("simulated failure"),
        StoreError::Io(error) => error.to_string().contains("simulated failure"),
        _ => false,
    }
}

impl Known {
    async fn append(&mut self, store: &EmbeddedStore, which: usize, numbers: &[u64]) {
        let events = numbers.iter().map(|&number| event(number)).collect();
        match store.append(&stream(name(which)), ExpectedRevision::Any, events).await {
            Ok(_) => {
                assert!(self.doubtful.is_none(), "acknowledged after a write that failed");
                self.acknowledged[which].extend(numbers);
            }
            Err(AppendError::Store(error)) => {
                assert!(is_refusal(&error), "{error}");
                let poisoned = matches!(error, StoreError::Poisoned { .. });
                if poisoned && self.doubtful.is_none() {
                    self.doubtful = Some((which, numbers.to_vec()));
                }
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// What is read of the streams is what was acknowledged; `again` is after the next opening,
    /// where what was cut off may be there.
    async fn is_read(&self, store: &EmbeddedStore, again: bool) -> Result<(), ReadError> {
        let mut held = [Vec::new(), Vec::new()];
        for (which, held) in held.iter_mut().enumerate() {
            let read = all_of(store, name(which)).await?;
            let all = read.iter().all(|it| is_event(it, (it.id.0.as_u128() - 1) as u64));
            assert!(all, "other bytes in {}", name(which));
            held.extend(read.iter().map(|it| (it.id.0.as_u128() - 1) as u64));
        }
        let seen = |streams: &[Vec<u64>; 2]| {
            let [kept, hiding] = streams;
            [kept.clone(), hiding.last().copied().into_iter().collect()]
        };
        let mut legal = vec![seen(&self.acknowledged)];
        if again && let Some((which, numbers)) = &self.doubtful {
            let mut streams = self.acknowledged.clone();
            streams[*which].extend(numbers);
            legal.push(seen(&streams));
        }
        assert!(legal.contains(&held), "{held:?} in place of one of {legal:?}");
        Ok(())
    }
}

/// A log of some segments, closed in peace or not.
async fn former(encrypted: bool, closed: bool) -> (SimDisk, Known) {
    let (disk, mut known) = (new_disk(encrypted).await, Known::default());
    let store = open(&disk).await.unwrap();
    let hides = StreamMetadata { max_count: Some(1), ..StreamMetadata::default() };
    store.set_stream_metadata(&stream(HIDING), ExpectedRevision::Any, hides).await.unwrap();
    for number in 0..24 {
        known.append(&store, number as usize % 2, &[number]).await;
    }
    store.close().await.unwrap();
    if !closed {
        event_store::log::Disk::remove(&disk, "CLEAN").unwrap();
    }
    (disk.copy(), known)
}

/// Opens, appends, reads, scavenges, scrubs and closes, while something of it fails.
async fn work(disk: &SimDisk, known: &mut Known) {
    let store = match open(disk).await {
        Ok(store) => store,
        Err(OpenError::Store(error)) => {
            assert!(is_refusal(&error), "{error}");
            // What has failed once goes through the next time.
            open(disk).await.unwrap()
        }
        Err(other) => panic!("{other}"),
    };
    for number in 100..108 {
        known.append(&store, number as usize % 2, &[2 * number, 2 * number + 1]).await;
    }
    match known.is_read(&store, false).await {
        Ok(()) => {}
        Err(ReadError::Store(error)) => assert!(is_refusal(&error), "{error}"),
        Err(other) => panic!("{other}"),
    }
    match store.scavenge(thorough()).await {
        Ok(_) => {}
        Err(ScavengeError::Store(error)) => assert!(is_refusal(&error), "{error}"),
        Err(other) => panic!("{other}"),
    }
    let fast = ScrubOptions::default().bytes_per_second(u64::MAX);
    if let Err(error) = store.scrub(fast).await {
        assert!(is_refusal(&error), "{error}");
    }
    if let Err(error) = store.verify(None).await {
        assert!(is_refusal(&error), "{error}");
    }
    for number in 120..126 {
        known.append(&store, number as usize % 2, &[2 * number]).await;
    }
    assert_eq!(store.rot(), [], "a call that fails is no damage");
    store.close().await.unwrap();
}

/// Given a log with something to reclaim, when the nth call of a kind fails, for every n that there
/// is, then no call is told as damage, no append is acknowledged behind one in doubt, and the next
/// opening has what was acknowledged, with its bytes, and nothing that was refused; whether the
/// power is cut as well or not.
async fn every_failed_call_is_survived(fault: fn(u64) -> Fault, least: u64) {
    for (encrypted, closed) in [(false, false), (true, true)] {
        let (before, known) = former(encrypted, closed).await;
        let mut nth = 0;
        loop {
            nth += 1;
            let (disk, mut known) = (before.copy(), known.clone());
            disk.fail(fault(nth));
            work(&disk, &mut known).await;
            if disk.faults_to_come() > 0 {
                break;
            }
            let after = match nth % 4 {
                3 => disk,
                seed => cut(&disk, usize::try_from(nth).unwrap(), seed),
            };
            let store = open(&after).await.unwrap_or_else(|error| panic!("{nth}: {error}"));
            known.is_read(&store, true).await.unwrap();
            let all = everything(&store).await.unwrap();
            let positions: Vec<u64> = all.iter().map(|event| event.position.get()).collect();
            assert!(positions.is_sorted_by(|one, next| one < next), "{positions:?}");
            store.verify(None).await.unwrap();
            let more = store.append(&stream(KEPT), ExpectedRevision::Any, vec![event(999)]).await;
            more.unwrap();
        }
        let fault = fault(nth);
        println!("encrypted: {encrypted}, closed: {closed}: all before {fault:?}");
        assert!(nth > least, "only {nth} calls of {fault:?}");
    }
}

#[tokio::test]
async fn every_failed_opening_of_a_file_is_survived() {
    every_failed_call_is_survived(Fault::Open, 10).await;
}

#[tokio::test]
async fn every_failed_read_is_survived() {
    every_failed_call_is_survived(Fault::Read, 50).await;
}

#[tokio::test]
async fn every_failed_write_is_survived() {
    every_failed_call_is_survived(Fault::Write, 20).await;
}

#[tokio::test]
async fn every_failed_sync_is_survived() {
    every_failed_call_is_survived(Fault::Sync, 20).await;
}

#[tokio::test]
async fn every_failed_search_for_room_is_survived() {
    every_failed_call_is_survived(Fault::Allocate, 2).await;
}

#[tokio::test]
async fn every_failed_cut_of_a_file_is_survived() {
    every_failed_call_is_survived(Fault::Truncate, 2).await;
}

#[tokio::test]
async fn every_failed_renaming_is_survived() {
    every_failed_call_is_survived(Fault::Rename, 5).await;
}

#[tokio::test]
async fn every_failed_removal_is_survived() {
    every_failed_call_is_survived(Fault::Remove, 1).await;
}
