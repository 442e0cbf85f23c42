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

/// The hash that sorts streams in an index.
pub(crate) use crate::log::name_hash as stream_hash;
pub(crate) use catalog::{Catalog, Located, Page, StreamRuns, Tail};
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
    /// The salt of the index file where it was found, and where its postings begin there; `None`
    /// when it was found in memory.
    start: Option<(u32, u32)>,
}

impl Extent {
    /// How many of its first events are gone from what is found of the same run now.
    fn gone_from(&self, found: &Self) -> u32 {
        if self.tombstone {
            return self.count.saturating_sub(found.count);
        }
        let gone = found.first_revision.saturating_sub(self.first_revision);
        u32::try_from(gone).unwrap_or(u32::MAX)
    }

    /// The revision of its last event that is no tombstone.
    pub(crate) fn last_revision(&self) -> Option<u64> {
        (self.count > 0).then(|| self.first_revision + u64::from(self.count) - 1)
    }
}
