//! A group of consumers through failing writes, power cuts and restarts: it is given every event at
//! least once, first in order, and none that is not there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use event_store::log::{Fault, SimDisk};
use event_store::persistent::{
    Connecting, Consumer, EventSource, GroupId, PersistentError, PersistentSubscriptions, Settings,
    StartFrom,
};
use event_store::{EmbeddedOptions, EmbeddedStore, EventStore, ExpectedRevision};
use futures::StreamExt;

use crate::dice::Dice;
use crate::given::{event, stream};
use crate::seeds::seeds;
use crate::simulated::all_of;

const STREAM: &str = "track-1";
const ROUNDS: u64 = 4;
const APPENDS: u64 = 12;
/// Longer than any delivery takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// One opening of the store, and the group at work in it.
struct Place {
    store: Arc<EmbeddedStore>,
    subscriptions: PersistentSubscriptions,
    consumer: Consumer,
}

impl Place {
    async fn on(disk: &SimDisk) -> Self {
        let options = EmbeddedOptions::disk(Arc::new(disk.clone())).segment_bytes(3000);
        let store = Arc::new(EmbeddedStore::open(options).await.unwrap());
        let subscriptions = PersistentSubscriptions::start(Arc::clone(&store) as _).await.unwrap();
        let group = GroupId::new(EventSource::new(STREAM).unwrap(), "workers").unwrap();
        let settings = Settings {
            start_from: StartFrom::Start,
            min_checkpoint_count: 1,
            max_checkpoint_count: 1,
            ..Settings::default()
        };
        match subscriptions.create(&group, None, settings).await {
            Ok(()) | Err(PersistentError::Exists(_)) => {}
            Err(other) => panic!("{other}"),
        }
        let connecting = Connecting::new("a consumer", 5);
        let consumer = subscriptions.connect(&group, connecting).await.unwrap();
        Self { store, subscriptions, consumer }
    }

    /// Takes messages, each acknowledged, until all of these were given.
    async fn until_given(&mut self, given: &mut Vec<u64>, wanted: &[u64]) {
        let mut missing: BTreeSet<u64> = wanted.iter().copied().collect();
        missing.retain(|number| !given.contains(number));
        while !missing.is_empty() {
            let next = tokio::time::timeout(PATIENCE, self.consumer.deliveries.next()).await;
            let Some(Ok(delivered)) = next.expect("a delivery comes") else { return };
            let number = delivered.message.content().expect("it is there").id.0.as_u128() - 1;
            missing.remove(&(number as u64));
            given.push(number as u64);
            // Where the disk has failed no checkpoint is kept: then it comes again.
            let _ = self.consumer.acknowledger.ack(vec![delivered.message.id()]).await;
        }
    }
}

async fn numbers_in(store: &EmbeddedStore) -> Vec<u64> {
    let held = all_of(store, STREAM).await.unwrap_or_default();
    held.iter().map(|event| event.id.0.as_u128() as u64 - 1).collect()
}

async fn is_given_everything(seed: u64) {
    let (mut dice, mut disk) = (Dice::new(seed), SimDisk::new());
    let (mut given, mut next) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        let mut place = Place::on(&disk).await;
        match dice.below(3) {
            0 => disk.fail(Fault::SegmentSync(1 + dice.below(20))),
            1 => disk.fail(Fault::Write(1 + dice.below(20))),
            _ => {}
        }
        for _ in 0..dice.below(APPENDS) {
            let events = (next..next + 1 + dice.below(3)).map(event).collect::<Vec<_>>();
            next += events.len() as u64;
            let to = stream(STREAM);
            if place.store.append(&to, ExpectedRevision::Any, events).await.is_err() {
                break;
            }
        }
        let seen = numbers_in(&place.store).await;
        let enough = dice.below(seen.len() as u64 + 1) as usize;
        place.until_given(&mut given, &seen[..enough]).await;
        if dice.below(2) == 0 {
            place.subscriptions.close().await;
            place.store.close().await.unwrap();
            // A failure that never came is not one of the next round.
            disk = disk.copy();
        } else {
            let after = disk.cut_power(|| dice.below(2) == 0);
            drop(place);
            disk = after;
        }
    }
    let mut place = Place::on(&disk).await;
    let all = numbers_in(&place.store).await;
    place.until_given(&mut given, &all).await;
    let mut firsts = Vec::new();
    for number in given {
        if !firsts.contains(&number) {
            firsts.push(number);
        }
    }
    assert_eq!(firsts, all, "seed {seed}: each for the first time in order, and no others");
}

/// Given a group whose store fails, loses power and is opened again while events come, then it is
/// given each of them, and each for the first time in the order of the stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_given_every_event_through_failures() {
    for seed in seeds("a_group_is_given_every_event_through_failures", 40, 1000) {
        is_given_everything(seed).await;
    }
}
