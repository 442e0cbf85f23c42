//! The mark of a close in peace: where the log ended, so that nothing can be cut unnoticed.

use std::io;

use crc32c::crc32c;

use super::codec::{u32_at, u64_at};
use super::disk::Disk;

const NAME: &str = "CLEAN";
const MAGIC: [u8; 8] = *b"VEZAEND\0";
const MARK_BYTES: usize = 32;
const CRC_AT: usize = 28;

/// Where the log ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CleanMark {
    /// The first position of the active segment.
    pub(crate) segment: u64,
    /// Its length, in bytes.
    pub(crate) length: u64,
}

impl CleanMark {
    /// Writes the mark, durable.
    pub(crate) fn write(self, disk: &dyn Disk) -> io::Result<()> {
        let mut bytes = [0; MARK_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.segment.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.length.to_le_bytes());
        let crc = crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        let file = disk.open(NAME, true)?;
        file.write_at(&bytes, 0)?;
        file.sync()?;
        disk.sync_folder()
    }

    /// The mark that is there; a damaged one is none, for it says less than the log itself.
    pub(crate) fn read(disk: &dyn Disk) -> io::Result<Option<Self>> {
        if !disk.list()?.iter().any(|name| name == NAME) {
            return Ok(None);
        }
        let file = disk.open(NAME, false)?;
        let mut bytes = [0; MARK_BYTES];
        if file.length()? != MARK_BYTES as u64 {
            return Ok(None);
        }
        file.read_at(&mut bytes, 0)?;
        let whole = bytes[..8] == MAGIC && crc32c(&bytes[..CRC_AT]) == u32_at(&bytes, CRC_AT);
        Ok(whole.then(|| Self { segment: u64_at(&bytes, 8), length: u64_at(&bytes, 16) }))
    }

    /// Removes the mark, durable.
    pub(crate) fn remove(disk: &dyn Disk) -> io::Result<()> {
        if disk.list()?.iter().any(|name| name == NAME) {
            disk.remove(NAME)?;
            disk.sync_folder()?;
        }
        Ok(())
    }
}
