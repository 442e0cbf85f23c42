//! A number that tells every process on the folder at once that somebody is being forgotten, or
//! was.
//!
//! It is odd while somebody is being forgotten, and another even one afterwards. What a process
//! remembers of a subject holds while the number is as it was; while it is odd nothing does. So
//! one that is killed in the midst of forgetting leaves the others slow, and never wrong. It is
//! read where the kernel has it in memory, and need not survive a power cut, as what processes
//! remember does not.
//!
//! By the file itself a process knows its folder again: where another has the name, or none, the
//! folder was taken away or exchanged, and nothing that is remembered holds.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::log::{Disk, DiskFile, FileId};

const FILE: &str = "generation";

/// The number, in the file that was there when it was opened. As long as that is open, no other
/// file can be taken for it.
pub(super) struct Generation {
    file: Arc<dyn DiskFile>,
    id: FileId,
    /// Whether it was the one in the folder when that was looked at last.
    was_in_place: AtomicBool,
}

impl Generation {
    /// Opens it, and makes it even; nobody must be at forgetting.
    pub(super) fn open(disk: &dyn Disk) -> io::Result<Self> {
        let file = disk.open(FILE, true)?;
        let (id, was_in_place) = (file.stamp()?.file, AtomicBool::new(true));
        let opened = Self { file, id, was_in_place };
        if opened.file.length()? < 8 {
            opened.write(0)?;
        }
        opened.end()?;
        Ok(opened)
    }

    /// Whether its file is the one in the folder now.
    pub(super) fn is_in_place(&self, disk: &dyn Disk) -> io::Result<bool> {
        let is_in_place = disk.stamp(FILE)?.is_some_and(|there| there.file == self.id);
        self.was_in_place.store(is_in_place, Ordering::Release);
        Ok(is_in_place)
    }

    /// The number; none while somebody is being forgotten, or where its file was not in the folder
    /// when that was looked at last.
    pub(super) fn read(&self) -> io::Result<Option<u64>> {
        let was_in_place = self.was_in_place.load(Ordering::Acquire);
        Ok(Some(self.number()?).filter(|number| number % 2 == 0 && was_in_place))
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
        self.file.read_at(&mut bytes, 0)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn write(&self, number: u64) -> io::Result<()> {
        self.file.write_at(&number.to_le_bytes(), 0)
    }
}
