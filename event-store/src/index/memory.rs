//! The index of a segment in memory: that of the active one, and what a file is made from.
//!
//! Streams that are written in turn leave a segment with as many runs as events, so a run is kept
//! small: its name and its postings are in memory that all runs share.

use std::collections::HashSet;

use hashbrown::HashTable;

use super::lists::{List, Lists};
use super::names::{Hashes, NameKey};
use super::secondary::{Postings, Secondary, TABLE_ENTRY_BYTES};
use super::{Extent, Key};
use crate::log::ScannedRecord;
use crate::stream::{Revision, StreamName};

/// The revision of a tombstone.
pub(crate) const TOMBSTONE_REVISION: u64 = Revision::TOMBSTONE.get();

/// Which events a segment holds, and where.
#[derive(Debug)]
pub(crate) struct MemoryIndex {
    first: u64,
    offsets: Vec<u32>,
    runs: Vec<Run>,
    /// The numbers of the runs, found by their names.
    by_name: HashTable<u32>,
    /// What the hashes of names are made with: nobody may choose names for one place of a table.
    keyed: NameKey,
    /// The names of the runs, each behind its length, a `u16`.
    names: Vec<u8>,
    postings: Lists,
    /// The numbers of the runs that end with a tombstone.
    tombstoned: HashSet<u32>,
    categories: Postings,
    types: Postings,
    last_recorded_at_micros: i64,
}

/// The events of one stream, as position minus the segment's first; a tombstone is the last.
#[derive(Debug)]
struct Run {
    first_revision: u64,
    /// Where its name begins.
    name: u32,
    postings: List,
}

impl MemoryIndex {
    /// The index of a segment that begins with this position and is empty, in a log with this key.
    pub(crate) fn new(first: u64, keyed: NameKey) -> Self {
        Self {
            first,
            offsets: Vec::new(),
            runs: Vec::new(),
            by_name: HashTable::new(),
            keyed,
            names: Vec::new(),
            postings: Lists::default(),
            tombstoned: HashSet::new(),
            categories: Postings::default(),
            types: Postings::default(),
            last_recorded_at_micros: i64::MIN,
        }
    }

    /// How much memory it takes, in bytes: about, as what is only set aside costs nothing.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.offsets[..])
            + size_of_val(&self.runs[..])
            + self.by_name.capacity() * (size_of::<u32>() + TABLE_ENTRY_BYTES)
            + self.names.len()
            + self.postings.bytes()
            + self.tombstoned.capacity() * (size_of::<u32>() + TABLE_ENTRY_BYTES)
            + self.categories.bytes()
            + self.types.bytes()
    }

    /// What its hashes are made with.
    pub(crate) fn names(&self) -> NameKey {
        self.keyed
    }

    /// Adds the next event, whose hashes are made with the same key.
    pub(crate) fn add(
        &mut self,
        stream: &str,
        revision: u64,
        hashes: Hashes,
        offset: u32,
        at_micros: i64,
    ) {
        let posting = self.place(hashes, offset, at_micros);
        let number = match self.number(stream, hashes.stream) {
            Some(number) => {
                let run = &mut self.runs[number as usize];
                self.postings.push(&mut run.postings, posting);
                number
            }
            None => self.begin(stream, hashes.stream, revision, posting),
        };
        if revision == TOMBSTONE_REVISION {
            self.tombstoned.insert(number);
        }
    }

    /// Adds the next event, as a scan of its segment came across it. One that was reclaimed is of
    /// no stream any more.
    pub(crate) fn add_scanned(&mut self, record: ScannedRecord<'_>) {
        let at_micros = record.recorded_at_micros;
        let hashes = self.keyed.of(record.stream, record.kinds());
        if record.head.reclaimed {
            self.place(hashes, record.offset, at_micros);
        } else {
            self.add(record.stream, record.revision, hashes, record.offset, at_micros);
        }
    }

    /// Adds the next event, but not to its stream.
    fn place(&mut self, hashes: Hashes, offset: u32, at_micros: i64) -> u32 {
        let posting = small(self.offsets.len());
        self.offsets.push(offset);
        self.last_recorded_at_micros = at_micros;
        for key in hashes.keys() {
            match key.of {
                Secondary::Category => self.categories.add(key.hash, posting),
                Secondary::EventType => self.types.add(key.hash, posting),
            }
        }
        posting
    }

    /// Begins the run of a stream that has none; returns its number.
    fn begin(&mut self, stream: &str, hash: u64, first_revision: u64, posting: u32) -> u32 {
        let number = small(self.runs.len());
        let name = small(self.names.len());
        let length = u16::try_from(stream.len()).expect("a record has 16 bits for it");
        self.names.extend_from_slice(&length.to_le_bytes());
        self.names.extend_from_slice(stream.as_bytes());
        self.runs.push(Run { first_revision, name, postings: List::of(posting) });
        let (runs, names, keyed) = (&self.runs, &self.names, &self.keyed);
        let hash_of = |&number: &u32| keyed.hash(name_at(names, runs[number as usize].name));
        self.by_name.insert_unique(hash, number, hash_of);
        number
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
        match key {
            Key::Index(key) => self.secondary(key.of).find(key.hash),
            Key::Stream(stream) => Some(self.extent(self.number(stream.name, stream.hash)?)),
        }
    }

    /// The positions of a key's events, some skipped.
    pub(crate) fn positions(&self, key: Key<'_>, skip: u32, count: u32) -> Vec<u64> {
        let placed = |posting| self.first + u64::from(posting);
        let count = count as usize;
        match key {
            Key::Index(key) => {
                self.secondary(key.of).of(key.hash, skip).take(count).map(placed).collect()
            }
            Key::Stream(stream) => match self.number(stream.name, stream.hash) {
                Some(number) => self.postings(number, skip).take(count).map(placed).collect(),
                None => Vec::new(),
            },
        }
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

    /// The hashes and numbers of all streams, in the order of a file: by hash, then by name.
    pub(crate) fn sorted_streams(&self) -> Vec<(u64, u32)> {
        let mut streams: Vec<(u64, u32)> =
            (0..small(self.runs.len())).map(|number| (self.hash_of(number), number)).collect();
        streams.sort_unstable_by(|(hash, number), (other_hash, other)| {
            hash.cmp(other_hash).then_with(|| self.name(*number).cmp(self.name(*other)))
        });
        streams
    }

    /// The name of the stream with this number.
    pub(crate) fn stream(&self, number: u32) -> StreamName {
        let name = str::from_utf8(self.name(number)).expect("it was a text");
        StreamName::recorded(name)
    }

    /// The run of the stream with this number.
    pub(crate) fn extent(&self, number: u32) -> Extent {
        let run = &self.runs[number as usize];
        let tombstone = self.tombstoned.contains(&number);
        let count = run.postings.count() - u32::from(tombstone);
        Extent { first: run.first_revision, count, tombstone, start: None }
    }

    /// The postings of the stream with this number, some skipped; with a tombstone.
    pub(crate) fn postings(&self, number: u32, skip: u32) -> impl Iterator<Item = u32> {
        self.postings.numbers(&self.runs[number as usize].postings, skip)
    }

    fn number(&self, stream: &str, hash: u64) -> Option<u32> {
        self.by_name.find(hash, |&number| self.name(number) == stream.as_bytes()).copied()
    }

    fn hash_of(&self, number: u32) -> u64 {
        self.keyed.hash(self.name(number))
    }

    fn name(&self, number: u32) -> &[u8] {
        name_at(&self.names, self.runs[number as usize].name)
    }
}

/// The name that begins at this place.
fn name_at(names: &[u8], at: u32) -> &[u8] {
    let (length, name) = names[at as usize..].split_at(size_of::<u16>());
    &name[..u16::from_le_bytes([length[0], length[1]]) as usize]
}

/// A number of what is in a segment.
fn small(number: usize) -> u32 {
    u32::try_from(number).expect("a segment is below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::names::tests::KEY;
    use crate::limits::STREAM_NAME_BYTES_MAX;
    use crate::log::Kinds;

    /// Given streams that are written in turn, of each one event or a few, then each is found, and
    /// takes little memory.
    #[test]
    fn streams_in_turn_take_little_memory() {
        const STREAMS: u64 = 50_000;
        let kinds = Kinds { category: 1, event_type: 2 };
        let named = |number: u64| format!("track-{number}");
        let mut index = MemoryIndex::new(1, KEY);
        for (turn, bytes_max) in [(0, 65), (1, 100), (2, 115)] {
            for number in 0..STREAMS {
                let offset = u32::try_from(turn * STREAMS + number).unwrap();
                let name = named(number);
                index.add(&name, turn, KEY.of(&name, kinds), offset, 0);
            }
            let bytes = index.bytes() as u64 / STREAMS;
            assert!(bytes <= bytes_max, "{bytes} bytes for a stream of {} events", turn + 1);
        }
        for number in (0..STREAMS).step_by(997) {
            let name = named(number);
            let extent = index.find(Key::stream(KEY, &name)).unwrap();
            assert_eq!((extent.first, extent.count, extent.tombstone), (0, 3, false), "{name}");
            let behind_the_first = index.positions(Key::stream(KEY, &name), 1, 5);
            assert_eq!(behind_the_first, [1 + STREAMS + number, 1 + 2 * STREAMS + number]);
        }
        assert!(index.find(Key::stream(KEY, "track-")).is_none());
    }

    /// Given metadata of the longest stream, then their stream is told by its name.
    #[test]
    fn metadata_of_the_longest_stream_are_told() {
        let name = StreamName::new("s".repeat(STREAM_NAME_BYTES_MAX)).unwrap().metadata_stream();
        let mut index = MemoryIndex::new(1, KEY);
        let hashes = KEY.of(name.as_str(), Kinds { category: 0, event_type: 2 });
        index.add(name.as_str(), 0, hashes, 0, 0);
        assert_eq!(index.stream(0), name);
    }
}
