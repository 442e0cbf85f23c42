//! Opening the store: the lock, recovery, the index, and then the writer.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::audit;
use super::backup::Unfit;
use super::lock::FolderLock;
use super::recent::RecentIds;
use super::sealer::Sealer;
use super::store::{EmbeddedStore, Shared};
use super::writer::Writer;
use crate::encryption::WrappingKeys;
use crate::error::StoreError;
use crate::index::{Catalog, MemoryIndex, NameKey, Sealed, key_of_log};
use crate::limits::{INDEX_BYTES, RECENT_BYTES, RECENT_IDS_MAX, SEGMENT_BYTES, SEGMENT_BYTES_MAX};
use crate::log::{
    ChainEnd, CleanMark, Clock, Disk, Entropy, FOLDER_MODE, Findings, Folder, KeyError, NewSegment,
    NewestMark, Segment, SegmentKeys, SystemClock, SystemEntropy, make_folder, recover_active,
    remove_unfinished, segment_files, segments_on,
};

/// An opening that takes long, for it makes indexes again, tells so often how far it has come.
const TELL_AFTER: Duration = Duration::from_secs(2);

/// Where and how to open an embedded store.
#[derive(Clone)]
pub struct EmbeddedOptions {
    place: Place,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    segment_bytes: u64,
    index_bytes: usize,
    keys: Option<Arc<WrappingKeys>>,
    encrypts: bool,
}

#[derive(Clone)]
enum Place {
    Folder(PathBuf),
    Disk(Arc<dyn Disk>),
}

/// Why a store can't be opened. Each is one line that an operator can act on.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "the event store in {} is open in another process{}",
        path.display(),
        process(*pid, program.as_deref())
    )]
    Locked {
        /// Which folder.
        path: Box<Path>,
        /// Which process, where it is known.
        pid: Option<u32>,
        /// Which program that is, where it is known.
        program: Option<Box<str>>,
    },
    /// The folder can't be made, read or locked.
    #[error("can't use the folder {}", path.display())]
    Folder {
        /// Which folder.
        path: Box<Path>,
        /// What the operating system says.
        source: io::Error,
    },
    /// There is no room for what it begins with.
    #[error("the disk of the folder {} is full", path.display())]
    Full {
        /// Which folder.
        path: Box<Path>,
    },
    /// A setting makes no sense.
    #[error("segments of {asked} bytes are not possible, at most {max} are")]
    SegmentBytes {
        /// What was asked for, in bytes.
        asked: u64,
        /// The largest possible, in bytes.
        max: u64,
    },
    /// There is something else in the folder: a backup, or a restore that was not finished.
    #[error("there is no event store in the folder: {0}")]
    Unfit(Unfit),
    /// A segment is encrypted and its key can't be had.
    #[error(transparent)]
    Key(KeyError),
    /// The log can't be read, or is corrupt.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<KeyError> for OpenError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Store(error) => Self::Store(error),
            error => Self::Key(error),
        }
    }
}

impl OpenError {
    /// The same, naming the folder that it is about where its disk is full.
    pub(crate) fn of_disk(self, disk: &dyn Disk) -> Self {
        match (self, disk.folder()) {
            (Self::Store(StoreError::StorageFull), Some(path)) => Self::Full { path: path.into() },
            (error, _) => error,
        }
    }
}

fn process(pid: Option<u32>, program: Option<&str>) -> String {
    match (pid, program) {
        (Some(pid), Some(program)) => format!(" ({program}, {pid})"),
        (Some(pid), None) => format!(" ({pid})"),
        _ => String::new(),
    }
}

impl EmbeddedOptions {
    /// The store in this folder, which is made if need be.
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self::at(Place::Folder(path.into()))
    }

    /// The store on a disk of one's own, without a lock: for tests.
    pub fn disk(disk: Arc<dyn Disk>) -> Self {
        Self::at(Place::Disk(disk))
    }

    fn at(place: Place) -> Self {
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let (segment_bytes, index_bytes) = (SEGMENT_BYTES, INDEX_BYTES);
        Self { place, clock, entropy, segment_bytes, index_bytes, keys: None, encrypts: false }
    }

    /// The same, with another clock.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// The same, with other salts, keys, nonces and ids: for tests that are to be repeated.
    #[must_use]
    pub fn entropy(self, entropy: Arc<dyn Entropy>) -> Self {
        Self { entropy, ..self }
    }

    /// The same, with segments of about this many bytes.
    #[must_use]
    pub fn segment_bytes(self, segment_bytes: u64) -> Self {
        Self { segment_bytes, ..self }
    }

    /// The same, beginning a segment when the index of the one before takes this many bytes of
    /// memory, too.
    #[must_use]
    pub fn index_bytes(self, index_bytes: usize) -> Self {
        Self { index_bytes, ..self }
    }

    /// The same, encrypted from the next append on: what is in the log stays as it is. Every
    /// segment has a key of its own, which the first of these wraps.
    #[must_use]
    pub fn encryption(self, keys: WrappingKeys) -> Self {
        Self { keys: Some(Arc::new(keys)), encrypts: true, ..self }
    }

    /// The same, able to read what is encrypted; what is appended from now on is not.
    #[must_use]
    pub fn decryption(self, keys: WrappingKeys) -> Self {
        Self { keys: Some(Arc::new(keys)), encrypts: false, ..self }
    }

    /// Opens the store; blocks while it recovers.
    pub(crate) fn open(self) -> Result<EmbeddedStore, OpenError> {
        if self.segment_bytes > SEGMENT_BYTES_MAX {
            let (asked, max) = (self.segment_bytes, SEGMENT_BYTES_MAX);
            return Err(OpenError::SegmentBytes { asked, max });
        }
        let (disk, lock): (Arc<dyn Disk>, _) = match &self.place {
            Place::Folder(path) => {
                make_folder(path, FOLDER_MODE)
                    .map_err(|source| OpenError::Folder { path: path.as_path().into(), source })?;
                let lock = FolderLock::take(path)?;
                (Arc::new(Folder::new(path)), Some(lock))
            }
            Place::Disk(disk) => (Arc::clone(disk), None),
        };
        self.open_on(Arc::clone(&disk), lock).map_err(|error| error.of_disk(&*disk))
    }

    fn open_on(
        self,
        disk: Arc<dyn Disk>,
        lock: Option<FolderLock>,
    ) -> Result<EmbeddedStore, OpenError> {
        if let Some(unfit) = Unfit::of(&disk.list().map_err(StoreError::from)?) {
            return Err(OpenError::Unfit(unfit));
        }
        let keys = SegmentKeys::new(self.keys, self.encrypts, Arc::clone(&self.entropy));
        let Recovered { catalog, recent, torn_bytes, must_roll, newest } =
            recover(&*disk, &*self.clock, &keys)?;
        let newest = NewestMark::open(&*disk, newest, catalog.active().0.first);
        let newest = newest.map_err(StoreError::from)?;
        let findings = Findings::read(Arc::clone(&disk)).map_err(StoreError::from)?;
        let sealed = catalog.sealed();
        findings.keep(|first| sealed.iter().any(|sealed| sealed.segment.first == first));
        let (clock, on) = (Arc::clone(&self.clock), Arc::clone(&disk));
        let shared = Arc::new(Shared::new(catalog, clock, on, keys, findings, newest));
        let sealer = Sealer::start(Arc::clone(&shared)).map_err(StoreError::from)?;
        let (writing, full_at) = (Arc::clone(&shared), (self.segment_bytes, self.index_bytes));
        let writer = Writer::new(disk, sealer, lock, writing, recent, full_at, must_roll);
        Ok(EmbeddedStore::start(shared, writer, torn_bytes)?)
    }
}

/// What was there.
struct Recovered {
    catalog: Catalog,
    recent: RecentIds,
    /// How many bytes were cut that were not written whole.
    torn_bytes: u64,
    /// Whether the next append must go into a new segment.
    must_roll: bool,
    /// The segment that was marked as the newest.
    newest: Option<u64>,
}

/// Reads what is there.
fn recover(disk: &dyn Disk, clock: &dyn Clock, keys: &SegmentKeys) -> Result<Recovered, KeyError> {
    let (clean, newest) = (CleanMark::read(disk)?, NewestMark::read(disk)?);
    NewestMark::check(newest, segment_files(disk)?.last().copied())?;
    if clean.is_none() {
        // A process that died may have renamed files and not have made that durable: nothing is
        // removed that those of before need.
        disk.sync_folder()?;
    }
    remove_unfinished(disk)?;
    let mut firsts = segments_on(disk, newest)?;
    let names = key_of_log(disk, &firsts).unwrap_or_else(|| NameKey::new(keys.entropy()));
    let Some(active_first) = firsts.pop() else {
        if let Some(mark) = clean {
            let reason = format!("the segment {} is missing", mark.segment).into();
            return Err(StoreError::Corrupt { place: "the folder".into(), reason }.into());
        }
        let catalog = begun(disk, clock, keys, names, Vec::new(), ChainEnd::START)?;
        let recent = RecentIds::new(RECENT_IDS_MAX);
        return Ok(Recovered { catalog, recent, torn_bytes: 0, must_roll: false, newest });
    };
    let mut sealed = Vec::new();
    let mut next = 1;
    let all = firsts.len();
    let mut told = Instant::now();
    for first in firsts {
        let segment = Arc::new(Segment::open(disk, first, keys)?);
        follows(&segment, next)?;
        let one = Sealed::open(disk, segment, &sealed, names)?;
        next = one.last + 1;
        sealed.push(Arc::new(one));
        if told.elapsed() >= TELL_AFTER {
            told = Instant::now();
            tracing::info!(done = sealed.len(), all, "opening the segments of the log");
        }
    }
    let active = Arc::new(Segment::open(disk, active_first, keys)?);
    follows(&active, next)?;
    let mut index = MemoryIndex::new(active_first, names);
    let mut recent = remember(&sealed)?;
    let end = recover_active(&active, clean, |record| {
        index.add_scanned(record);
        recent.add(record.id, names.of_stream(record.stream), record.position);
    })?;
    if end.torn_bytes > 0 {
        let (segment, bytes) = (&*active.name, end.torn_bytes);
        tracing::warn!(
            segment,
            bytes,
            "cut what was not written whole at the end of the log; a log that lost more shows only \
             beside an exported head (veza-replay verify --head)"
        );
    }
    CleanMark::remove(disk)?;
    let torn_bytes = end.torn_bytes;
    let (catalog, must_roll) = match end.chain {
        Some(chain) => {
            // What was cut off, now or by a power cut, may have been seen: its key is used no more.
            let must_roll = keys.encrypts() || active.layout.key.is_some();
            (Catalog::new(sealed, active, index, end.length, chain), must_roll)
        }
        None => {
            let last = Sealed::new(active, end.length, index);
            (renewed(disk, clock, keys, names, sealed, last)?, false)
        }
    };
    let segments = catalog.segments();
    let salts = segments.iter().map(|(segment, _)| (segment.first, segment.salt_of_key()));
    SegmentKeys::remove_others(disk, &salts.collect::<Vec<_>>());
    Ok(Recovered { catalog, recent, torn_bytes, must_roll, newest })
}

/// Lets a log that was written before there was a chain go on in a segment that carries one.
fn renewed(
    disk: &dyn Disk,
    clock: &dyn Clock,
    keys: &SegmentKeys,
    names: NameKey,
    mut sealed: Vec<Arc<Sealed>>,
    last: Sealed,
) -> Result<Catalog, StoreError> {
    if last.last >= last.segment.first {
        last.write_index(disk, &sealed);
        sealed.push(Arc::new(last));
    }
    tracing::info!("the log is of an older format; its hash chain is made, which reads all of it");
    let chain = audit::chain_after(sealed.iter().map(|one| (&*one.segment, one.length())))?;
    begun(disk, clock, keys, names, sealed, chain)
}

/// The catalog of a log that goes on in a new segment, behind these.
fn begun(
    disk: &dyn Disk,
    clock: &dyn Clock,
    keys: &SegmentKeys,
    names: NameKey,
    sealed: Vec<Arc<Sealed>>,
    chain: ChainEnd,
) -> Result<Catalog, StoreError> {
    let first = sealed.last().map_or(0, |last| last.last) + 1;
    let segment = NewSegment::open(disk, first, keys)?.create(disk, keys, chain, clock.now())?;
    let length = segment.length()?;
    Ok(Catalog::new(sealed, Arc::new(segment), MemoryIndex::new(first, names), length, chain))
}

fn follows(segment: &Segment, next: u64) -> Result<(), StoreError> {
    if segment.first == next {
        return Ok(());
    }
    let reason = format!("it begins at position {}, not at {next}", segment.first);
    Err(segment.corrupt(0, &reason))
}

/// Reads the ids of the last events of the sealed segments, as many as are remembered: out of the
/// indexes, or, where one could not be written, out of the segment, of which it reads only so many.
fn remember(sealed: &[Arc<Sealed>]) -> Result<RecentIds, StoreError> {
    let mut recent = RecentIds::new(RECENT_IDS_MAX);
    let head = sealed.last().map_or(0, |last| last.last);
    let oldest = (head + 1).saturating_sub(RECENT_IDS_MAX as u64);
    let mut read_bytes = 0;
    let reached = sealed.iter().rev().take_while(|segment| {
        let room = segment.has_ids(oldest) || read_bytes < RECENT_BYTES;
        if !segment.has_ids(oldest) {
            read_bytes += segment.length();
        }
        segment.last >= oldest && room
    });
    let reached = reached.count();
    for segment in &sealed[sealed.len() - reached..] {
        segment.visit_ids(oldest, |id, hash, position| recent.add(id, hash, position))?;
    }
    Ok(recent)
}
