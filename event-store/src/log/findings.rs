//! Which segments scrubs and reads found damaged, and how far a scrub has come: all that is known
//! of rot, in memory for those who ask, and on the disk for the time after a restart.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use chrono::{DateTime, Utc};

use super::disk::Disk;
use super::scrub_file::ScrubFile;
use crate::error::StoreError;
use crate::limits::ROT_REMEMBERED_MAX;
use crate::position::Position;

/// A segment that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rot {
    /// The first position that belongs in the segment.
    pub segment: Position,
    /// File and offset, and what is wrong there: the first that was found.
    pub what: Arc<str>,
}

/// What was found so far.
pub(crate) struct Findings {
    disk: Arc<dyn Disk>,
    known: Mutex<ScrubFile>,
    /// Held while it is changed and written: those who ask what is known don't wait for the disk.
    writing: Mutex<()>,
    /// Who writes indexes that were made again.
    remade: OnceLock<Box<dyn Fn(u64) + Send + Sync>>,
}

impl Findings {
    /// What was found before, on this disk.
    pub(crate) fn read(disk: Arc<dyn Disk>) -> io::Result<Self> {
        let known = Mutex::new(ScrubFile::read(&*disk)?);
        Ok(Self { disk, known, writing: Mutex::new(()), remade: OnceLock::new() })
    }

    /// Forgets what is not of one of these segments, and says what is left: they are the sealed
    /// ones when the store is opened, which reads the active one whole.
    pub(crate) fn keep(&self, is_sealed: impl Fn(u64) -> bool) {
        if let Err(error) = self.retain(is_sealed) {
            unkept(&error);
        }
        for Rot { what, .. } in self.rot() {
            tracing::error!(%what, "a segment had rotted, and was not found whole since");
        }
    }

    /// The segments that are damaged.
    pub(crate) fn rot(&self) -> Vec<Rot> {
        self.lock().rot.clone()
    }

    /// Whether this segment was found damaged.
    pub(crate) fn has(&self, first: u64) -> bool {
        self.lock().rot.iter().any(|rot| rot.segment.get() == first)
    }

    /// The first position that the scrub before did not read.
    pub(crate) fn next(&self) -> u64 {
        self.lock().next
    }

    /// When the last scrub came to the end of a log that was whole.
    pub(crate) fn ended(&self) -> Option<DateTime<Utc>> {
        self.lock().ended()
    }

    /// A read met damage in a segment. That is told at the first such read only: many may come by.
    pub(crate) fn met(&self, first: u64, error: &StoreError) {
        let kept = self.change(|known| {
            let is_new = known.rot.iter().all(|rot| rot.segment.get() != first)
                && known.rot.len() < ROT_REMEMBERED_MAX;
            if is_new {
                tell(error);
                known.rot.push(rot(first, error));
            }
            is_new
        });
        if let Err(error) = kept {
            unkept(&error);
        }
    }

    /// From now on whoever makes the index of a segment again tells this of its first position.
    pub(crate) fn tell_of_remade(&self, remade: impl Fn(u64) + Send + Sync + 'static) {
        // It is told to one, for as long as the store is open.
        let _ = self.remade.set(Box::new(remade));
    }

    /// The index of a segment was damaged and is made again, in memory.
    pub(crate) fn index_remade(&self, first: u64) {
        self.remade.get().into_iter().for_each(|remade| remade(first));
    }

    /// A scrub found a segment damaged, which is told each time.
    pub(crate) fn rotten(&self, first: u64, error: &StoreError) -> io::Result<()> {
        tell(error);
        self.change(|known| {
            known.rot.retain(|rot| rot.segment.get() != first);
            if known.rot.len() < ROT_REMEMBERED_MAX {
                known.rot.push(rot(first, error));
            }
            true
        })
    }

    /// A scrub found a segment whole.
    pub(crate) fn whole(&self, first: u64) -> io::Result<()> {
        self.retain(|rotten| rotten != first)
    }

    /// Somebody has looked at every byte, and all was whole.
    pub(crate) fn all_whole(&self) -> io::Result<()> {
        self.retain(|_| false)
    }

    /// A scrub came to this position, or to the end with zero.
    pub(crate) fn reached(&self, now: DateTime<Utc>, next: u64) -> io::Result<()> {
        self.change(|known| {
            known.reached(now, next);
            true
        })
    }

    fn retain(&self, keeps: impl Fn(u64) -> bool) -> io::Result<()> {
        self.change(|known| {
            let before = known.rot.len();
            known.rot.retain(|rot| keeps(rot.segment.get()));
            known.rot.len() < before
        })
    }

    /// Writes what is known after a change, if there was one.
    fn change(&self, change: impl FnOnce(&mut ScrubFile) -> bool) -> io::Result<()> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let (changed, known) = {
            let mut known = self.lock();
            (change(&mut known), known.clone())
        };
        metrics::gauge!("veza_event_store_rotten_segments").set(known.rot.len() as f64);
        if changed { known.write(&*self.disk) } else { Ok(()) }
    }

    fn lock(&self) -> MutexGuard<'_, ScrubFile> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn rot(first: u64, error: &StoreError) -> Rot {
    Rot { segment: Position::new(first), what: error.to_string().into() }
}

fn tell(error: &StoreError) {
    tracing::error!(%error, "a segment has rotted on the disk: restore it from a backup");
}

fn unkept(error: &io::Error) {
    tracing::warn!(%error, "what has rotted can't be kept for the time after a restart");
}
