//! Where the events of a stream, a category or a type are: so that reading them does not scan the
//! log.
//!
//! The active segment's index is in memory; a sealed segment's is a sorted file beside it, made
//! again from the segment when it is missing or damaged. [`Catalog`] puts all of them together.

mod blocks;
mod bloom;
mod catalog;
mod file;
mod header;
mod lists;
mod look;
mod memory;
mod names;
mod ordinals;
mod sealed;
mod secondary;
mod table;

pub(crate) use catalog::{Catalog, Located, Page, Place, StreamRuns, Tail};
pub(crate) use header::key_of_log;
pub use look::IndexState;
pub(crate) use look::look_at_index;
pub(crate) use memory::{MemoryIndex, TOMBSTONE_REVISION};
pub(crate) use names::{Hashes, NameKey};
pub(crate) use sealed::{Mending, Remade, Sealed};
pub(crate) use secondary::IndexKey;

/// What a run is found by.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Key<'a> {
    /// A stream.
    Stream(StreamKey<'a>),
    /// A category or a type.
    Index(IndexKey),
}

impl<'a> Key<'a> {
    /// The key of the stream with this name, in a log with this key of names.
    pub(crate) fn stream(names: NameKey, name: &'a str) -> Self {
        Self::Stream(StreamKey { name, hash: names.of_stream(name) })
    }
}

/// The name of a stream with its hash, which every segment is asked by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamKey<'a> {
    name: &'a str,
    hash: u64,
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
        let gone = found.first.saturating_sub(self.first);
        u32::try_from(gone).unwrap_or(u32::MAX)
    }

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
