//! One segment file: its header, and reading and writing in it.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use crc32c::crc32c;

use super::chain::ChainEnd;
use super::codec::{array_at, i64_at, u32_at, u64_at};
use super::disk::{Disk, DiskFile};
use super::frame::{Layout, RecordHead};
use crate::error::StoreError;
use crate::event::RecordedEvent;

/// The size of a segment's header, in bytes.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 128;
/// The same in version 1.
const UNCHAINED_HEADER_BYTES: usize = 64;
pub(crate) const SEGMENT_MAGIC: [u8; 8] = *b"VEZALOG\0";
const FORMAT_VERSION: u32 = 3;
/// Without flags.
const VERSION_CHAINED: u32 = 2;
/// Without the chain.
const VERSION_UNCHAINED: u32 = 1;
const CREATED_AT: usize = 24;
const CHAIN_AT: usize = 40;
const FLAGS_AT: usize = 72;
/// Events of the segment were reclaimed.
const FLAG_RECLAIMED: u32 = 2;
const CRC_BYTES: usize = 4;

/// What is wrong when a segment has a reclaimed record and its header does not say so.
pub(crate) const NONE_RECLAIMED: &str = "a record is reclaimed where none is";

/// A segment that is open.
pub(crate) struct Segment {
    /// The position of its first event.
    pub(crate) first: u64,
    /// The name of its file.
    pub(crate) name: String,
    /// How its frames are laid out.
    pub(crate) layout: Layout,
    /// The end of the chain before its first event, where it carries that.
    pub(crate) chain_before: Option<ChainEnd>,
    /// Whether events of it were reclaimed.
    pub(crate) reclaimed: bool,
    file: Arc<dyn DiskFile>,
}

/// What a new segment begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewSegment {
    /// The position of its first event.
    pub(crate) first: u64,
    /// Where its checksums begin.
    pub(crate) salt: u32,
    /// The end of the chain before its first event.
    pub(crate) chain: ChainEnd,
    /// When it was made, in microseconds since 1970.
    pub(crate) created_micros: i64,
    /// Whether events of it were reclaimed.
    pub(crate) reclaimed: bool,
}

impl NewSegment {
    /// Writes its header into its file, durable.
    pub(crate) fn begin(self, file: Arc<dyn DiskFile>) -> Result<Segment, StoreError> {
        const CRC_AT: usize = SEGMENT_HEADER_BYTES - CRC_BYTES;
        let Self { first, salt, chain, created_micros, reclaimed } = self;
        let mut header = [0; SEGMENT_HEADER_BYTES];
        header[..8].copy_from_slice(&SEGMENT_MAGIC);
        header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        header[12..16].copy_from_slice(&(SEGMENT_HEADER_BYTES as u32).to_le_bytes());
        header[16..24].copy_from_slice(&first.to_le_bytes());
        header[CREATED_AT..32].copy_from_slice(&created_micros.to_le_bytes());
        header[32..36].copy_from_slice(&salt.to_le_bytes());
        header[CHAIN_AT..CHAIN_AT + ChainEnd::BYTES].copy_from_slice(chain.as_bytes());
        let flags = if reclaimed { FLAG_RECLAIMED } else { 0 };
        header[FLAGS_AT..FLAGS_AT + 4].copy_from_slice(&flags.to_le_bytes());
        let crc = crc32c(&header[..CRC_AT]);
        header[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        file.write_at(&header, 0)?;
        file.truncate(SEGMENT_HEADER_BYTES as u64)?;
        file.sync()?;
        let layout = Layout { salt, chained: true };
        let (name, chain_before) = (segment_name(first), Some(chain));
        Ok(Segment { first, name, layout, chain_before, reclaimed, file })
    }
}

/// What the header of a segment says.
struct Header {
    layout: Layout,
    chain_before: Option<ChainEnd>,
    reclaimed: bool,
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordPlace {
    /// The position of its event.
    pub(crate) position: u64,
    /// Where it begins in the file.
    pub(crate) offset: u32,
    /// Where it ends at the latest: where the next one begins, or the file ends.
    pub(crate) end: u32,
}

/// The name of the segment file whose first event has this position.
pub(crate) fn segment_name(first: u64) -> String {
    format!("{first:020}.log")
}

/// The name of the index of that segment.
pub(crate) fn index_name(first: u64) -> String {
    format!("{first:020}.idx")
}

impl Segment {
    /// Opens the file of a segment that is not part of the log yet.
    pub(crate) fn new_file(disk: &dyn Disk, first: u64) -> io::Result<Arc<dyn DiskFile>> {
        disk.open(&segment_name(first), true)
    }

    /// Makes a new segment in its file; its header and its name are durable afterwards.
    pub(crate) fn create(
        disk: &dyn Disk,
        file: Arc<dyn DiskFile>,
        first: u64,
        salt: u32,
        chain: ChainEnd,
        created: DateTime<Utc>,
    ) -> Result<Self, StoreError> {
        let created_micros = created.timestamp_micros();
        let new = NewSegment { first, salt, chain, created_micros, reclaimed: false };
        let segment = new.begin(file)?;
        if !cfg!(veza_canary = "skip-folder-sync") {
            disk.sync_folder()?;
        }
        Ok(segment)
    }

    /// Opens a segment and checks its header.
    pub(crate) fn open(disk: &dyn Disk, first: u64) -> Result<Self, StoreError> {
        let name = segment_name(first);
        let file = disk.open(&name, false)?;
        let layout = Layout { salt: 0, chained: false };
        let segment = Self { first, name, layout, chain_before: None, reclaimed: false, file };
        let Header { layout, chain_before, reclaimed } = segment.header()?;
        Ok(Self { layout, chain_before, reclaimed, ..segment })
    }

    /// Checks the header as it is on disk.
    pub(crate) fn check_header(&self) -> Result<(), StoreError> {
        self.header().map(drop)
    }

    fn header(&self) -> Result<Header, StoreError> {
        let length = usize::try_from(self.length()?).unwrap_or(usize::MAX);
        if length < UNCHAINED_HEADER_BYTES {
            return Err(self.corrupt(0, "the header is cut off"));
        }
        let mut header = vec![0; length.min(SEGMENT_HEADER_BYTES)];
        self.file.read_at(&mut header, 0)?;
        if header[..8] != SEGMENT_MAGIC {
            return Err(self.corrupt(0, "this is no segment"));
        }
        let bytes = u32_at(&header, 12) as usize;
        let crc_at = bytes.checked_sub(CRC_BYTES).filter(|_| bytes <= header.len());
        if crc_at.is_none_or(|at| crc32c(&header[..at]) != u32_at(&header, at)) {
            return Err(self.corrupt(0, "the header does not agree with its checksum"));
        }
        let version = u32_at(&header, 8);
        let (chained, flags) = match (version, bytes) {
            (FORMAT_VERSION, SEGMENT_HEADER_BYTES) => (true, u32_at(&header, FLAGS_AT)),
            (VERSION_CHAINED, SEGMENT_HEADER_BYTES) => (true, 0),
            (VERSION_UNCHAINED, UNCHAINED_HEADER_BYTES) => (false, 0),
            _ => {
                let reason = format!(
                    "the format is of version {version}, this build reads up to {FORMAT_VERSION}"
                );
                return Err(self.corrupt(8, &reason));
            }
        };
        if flags & !FLAG_RECLAIMED != 0 {
            let reason = format!("the segment has flags {flags:#x} that this build does not know");
            return Err(self.corrupt(FLAGS_AT as u64, &reason));
        }
        if u64_at(&header, 16) != self.first {
            return Err(self.corrupt(16, "the header and the name disagree"));
        }
        let chain = || ChainEnd::from_bytes(array_at(&header, CHAIN_AT));
        Ok(Header {
            layout: Layout { salt: u32_at(&header, 32), chained },
            chain_before: chained.then(chain),
            reclaimed: flags & FLAG_RECLAIMED != 0,
        })
    }

    /// When it was made, in microseconds since 1970.
    pub(crate) fn created_micros(&self) -> Result<i64, StoreError> {
        let bytes = self.bytes(CREATED_AT as u64, CREATED_AT as u64 + 8)?;
        Ok(i64_at(&bytes, 0))
    }

    /// Where its frames begin.
    pub(crate) fn frames_start(&self) -> u64 {
        if self.layout.chained {
            SEGMENT_HEADER_BYTES as u64
        } else {
            UNCHAINED_HEADER_BYTES as u64
        }
    }

    /// The length of the file, in bytes.
    pub(crate) fn length(&self) -> Result<u64, StoreError> {
        Ok(self.file.length()?)
    }

    /// The file itself, for the writer.
    pub(crate) fn file(&self) -> &Arc<dyn DiskFile> {
        &self.file
    }

    /// Gives the room behind the log's end back. It is room only, so this need not be durable.
    pub(crate) fn give_back(&self, length: u64) -> io::Result<()> {
        if self.file.length()? > length {
            self.file.truncate(length)?;
        }
        Ok(())
    }

    /// The bytes from `start` to `end`.
    pub(crate) fn bytes(&self, start: u64, end: u64) -> Result<Bytes, StoreError> {
        let length = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        match self.file.read_at(&mut bytes, start) {
            Ok(()) => Ok(bytes.into()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.corrupt(start, "the file is shorter than it was"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The events at these places, in their order, without those that were reclaimed. Neighbours
    /// are read in one go.
    pub(crate) fn events(&self, places: &[RecordPlace]) -> Result<Vec<RecordedEvent>, StoreError> {
        let mut events = Vec::with_capacity(places.len());
        let mut rest = places;
        while let Some(first) = rest.first() {
            let run = neighbours(rest);
            let start = first.offset;
            let end = rest[run - 1].end;
            let bytes = self.bytes(u64::from(start), u64::from(end))?;
            for place in &rest[..run] {
                events.extend(self.event(&bytes, start, place)?);
            }
            rest = &rest[run..];
        }
        Ok(events)
    }

    /// When the event at this place was recorded, in microseconds since 1970.
    pub(crate) fn recorded_at_micros(&self, place: &RecordPlace) -> Result<i64, StoreError> {
        let bytes = self.bytes(u64::from(place.offset), u64::from(place.end))?;
        Ok(self.head(&bytes, place)?.recorded_at_micros)
    }

    fn event(
        &self,
        bytes: &Bytes,
        start: u32,
        place: &RecordPlace,
    ) -> Result<Option<RecordedEvent>, StoreError> {
        let from = (place.offset - start) as usize;
        let record = bytes.slice(from..(place.end - start) as usize);
        let head = self.head(&record, place)?;
        let event = (!head.reclaimed).then(|| head.event(&record)).transpose();
        event.map_err(|reason| self.corrupt(u64::from(place.offset), reason))
    }

    fn head(&self, record: &[u8], place: &RecordPlace) -> Result<RecordHead, StoreError> {
        let corrupt = |reason| self.corrupt(u64::from(place.offset), reason);
        let head = RecordHead::check(record, self.layout.salt).map_err(corrupt)?;
        if head.position != place.position {
            return Err(corrupt("another event stands where this one should"));
        }
        if head.reclaimed && !self.reclaimed {
            return Err(corrupt(NONE_RECLAIMED));
        }
        Ok(head)
    }

    /// The error that names this file and an offset in it.
    pub(crate) fn corrupt(&self, offset: u64, reason: &str) -> StoreError {
        StoreError::Corrupt {
            place: format!("{} offset {offset}", self.name).into(),
            reason: reason.into(),
        }
    }
}

/// How many of the places, at least one, are near enough to be read in one go.
fn neighbours(places: &[RecordPlace]) -> usize {
    const GAP_BYTES_MAX: u32 = 8 * 1024;
    1 + places
        .windows(2)
        .take_while(|pair| {
            pair[1].offset >= pair[0].offset
                && pair[1].offset.saturating_sub(pair[0].end) <= GAP_BYTES_MAX
        })
        .count()
}
