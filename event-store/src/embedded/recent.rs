//! The ids of the events appended last, to recognise retries of writers that expect nothing.
//!
//! It holds no ids but a hash of each with its stream, and only says where to look: whoever asks
//! reads the record there. So no collision of hashes can make it answer wrongly; it costs a look at
//! a record that is of another event.
//!
//! Positions are dense, so the hashes are a ring in their order, and each hash's place says which
//! event it is of. The entries of a bucket are a chain from new to old: an event takes 8 bytes for
//! its hash, 4 for its link and about 4 for its share of the buckets, 16 MB for a million. Nothing
//! is taken out: what falls out of the ring is overwritten, and a chain ends at the first entry
//! that can't be of it any more.

use std::hash::{BuildHasher, RandomState};
use std::iter;

use crate::event::EventId;

/// A bounded memory; the oldest are forgotten.
#[derive(Debug)]
pub(crate) struct RecentIds {
    capacity: usize,
    /// The position that has the first slot; that and every one after it were added.
    start: u64,
    /// The position that is added next.
    next: u64,
    /// By slot: the hash of id and stream.
    hashes: Vec<u64>,
    /// By slot: one more than the slot of the next older entry in the bucket; zero for none.
    older: Vec<u32>,
    /// By bucket: one more than the slot of its newest entry; zero for none.
    newest: Vec<u32>,
    /// Ids come from outside: nobody may choose them to be in one bucket.
    keyed: RandomState,
}

impl RecentIds {
    /// Remembers so many events, and nothing yet.
    pub(crate) fn new(capacity: usize) -> Self {
        assert!(u32::try_from(capacity).is_ok_and(|capacity| capacity > 0), "a link is 32 bits");
        Self {
            capacity,
            start: 0,
            next: 0,
            hashes: Vec::new(),
            older: Vec::new(),
            newest: vec![0; capacity.next_power_of_two()],
            keyed: RandomState::new(),
        }
    }

    /// Remembers events from this position on, which follows the one before.
    pub(crate) fn add_all(
        &mut self,
        events: impl IntoIterator<Item = (EventId, u64)>,
        first_position: u64,
    ) {
        // First all hashes: what follows waits for memory that no cache holds, and so for several
        // at a time.
        let events = events.into_iter();
        let hashes: Vec<u64> = events.map(|(id, stream)| self.hash(id, stream)).collect();
        for (hash, position) in hashes.into_iter().zip(first_position..) {
            self.add_hash(hash, position);
        }
    }

    /// Remembers the event at this position, which follows the one before.
    pub(crate) fn add(&mut self, id: EventId, stream_hash: u64, position: u64) {
        self.add_hash(self.hash(id, stream_hash), position);
    }

    fn add_hash(&mut self, hash: u64, position: u64) {
        if self.hashes.is_empty() {
            self.start = position;
        }
        debug_assert!(self.hashes.is_empty() || position == self.next, "positions are dense");
        self.next = position + 1;
        let bucket = self.bucket(hash);
        let slot = self.slot(position);
        // Whether that is still of the bucket, or was overwritten, is seen when the chain is gone
        // through: here it would cost a look at memory that no cache holds.
        let older = self.newest[bucket];
        if slot == self.hashes.len() {
            self.hashes.push(hash);
            self.older.push(older);
        } else {
            self.hashes[slot] = hash;
            self.older[slot] = older;
        }
        self.newest[bucket] = u32::try_from(slot + 1).expect("the capacity is below 2^32");
    }

    /// The positions where the event with this id may be, if it went to this stream, the newest
    /// first; nearly always that one or none.
    pub(crate) fn candidates(
        &self,
        id: EventId,
        stream_hash: u64,
    ) -> impl Iterator<Item = u64> + '_ {
        let hash = self.hash(id, stream_hash);
        let bucket = self.bucket(hash);
        let (mut link, mut before) = (self.newest[bucket], self.next);
        iter::from_fn(move || {
            loop {
                let slot = (link as usize).checked_sub(1)?;
                let position = self.position(slot);
                if position >= before || self.bucket(self.hashes[slot]) != bucket {
                    return None;
                }
                (link, before) = (self.older[slot], position);
                if self.hashes[slot] == hash {
                    return Some(position);
                }
            }
        })
    }

    fn hash(&self, id: EventId, stream_hash: u64) -> u64 {
        let (high, low) = id.0.as_u64_pair();
        self.keyed.hash_one([high, low, stream_hash])
    }

    fn bucket(&self, hash: u64) -> usize {
        usize::try_from(hash & (self.newest.len() as u64 - 1)).unwrap_or(0)
    }

    fn slot(&self, position: u64) -> usize {
        usize::try_from((position - self.start) % self.capacity as u64).unwrap_or(0)
    }

    /// The newest position that has this slot.
    fn position(&self, slot: usize) -> u64 {
        let newest = self.slot(self.next - 1);
        let behind = if slot <= newest { newest - slot } else { newest + self.capacity - slot };
        self.next - 1 - behind as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const CAPACITY: usize = 7;

    fn id(number: u64) -> EventId {
        EventId(Uuid::from_u128(u128::from(number)))
    }

    proptest! {
        /// Given any events in a memory that is much too small for them, then exactly the last of
        /// them are found, each at every place where it is.
        #[test]
        fn the_last_are_found_and_no_others(
            start in 1..1000_u64,
            events in prop::collection::vec((0..12_u64, 0..3_u64), 0..60),
        ) {
            let mut recent = RecentIds::new(CAPACITY);
            let mut last: VecDeque<(u64, u64, u64)> = VecDeque::new();
            for (position, (number, stream)) in (start..).zip(events) {
                recent.add(id(number), stream, position);
                last.push_front((number, stream, position));
                last.truncate(CAPACITY);
                for number in 0..12 {
                    for stream in 0..3 {
                        let found: Vec<u64> = recent.candidates(id(number), stream).collect();
                        let told: Vec<u64> = last
                            .iter()
                            .filter(|known| (known.0, known.1) == (number, stream))
                            .map(|known| known.2)
                            .collect();
                        prop_assert_eq!(found, told);
                    }
                }
            }
        }
    }

    #[test]
    fn a_million_take_so_many_bytes() {
        let mut recent = RecentIds::new(1_000_000);
        for position in 1..=1_100_000 {
            recent.add(id(position), position % 1000, position);
        }
        let bytes = recent.hashes.capacity() * size_of::<u64>()
            + (recent.older.capacity() + recent.newest.capacity()) * size_of::<u32>();
        assert!(bytes < 17_000_000, "{bytes} bytes");
        assert_eq!(recent.candidates(id(100_001), 1).collect::<Vec<_>>(), [100_001]);
        assert_eq!(recent.candidates(id(100_000), 0).count(), 0);
    }
}
