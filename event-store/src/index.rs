//! Where the events of a stream, a category or a type are: so that reading them does not scan the
//! log.
//!
//! The active segment's index is in memory; a sealed segment's is a sorted file beside it, made
//! again from the segment when it is missing or damaged. [`Catalog`] puts all of them together.

mod blocks;
mod bloom;
mod catalog;
mod file;
mod memory;
mod ordinals;
mod sealed;
mod secondary;
mod table;

pub(crate) use catalog::{Catalog, Place, StreamRuns, Tail};
pub(crate) use memory::{MemoryIndex, TOMBSTONE_REVISION};
pub(crate) use sealed::{Remade, Sealed};
pub(crate) use secondary::{Hashes, IndexKey};

/// What a run is found by.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Key<'a> {
    /// The name of a stream.
    Stream(&'a str),
    /// A category or a type.
    Index(IndexKey),
}

/// The run of one stream's events, or of those of a category or a type, in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The revision of its first event, which means nothing when there are none but a tombstone; of
    /// a category or a type its ordinal, which only a file knows.
    pub(crate) first: u64,
    /// How many events it has, a stream's tombstone not counted.
    pub(crate) count: u32,
    /// Whether a tombstone ends a stream.
    pub(crate) tombstone: bool,
    /// Where its postings begin in the index file; `None` when it was found in memory.
    start: Option<u32>,
}

impl Extent {
    /// The revision of its last event that is no tombstone.
    pub(crate) fn last_revision(&self) -> Option<u64> {
        (self.count > 0).then(|| self.first + u64::from(self.count) - 1)
    }

    /// How many events of its category or type the log has before it, where that is known.
    pub(crate) fn first_ordinal(&self) -> Option<u64> {
        self.start.map(|_| self.first)
    }

    /// How many postings it has.
    pub(crate) fn postings(&self) -> u32 {
        self.count + u32::from(self.tombstone)
    }
}

/// The hash that sorts streams in an index: FNV-1a with 64 bits.
pub(crate) fn stream_hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
