//! The index of a sealed segment as a file, searched without reading it whole.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use uuid::Uuid;

use super::blocks::{Blocks, Damaged, Pieces, blocks_bytes};
use super::header::{HEADER_BYTES, Header, LastRecord};
use super::memory::MemoryIndex;
use super::names::NameKey;
use super::ordinals::Ordinals;
use super::secondary::Secondary;
use super::table::{Entry, Table};
use super::{Extent, Key};
use crate::event::EventId;
use crate::log::{Disk, Segment, array_at, index_name, u32_at, u64_at, unfinished};

const OFFSET_BYTES: usize = 4;
/// An event's id and the hash of its stream.
const ID_BYTES: usize = 24;

/// An index file that is open.
pub(crate) struct IndexFile {
    blocks: Blocks,
    header: Header,
    streams: Table,
    categories: Table,
    types: Table,
    /// Where the ids of its last events begin.
    ids_at: usize,
}

/// What is in a file.
pub(crate) struct Contents<'a> {
    pub(crate) index: &'a MemoryIndex,
    pub(crate) ordinals: &'a Ordinals,
    /// The ids of its last events, with the hashes of their streams.
    pub(crate) ids: &'a [(EventId, u64)],
    pub(crate) last: LastRecord,
}

impl IndexFile {
    /// Writes the index of a sealed segment; durable under its name afterwards.
    pub(crate) fn write(
        disk: &dyn Disk,
        segment: &Segment,
        length: u64,
        contents: &Contents<'_>,
    ) -> io::Result<()> {
        let name = index_name(segment.first);
        // By the salt: while one is mended, that of a segment written anew may be made.
        let (first, salt) = (segment.first, segment.layout.salt);
        let temporary = unfinished(&format!("{first:020}.{salt:08x}.idx"));
        let file = disk.open(&temporary, true)?;
        file.truncate(0)?;
        let blocks = Blocks::new(Arc::clone(&file), salt, contents.index.names());
        contents.hand_on(segment, length, |at, piece| blocks.write(at, piece))?;
        file.sync()?;
        disk.rename(&temporary, &name)?;
        disk.sync_folder()
    }

    /// Opens the index of a segment, if there is one that fits it.
    pub(crate) fn open(disk: &dyn Disk, segment: &Segment, length: u64) -> Result<Self, Damaged> {
        let file = disk.open(&index_name(segment.first), false).map_err(|_| Damaged)?;
        let (header, blocks) = Header::read(&file)?;
        let [streams, categories, types] = header.tables;
        let table = |at, counts| Table::new(blocks.clone(), header.salt, at, counts);
        let streams = table(HEADER_BYTES + header.events * OFFSET_BYTES, streams);
        let categories = table(streams.end(), categories);
        let types = table(categories.end(), types);
        let ids_at = types.end();
        let whole = blocks.file_bytes().map_err(|_| Damaged)?;
        let is_whole = whole == blocks_bytes(ids_at + header.ids * ID_BYTES);
        if !header.fits(segment, length) || !is_whole || header.ids > header.events {
            return Err(Damaged);
        }
        let mut index = Self { blocks, header, streams, categories, types, ids_at };
        for table in [&mut index.streams, &mut index.categories, &mut index.types] {
            table.load()?;
        }
        Ok(index)
    }

    /// What its hashes are made with.
    pub(crate) fn names(&self) -> NameKey {
        self.header.names
    }

    /// Whether every byte of it is what would be written now.
    pub(crate) fn agrees_with(
        &self,
        segment: &Segment,
        length: u64,
        contents: &Contents<'_>,
    ) -> bool {
        let expected = contents.hand_on(segment, length, |at, piece| {
            let found = self.blocks.read(at, piece.len())?;
            (found == piece).then_some(()).ok_or(Damaged)
        });
        let whole = self.blocks.file_bytes();
        expected.is_ok_and(|expected| whole.is_ok_and(|whole| whole == blocks_bytes(expected)))
    }

    /// How many events the segment has.
    pub(crate) fn events(&self) -> usize {
        self.header.events
    }

    /// When the last event was recorded, in microseconds since 1970.
    pub(crate) fn last_recorded_at_micros(&self) -> i64 {
        self.header.last_recorded_at_micros
    }

    /// Whether it may have events of a key; a no is certain, and costs no look at the disk.
    pub(crate) fn may_have(&self, key: Key<'_>) -> bool {
        match key {
            Key::Stream(stream) => self.streams.may_have(stream.hash),
            Key::Index(key) => self.secondary(key.of).may_have(key.hash),
        }
    }

    /// The runs of all streams with this hash; nearly always one or none.
    pub(crate) fn candidates(&self, hash: u64) -> Result<Vec<Entry>, Damaged> {
        self.streams.find(hash)
    }

    /// The categories, or the types.
    pub(crate) fn secondary(&self, of: Secondary) -> &Table {
        match of {
            Secondary::Category => &self.categories,
            Secondary::EventType => &self.types,
        }
    }

    /// Whether the run was found here.
    pub(crate) fn has(&self, extent: &Extent) -> bool {
        extent.start.is_some_and(|(salt, _)| salt == self.header.salt)
    }

    /// The runs from this place among the streams on, in the order of their hashes; fewer where
    /// there are no more.
    pub(crate) fn streams(&self, from: usize, count: usize) -> Result<Vec<Entry>, Damaged> {
        self.streams.some(from, count)
    }

    /// The positions of the events of a run, some skipped; with a tombstone where there is one.
    pub(crate) fn positions(
        &self,
        key: Key<'_>,
        extent: &Extent,
        skip: u32,
        count: u32,
    ) -> Result<Vec<u64>, Damaged> {
        match key {
            Key::Stream(_) => self.positions_of_stream(extent, skip, count),
            Key::Index(key) => self.placed(self.secondary(key.of).postings(extent, skip, count)?),
        }
    }

    /// The same of a stream, by its run alone.
    pub(crate) fn positions_of_stream(
        &self,
        extent: &Extent,
        skip: u32,
        count: u32,
    ) -> Result<Vec<u64>, Damaged> {
        self.placed(self.streams.postings(extent, skip, count)?)
    }

    fn placed(&self, postings: Vec<u32>) -> Result<Vec<u64>, Damaged> {
        let in_segment = postings.last().is_none_or(|&last| (last as usize) < self.header.events);
        let rising = postings.is_sorted_by(|one, next| one < next);
        let positions = postings.into_iter().map(|posting| self.header.first + u64::from(posting));
        (rising && in_segment).then(|| positions.collect()).ok_or(Damaged)
    }

    /// The offsets of the records from this place in the segment on; fewer where it ends.
    pub(crate) fn offsets(&self, from: usize, count: usize) -> Result<Vec<u32>, Damaged> {
        let count = count.min(self.header.events.saturating_sub(from));
        let at = HEADER_BYTES + from * OFFSET_BYTES;
        let bytes = self.blocks.read(at, count * OFFSET_BYTES)?;
        let offsets: Vec<u32> =
            (0..count).map(|place| u32_at(&bytes, place * OFFSET_BYTES)).collect();
        let in_segment =
            offsets.last().is_none_or(|&last| u64::from(last) < self.header.segment_bytes);
        let rising = offsets.is_sorted_by(|one, next| one < next);
        (rising && in_segment).then_some(offsets).ok_or(Damaged)
    }

    /// The position of the last event whose id is in this part of the payload, in whole or in part.
    pub(super) fn last_id_in(&self, part: Range<usize>) -> Option<u64> {
        let (at, all) = (self.ids_at, self.header.ids);
        let end = part.end.min(at + all * ID_BYTES);
        let behind = end.checked_sub(at).filter(|&behind| behind > 0)?;
        let number = self.header.events - all + (behind - 1) / ID_BYTES;
        (part.start < end).then_some(self.header.first + number as u64)
    }

    /// Whether it has the ids of all events from this position on.
    pub(crate) fn has_ids(&self, from: u64) -> bool {
        from >= self.first_with_id()
    }

    /// The position of the first event whose id it has.
    fn first_with_id(&self) -> u64 {
        self.header.first + (self.header.events - self.header.ids) as u64
    }

    /// The ids of the events from this position on, which it has, and the hashes of their streams;
    /// fewer where the segment ends.
    pub(crate) fn ids(&self, from: u64, count: usize) -> Result<Vec<(EventId, u64)>, Damaged> {
        let (at, all) = (self.ids_at, self.header.ids);
        let skip =
            from.checked_sub(self.first_with_id()).and_then(|skip| usize::try_from(skip).ok());
        let skip = skip.filter(|&skip| skip <= all).ok_or(Damaged)?;
        let count = count.min(all - skip);
        let bytes = self.blocks.read(at + skip * ID_BYTES, count * ID_BYTES)?;
        let ids = bytes.chunks_exact(ID_BYTES);
        Ok(ids.map(|id| (EventId(Uuid::from_bytes(array_at(id, 0))), u64_at(id, 16))).collect())
    }
}

impl Contents<'_> {
    /// Hands the payload on a piece at a time, each with its place; returns the length of all.
    fn hand_on<E>(
        &self,
        segment: &Segment,
        length: u64,
        mut piece: impl FnMut(usize, &[u8]) -> Result<(), E>,
    ) -> Result<usize, E> {
        let index = self.index;
        let streams = index.sorted_streams();
        let mut payload = Pieces::new(&mut piece);
        let of_streams = streams.iter().map(|&(hash, number)| {
            let first = index.postings(number, 0).next();
            let first_offset = first.and_then(|first| index.offset(first as usize));
            let first_offset = first_offset.expect("a run has an event, which has an offset");
            Entry { hash, extent: index.extent(number), first_offset }
        });
        let [categories, types] = Secondary::ALL.map(|of| counts(self.secondary(of)));
        let header = Header {
            salt: segment.layout.salt,
            first: segment.first,
            events: index.events(),
            ids: self.ids.len(),
            segment_bytes: length,
            last_recorded_at_micros: index.last_recorded_at_micros(),
            tables: [counts(of_streams.clone()), categories, types],
            names: index.names(),
            last: self.last,
        };
        header.put(&mut payload)?;
        for offset in index.offsets() {
            payload.put(&offset.to_le_bytes())?;
        }
        let postings = streams.iter().flat_map(|&(_, number)| index.postings(number, 0));
        Table::write(of_streams, postings, &mut payload)?;
        for of in Secondary::ALL {
            let hashes = self.ordinals.of(of).iter().map(|&(hash, _)| hash);
            let postings = hashes.flat_map(|hash| index.secondary(of).of(hash, 0));
            Table::write(self.secondary(of), postings, &mut payload)?;
        }
        for (id, hash) in self.ids {
            payload.put(id.0.as_bytes())?;
            payload.put(&hash.to_le_bytes())?;
        }
        payload.end()
    }

    fn secondary(&self, of: Secondary) -> impl Iterator<Item = Entry> + Clone {
        let postings = self.index.secondary(of);
        self.ordinals.of(of).iter().filter_map(|&(hash, first)| {
            let extent = Extent { first, ..postings.find(hash)? };
            Some(Entry { hash, extent, first_offset: 0 })
        })
    }
}

/// How many runs a table has, and how many postings they have together.
fn counts(entries: impl Iterator<Item = Entry>) -> (usize, usize) {
    entries.fold((0, 0), |(runs, postings), entry| {
        (runs + 1, postings + entry.extent.postings() as usize)
    })
}
