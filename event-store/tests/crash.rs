//! Power cuts and failing disks: what was acknowledged stays, what was not is whole or gone.

#[path = "given/cuts.rs"]
mod cuts;
#[path = "given/dice.rs"]
mod dice;
#[path = "given/encrypted.rs"]
mod encrypted;
#[path = "given/events.rs"]
mod given;
#[path = "given/scavenging.rs"]
mod scavenging;
#[path = "given/seeds.rs"]
mod seeds;
#[path = "given/simulated.rs"]
mod simulated;

mod crash {
    //! Failures of any kind.
    mod failing_calls;
}

use cuts::{SEEDS, cut};
use dice::Dice;
use encrypted::new_disk;
use event_store::log::{Fault, SimDisk};
use event_store::{
    AppendError, ContentType, EmbeddedStore, EventStore, ExpectedRevision, ExpectedState,
    MultiAppend, MultiAppendError, NewEvent, RecordedEvent, StoreError,
};
use given::{event, everything, stream};
use seeds::seeds;
use simulated::{all_of, open};

const FIRST_SEGMENT: &str = "00000000000000000001.log";

async fn append(store: &EmbeddedStore, name: &str, numbers: &[u64]) -> Result<(), AppendError> {
    let events = numbers.iter().map(|&number| event(number)).collect();
    store.append(&stream(name), ExpectedRevision::Any, events).await.map(drop)
}

/// A disk with an empty store, in plain and encrypted.
async fn new_disks() -> [SimDisk; 2] {
    [new_disk(false).await, new_disk(true).await]
}

/// Whether it is that event, with all its bytes.
fn is_event(recorded: &RecordedEvent, number: u64) -> bool {
    let NewEvent { id, event_type, content_type, data, metadata } = event(number);
    recorded.id == id
        && recorded.event_type == event_type
        && recorded.content_type == content_type
        && recorded.data == data
        && recorded.metadata == metadata
}

/// That the store has these events, with all their bytes, in this order, and no others.
async fn has(store: &EmbeddedStore, numbers: impl IntoIterator<Item = u64>, when: &str) {
    are(&everything(store).await.unwrap(), numbers, when);
}

/// That these are those events, with all their bytes and in this order.
fn are(held: &[RecordedEvent], numbers: impl IntoIterator<Item = u64>, when: &str) {
    let told: Vec<u64> = numbers.into_iter().collect();
    let ids: Vec<u128> = held.iter().map(|event| event.id.0.as_u128() - 1).collect();
    assert_eq!(ids, told.iter().map(|&number| number.into()).collect::<Vec<u128>>(), "{when}");
    for (held, number) in held.iter().zip(told) {
        assert!(is_event(held, number), "{when}: {held:?} is not the event {number}");
    }
}

/// The first segment without the room behind its last frame, which is zeros.
fn written(disk: &SimDisk) -> Vec<u8> {
    let mut bytes = disk.contents(FIRST_SEGMENT).unwrap();
    bytes.truncate(bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1);
    bytes
}

/// A log of three commits that was not closed, and its length after the second.
async fn three_commits(disk: SimDisk) -> (SimDisk, usize) {
    let store = open(&disk).await.unwrap();
    append(&store, "track-1", &[0]).await.unwrap();
    append(&store, "track-1", &[1, 2]).await.unwrap();
    let second = written(&disk).len();
    append(&store, "track-2", &[3, 4, 5]).await.unwrap();
    let after = disk.cut_power(|| true);
    (after, second)
}

#[tokio::test]
async fn a_tail_torn_at_any_byte_is_cut() {
    for disk in new_disks().await {
        tails_are_cut(three_commits(disk).await).await;
    }
}

async fn tails_are_cut((disk, second): (SimDisk, usize)) {
    let whole = written(&disk);
    for length in second..whole.len() {
        let torn = disk.copy();
        let mut bytes = whole[..length].to_vec();
        // With room behind it or without: the file may have been made longer before, or not.
        bytes.resize(length + length % 2 * 1000, 0);
        torn.put(FIRST_SEGMENT, bytes);
        let left = written(&torn).len();
        let store = open(&torn).await.unwrap();
        assert_eq!(store.torn_bytes(), (left - second) as u64);
        has(&store, 0..3, &format!("at {length}")).await;
        append(&store, "track-3", &[9]).await.unwrap();
        drop(store);
        let store = open(&torn).await.unwrap();
        has(&store, [0, 1, 2, 9], &format!("at {length}, again")).await;
    }
}

#[tokio::test]
async fn a_damaged_frame_before_a_whole_one_is_refused() {
    let (disk, second) = three_commits(SimDisk::new()).await;
    let whole = written(&disk);
    for at in 64..second {
        let damaged = disk.copy();
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        damaged.put(FIRST_SEGMENT, bytes);
        let error = open(&damaged).await.err().expect("corrupt in the middle").to_string();
        assert!(error.contains(FIRST_SEGMENT) && error.contains("offset"), "{at}: {error}");
    }
}

/// An append of one event with these bytes.
async fn append_bytes(store: &EmbeddedStore, data: Vec<u8>) {
    let mut event = event(9);
    (event.content_type, event.data) = (ContentType::Binary, data.into());
    store.append(&stream("track-1"), ExpectedRevision::Any, vec![event]).await.unwrap();
}

/// Given a damaged frame before a whole one that ends in zeros, as the room behind it does, then
/// the whole one is found.
#[tokio::test]
async fn a_damaged_frame_before_one_that_ends_in_zeros_is_refused() {
    for disk in new_disks().await {
        let store = open(&disk).await.unwrap();
        append(&store, "track-1", &[0]).await.unwrap();
        let second = written(&disk).len();
        append(&store, "track-1", &[1]).await.unwrap();
        append_bytes(&store, vec![0; 100]).await;
        let damaged = disk.cut_power(|| true);
        let mut bytes = damaged.contents(FIRST_SEGMENT).unwrap();
        bytes[second + 30] ^= 1;
        damaged.put(FIRST_SEGMENT, bytes);
        let error = open(&damaged).await.err().expect("corrupt in the middle").to_string();
        assert!(error.contains("a whole one follows"), "{error}");
    }
}

/// Given an event that is full of what looks like beginnings of frames, and its frame torn, then to
/// find that no whole one follows takes reads that go by its size.
#[tokio::test]
async fn what_looks_like_frames_in_a_torn_one_costs_no_more_than_its_size() {
    const BYTES: usize = 2 * 1024 * 1024;
    const CLAIMED: u32 = 1_200_000;
    let disk = SimDisk::new();
    let store = open(&disk).await.unwrap();
    let mut frame = b"VZFR....".to_vec();
    for part in [&CLAIMED.to_le_bytes()[..], &1_u32.to_le_bytes(), &99_u64.to_le_bytes()] {
        frame.extend_from_slice(part);
    }
    frame.resize(200, 7);
    append_bytes(&store, frame.repeat(BYTES / frame.len())).await;
    let torn = disk.cut_power(|| true);
    let mut bytes = torn.contents(FIRST_SEGMENT).unwrap();
    let length = bytes.len() as u64;
    bytes[BYTES / 2 + 40] ^= 1;
    torn.put(FIRST_SEGMENT, bytes);
    let store = open(&torn).await.unwrap();
    assert!(store.torn_bytes() > BYTES as u64 / 2);
    assert!(torn.read_bytes() < 8 * length, "{} of {length} bytes", torn.read_bytes());
}

#[tokio::test]
async fn power_cuts_lose_nothing_that_was_acknowledged() {
    for seed in seeds("power_cuts_lose_nothing_that_was_acknowledged", 200, 10_000) {
        let mut dice = Dice::new(seed);
        let mut disk = new_disk(seed % 2 == 1).await;
        let mut acknowledged = 0;
        for _ in 0..4 {
            let store = open(&disk).await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let held = everything(&store).await.unwrap();
            assert!(held.len() as u64 >= acknowledged, "seed {seed} lost events");
            let mut number = held.len() as u64;
            are(&held, 0..number, &format!("seed {seed}"));
            for _ in 0..6 {
                append(&store, "track-1", &[number, number + 1]).await.unwrap();
                number += 2;
            }
            acknowledged = number;
            disk.fail(Fault::SegmentSync(1));
            let lost = append(&store, "track-1", &[number, number + 1]).await;
            assert!(matches!(lost, Err(AppendError::Store(StoreError::Poisoned { .. }))));
            disk = disk.cut_power(|| dice.below(2) == 0);
        }
        let store = open(&disk).await.unwrap();
        let held = everything(&store).await.unwrap();
        let kept = held.len() as u64;
        assert!(kept >= acknowledged && kept.is_multiple_of(2), "seed {seed}: {kept} are kept");
        are(&held, 0..kept, &format!("seed {seed}"));
    }
}

/// What a process left in the page cache when it died, or when a sync failed, is shown after the
/// next opening: so it is durable by then.
#[tokio::test]
async fn what_an_opening_shows_survives_a_power_cut() {
    for disk in new_disks().await {
        what_is_shown_survives(disk).await;
    }
}

async fn what_is_shown_survives(disk: SimDisk) {
    let store = open(&disk).await.unwrap();
    append(&store, "track-1", &[0]).await.unwrap();
    disk.fail(Fault::SegmentSync(1));
    append(&store, "track-1", &[1, 2]).await.unwrap_err();
    drop(store);
    let store = open(&disk).await.unwrap();
    let shown = everything(&store).await.unwrap();
    are(&shown, 0..3, "it was written, and the machine went on");
    let after = disk.cut_power(|| false);
    drop(store);
    assert_eq!(everything(&open(&after).await.unwrap()).await.unwrap(), shown);
}

/// Given a log that grows by many segments, when the power is cut after any single step of it, the
/// writing of indexes beside the writer included, then what was acknowledged by then is there, and
/// is found by stream as well.
#[tokio::test]
async fn a_power_cut_after_any_step_loses_nothing_that_was_acknowledged() {
    for disk in new_disks().await {
        no_step_loses_what_was_acknowledged(disk).await;
    }
}

async fn no_step_loses_what_was_acknowledged(disk: SimDisk) {
    let store = open(&disk).await.unwrap();
    disk.remember();
    let mut acknowledged_at = Vec::new();
    for number in 0..60 {
        append(&store, ["track-1", "track-2"][(number % 2) as usize], &[number]).await.unwrap();
        acknowledged_at.push(disk.changes());
    }
    store.close().await.unwrap();
    let indexed = |disk: &SimDisk| disk.contents("00000000000000000001.idx").is_some();
    let steps = disk.remembered();
    assert!(steps.iter().any(|disk| !indexed(disk)) && steps.iter().any(indexed));
    for (step, disk) in steps.into_iter().enumerate() {
        let acknowledged = acknowledged_at.iter().filter(|&&at| at <= step + 1).count();
        for survives in [true, false] {
            let store = open(&disk.cut_power(|| survives)).await.unwrap();
            let held = everything(&store).await.unwrap();
            assert!(held.len() >= acknowledged, "step {step} lost events");
            are(&held, 0..held.len() as u64, &format!("step {step}"));
            let mut by_stream = Vec::new();
            for name in ["track-1", "track-2"] {
                by_stream.extend(all_of(&store, name).await.unwrap_or_default());
            }
            by_stream.sort_by_key(|event| event.position);
            assert_eq!(by_stream, held, "step {step}");
        }
    }
}

/// How many events each append to several streams has here.
const SEVERAL: u64 = 5;

/// Appends to three streams, one of which is deleted and so is opened again.
async fn append_to_several(store: &EmbeddedStore, first: u64) -> Result<(), MultiAppendError> {
    let names = ["track-1", "track-2", "track-1", "user-1", "track-2"];
    let append = (first..).zip(names).fold(MultiAppend::default(), |append, (number, name)| {
        append.events(&stream(name), [event(number)])
    });
    let append = append.check(&stream("user-1"), ExpectedState::SoftDeleted);
    store.append_to_streams(append.check(&stream("order-1"), ExpectedState::NoStream)).await?;
    Ok(())
}

/// The numbered events of these, without those of metadata.
fn numbered(mut held: Vec<RecordedEvent>) -> Vec<RecordedEvent> {
    held.retain(|event| event.event_type.as_str() == "Numbered");
    held
}

/// Given appends to several streams over many segments, when the power is cut after any single
/// step, and any sectors survive, then each append is there whole and in order, or not at all, and
/// those that were acknowledged are; the stream that it opens is open if and only if it is there.
#[tokio::test]
async fn an_append_to_several_streams_is_whole_or_gone_after_any_step() {
    let disk = new_disk(true).await;
    let store = open(&disk).await.unwrap();
    disk.remember();
    let mut acknowledged_at = Vec::new();
    for first in (0..10 * SEVERAL).step_by(SEVERAL as usize) {
        append(&store, "user-1", &[1000 + first]).await.unwrap();
        store.delete_stream(&stream("user-1"), ExpectedRevision::Any).await.unwrap();
        append_to_several(&store, first).await.unwrap();
        acknowledged_at.push(disk.changes());
    }
    store.close().await.unwrap();
    let several = |id| (0..10 * SEVERAL).any(|number| event(number).id == id);
    for (step, disk) in disk.remembered().into_iter().enumerate() {
        let acknowledged = acknowledged_at.iter().filter(|&&at| at <= step + 1).count() as u64;
        for seed in 0..SEEDS {
            let after = cut(&disk, step, seed);
            let store = open(&after).await.unwrap();
            let mut held = numbered(everything(&store).await.unwrap());
            let last = held.last().map(|event| event.id);
            held.retain(|event| several(event.id));
            let whole = held.len() as u64;
            assert_eq!(whole % SEVERAL, 0, "step {step} kept {whole} events");
            assert!(whole >= acknowledged * SEVERAL, "step {step} lost events");
            are(&held, 0..whole, &format!("step {step}"));
            if last.is_some_and(several) {
                let opened = all_of(&store, "user-1").await.unwrap();
                assert_eq!(opened.len(), 1, "step {step}");
            }
        }
    }
}

/// Given a sync or write that fails under an append to several streams, then nothing of it is seen,
/// and after reopening it is there whole or not at all.
#[tokio::test]
async fn a_failed_append_to_several_streams_is_not_seen() {
    for fault in [Fault::SegmentSync(1), Fault::Write(1)] {
        for seed in 0..50 {
            let disk = SimDisk::new();
            let store = open(&disk).await.unwrap();
            append(&store, "user-1", &[1000]).await.unwrap();
            store.delete_stream(&stream("user-1"), ExpectedRevision::Any).await.unwrap();
            disk.fail(fault);
            let error = append_to_several(&store, 0).await.unwrap_err();
            let poisoned = matches!(&error, MultiAppendError::Store(StoreError::Poisoned { .. }));
            assert!(poisoned, "{error}");
            assert_eq!(everything(&store).await.unwrap().len(), 2, "{fault:?}");
            let mut dice = Dice::new(seed);
            let store = open(&disk.cut_power(|| dice.below(2) == 0)).await.unwrap();
            let held = everything(&store).await.unwrap();
            // The stream that is opened gets an event of its metadata.
            let count = held.len() as u64;
            assert!([2, 2 + SEVERAL + 1].contains(&count), "{fault:?}, seed {seed}: {count}");
            let after = [1000].into_iter().chain(if count > 2 { 0..SEVERAL } else { 0..0 });
            are(&numbered(held), after, &format!("{fault:?}, seed {seed}"));
        }
    }
}

#[tokio::test]
async fn retries_without_a_revision_are_known_after_reopening() {
    let disk = SimDisk::new();
    let store = open(&disk).await.unwrap();
    for number in 0..40 {
        append(&store, "track-1", &[number]).await.unwrap();
    }
    let store = open(&disk.cut_power(|| false)).await.unwrap();
    for number in 0..40 {
        append(&store, "track-1", &[number]).await.unwrap();
    }
    has(&store, 0..40, "again").await;
}

#[tokio::test]
async fn after_any_failed_sync_nothing_is_acknowledged_until_reopened() {
    for encrypted in [false, true] {
        failed_syncs_acknowledge_nothing(encrypted).await;
    }
}

async fn failed_syncs_acknowledge_nothing(encrypted: bool) {
    let mut poisonings = 0;
    for nth in 1..30 {
        let disk = new_disk(encrypted).await;
        let store = open(&disk).await.unwrap();
        disk.fail(Fault::Sync(nth));
        let mut acknowledged = Vec::new();
        let mut poisoned = false;
        for number in 0..20 {
            match append(&store, "track-1", &[number]).await {
                Ok(()) => {
                    assert!(!poisoned, "acknowledged after a failure, sync {nth}");
                    acknowledged.push(number);
                }
                Err(AppendError::Store(StoreError::Poisoned { .. })) => poisoned = true,
                Err(other) => panic!("sync {nth}: {other}"),
            }
        }
        poisonings += u32::from(poisoned);
        let seen = all_of(&store, "track-1").await.unwrap_or_default();
        are(&seen, acknowledged.clone(), &format!("readers go on, sync {nth}"));
        let store = open(&disk.cut_power(|| false)).await.unwrap();
        has(&store, acknowledged, &format!("sync {nth}")).await;
    }
    assert!(poisonings > 15, "most syncs are those of commits, not {poisonings}");
}

#[tokio::test]
async fn a_failed_write_poisons_too() {
    let disk = SimDisk::new();
    let store = open(&disk).await.unwrap();
    append(&store, "track-1", &[0]).await.unwrap();
    disk.fail(Fault::Write(1));
    for number in 1..3 {
        let error = append(&store, "track-1", &[number]).await.unwrap_err();
        assert!(matches!(error, AppendError::Store(StoreError::Poisoned { .. })), "{error}");
    }
    let store = open(&disk.cut_power(|| true)).await.unwrap();
    assert!(store.torn_bytes() > 0, "half of the frame had been written");
    has(&store, [0], "after the half").await;
}

#[tokio::test]
async fn a_full_disk_refuses_and_goes_on_once_there_is_room() {
    for encrypted in [false, true] {
        a_full_disk_refuses_and_goes_on(encrypted).await;
    }
}

async fn a_full_disk_refuses_and_goes_on(encrypted: bool) {
    for room in (0..1500).step_by(3) {
        let disk = new_disk(encrypted).await;
        let store = open(&disk).await.unwrap();
        append(&store, "track-1", &[0]).await.unwrap();
        disk.set_capacity_bytes(Some(disk.used_bytes() + room));
        let mut number = 1;
        let error = loop {
            match append(&store, "track-1", &[number, number + 1]).await {
                Ok(()) => number += 2,
                Err(error) => break error,
            }
        };
        let full = AppendError::Store(StoreError::StorageFull);
        assert_eq!(error.to_string(), full.to_string(), "room {room}");
        has(&store, 0..number, &format!("room {room}")).await;
        let cut = open(&disk.copy()).await.unwrap();
        assert_eq!(cut.torn_bytes(), 0, "room {room}: what was written in vain is cut off at once");
        disk.set_capacity_bytes(None);
        for _ in 0..8 {
            append(&store, "track-1", &[number]).await.unwrap();
            number += 1;
        }
        let store = open(&disk.cut_power(|| false)).await.unwrap();
        let kept = everything(&store).await.unwrap();
        are(&kept, 0..number, &format!("room {room}"));
        assert_eq!(all_of(&store, "track-1").await.unwrap(), kept);
    }
}
