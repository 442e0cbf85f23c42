//! One segment file: its header, and reading and writing in it.

use std::io;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::at_once::read_at;
use super::chain::ChainEnd;
use super::data_key::{ChainPlace, DataKey};
use super::disk::{Disk, DiskFile};
use super::findings::Findings;
use super::frame::{Layout, RecordHead};
use super::header::{HeaderError, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::key_file::{KeyError, KeyOf};
use super::segment_keys::SegmentKeys;
use crate::error::StoreError;
use crate::event::RecordedEvent;

/// What is wrong when a segment has a reclaimed record and its header does not say so.
pub(crate) const NONE_RECLAIMED: &str = "a record is reclaimed where none is";

/// A segment that is open.
pub(crate) struct Segment {
    /// The position of its first event.
    pub(crate) first: u64,
    /// The name of its file.
    pub(crate) name: String,
    /// How its frames are laid out.
    pub(crate) layout: Arc<Layout>,
    /// The end of the chain before its first event, where it carries that.
    pub(crate) chain_before: Option<ChainEnd>,
    frames_start: u64,
    /// Whether events of it were reclaimed.
    pub(crate) reclaimed: bool,
    file: Arc<dyn DiskFile>,
    /// Who keeps what reads of it meet, in a store that serves.
    findings: OnceLock<Arc<Findings>>,
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
    /// The segment in this file, whose header says this and whose key is this.
    pub(crate) fn with(
        header: SegmentHeader,
        key: Option<DataKey>,
        file: Arc<dyn DiskFile>,
    ) -> Self {
        let layout = Layout { salt: header.salt, chained: header.chain_before.is_some(), key };
        let first = header.first;
        let shown = |chain| match &layout.key {
            Some(key) => key.hide(chain, first, ChainPlace::Segment),
            None => chain,
        };
        let chain_before = header.chain_before.map(shown);
        let (name, frames_start) = (segment_name(first), header.bytes() as u64);
        let (layout, reclaimed) = (Arc::new(layout), header.reclaimed);
        let findings = OnceLock::new();
        Self { first, name, layout, chain_before, frames_start, reclaimed, file, findings }
    }

    /// Opens a segment: checks its header, and reads its key where it has one.
    pub(crate) fn open(disk: &dyn Disk, first: u64, keys: &SegmentKeys) -> Result<Self, KeyError> {
        let file = disk.open(&segment_name(first), false).map_err(StoreError::from)?;
        let header = read_header(&*file, first)?;
        let of = KeyOf { first, salt: header.salt };
        let key = header.encrypted.then(|| keys.of(disk, of)).transpose()?;
        Ok(Self::with(header, key, file))
    }

    /// The same beside a store, which may put another segment in its place meanwhile; does this
    /// with it, which may find its key gone.
    pub(crate) fn open_beside<T>(
        disk: &dyn Disk,
        first: u64,
        keys: &SegmentKeys,
        with: impl Fn(Self) -> Result<T, KeyError>,
    ) -> Result<T, KeyError> {
        let mut missed = None;
        loop {
            match Self::open(disk, first, keys).and_then(&with) {
                // The one that took its place has another key.
                Err(KeyError::Missing { file, .. }) if missed.as_ref() != Some(&file) => {
                    missed = Some(file);
                }
                opened => return opened,
            }
        }
    }

    /// Opens a segment whose key is not at hand: its header and its frames can be looked at.
    pub(crate) fn open_locked(disk: &dyn Disk, first: u64) -> Result<Self, StoreError> {
        let file = disk.open(&segment_name(first), false)?;
        Ok(Self::with(read_header(&*file, first)?, None, file))
    }

    /// Checks, as they are on disk, its name, its header and, where it has one, the file with its
    /// key.
    pub(crate) fn check(&self, disk: &dyn Disk, keys: &SegmentKeys) -> Result<(), StoreError> {
        if disk.stamp(&self.name)?.is_none() {
            return Err(self.corrupt(0, "the file is not in the folder any more"));
        }
        let header = read_header(&*self.file, self.first)?;
        if header.salt != self.layout.salt || header.encrypted != self.layout.key.is_some() {
            return Err(self.corrupt(0, "the header is another one than it was"));
        }
        let of = KeyOf { first: self.first, salt: header.salt };
        match header.encrypted.then(|| keys.of(disk, of)) {
            None | Some(Ok(_)) => Ok(()),
            Some(Err(KeyError::Missing { .. })) if self.is_replaced(disk)? => Ok(()),
            Some(Err(KeyError::Store(error))) => Err(error),
            Some(Err(other)) => Err(self.corrupt(0, &other.to_string())),
        }
    }

    /// Whether another segment has taken its place, which was written anew with its own key.
    pub(crate) fn is_replaced(&self, disk: &dyn Disk) -> Result<bool, StoreError> {
        let named = read_header(&*disk.open(&self.name, false)?, self.first)?;
        Ok(named.salt != self.layout.salt)
    }

    /// When it was made, in microseconds since 1970.
    pub(crate) fn created_micros(&self) -> Result<i64, StoreError> {
        Ok(read_header(&*self.file, self.first)?.created_micros)
    }

    /// Its salt, where it has a key.
    pub(crate) fn salt_of_key(&self) -> Option<u32> {
        self.layout.key.as_ref().map(|_| self.layout.salt)
    }

    /// Where its frames begin.
    pub(crate) fn frames_start(&self) -> u64 {
        self.frames_start
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
    pub(crate) fn bytes(&self, start: u64, end: u64) -> Result<Vec<u8>, StoreError> {
        let length = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        match read_at(&*self.file, &mut bytes, start) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.corrupt(start, "the file is shorter than it was"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// From now on damage that reads of it meet is told to these.
    pub(crate) fn tell(&self, findings: &Arc<Findings>) {
        // Whoever is told already is the same.
        let _ = self.findings.set(Arc::clone(findings));
    }

    /// The same as of another segment of the store.
    pub(crate) fn tell_as(&self, other: &Self) {
        other.findings.get().into_iter().for_each(|findings| self.tell(findings));
    }

    /// What a read of it gave; damage that it met is told.
    pub(crate) fn told<T>(&self, read: Result<T, StoreError>) -> Result<T, StoreError> {
        read.inspect_err(|error| self.met(error))
    }

    /// Tells what a read of it met, if that is damage.
    pub(crate) fn met(&self, error: &StoreError) {
        if let (StoreError::Corrupt { .. }, Some(findings)) = (error, self.findings.get()) {
            findings.met(self.first, error);
        }
    }

    /// Its index was damaged and is made again, in memory.
    pub(crate) fn index_remade(&self) {
        self.findings.get().into_iter().for_each(|findings| findings.index_remade(self.first));
    }

    /// The events at these places, in their order, without those that were reclaimed. Neighbours
    /// are read in one go.
    pub(crate) fn events(&self, places: &[RecordPlace]) -> Result<Vec<RecordedEvent>, StoreError> {
        self.told(self.events_at(places))
    }

    fn events_at(&self, places: &[RecordPlace]) -> Result<Vec<RecordedEvent>, StoreError> {
        let mut events = Vec::with_capacity(places.len());
        let mut rest = places;
        while let Some(first) = rest.first() {
            let (run, behind) = rest.split_at(neighbours(rest));
            let start = first.offset;
            let mut bytes = self.bytes(u64::from(start), u64::from(run[run.len() - 1].end))?;
            let mut heads = Vec::with_capacity(run.len());
            for place in run {
                heads.push(self.head(&mut bytes, start, place)?);
            }
            let bytes = Bytes::from(bytes);
            for (place, head) in run.iter().zip(heads).filter(|(_, head)| !head.reclaimed) {
                let record = bytes.slice((place.offset - start) as usize..);
                let corrupt = |reason| self.corrupt(u64::from(place.offset), reason);
                events.push(head.event(&record).map_err(corrupt)?);
            }
            rest = behind;
        }
        Ok(events)
    }

    /// The event whose record begins here, in a segment of this length; none where it was
    /// reclaimed.
    pub(crate) fn event_at(
        &self,
        offset: u32,
        length: u64,
    ) -> Result<Option<RecordedEvent>, StoreError> {
        let record = self.record_at(u64::from(offset), length).and_then(|mut record| {
            let corrupt = |reason| self.corrupt(u64::from(offset), reason);
            let head = RecordHead::open(&mut record, &self.layout).map_err(corrupt)?;
            let event = (!head.reclaimed).then(|| head.event(&Bytes::from(record)));
            event.transpose().map_err(corrupt)
        });
        self.told(record)
    }

    /// The bytes of the record that begins here: read in one go where it is small.
    fn record_at(&self, offset: u64, length: u64) -> Result<Vec<u8>, StoreError> {
        const SMALL_BYTES: u64 = 512;
        let bytes = self.bytes(offset, length.min(offset + SMALL_BYTES))?;
        let end = offset + RecordHead::claimed_length(&bytes).unwrap_or(0);
        if end > length {
            return Err(self.corrupt(offset, "a record's length is not possible"));
        }
        if end > offset + bytes.len() as u64 { self.bytes(offset, end) } else { Ok(bytes) }
    }

    /// When the event at this place was recorded, in microseconds since 1970.
    pub(crate) fn recorded_at_micros(&self, place: &RecordPlace) -> Result<i64, StoreError> {
        let head = self
            .bytes(u64::from(place.offset), u64::from(place.end))
            .and_then(|mut bytes| self.head(&mut bytes, place.offset, place));
        Ok(self.told(head)?.recorded_at_micros)
    }

    /// Checks the record at this place in bytes that begin at `start`, and decrypts it there.
    fn head(
        &self,
        bytes: &mut [u8],
        start: u32,
        place: &RecordPlace,
    ) -> Result<RecordHead, StoreError> {
        let record = &mut bytes[(place.offset - start) as usize..(place.end - start) as usize];
        let corrupt = |reason| self.corrupt(u64::from(place.offset), reason);
        let head = RecordHead::open(record, &self.layout).map_err(corrupt)?;
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
        corrupt_at(self.first, offset, reason)
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

/// The header in the file of the segment that begins with this position.
pub(crate) fn read_header(file: &dyn DiskFile, first: u64) -> Result<SegmentHeader, StoreError> {
    match header_in(file)? {
        Ok(header) if header.first == first => Ok(header),
        Ok(_) => Err(corrupt_at(first, 16, "the header and the name disagree")),
        Err(HeaderError::Damaged(reason)) => Err(corrupt_at(first, 0, reason)),
        Err(HeaderError::Unknown { offset, reason }) => Err(corrupt_at(first, offset, &reason)),
    }
}

/// Whether this is the file of a segment whose header was not written whole, and nothing behind it.
/// One that this build can't read, for its version or its flags, was.
pub(crate) fn is_unborn(file: &dyn DiskFile) -> Result<bool, StoreError> {
    Ok(file.length()? <= SEGMENT_HEADER_BYTES as u64
        && matches!(header_in(file)?, Err(HeaderError::Damaged(_))))
}

fn header_in(file: &dyn DiskFile) -> io::Result<Result<SegmentHeader, HeaderError>> {
    let length = usize::try_from(file.length()?).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length.min(SEGMENT_HEADER_BYTES)];
    file.read_at(&mut bytes, 0)?;
    Ok(SegmentHeader::from_bytes(&bytes))
}

fn corrupt_at(first: u64, offset: u64, reason: &str) -> StoreError {
    StoreError::Corrupt {
        place: format!("{} offset {offset}", segment_name(first)).into(),
        reason: reason.into(),
    }
}
