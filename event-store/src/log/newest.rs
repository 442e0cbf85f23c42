//! The mark of the newest segment: so that it can't be lost unnoticed.
//!
//! Each segment but the newest is known by the one behind it. It is marked once its name is durable
//! and before anything in it is acknowledged: whatever a power cut leaves, the marked one is there.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::disk::{Disk, DiskFile};
use super::mark::Mark;
use super::segment::segment_name;
use crate::error::StoreError;

const MARK: Mark = Mark { name: "NEWEST", magic: *b"VEZANEW\0" };

/// The mark, in a store that is open.
pub(crate) struct NewestMark {
    /// The first position of the segment that is marked.
    marked: Mutex<u64>,
}

impl NewestMark {
    /// The first position of the segment that is marked; a folder of before has no mark, and a
    /// damaged one is none.
    pub(crate) fn read(disk: &dyn Disk) -> io::Result<Option<u64>> {
        Ok(MARK.read(disk)?.map(|[newest, _]| newest))
    }

    /// That the segment which is marked as the newest is there, this being the last that is.
    pub(crate) fn check(newest: Option<u64>, last: Option<u64>) -> Result<(), StoreError> {
        match newest.filter(|&newest| last.is_none_or(|last| last < newest)) {
            None => Ok(()),
            Some(newest) => Err(StoreError::Corrupt {
                place: segment_name(newest).into(),
                reason: "the newest segment, as NEWEST names it, is missing: put it back from a \
                         backup, or remove NEWEST to go on without its events"
                    .into(),
            }),
        }
    }

    /// Marks this segment when the store is opened, durable, unless it is marked already.
    pub(crate) fn open(disk: &dyn Disk, found: Option<u64>, newest: u64) -> io::Result<Self> {
        if found != Some(newest) {
            MARK.write(disk, [newest, 0])?;
        }
        Ok(Self { marked: Mutex::new(newest) })
    }

    /// The file to mark in: opened before anything of the next segment is written, so that what
    /// can't be opened leaves nothing in doubt.
    pub(crate) fn file(disk: &dyn Disk) -> io::Result<Arc<dyn DiskFile>> {
        MARK.file(disk)
    }

    /// Marks this segment, whose name is durable, in that file; with one sync, for it was there.
    pub(crate) fn set(&self, file: &dyn DiskFile, newest: u64) -> io::Result<()> {
        let mut marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        if *marked != newest {
            MARK.overwrite(file, [newest, 0])?;
            *marked = newest;
        }
        Ok(())
    }

    /// Writes the mark again where it is not what it should be.
    pub(crate) fn mend(&self, disk: &dyn Disk) -> io::Result<()> {
        let marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        if Self::read(disk)? != Some(*marked) {
            tracing::warn!(file = MARK.name, "the mark of the newest segment was damaged");
            MARK.write(disk, [*marked, 0])?;
        }
        Ok(())
    }
}
