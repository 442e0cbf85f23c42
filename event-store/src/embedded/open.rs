//! Opening the store: the lock, recovery, the index, and then the writer.

use std::fs;
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
use crate::error::StoreError;
use crate::index::{Catalog, MemoryIndex, Sealed, stream_hash};
use crate::limits::{RECENT_BYTES, RECENT_IDS_MAX, SEGMENT_BYTES, SEGMENT_BYTES_MAX};
use crate::log::{
    ChainEnd, CleanMark, Clock, Disk, Folder, Segment, SystemClock, next_segment, recover_active,
    remove_unfinished, segments_on,
};

/// An opening that takes long, for it makes indexes again, tells so often how far it has come.
const TELL_AFTER: Duration = Duration::from_secs(2);

/// Where and how to open an embedded store.
#[derive(Clone)]
pub struct EmbeddedOptions {
    place: Place,
    clock: Arc<dyn Clock>,
    segment_bytes: u64,
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
    #[error("the event store in {} is open in another process{}", path.display(), process(*pid))]
    Locked {
        /// Which folder.
        path: Box<Path>,
        /// Which process, where it is known.
        pid: Option<u32>,
    },
    /// The folder can't be made, read or locked.
    #[error("can't use the folder {}", path.display())]
    Folder {
        /// Which folder.
        path: Box<Path>,
        /// What the operating system says.
        source: io::Error,
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
    /// The log can't be read, or is corrupt.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn process(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" ({pid})")).unwrap_or_default()
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
        Self { place, clock: Arc::new(SystemClock), segment_bytes: SEGMENT_BYTES }
    }

    /// The same, with another clock.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// The same, with segments of about this many bytes.
    #[must_use]
    pub fn segment_bytes(self, segment_bytes: u64) -> Self {
        Self { segment_bytes, ..self }
    }

    /// Opens the store; blocks while it recovers.
    pub(crate) fn open(self) -> Result<EmbeddedStore, OpenError> {
        if self.segment_bytes > SEGMENT_BYTES_MAX {
            let (asked, max) = (self.segment_bytes, SEGMENT_BYTES_MAX);
            return Err(OpenError::SegmentBytes { asked, max });
        }
        let (disk, lock): (Arc<dyn Disk>, _) = match self.place {
            Place::Folder(path) => {
                make_folder(&path)
                    .map_err(|source| OpenError::Folder { path: path.clone().into(), source })?;
                let lock = FolderLock::take(&path)?;
                (Arc::new(Folder::new(path)), Some(lock))
            }
            Place::Disk(disk) => (disk, None),
        };
        if let Some(unfit) = Unfit::of(&disk.list().map_err(StoreError::from)?) {
            return Err(OpenError::Unfit(unfit));
        }
        let Recovered { catalog, recent, torn_bytes } = recover(&*disk, &*self.clock)?;
        let shared = Arc::new(Shared::new(catalog, Arc::clone(&self.clock), Arc::clone(&disk)));
        let sealer = Sealer::start(Arc::clone(&disk)).map_err(StoreError::from)?;
        let writer =
            Writer::new(disk, sealer, lock, Arc::clone(&shared), recent, self.segment_bytes);
        Ok(EmbeddedStore::start(shared, writer, torn_bytes)?)
    }
}

/// Makes the folder and those above it that are missing, and each one's entry durable.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    make_folder(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    fs::File::open(parent)?.sync_all()
}

/// What was there.
struct Recovered {
    catalog: Catalog,
    recent: RecentIds,
    /// How many bytes of a torn write were cut.
    torn_bytes: u64,
}

/// Reads what is there.
fn recover(disk: &dyn Disk, clock: &dyn Clock) -> Result<Recovered, StoreError> {
    let clean = CleanMark::read(disk)?;
    remove_unfinished(disk)?;
    let mut firsts = segments_on(disk)?;
    let Some(active_first) = firsts.pop() else {
        if let Some(mark) = clean {
            return Err(StoreError::Corrupt {
                place: "the folder".into(),
                reason: format!("the segment {} is missing", mark.segment).into(),
            });
        }
        let file = Segment::new_file(disk, 1)?;
        let active = Arc::new(next_segment(disk, file, 1, ChainEnd::START, clock.now())?);
        let (index, length) = (MemoryIndex::new(1), active.length()?);
        let catalog = Catalog::new(Vec::new(), active, index, length, ChainEnd::START);
        return Ok(Recovered { catalog, recent: RecentIds::new(RECENT_IDS_MAX), torn_bytes: 0 });
    };
    let mut sealed = Vec::new();
    let mut next = 1;
    let all = firsts.len();
    let mut told = Instant::now();
    for first in firsts {
        let segment = Arc::new(Segment::open(disk, first)?);
        follows(&segment, next)?;
        let one = Sealed::open(disk, segment, &sealed)?;
        next = one.last + 1;
        sealed.push(Arc::new(one));
        if told.elapsed() >= TELL_AFTER {
            told = Instant::now();
            tracing::info!(done = sealed.len(), all, "opening the segments of the log");
        }
    }
    let active = Arc::new(Segment::open(disk, active_first)?);
    follows(&active, next)?;
    let mut index = MemoryIndex::new(active_first);
    let mut recent = remember(&sealed)?;
    let end = recover_active(&active, clean, |record| {
        index.add_scanned(record);
        recent.add(record.id, stream_hash(record.stream), record.position);
    })?;
    if end.torn_bytes > 0 {
        let (segment, bytes) = (&*active.name, end.torn_bytes);
        tracing::warn!(segment, bytes, "cut a torn write that was never acknowledged");
    }
    CleanMark::remove(disk)?;
    let torn_bytes = end.torn_bytes;
    let catalog = match end.chain {
        Some(chain) => Catalog::new(sealed, active, index, end.length, chain),
        None => renewed(disk, clock, sealed, Sealed::new(active, end.length, index))?,
    };
    Ok(Recovered { catalog, recent, torn_bytes })
}

/// Lets a log that was written before there was a chain go on in a segment that carries one.
fn renewed(
    disk: &dyn Disk,
    clock: &dyn Clock,
    mut sealed: Vec<Arc<Sealed>>,
    last: Sealed,
) -> Result<Catalog, StoreError> {
    let next = last.last + 1;
    if last.last >= last.segment.first {
        last.write_index(disk, &sealed);
        sealed.push(Arc::new(last));
    }
    tracing::info!("the log is of an older format; its hash chain is made, which reads all of it");
    let chain = audit::chain_after(sealed.iter().map(|one| (&*one.segment, one.length())))?;
    let file = Segment::new_file(disk, next)?;
    let active = Arc::new(next_segment(disk, file, next, chain, clock.now())?);
    let length = active.length()?;
    Ok(Catalog::new(sealed, active, MemoryIndex::new(next), length, chain))
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
