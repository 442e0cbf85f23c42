//! The messages that are not finished: ready, in flight, or on their way to be parked.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use super::consumers::ConsumerId;
use crate::event::EventId;
use crate::persistent::message::Message;

/// What a message is called inside a group. The order is that of delivery: what is replayed comes
/// first, and what is retried comes before what was read after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::persistent) enum Key {
    /// A parked message that is replayed, by its revision among the parked ones.
    Parked(u64),
    /// A message of the source, by its number among those read.
    Read(u64),
}

/// An unfinished message.
pub(super) struct Item {
    message: Message,
    affinity: u64,
    retries: u32,
    /// The place up to which all is done once this is the first unfinished message.
    before: Option<u64>,
    flight: Option<Flight>,
}

struct Flight {
    consumer: ConsumerId,
    since: Instant,
    deadline: Option<Instant>,
}

impl Item {
    pub(super) fn new(message: Message, affinity: u64, before: Option<u64>) -> Self {
        Self { message, affinity, retries: 0, before, flight: None }
    }
}

/// All unfinished messages of a group.
#[derive(Default)]
pub(super) struct Backlog {
    items: BTreeMap<Key, Item>,
    ready: BTreeSet<Key>,
    /// How many of the ready ones are of the source and were never tried.
    fresh: usize,
    replayed: usize,
    flying: HashMap<EventId, Key>,
    deadlines: BTreeSet<(Instant, Key)>,
    bytes: usize,
}

impl Backlog {
    /// Takes a message, ready to be delivered.
    pub(super) fn add(&mut self, key: Key, item: Item) {
        self.bytes += item.message.size();
        self.fresh += usize::from(matches!(key, Key::Read(_)));
        self.replayed += usize::from(matches!(key, Key::Parked(_)));
        self.ready.insert(key);
        self.items.insert(key, item);
    }

    /// Forgets a message that is neither ready nor in flight.
    pub(super) fn finish(&mut self, key: Key) {
        if let Some(item) = self.items.remove(&key) {
            self.bytes -= item.message.size();
            self.replayed -= usize::from(matches!(key, Key::Parked(_)));
        }
    }

    /// Forgets the ready messages among those that are replayed before this revision.
    pub(super) fn discard_ready(&mut self, before: u64) {
        let ready = self.ready.range(..Key::Parked(before)).copied().collect::<Vec<_>>();
        for key in ready {
            self.ready.remove(&key);
            self.finish(key);
        }
    }

    /// The first ready message behind this one: its key, id and affinity.
    pub(super) fn next_ready(&self, behind: Option<Key>) -> Option<(Key, EventId, u64)> {
        let key = match behind {
            None => self.ready.first(),
            Some(key) => {
                use std::ops::Bound::{Excluded, Unbounded};
                self.ready.range((Excluded(key), Unbounded)).next()
            }
        }?;
        let item = self.items.get(key)?;
        Some((*key, item.message.id(), item.affinity))
    }

    /// Puts a ready message in flight; returns it, and how often it was tried before.
    pub(super) fn fly(
        &mut self,
        key: Key,
        consumer: ConsumerId,
        since: Instant,
        deadline: Option<Instant>,
    ) -> (Message, u32) {
        let item = self.items.get_mut(&key).expect("what is ready is unfinished");
        item.flight = Some(Flight { consumer, since, deadline });
        let (message, retries) = (item.message.clone(), item.retries);
        self.fresh -= usize::from(matches!(key, Key::Read(_)) && retries == 0);
        self.ready.remove(&key);
        self.flying.insert(message.id(), key);
        self.deadlines.extend(deadline.map(|deadline| (deadline, key)));
        (message, retries)
    }

    /// Takes a message out of flight; it is neither ready nor finished then.
    pub(super) fn land(&mut self, key: Key) {
        if let Some(item) = self.items.get_mut(&key)
            && let Some(flight) = item.flight.take()
        {
            self.flying.remove(&item.message.id());
            if let Some(deadline) = flight.deadline {
                self.deadlines.remove(&(deadline, key));
            }
        }
    }

    /// Makes a landed message ready once more.
    pub(super) fn make_ready(&mut self, key: Key) {
        if let Some(item) = self.items.get_mut(&key) {
            item.retries += 1;
            self.ready.insert(key);
        }
    }

    /// What is in flight under this id: its key, with whom, and since when.
    pub(super) fn flying(&self, id: EventId) -> Option<(Key, ConsumerId, Instant)> {
        let key = *self.flying.get(&id)?;
        let flight = self.items.get(&key)?.flight.as_ref()?;
        Some((key, flight.consumer, flight.since))
    }

    /// A message in flight whose time is over, with its consumer, id and affinity.
    pub(super) fn expired(&self, now: Instant) -> Option<(Key, ConsumerId, EventId, u64)> {
        let (_, key) = *self.deadlines.first().filter(|(deadline, _)| *deadline <= now)?;
        let item = self.items.get(&key)?;
        Some((key, item.flight.as_ref()?.consumer, item.message.id(), item.affinity))
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub(super) fn message(&self, key: Key) -> Option<Message> {
        self.items.get(&key).map(|item| item.message.clone())
    }

    pub(super) fn affinity(&self, key: Key) -> u64 {
        self.items.get(&key).map_or(0, |item| item.affinity)
    }

    pub(super) fn retries(&self, key: Key) -> u32 {
        self.items.get(&key).map_or(0, |item| item.retries)
    }

    /// The first unfinished message of the source: its number, and the place before it.
    pub(super) fn first_unfinished(&self) -> Option<(u64, Option<u64>)> {
        match self.items.range(Key::Read(0)..).next()? {
            (Key::Read(number), item) => Some((*number, item.before)),
            (Key::Parked(_), _) => None,
        }
    }

    /// The revision of the first unfinished message that is replayed.
    pub(super) fn first_replayed(&self) -> Option<u64> {
        match self.items.first_key_value()? {
            (Key::Parked(revision), _) => Some(*revision),
            (Key::Read(_), _) => None,
        }
    }

    /// How many messages of the source are ready and were never tried.
    pub(super) fn fresh(&self) -> usize {
        self.fresh
    }

    /// How many messages that were parked before are unfinished.
    pub(super) fn replayed(&self) -> usize {
        self.replayed
    }

    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.flying.len()
    }

    /// What all of it costs, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    #[cfg(test)]
    pub(super) fn unfinished(&self) -> usize {
        self.items.len()
    }
}
