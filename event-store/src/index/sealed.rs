//! A sealed segment with its index, which is made again when it turns out to be damaged.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::blocks::Damaged;
use super::file::{Contents, IndexFile};
use super::header::LastRecord;
use super::memory::MemoryIndex;
use super::names::NameKey;
use super::ordinals::Ordinals;
use super::secondary::Secondary;
use super::table::Entry;
use super::{Extent, Key};
use crate::error::StoreError;
use crate::event::EventId;
use crate::limits::RECENT_IDS_MAX;
use crate::log::{
    Disk, RecordPlace, ScannedRecord, Segment, index_name, may_wait, recover_sealed, scan_whole,
    would_wait,
};
use crate::stream::StreamName;

/// How many ids are read from an index in one go.
const IDS_AT_ONCE: usize = 65_536;

/// How many records of a run are looked at for its name where the first is damaged.
const NAMES_LOOKED_FOR: u32 = 16;

/// A segment that never changes again.
pub(crate) struct Sealed {
    pub(crate) segment: Arc<Segment>,
    /// The position of its last event.
    pub(crate) last: u64,
    /// When that was recorded, in microseconds since 1970.
    pub(crate) last_recorded_at_micros: i64,
    length: u64,
    index: RwLock<Arc<Index>>,
    /// Held while the index is written, which two may want at a time.
    writing: Mutex<()>,
    /// Whether the index was missing or damaged and was made again, which no verification has told.
    made_again: AtomicBool,
}

/// How a verification left the index of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mending {
    /// It is as it was written.
    Whole,
    /// It was missing or damaged, and its file was made again.
    Mended,
    /// Its file can't be written: it is in memory only.
    Unwritten,
}

/// What one scan of a segment makes anew: its index, and the ids of its last events with the hashes
/// of their streams.
pub(crate) struct Remade {
    index: MemoryIndex,
    ids: Vec<(EventId, u64)>,
}

impl Remade {
    /// Of a segment that is still to be scanned, in a log with this key.
    pub(crate) fn new(segment: &Segment, names: NameKey) -> Self {
        Self { index: MemoryIndex::new(segment.first, names), ids: Vec::new() }
    }

    /// Adds the next event, as the scan came across it.
    pub(crate) fn add(&mut self, record: ScannedRecord<'_>) {
        self.index.add_scanned(record);
        if self.ids.len() == 2 * RECENT_IDS_MAX {
            self.ids.drain(..RECENT_IDS_MAX);
        }
        self.ids.push(id_and_stream(&record, self.index.names()));
    }

    /// The index, and as many of the last ids as anybody asks for.
    fn parts(self) -> (MemoryIndex, Vec<(EventId, u64)>) {
        let Self { index, mut ids } = self;
        ids.drain(..ids.len().saturating_sub(RECENT_IDS_MAX));
        (index, ids)
    }
}

/// The id of an event and the hash of its stream; nothing that is asked for when it was reclaimed.
fn id_and_stream(record: &ScannedRecord<'_>, names: NameKey) -> (EventId, u64) {
    (record.id, if record.head.reclaimed { 0 } else { names.of_stream(record.stream) })
}

enum Index {
    Memory(MemoryIndex),
    File(IndexFile),
}

impl Index {
    fn names(&self) -> NameKey {
        match self {
            Self::Memory(index) => index.names(),
            Self::File(file) => file.names(),
        }
    }
}

/// Why an index gave no answer.
enum Fault {
    Damaged,
    Store(StoreError),
}

impl From<Damaged> for Fault {
    fn from(_: Damaged) -> Self {
        Self::Damaged
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Sealed {
    /// Opens a sealed segment that comes behind these, in a log with this key; reads it only when
    /// its index is missing or does not fit.
    pub(crate) fn open(
        disk: &dyn Disk,
        segment: Arc<Segment>,
        older: &[Arc<Self>],
        names: NameKey,
    ) -> Result<Self, StoreError> {
        let length = segment.length()?;
        match IndexFile::open(disk, &segment, length) {
            Ok(index) if index.names() == names => {
                Ok(Self::with(segment, length, Index::File(index)))
            }
            Ok(_) | Err(Damaged) => {
                let mut remade = Remade::new(&segment, names);
                let length = recover_sealed(&segment, |record| remade.add(record))?;
                let sealed = Self::scanned(disk, segment, length, remade, older);
                sealed.made_again.store(true, Ordering::Relaxed);
                Ok(sealed)
            }
        }
    }

    /// A segment of this length that comes behind these, whose index a scan has just made; it is
    /// written into its file.
    pub(crate) fn scanned(
        disk: &dyn Disk,
        segment: Arc<Segment>,
        length: u64,
        remade: Remade,
        older: &[Arc<Self>],
    ) -> Self {
        let (index, ids) = remade.parts();
        let sealed = Self::new(segment, length, index);
        sealed.write_index_with(disk, older, &ids);
        sealed
    }

    /// A segment whose index is in memory still.
    pub(crate) fn new(segment: Arc<Segment>, length: u64, index: MemoryIndex) -> Self {
        Self::with(segment, length, Index::Memory(index))
    }

    /// Puts the index of this segment, which comes behind these, into its file and lets go of the
    /// one in memory. Where the file can't be written the index stays in memory, and the next
    /// opening tries again.
    pub(crate) fn write_index(&self, disk: &dyn Disk, older: &[Arc<Self>]) {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_indexed() {
            return;
        }
        let from = (self.last + 1).saturating_sub(RECENT_IDS_MAX as u64);
        let mut ids = Vec::new();
        match self.visit_ids(from, |id, hash, _| ids.push((id, hash))) {
            Ok(()) => self.write_index_with(disk, older, &ids),
            Err(error) => self.unwritten(&error),
        }
    }

    fn write_index_with(&self, disk: &dyn Disk, older: &[Arc<Self>], ids: &[(EventId, u64)]) {
        let held = self.index();
        let Index::Memory(index) = &*held else {
            return;
        };
        let written = Ordinals::behind(older, index).and_then(|ordinals| {
            let last = self.last_record(index)?;
            let contents = Contents { index, ordinals: &ordinals, ids, last };
            self.segment.give_back(self.length)?;
            Ok(IndexFile::write(disk, &self.segment, self.length, &contents)?)
        });
        if let Err(error) = written {
            self.unwritten(&error);
        } else if let Ok(file) = IndexFile::open(disk, &self.segment, self.length) {
            self.set_index(Index::File(file));
        }
    }

    fn last_record(&self, index: &MemoryIndex) -> Result<LastRecord, StoreError> {
        let offset = index.offsets().last().expect("an empty segment is not sealed");
        Ok(LastRecord::at(&self.segment, *offset)?)
    }

    fn unwritten(&self, error: &dyn Error) {
        let segment = &*self.segment.name;
        tracing::warn!(segment, %error, "can't write the index of a segment");
    }

    /// Compares the index of this segment, which comes behind these, with what a scan of it has
    /// just made, and puts that in the place of a damaged one. One that is in memory only is
    /// written.
    pub(crate) fn mend_index(
        &self,
        disk: &dyn Disk,
        older: &[Arc<Self>],
        remade: Remade,
    ) -> Result<Mending, StoreError> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let (index, ids) = remade.parts();
        let agrees = match &*self.index() {
            // Its file is yet to be written; one that is there was found damaged by a reader.
            Index::Memory(_) => disk.stamp(&index_name(self.segment.first))?.is_none(),
            Index::File(file) => {
                let ordinals = &Ordinals::behind(older, &index)?;
                let last = self.last_record(&index)?;
                let contents = Contents { index: &index, ordinals, ids: &ids, last };
                file.agrees_with(&self.segment, self.length, &contents)
            }
        };
        if !agrees {
            self.set_index(Index::Memory(index));
        }
        // The file is by now that of the one which took its place, if any has.
        let is_replaced = self.segment.is_replaced(disk)?;
        if !is_replaced {
            self.write_index_with(disk, older, &ids);
        }
        let made_again = self.made_again.swap(false, Ordering::Relaxed);
        Ok(match made_again || !agrees {
            _ if !is_replaced && !self.is_indexed() => Mending::Unwritten,
            true => Mending::Mended,
            false => Mending::Whole,
        })
    }

    fn with(segment: Arc<Segment>, length: u64, index: Index) -> Self {
        let (events, last_recorded_at_micros) = match &index {
            Index::Memory(index) => (index.events(), index.last_recorded_at_micros()),
            Index::File(index) => (index.events(), index.last_recorded_at_micros()),
        };
        Self {
            last: (segment.first + events as u64).saturating_sub(1),
            segment,
            last_recorded_at_micros,
            length,
            index: RwLock::new(Arc::new(index)),
            writing: Mutex::new(()),
            made_again: AtomicBool::new(false),
        }
    }

    /// The length of the segment, in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The run of a key's events.
    pub(crate) fn find(&self, key: Key<'_>) -> Result<Option<Extent>, StoreError> {
        if !self.may_have(key) {
            return Ok(None);
        }
        self.ask(|index| match index {
            Index::Memory(index) => Ok(index.find(key)),
            Index::File(file) => self.find_in(file, key),
        })
    }

    /// The runs of these categories or types, whose hashes rise.
    pub(crate) fn find_each(
        &self,
        of: Secondary,
        hashes: &[u64],
    ) -> Result<Vec<Option<Extent>>, StoreError> {
        self.ask(|index| match index {
            Index::Memory(index) => {
                Ok(hashes.iter().map(|&hash| index.secondary(of).find(hash)).collect())
            }
            Index::File(file) => Ok(file.secondary(of).find_each(hashes)?),
        })
    }

    /// The positions of the events of a run, some skipped; with a tombstone where there is one.
    /// Without the first of them where they were reclaimed since the run was found.
    pub(crate) fn positions(
        &self,
        key: Key<'_>,
        extent: &Extent,
        skip: u32,
        count: u32,
    ) -> Result<Vec<u64>, StoreError> {
        self.ask(|index| {
            // What was found in memory may be in the file by now, and what was found in the file
            // of a segment that was written anew is elsewhere in that of the new one.
            let found = match index {
                Index::File(file) if file.has(extent) => {
                    return Ok(file.positions(key, extent, skip, count)?);
                }
                Index::File(file) => self.find_in(file, key)?,
                Index::Memory(index) => index.find(key),
            };
            let Some(found) = found else {
                return Ok(Vec::new());
            };
            let gone = match key {
                Key::Stream(_) => extent.gone_from(&found),
                // These count what was reclaimed.
                Key::Index(_) => 0,
            };
            let (from, behind) = (skip.max(gone), skip.saturating_add(count));
            let (skip, count) = (from - gone, behind.saturating_sub(from));
            match index {
                Index::File(file) => Ok(file.positions(key, &found, skip, count)?),
                Index::Memory(index) => Ok(index.positions(key, skip, count)),
            }
        })
    }

    /// The streams that it has events of, from this place among them on, each with its run; fewer
    /// where there are no more. They are meant to be had of its file: in memory, where the index is
    /// when a block of the file was found damaged, all are put in their order each time.
    pub(crate) fn streams(
        &self,
        from: usize,
        count: usize,
    ) -> Result<Vec<(StreamName, Extent)>, StoreError> {
        self.ask(|index| {
            let file = match index {
                Index::File(file) => file,
                Index::Memory(index) => {
                    let asked = index.sorted_streams().into_iter().skip(from).take(count);
                    let named = |(_, number)| (index.stream(number), index.extent(number));
                    return Ok(asked.map(named).collect());
                }
            };
            let named = |entry: Entry| Ok((self.stream_of(file, &entry)?, entry.extent));
            file.streams(from, count)?.into_iter().map(named).collect()
        })
    }

    /// Whether its index is in its file.
    pub(crate) fn is_indexed(&self) -> bool {
        matches!(&*self.index(), Index::File(_))
    }

    /// The places of so many records from this position on; fewer where the segment ends.
    pub(crate) fn places(&self, from: u64, count: usize) -> Result<Vec<RecordPlace>, StoreError> {
        let skip = usize::try_from(from - self.segment.first).unwrap_or(usize::MAX);
        let offsets = self.ask(|index| match index {
            Index::Memory(index) => {
                Ok((skip..=skip + count).map_while(|place| index.offset(place)).collect())
            }
            Index::File(file) => Ok(file.offsets(skip, count + 1)?),
        })?;
        Ok(places(from, count, &offsets, self.length))
    }

    /// Whether the ids of all its events from this position on can be had without reading it.
    pub(crate) fn has_ids(&self, from: u64) -> bool {
        match &*self.index() {
            Index::Memory(_) => false,
            Index::File(file) => file.has_ids(from.max(self.segment.first)),
        }
    }

    /// Visits the ids of its events from this position on, each with the hash of its stream and its
    /// position.
    pub(crate) fn visit_ids(
        &self,
        from: u64,
        mut visit: impl FnMut(EventId, u64, u64),
    ) -> Result<(), StoreError> {
        let mut next = from.max(self.segment.first);
        let index = self.index();
        if let Index::File(file) = &*index {
            while next <= self.last && file.has_ids(next) {
                let Ok(ids) = file.ids(next, IDS_AT_ONCE) else {
                    self.make_again(&index)?;
                    break;
                };
                for (id, hash) in ids {
                    visit(id, hash, next);
                    next += 1;
                }
            }
        }
        if next > self.last {
            return Ok(());
        }
        let names = index.names();
        scan_whole(&self.segment, self.length, |record| {
            if record.position >= next {
                let (id, hash) = id_and_stream(&record, names);
                visit(id, hash, record.position);
            }
        })
    }

    fn find_in(&self, file: &IndexFile, key: Key<'_>) -> Result<Option<Extent>, Fault> {
        let stream = match key {
            Key::Stream(stream) => stream,
            Key::Index(key) => {
                let found = file.secondary(key.of).find(key.hash)?.pop();
                return Ok(found.map(|entry| entry.extent));
            }
        };
        for entry in file.candidates(stream.hash)? {
            if self.stream_of(file, &entry)?.as_str() == stream.name {
                return Ok(Some(entry.extent));
            }
        }
        Ok(None)
    }

    /// The stream that a run is of, which its first record tells; where that is damaged, one behind
    /// it does.
    fn stream_of(&self, file: &IndexFile, run: &Entry) -> Result<StreamName, Fault> {
        match self.segment.event_at(run.first_offset, self.length) {
            Err(damage @ StoreError::Corrupt { .. }) => {
                Ok(self.stream_behind(file, run)?.ok_or(damage)?)
            }
            first => Ok(first?.ok_or(Damaged)?.stream),
        }
    }

    fn stream_behind(&self, file: &IndexFile, run: &Entry) -> Result<Option<StreamName>, Fault> {
        for position in file.positions_of_stream(&run.extent, 1, NAMES_LOOKED_FOR)? {
            let place = usize::try_from(position - self.segment.first).unwrap_or(usize::MAX);
            let offset = *file.offsets(place, 1)?.first().ok_or(Damaged)?;
            if let Ok(Some(event)) = self.segment.event_at(offset, self.length) {
                return Ok(Some(event.stream));
            }
        }
        Ok(None)
    }

    /// Asks the index, and once more after making it again should it be damaged.
    fn ask<T>(&self, ask: impl Fn(&Index) -> Result<T, Fault>) -> Result<T, StoreError> {
        let asked = self.index();
        match ask(&asked) {
            Ok(answer) => return Ok(answer),
            Err(Fault::Store(error)) => return Err(error),
            // It may only be that the disk would have to be waited for.
            Err(Fault::Damaged) if !may_wait() => return Err(would_wait().into()),
            Err(Fault::Damaged) => {}
        }
        self.make_again(&asked)?;
        ask(&self.index()).map_err(|fault| match fault {
            Fault::Store(error) => error,
            Fault::Damaged => self.segment.corrupt(0, "the index can't be made again"),
        })
    }

    /// Puts an index in memory in the place of this one, which is damaged. Who else has met the
    /// damage waits for that, so the segment is read once.
    fn make_again(&self, damaged: &Arc<Index>) -> Result<(), StoreError> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&self.index(), damaged) {
            return Ok(());
        }
        let segment = &*self.segment.name;
        tracing::error!(segment, "the index of a segment is damaged, and is made again");
        metrics::counter!("veza_event_store_indexes_remade_total").increment(1);
        let index = index_again(&self.segment, self.length, damaged.names())?;
        self.set_index(Index::Memory(index));
        self.made_again.store(true, Ordering::Relaxed);
        self.segment.index_remade();
        Ok(())
    }

    fn may_have(&self, key: Key<'_>) -> bool {
        match &**self.index.read().unwrap_or_else(PoisonError::into_inner) {
            Index::Memory(_) => true,
            Index::File(file) => file.may_have(key),
        }
    }

    fn index(&self) -> Arc<Index> {
        Arc::clone(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_index(&self, index: Index) {
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(index);
    }
}

fn index_again(segment: &Segment, length: u64, names: NameKey) -> Result<MemoryIndex, StoreError> {
    let mut index = MemoryIndex::new(segment.first, names);
    segment.told(scan_whole(segment, length, |record| index.add_scanned(record)))?;
    Ok(index)
}

/// The places of records, from their offsets and that of the one behind them or the file's end.
pub(crate) fn places(from: u64, count: usize, offsets: &[u32], length: u64) -> Vec<RecordPlace> {
    let file_end = u32::try_from(length).unwrap_or(u32::MAX);
    (from..)
        .zip(offsets.iter().take(count))
        .enumerate()
        .map(|(at, (position, &offset))| {
            let end = offsets.get(at + 1).copied().unwrap_or(file_end);
            RecordPlace { position, offset, end }
        })
        .collect()
}
