//! What an event is indexed by besides its stream: its category and its type, each by a hash.

use std::collections::HashMap;

use super::Extent;
use super::lists::{List, Lists};
use super::names::NameKey;
use crate::indexed::Index;
use crate::log::kind_hash;

/// What an entry of a hash table takes besides itself, in bytes, about.
pub(super) const TABLE_ENTRY_BYTES: usize = 2;

/// What the hashes of a table are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Secondary {
    Category,
    EventType,
}

/// A category or a type, as the indexes know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct IndexKey {
    pub(crate) of: Secondary,
    pub(crate) hash: u64,
}

/// The events of a segment by the hashes of one table, as position minus the segment's first.
#[derive(Debug, Default)]
pub(crate) struct Postings {
    runs: HashMap<u64, List>,
    lists: Lists,
}

impl Secondary {
    pub(crate) const ALL: [Self; 2] = [Self::Category, Self::EventType];
}

impl IndexKey {
    /// The key of this category or type, in a log with this key of names.
    pub(crate) fn of(names: NameKey, index: &Index) -> Self {
        let (of, in_log) = match index {
            Index::Category(name) => (Secondary::Category, kind_hash(name)),
            Index::EventType(name) => (Secondary::EventType, kind_hash(name.as_str())),
        };
        Self { of, hash: names.of_kind(in_log) }
    }
}

impl Postings {
    /// How much memory it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.runs.capacity() * (size_of::<(u64, List)>() + TABLE_ENTRY_BYTES) + self.lists.bytes()
    }

    /// Adds the next event.
    pub(crate) fn add(&mut self, hash: u64, posting: u32) {
        self.runs
            .entry(hash)
            .and_modify(|run| self.lists.push(run, posting))
            .or_insert(List::of(posting));
    }

    /// The run of a hash, whose first ordinal is not known here.
    pub(crate) fn find(&self, hash: u64) -> Option<Extent> {
        let count = self.runs.get(&hash)?.count();
        Some(Extent { first: 0, count, tombstone: false, start: None })
    }

    /// The events of a hash, some skipped.
    pub(crate) fn of(&self, hash: u64, skip: u32) -> impl Iterator<Item = u32> {
        self.runs.get(&hash).into_iter().flat_map(move |run| self.lists.numbers(run, skip))
    }

    /// All hashes, from low to high.
    pub(crate) fn hashes(&self) -> Vec<u64> {
        let mut hashes: Vec<u64> = self.runs.keys().copied().collect();
        hashes.sort_unstable();
        hashes
    }
}
