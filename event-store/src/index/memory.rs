//! The index of a segment in memory: that of the active one, and what a file is made from.

use std::collections::HashMap;

use super::secondary::{Postings, Secondary};
use super::{Extent, Key};
use crate::log::{Kinds, ScannedRecord};
use crate::stream::Revision;

/// The revision of a tombstone.
pub(crate) const TOMBSTONE_REVISION: u64 = Revision::TOMBSTONE.get();

/// Which events a segment holds, and where.
#[derive(Debug)]
pub(crate) struct MemoryIndex {
    first: u64,
    offsets: Vec<u32>,
    runs: HashMap<Box<str>, Run>,
    categories: Postings,
    types: Postings,
    last_recorded_at_micros: i64,
}

/// The events of one stream, as position minus the segment's first; a tombstone is the last.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) first_revision: u64,
    pub(crate) postings: Vec<u32>,
    pub(crate) tombstone: bool,
}

impl MemoryIndex {
    /// The index of a segment that begins with this position and is empty.
    pub(crate) fn new(first: u64) -> Self {
        Self {
            first,
            offsets: Vec::new(),
            runs: HashMap::new(),
            categories: Postings::default(),
            types: Postings::default(),
            last_recorded_at_micros: i64::MIN,
        }
    }

    /// Adds the next event.
    pub(crate) fn add(
        &mut self,
        stream: &str,
        revision: u64,
        kinds: Kinds,
        offset: u32,
        at_micros: i64,
    ) {
        let posting = self.place(kinds, offset, at_micros);
        let tombstone = revision == TOMBSTONE_REVISION;
        if let Some(run) = self.runs.get_mut(stream) {
            run.postings.push(posting);
            run.tombstone |= tombstone;
        } else {
            let run = Run { first_revision: revision, postings: vec![posting], tombstone };
            self.runs.insert(stream.into(), run);
        }
    }

    /// Adds the next event, as a scan of its segment came across it. One that was reclaimed is of
    /// no stream any more.
    pub(crate) fn add_scanned(&mut self, record: ScannedRecord<'_>) {
        let (kinds, at_micros) = (record.kinds(), record.recorded_at_micros);
        if record.head.reclaimed {
            self.place(kinds, record.offset, at_micros);
        } else {
            self.add(record.stream, record.revision, kinds, record.offset, at_micros);
        }
    }

    /// Adds the next event, but not to its stream.
    fn place(&mut self, kinds: Kinds, offset: u32, at_micros: i64) -> u32 {
        let posting = u32::try_from(self.offsets.len()).expect("a segment is below 4 GiB");
        self.offsets.push(offset);
        self.last_recorded_at_micros = at_micros;
        for key in kinds.keys() {
            match key.of {
                Secondary::Category => self.categories.add(key.hash, posting),
                Secondary::EventType => self.types.add(key.hash, posting),
            }
        }
        posting
    }

    /// How many events there are.
    pub(crate) fn events(&self) -> usize {
        self.offsets.len()
    }

    /// When the last event was recorded, in microseconds since 1970.
    pub(crate) fn last_recorded_at_micros(&self) -> i64 {
        self.last_recorded_at_micros
    }

    /// The run of a key's events.
    pub(crate) fn find(&self, key: Key<'_>) -> Option<Extent> {
        let stream = match key {
            Key::Index(key) => return self.secondary(key.of).find(key.hash),
            Key::Stream(stream) => stream,
        };
        let run = self.runs.get(stream)?;
        let all = u32::try_from(run.postings.len()).expect("a segment is below 4 GiB");
        Some(Extent {
            first: run.first_revision,
            count: all - u32::from(run.tombstone),
            tombstone: run.tombstone,
            start: None,
        })
    }

    /// The positions of a key's events, some skipped.
    pub(crate) fn positions(&self, key: Key<'_>, skip: u32, count: u32) -> Vec<u64> {
        let postings = match key {
            Key::Stream(stream) => self.runs.get(stream).map_or(&[][..], |run| &run.postings),
            Key::Index(key) => self.secondary(key.of).of(key.hash),
        };
        postings
            .iter()
            .skip(skip as usize)
            .take(count as usize)
            .map(|&posting| self.first + u64::from(posting))
            .collect()
    }

    /// The events by category, or by type.
    pub(crate) fn secondary(&self, of: Secondary) -> &Postings {
        match of {
            Secondary::Category => &self.categories,
            Secondary::EventType => &self.types,
        }
    }

    /// The offset of the record at this place in the segment; the segment's end behind the last.
    pub(crate) fn offset(&self, place: usize) -> Option<u32> {
        self.offsets.get(place).copied()
    }

    /// All offsets.
    pub(crate) fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    /// All runs.
    pub(crate) fn runs(&self) -> impl ExactSizeIterator<Item = (&str, &Run)> {
        self.runs.iter().map(|(name, run)| (&**name, run))
    }
}
