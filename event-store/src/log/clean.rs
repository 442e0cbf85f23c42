//! The mark of a close in peace: where the log ended, so that nothing can be cut unnoticed.

use std::io;

use super::disk::Disk;
use super::mark::Mark;

const MARK: Mark = Mark { name: CleanMark::FILE, magic: *b"VEZAEND\0" };

/// Where the log ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CleanMark {
    /// The first position of the active segment.
    pub(crate) segment: u64,
    /// Its length, in bytes.
    pub(crate) length: u64,
}

impl CleanMark {
    /// The name of its file.
    pub(crate) const FILE: &str = "CLEAN";

    /// Writes the mark, durable.
    pub(crate) fn write(self, disk: &dyn Disk) -> io::Result<()> {
        MARK.write(disk, [self.segment, self.length])
    }

    /// The mark that is there; a damaged one is none, for it says less than the log itself.
    pub(crate) fn read(disk: &dyn Disk) -> io::Result<Option<Self>> {
        Ok(MARK.read(disk)?.map(|[segment, length]| Self { segment, length }))
    }

    /// Removes the mark, durable.
    pub(crate) fn remove(disk: &dyn Disk) -> io::Result<()> {
        MARK.remove(disk)
    }
}
