//! Small files of two numbers, which are whole or count as not there.

use std::io;
use std::sync::Arc;

use crc32c::crc32c;

use super::codec::{u32_at, u64_at};
use super::disk::{Disk, DiskFile};

const MARK_BYTES: usize = 32;
const CRC_AT: usize = 28;

/// A file of 32 bytes: its magic, two numbers, zeros, and a checksum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    /// The name of the file.
    pub(crate) name: &'static str,
    /// What it begins with.
    pub(crate) magic: [u8; 8],
}

impl Mark {
    /// Writes the mark, durable, in place of one that is there.
    pub(crate) fn write(self, disk: &dyn Disk, numbers: [u64; 2]) -> io::Result<()> {
        self.overwrite(&*self.file(disk)?, numbers)?;
        disk.sync_folder()
    }

    /// The same in place of one whose name is durable. It is smaller than what a disk writes in one
    /// piece, so a power cut leaves the one or the other.
    pub(crate) fn overwrite(self, file: &dyn DiskFile, numbers: [u64; 2]) -> io::Result<()> {
        let mut bytes = [0; MARK_BYTES];
        bytes[..8].copy_from_slice(&self.magic);
        bytes[8..16].copy_from_slice(&numbers[0].to_le_bytes());
        bytes[16..24].copy_from_slice(&numbers[1].to_le_bytes());
        let crc = crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        file.write_at(&bytes, 0)?;
        file.sync()
    }

    /// The file of the mark, to overwrite it.
    pub(crate) fn file(self, disk: &dyn Disk) -> io::Result<Arc<dyn DiskFile>> {
        disk.open(self.name, true)
    }

    /// The numbers of the mark that is there; a damaged one is none.
    pub(crate) fn read(self, disk: &dyn Disk) -> io::Result<Option<[u64; 2]>> {
        if !self.is_there(disk)? {
            return Ok(None);
        }
        let file = match disk.open(self.name, false) {
            // A store that opens beside has removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut bytes = [0; MARK_BYTES];
        if file.length()? != MARK_BYTES as u64 {
            return Ok(None);
        }
        file.read_at(&mut bytes, 0)?;
        let whole = bytes[..8] == self.magic && crc32c(&bytes[..CRC_AT]) == u32_at(&bytes, CRC_AT);
        Ok(whole.then(|| [u64_at(&bytes, 8), u64_at(&bytes, 16)]))
    }

    /// Removes the mark, durable.
    pub(crate) fn remove(self, disk: &dyn Disk) -> io::Result<()> {
        if self.is_there(disk)? {
            disk.remove(self.name)?;
            disk.sync_folder()?;
        }
        Ok(())
    }

    fn is_there(self, disk: &dyn Disk) -> io::Result<bool> {
        Ok(disk.list()?.iter().any(|name| name == self.name))
    }
}
