//! The index of a sealed segment as a file, searched without reading it whole.

use std::io;
use std::sync::Arc;

use uuid::Uuid;

use super::blocks::{Damaged, blocks_bytes, into_blocks, read_payload};
use super::bloom::Bloom;
use super::memory::{MemoryIndex, TOMBSTONE_REVISION};
use super::{Extent, stream_hash};
use crate::event::EventId;
use crate::log::{Disk, DiskFile, Segment, array_at, index_name, u32_at, u64_at};

const MAGIC: [u8; 8] = *b"VEZAIDX\0";
const VERSION: u32 = 3;
/// Ends before the ids.
const VERSION_WITHOUT_IDS: u32 = 2;
/// Ends before the filter.
const VERSION_WITHOUT_FILTER: u32 = 1;
const HEADER_BYTES: usize = 48;
const OFFSET_BYTES: usize = 4;
const STREAM_BYTES: usize = 32;
/// How many ids there are, and zeros.
const IDS_HEADER_BYTES: usize = 8;
/// An event's id and the hash of its stream.
const ID_BYTES: usize = 24;
const FLAG_TOMBSTONE: u32 = 1;

/// An index file that is open.
pub(crate) struct IndexFile {
    file: Arc<dyn DiskFile>,
    first: u64,
    /// The length of the segment.
    segment_bytes: u64,
    /// Where the payload ends, of which older versions have less.
    end: usize,
    events: usize,
    streams: usize,
    last_recorded_at_micros: i64,
    filter: Bloom,
    /// The ids of its last events: where they begin, and how many they are.
    ids: (usize, usize),
}

impl IndexFile {
    /// Writes the index of a sealed segment; durable under its name afterwards.
    pub(crate) fn write(
        disk: &dyn Disk,
        segment: &Segment,
        length: u64,
        index: &MemoryIndex,
        ids: &[(EventId, u64)],
    ) -> io::Result<()> {
        let name = index_name(segment.first);
        let temporary = format!("{name}.tmp");
        let blocks = into_blocks(&payload(segment, length, index, ids));
        let file = disk.open(&temporary, true)?;
        file.truncate(0)?;
        file.write_at(&blocks, 0)?;
        file.sync()?;
        disk.rename(&temporary, &name)?;
        disk.sync_folder()
    }

    /// Opens the index of a segment, if there is one that fits it.
    pub(crate) fn open(disk: &dyn Disk, segment: &Segment, length: u64) -> Result<Self, Damaged> {
        let file = disk.open(&index_name(segment.first), false).map_err(|_| Damaged)?;
        let header = read_payload(&*file, 0, HEADER_BYTES)?;
        let version = u32_at(&header, 8);
        let fits = header[..8] == MAGIC
            && [VERSION, VERSION_WITHOUT_IDS, VERSION_WITHOUT_FILTER].contains(&version)
            && u32_at(&header, 12) == segment.layout.salt
            && u64_at(&header, 16) == segment.first
            && u64_at(&header, 32) == length;
        let mut index = Self {
            file,
            first: segment.first,
            segment_bytes: length,
            end: 0,
            events: u32_at(&header, 24) as usize,
            streams: u32_at(&header, 28) as usize,
            last_recorded_at_micros: u64_at(&header, 40).cast_signed(),
            filter: Bloom::default(),
            ids: (0, 0),
        };
        let filter_at = index.postings_at(index.events);
        let has_filter = version != VERSION_WITHOUT_FILTER;
        let filter_bytes = if has_filter { Bloom::bytes_for(index.streams) } else { 0 };
        let ids_at = filter_at + filter_bytes;
        index.end = match version {
            VERSION if fits => {
                let header = read_payload(&*index.file, ids_at, IDS_HEADER_BYTES)?;
                index.ids = (ids_at + IDS_HEADER_BYTES, u32_at(&header, 0) as usize);
                index.ids.0 + index.ids.1 * ID_BYTES
            }
            _ => ids_at,
        };
        let whole = index.file.length().map_err(|_| Damaged)?;
        if !fits || whole != blocks_bytes(index.end) || index.ids.1 > index.events {
            return Err(Damaged);
        }
        index.filter = if has_filter {
            Bloom::from_bytes(&read_payload(&*index.file, filter_at, filter_bytes)?)
        } else {
            Bloom::of(&index.hashes()?)
        };
        Ok(index)
    }

    /// Whether every byte of it is what would be written for this index of its segment.
    pub(crate) fn agrees_with(
        &self,
        segment: &Segment,
        length: u64,
        index: &MemoryIndex,
        ids: &[(EventId, u64)],
    ) -> bool {
        const VERSION_ENDS: usize = 12;
        let mut expected = payload(segment, length, index, ids);
        expected.truncate(self.end);
        let found = read_payload(&*self.file, 0, expected.len());
        found.is_ok_and(|found| found[VERSION_ENDS..] == expected[VERSION_ENDS..])
    }

    /// How many events the segment has.
    pub(crate) fn events(&self) -> usize {
        self.events
    }

    /// When the last event was recorded, in microseconds since 1970.
    pub(crate) fn last_recorded_at_micros(&self) -> i64 {
        self.last_recorded_at_micros
    }

    /// The runs of all streams with this stream's hash; nearly always one or none.
    pub(crate) fn candidates(&self, stream: &str) -> Result<Vec<Extent>, Damaged> {
        let hash = stream_hash(stream);
        if !self.filter.may_have(hash) {
            return Ok(Vec::new());
        }
        let streams = self.streams - usize::from(cfg!(veza_canary = "lose-last-index-entry"));
        let (mut low, mut high) = (0, streams);
        while low < high {
            let middle = low.midpoint(high);
            if self.entry(middle)?.0 < hash {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let mut candidates = Vec::new();
        while low < streams {
            let (entry_hash, extent) = self.entry(low)?;
            if entry_hash != hash {
                break;
            }
            candidates.push(extent);
            low += 1;
        }
        Ok(candidates)
    }

    /// The positions of the events of a run, some skipped; with a tombstone where there is one.
    pub(crate) fn positions(
        &self,
        extent: &Extent,
        skip: u32,
        count: u32,
    ) -> Result<Vec<u64>, Damaged> {
        let start = extent.start.ok_or(Damaged)?;
        let all = extent.count + u32::from(extent.tombstone);
        let count = count.min(all.saturating_sub(skip)) as usize;
        let at = self.postings_at((start + skip) as usize);
        let bytes = read_payload(&*self.file, at, count * OFFSET_BYTES)?;
        let postings = (0..count).map(|place| u32_at(&bytes, place * OFFSET_BYTES));
        let position = |posting| self.first + u64::from(posting);
        let in_segment = |posting: u32| (posting as usize) < self.events;
        postings
            .map(|posting| in_segment(posting).then(|| position(posting)).ok_or(Damaged))
            .collect()
    }

    /// The offsets of the records from this place in the segment on; fewer where it ends.
    pub(crate) fn offsets(&self, from: usize, count: usize) -> Result<Vec<u32>, Damaged> {
        let count = count.min(self.events.saturating_sub(from));
        let at = HEADER_BYTES + from * OFFSET_BYTES;
        let bytes = read_payload(&*self.file, at, count * OFFSET_BYTES)?;
        let offsets: Vec<u32> =
            (0..count).map(|place| u32_at(&bytes, place * OFFSET_BYTES)).collect();
        let in_segment = offsets.last().is_none_or(|&last| u64::from(last) < self.segment_bytes);
        let rising = offsets.is_sorted_by(|one, next| one < next);
        (rising && in_segment).then_some(offsets).ok_or(Damaged)
    }

    /// Whether it has the ids of all events from this position on.
    pub(crate) fn has_ids(&self, from: u64) -> bool {
        from >= self.first + (self.events - self.ids.1) as u64
    }

    /// The ids of the events from this position on, which it has, and the hashes of their streams;
    /// fewer where the segment ends.
    pub(crate) fn ids(&self, from: u64, count: usize) -> Result<Vec<(EventId, u64)>, Damaged> {
        let (at, all) = self.ids;
        let first = self.first + (self.events - all) as u64;
        let skip = from.checked_sub(first).and_then(|skip| usize::try_from(skip).ok());
        let skip = skip.filter(|&skip| skip <= all).ok_or(Damaged)?;
        let count = count.min(all - skip);
        let bytes = read_payload(&*self.file, at + skip * ID_BYTES, count * ID_BYTES)?;
        let ids = bytes.chunks_exact(ID_BYTES);
        Ok(ids.map(|id| (EventId(Uuid::from_bytes(array_at(id, 0))), u64_at(id, 16))).collect())
    }

    /// The hashes of all streams.
    fn hashes(&self) -> Result<Vec<u64>, Damaged> {
        let at = HEADER_BYTES + self.events * OFFSET_BYTES;
        let entries = read_payload(&*self.file, at, self.streams * STREAM_BYTES)?;
        Ok(entries.chunks_exact(STREAM_BYTES).map(|entry| u64_at(entry, 0)).collect())
    }

    fn entry(&self, number: usize) -> Result<(u64, Extent), Damaged> {
        let at = HEADER_BYTES + self.events * OFFSET_BYTES + number * STREAM_BYTES;
        let bytes = read_payload(&*self.file, at, STREAM_BYTES)?;
        let (start, count) = (u32_at(&bytes, 16), u32_at(&bytes, 20));
        let (tombstone, first_revision) =
            (u32_at(&bytes, 24) & FLAG_TOMBSTONE != 0, u64_at(&bytes, 8));
        let behind = u64::from(start) + u64::from(count);
        if behind > self.events as u64 || first_revision > TOMBSTONE_REVISION {
            return Err(Damaged);
        }
        let count = count.saturating_sub(u32::from(tombstone));
        let extent = Extent { first_revision, start: Some(start), count, tombstone };
        Ok((u64_at(&bytes, 0), extent))
    }

    fn postings_at(&self, posting: usize) -> usize {
        HEADER_BYTES
            + self.events * OFFSET_BYTES
            + self.streams * STREAM_BYTES
            + posting * OFFSET_BYTES
    }
}

fn payload(segment: &Segment, length: u64, index: &MemoryIndex, ids: &[(EventId, u64)]) -> Vec<u8> {
    let small = |number: usize| u32::try_from(number).expect("a segment is below 4 GiB");
    let mut payload = Vec::new();
    payload.extend_from_slice(&MAGIC);
    payload.extend_from_slice(&VERSION.to_le_bytes());
    payload.extend_from_slice(&segment.layout.salt.to_le_bytes());
    payload.extend_from_slice(&segment.first.to_le_bytes());
    payload.extend_from_slice(&small(index.events()).to_le_bytes());
    payload.extend_from_slice(&small(index.runs().len()).to_le_bytes());
    payload.extend_from_slice(&length.to_le_bytes());
    payload.extend_from_slice(&index.last_recorded_at_micros().to_le_bytes());
    for offset in index.offsets() {
        payload.extend_from_slice(&offset.to_le_bytes());
    }
    let mut runs: Vec<_> = index.runs().map(|(name, run)| (stream_hash(name), name, run)).collect();
    runs.sort_unstable_by_key(|&(hash, name, _)| (hash, name));
    let mut start = 0;
    for (hash, _, run) in &runs {
        payload.extend_from_slice(&hash.to_le_bytes());
        payload.extend_from_slice(&run.first_revision.to_le_bytes());
        payload.extend_from_slice(&small(start).to_le_bytes());
        payload.extend_from_slice(&small(run.postings.len()).to_le_bytes());
        payload.extend_from_slice(&if run.tombstone { FLAG_TOMBSTONE } else { 0 }.to_le_bytes());
        payload.extend_from_slice(&[0; 4]);
        start += run.postings.len();
    }
    for posting in runs.iter().flat_map(|(_, _, run)| &run.postings) {
        payload.extend_from_slice(&posting.to_le_bytes());
    }
    let hashes: Vec<u64> = runs.iter().map(|&(hash, ..)| hash).collect();
    payload.extend_from_slice(&Bloom::of(&hashes).to_bytes());
    payload.extend_from_slice(&small(ids.len()).to_le_bytes());
    payload.extend_from_slice(&[0; 4]);
    for (id, hash) in ids {
        payload.extend_from_slice(id.0.as_bytes());
        payload.extend_from_slice(&hash.to_le_bytes());
    }
    payload
}
