//! Reads that don't wait for the disk. Most of what is asked for is in the page cache, and to hand
//! it over to a thread that may wait takes several times as long as to read it there (Linux tells by
//! `RWF_NOWAIT` whether it would have to wait). So small reads are tried where they were asked for,
//! and only what would wait is begun again elsewhere.

use std::cell::Cell;
use std::io;

use super::DiskFile;

/// What is longer is left to a thread that may take its time, in bytes: to check it takes some, too.
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
