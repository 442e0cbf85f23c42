//! Where the events of a stream are: so that reading one stream does not scan the log.
//!
//! The active segment's index is in memory; a sealed segment's is a sorted file beside it, made
//! again from the segment when it is missing or damaged. [`Catalog`] puts all of them together.

mod blocks;
mod bloom;
mod catalog;
mod file;
mod memory;
mod sealed;

pub(crate) use catalog::{Catalog, StreamRuns, Tail};
pub(crate) use memory::{MemoryIndex, TOMBSTONE_REVISION};
pub(crate) use sealed::{Remade, Sealed};

/// The run of one stream's events in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The revision of its first event; means nothing when there are none but a tombstone.
    pub(crate) first_revision: u64,
    /// How many events it has, a tombstone not counted.
    pub(crate) count: u32,
    /// Whether a tombstone ends it.
    pub(crate) tombstone: bool,
    /// Where its postings begin in the index file; `None` when it was found in memory.
    start: Option<u32>,
}

impl Extent {
    /// The revision of its last event that is no tombstone.
    pub(crate) fn last_revision(&self) -> Option<u64> {
        (self.count > 0).then(|| self.first_revision + u64::from(self.count) - 1)
    }
}

/// The hash that sorts streams in an index: FNV-1a with 64 bits.
pub(crate) fn stream_hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
