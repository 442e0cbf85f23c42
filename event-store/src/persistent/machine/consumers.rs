//! The consumers of a group, and which of them gets a message.
//!
//! A pinned message goes to the consumer that has another of its affinity in flight. Where nobody
//! has, rendezvous hashing picks one (Thaler and Ravishankar, 1996): when a consumer comes or goes,
//! only what it gains or had moves. A pinned message whose consumer is full waits, and so does all
//! of its affinity behind it; other messages go on.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use super::as_size;
use super::backlog::Key;
use super::statistics::{Latencies, Rate};
use crate::persistent::info::Measurement;
use crate::persistent::settings::Strategy;

/// What a consumer is called inside its group; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::persistent) struct ConsumerId(pub u64);

struct Consumer {
    name: String,
    buffer: usize,
    in_flight: BTreeSet<Key>,
    rate: Rate,
    latencies: Option<Latencies>,
}

/// What can be told of a consumer.
pub(in crate::persistent) struct Told {
    pub id: ConsumerId,
    pub name: String,
    pub in_flight: usize,
    pub available: usize,
    pub total: u64,
    pub average_per_second: u64,
    pub since_last: u64,
    pub measurements: Vec<Measurement>,
}

/// All consumers of a group.
pub(super) struct Consumers {
    strategy: Strategy,
    all: BTreeMap<ConsumerId, Consumer>,
    /// Who has messages of an affinity in flight, and how many.
    pins: HashMap<u64, (ConsumerId, usize)>,
    /// How many messages can be taken before all are full.
    room: usize,
    /// Who was given the last message, for taking turns.
    last: Option<ConsumerId>,
}

impl Consumers {
    pub(super) fn new(strategy: Strategy) -> Self {
        let (all, pins) = (BTreeMap::new(), HashMap::new());
        Self { strategy, all, pins, room: 0, last: None }
    }

    pub(super) fn join(
        &mut self,
        id: ConsumerId,
        name: String,
        buffer: u32,
        measured: bool,
        now: Instant,
    ) {
        let buffer = as_size(buffer);
        let latencies = measured.then(Latencies::default);
        let (in_flight, rate) = (BTreeSet::new(), Rate::new(now));
        if self.all.insert(id, Consumer { name, buffer, in_flight, rate, latencies }).is_none() {
            self.room += buffer;
        }
    }

    /// Removes a consumer; returns what it had in flight, oldest first.
    pub(super) fn leave(&mut self, id: ConsumerId) -> BTreeSet<Key> {
        let Some(consumer) = self.all.remove(&id) else { return BTreeSet::new() };
        self.room -= consumer.buffer - consumer.in_flight.len();
        self.pins.retain(|_, (holder, _)| *holder != id);
        consumer.in_flight
    }

    /// A consumer no longer has this message in flight.
    pub(super) fn give_back(&mut self, id: ConsumerId, key: Key, affinity: u64) {
        let Some(consumer) = self.all.get_mut(&id) else { return };
        if !consumer.in_flight.remove(&key) {
            return;
        }
        self.room += 1;
        if let Some((_, count)) = self.pins.get_mut(&affinity) {
            *count -= 1;
            if *count == 0 {
                self.pins.remove(&affinity);
            }
        }
    }

    /// A consumer has processed a message.
    pub(super) fn count(&mut self, id: ConsumerId, latency: Duration) {
        if let Some(consumer) = self.all.get_mut(&id) {
            consumer.rate.count();
            if let Some(latencies) = &mut consumer.latencies {
                latencies.add(latency);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn told(&mut self, now: Instant) -> Vec<Told> {
        let tell = |(id, consumer): (&ConsumerId, &mut Consumer)| Told {
            id: *id,
            name: consumer.name.clone(),
            in_flight: consumer.in_flight.len(),
            available: consumer.buffer - consumer.in_flight.len(),
            total: consumer.rate.total(),
            average_per_second: consumer.rate.per_second(now),
            since_last: consumer.rate.since_last(),
            measurements: consumer.latencies.as_ref().map_or_else(Vec::new, Latencies::told),
        };
        self.all.iter_mut().map(tell).collect()
    }

    /// Begins to give out messages, oldest first.
    pub(super) fn choice(&mut self) -> Choice<'_> {
        Choice { consumers: self, waiting: HashSet::new() }
    }

    fn is_pinned(&self) -> bool {
        matches!(self.strategy, Strategy::Pinned | Strategy::PinnedByCorrelation)
    }

    fn has_room(&self, id: ConsumerId) -> bool {
        self.all.get(&id).is_some_and(|it| it.in_flight.len() < it.buffer)
    }

    fn pick(&self, affinity: u64) -> Option<ConsumerId> {
        let first_with_room =
            |mut ids: Box<dyn Iterator<Item = ConsumerId> + '_>| ids.find(|id| self.has_room(*id));
        let ids = || self.all.keys().copied();
        match self.strategy {
            Strategy::DispatchToSingle => first_with_room(Box::new(ids())),
            Strategy::RoundRobin => {
                let last = self.last;
                let behind = ids().filter(move |id| Some(*id) > last);
                let before = ids().filter(move |id| Some(*id) <= last);
                first_with_room(Box::new(behind.chain(before)))
            }
            Strategy::Pinned | Strategy::PinnedByCorrelation => {
                let id = match self.pins.get(&affinity) {
                    Some((holder, _)) => *holder,
                    None => ids().max_by_key(|id| weight(affinity, *id))?,
                };
                self.has_room(id).then_some(id)
            }
        }
    }

    fn give(&mut self, id: ConsumerId, key: Key, affinity: u64) {
        if let Some(consumer) = self.all.get_mut(&id) {
            consumer.in_flight.insert(key);
            self.room -= 1;
        }
        self.last = Some(id);
        if self.is_pinned() {
            self.pins.entry(affinity).or_insert((id, 0)).1 += 1;
        }
    }
}

/// How much an affinity is drawn to a consumer: a mix of both that spreads well (the finisher of
/// SplitMix64).
fn weight(affinity: u64, id: ConsumerId) -> u64 {
    let mixed = affinity ^ (id.0 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// One round of giving out messages.
pub(super) struct Choice<'a> {
    consumers: &'a mut Consumers,
    /// Pinned affinities of which an older message waits.
    waiting: HashSet<u64>,
}

impl Choice<'_> {
    /// Whether any consumer takes another message.
    pub(super) fn has_room(&self) -> bool {
        self.consumers.room > 0
    }

    /// Who gets the message, which counts as in flight then; nobody while it `waits`.
    pub(super) fn choose(&mut self, key: Key, affinity: u64, waits: bool) -> Option<ConsumerId> {
        let pinned = self.consumers.is_pinned();
        if pinned && self.waiting.contains(&affinity) {
            return None;
        }
        let chosen = if waits { None } else { self.consumers.pick(affinity) };
        match chosen {
            Some(id) => self.consumers.give(id, key, affinity),
            None if pinned => {
                self.waiting.insert(affinity);
            }
            None => {}
        }
        chosen
    }
}
