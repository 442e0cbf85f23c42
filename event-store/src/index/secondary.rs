//! What an event is indexed by besides its stream: its category and its type, each by a hash.

use std::collections::HashMap;
use std::slice;

use super::Extent;
use crate::indexed::Index;
use crate::log::{Kinds, kind_hash};

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
    runs: HashMap<u64, Run>,
}

/// Most hashes of a segment may have one event each, which is no reason for as many allocations.
#[derive(Debug)]
enum Run {
    One(u32),
    Several(Vec<u32>),
}

impl Secondary {
    pub(crate) const ALL: [Self; 2] = [Self::Category, Self::EventType];
}

impl IndexKey {
    pub(crate) fn of(index: &Index) -> Self {
        match index {
            Index::Category(name) => Self { of: Secondary::Category, hash: kind_hash(name) },
            Index::EventType(name) => {
                Self { of: Secondary::EventType, hash: kind_hash(name.as_str()) }
            }
        }
    }
}

impl Kinds {
    /// By what the event is found.
    pub(crate) fn keys(self) -> impl Iterator<Item = IndexKey> {
        let all = Secondary::ALL.into_iter().zip([self.category, self.event_type]);
        all.filter(|&(_, hash)| hash != 0).map(|(of, hash)| IndexKey { of, hash })
    }
}

impl Postings {
    /// Adds the next event.
    pub(crate) fn add(&mut self, hash: u64, posting: u32) {
        self.runs
            .entry(hash)
            .and_modify(|run| match run {
                Run::One(first) => *run = Run::Several(vec![*first, posting]),
                Run::Several(postings) => postings.push(posting),
            })
            .or_insert(Run::One(posting));
    }

    /// The run of a hash, whose first ordinal is not known here.
    pub(crate) fn find(&self, hash: u64) -> Option<Extent> {
        let postings = self.runs.get(&hash)?.postings();
        let count = u32::try_from(postings.len()).expect("a segment is below 4 GiB");
        Some(Extent { first: 0, count, tombstone: false, start: None })
    }

    /// The events of a hash.
    pub(crate) fn of(&self, hash: u64) -> &[u32] {
        self.runs.get(&hash).map_or(&[], Run::postings)
    }

    /// All hashes, from low to high.
    pub(crate) fn hashes(&self) -> Vec<u64> {
        let mut hashes: Vec<u64> = self.runs.keys().copied().collect();
        hashes.sort_unstable();
        hashes
    }
}

impl Run {
    fn postings(&self) -> &[u32] {
        match self {
            Self::One(posting) => slice::from_ref(posting),
            Self::Several(postings) => postings,
        }
    }
}
