//! A number that tells every process on the folder at once that somebody is being forgotten, or
//! was.
//!
//! It is odd while somebody is being forgotten, and another even one afterwards. What a process
//! remembers of a subject holds while the number is as it was; while it is odd nothing does. So
//! one that is killed in the midst of forgetting leaves the others slow, and never wrong. It is
//! read where the kernel has it in memory, and need not survive a power cut, as what processes
//! remember does not.

use std::io;
use std::sync::Arc;

use crate::log::{Disk, DiskFile};

const FILE: &str = "generation";

/// The number.
pub(super) struct Generation(Arc<dyn DiskFile>);

impl Generation {
    /// Opens it, and makes it even; nobody must be at forgetting.
    pub(super) fn open(disk: &dyn Disk) -> io::Result<Self> {
        let opened = Self(disk.open(FILE, true)?);
        if opened.0.length()? < 8 {
            opened.write(0)?;
        }
        opened.end()?;
        Ok(opened)
    }

    /// The number; none while somebody is being forgotten.
    pub(super) fn read(&self) -> io::Result<Option<u64>> {
        Ok(Some(self.number()?).filter(|number| number % 2 == 0))
    }

    /// Somebody is about to be forgotten.
    pub(super) fn begin(&self) -> io::Result<()> {
        let number = self.number()?;
        if number % 2 == 0 { self.write(number + 1) } else { Ok(()) }
    }

    /// Nobody is being forgotten any more.
    pub(super) fn end(&self) -> io::Result<()> {
        let number = self.number()?;
        if number % 2 == 1 { self.write(number + 1) } else { Ok(()) }
    }

    fn number(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.0.read_at(&mut bytes, 0)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn write(&self, number: u64) -> io::Result<()> {
        self.0.write_at(&number.to_le_bytes(), 0)
    }
}
