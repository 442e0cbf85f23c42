//! Reads that don't wait for the disk. Most of what is asked for is in the page cache, and to hand
//! it over to a thread that may wait takes longer than to read it there (Linux tells by
//! `RWF_NOWAIT` whether it would have to wait). So small reads are tried where they were asked for,
//! and only what would wait is begun again elsewhere.

use std::cell::Cell;
use std::io;

use super::DiskFile;

/// What is longer is left to a thread that may take its time, in bytes: to check it takes some.
const BYTES_MAX: usize = 64 * 1024;

thread_local! {
    static MAY: Cell<May> = const { Cell::new(May::Wait) };
}

/// What the work of this thread may do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum May {
    /// Wait for the disk.
    Wait,
    /// Read what is in memory.
    ReadAtOnce,
    /// Only end: something was not in memory.
    End,
}

/// Does this without waiting for the disk. `None` where that was not possible, whatever the work
/// made of the error that it met.
pub(crate) fn at_once<T>(work: impl FnOnce() -> T) -> Option<T> {
    let waits_again = WaitsAgain;
    MAY.set(May::ReadAtOnce);
    let outcome = work();
    let was_possible = MAY.get() == May::ReadAtOnce;
    drop(waits_again);
    was_possible.then_some(outcome)
}

/// Also where the work panics.
struct WaitsAgain;

impl Drop for WaitsAgain {
    fn drop(&mut self) {
        MAY.set(May::Wait);
    }
}

/// Whether the disk may be waited for.
pub(crate) fn may_wait() -> bool {
    MAY.get() == May::Wait
}

/// Says that something takes too long for who may not wait, and gives the error to end with.
pub(crate) fn would_wait() -> io::Error {
    MAY.set(May::End);
    io::ErrorKind::WouldBlock.into()
}

/// Fills the buffer from this offset of the file, in so far as this thread may.
pub(crate) fn read_at(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    if may_wait() {
        return file.read_at(buffer, offset);
    }
    if buffer.len() <= BYTES_MAX && file.read_at_once(buffer, offset)? {
        return Ok(());
    }
    Err(would_wait())
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use tempfile::TempDir;

    use super::*;
    use crate::log::{Disk, Folder, SimDisk};

    fn read_of(disk: &dyn Disk) -> impl Fn() -> io::Result<u8> {
        let file = disk.open("file", true).unwrap();
        move || {
            let mut byte = [0];
            read_at(&*file, &mut byte, 1)?;
            Ok(byte[0])
        }
    }

    /// Given a file that was just written, when it is read at once, then it is.
    #[test]
    fn what_is_in_memory_is_read_at_once() {
        let folder = TempDir::new().unwrap();
        let disk = Folder::new(folder.path());
        disk.open("file", true).unwrap().write_at(&[1, 2, 3], 0).unwrap();
        assert_eq!(at_once(read_of(&disk)).unwrap().unwrap(), 2);
    }

    /// Given a read that would wait, then the work is given up whatever it says, and who may wait
    /// afterwards does; also after work that panics.
    #[test]
    fn what_would_wait_is_given_up() {
        let disk = SimDisk::new();
        disk.put("file", vec![1, 2, 3]);
        disk.cool();
        let read = read_of(&disk);
        assert_eq!(at_once(|| (0..4).find(|_| read().is_err())), None);
        assert!((0..4).all(|_| read().unwrap() == 2));
        catch_unwind(|| at_once(|| panic!("of the work"))).unwrap_err();
        assert!(may_wait());
    }

    /// Given much to be read, then it is left to who may take the time.
    #[test]
    fn much_is_not_read_at_once() {
        let disk = SimDisk::new();
        disk.put("file", vec![0; BYTES_MAX + 1]);
        let file = disk.open("file", false).unwrap();
        let read = |bytes| at_once(|| read_at(&*file, &mut vec![0; bytes], 0));
        assert!(read(BYTES_MAX).is_some() && read(BYTES_MAX + 1).is_none());
    }
}
