//! Torn writes: any sectors of what was not synced survive a power cut, in any order.

use std::sync::Arc;

use event_store::log::{Fault, SimDisk};
use event_store::{
    EmbeddedOptions, EmbeddedStore, EventStore, ExpectedRevision, NewEvent, OpenError,
};

use crate::dice::Dice;
use crate::given::{event, everything, stream};
use crate::seeds::seeds;

const CUTS: u64 = 4;
const APPENDS_MAX: u64 = 6;
const BATCH_EVENTS_MAX: u64 = 12;
const DATA_BYTES_MAX: u64 = 2500;

async fn open(disk: &SimDisk, segment_bytes: u64) -> Result<EmbeddedStore, OpenError> {
    let options = EmbeddedOptions::disk(Arc::new(disk.clone()));
    EmbeddedStore::open(options.segment_bytes(segment_bytes)).await
}

/// Events of any size, so that a frame has one sector or many.
fn batch(dice: &mut Dice, first: usize) -> Vec<NewEvent> {
    let count = 1 + dice.below(BATCH_EVENTS_MAX) as usize;
    let sized = |number: usize| {
        let data = vec![b'x'; dice.below(DATA_BYTES_MAX) as usize];
        NewEvent { data: data.into(), ..event(number as u64) }
    };
    (first..first + count).map(sized).collect()
}

/// Coins that fall to one side more often, and in runs: the sectors of a page share their fate.
fn fate(dice: &mut Dice) -> impl FnMut() -> bool {
    let (chance, run) = (dice.below(101), [1, 1, 8][dice.below(3) as usize]);
    let (mut dice, mut left, mut survives) = (dice.clone(), 0, false);
    move || {
        if left == 0 {
            (left, survives) = (run, dice.below(100) < chance);
        }
        left -= 1;
        survives
    }
}

/// Given writes of any size, when the power is cut in the midst of one and any sectors of it and
/// any changes of the folder survive, then every event that was acknowledged is there with its
/// bytes, the one in flight whole or not at all, and nothing else; again and again on one disk.
#[tokio::test]
async fn torn_sectors_leave_what_was_acknowledged() {
    for seed in seeds("torn_sectors_leave_what_was_acknowledged", 200, 10_000) {
        let mut dice = Dice::new(seed);
        let (mut disk, mut kept) = (SimDisk::new(), Vec::<NewEvent>::new());
        let segment_bytes = [2000, 20_000, 200_000][dice.below(3) as usize];
        for _ in 0..CUTS {
            let store = open(&disk, segment_bytes).await.expect("a torn tail is no corruption");
            let name = stream("track-1");
            for _ in 0..dice.below(APPENDS_MAX) {
                let events = batch(&mut dice, kept.len());
                kept.extend(events.iter().cloned());
                store.append(&name, ExpectedRevision::Any, events).await.unwrap();
            }
            let in_flight = batch(&mut dice, kept.len());
            let at = 1 + dice.below(2);
            disk.fail(if dice.below(100) < 30 { Fault::Write(at) } else { Fault::Sync(at) });
            let outcome = store.append(&name, ExpectedRevision::Any, in_flight.clone()).await;
            if outcome.is_ok() {
                kept.extend(in_flight.iter().cloned());
            }
            let after = disk.cut_power(fate(&mut dice));
            drop(store);
            disk = after;
            let store = open(&disk, segment_bytes).await.expect("a torn tail is no corruption");
            let held = everything(&store).await.unwrap();
            if held.len() > kept.len() {
                kept.extend(in_flight);
            }
            assert_eq!(held.len(), kept.len(), "half of an append, or not all of them");
            for (held, kept) in held.iter().zip(&kept) {
                assert_eq!((held.id, &held.data), (kept.id, &kept.data));
            }
            assert_eq!(store.verify(None).await.unwrap().events, kept.len() as u64);
            // Half of the time a close in peace comes between, and half of it another power cut.
            disk = match dice.below(2) == 0 {
                true => disk.cut_power(fate(&mut dice)),
                false => {
                    store.close().await.unwrap();
                    disk
                }
            };
        }
    }
}
