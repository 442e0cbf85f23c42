//! The narrow door to the disk: all input and output of the engine.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// One flat folder of files.
pub trait Disk: Send + Sync + 'static {
    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file; where `create` says so, an empty one is made when there is none.
    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn DiskFile>>;

    /// Which file has this name now, and how it is; none where nothing has.
    fn stamp(&self, name: &str) -> io::Result<Option<FileStamp>>;

    /// Gives a file another name, in place of any file that had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renamings and removals durable.
    fn sync_folder(&self) -> io::Result<()>;

    /// Where it is, when it is a folder of the file system: files of two of them may be linked.
    fn folder(&self) -> Option<&Path> {
        None
    }
}

/// One open file.
pub trait DiskFile: Send + Sync + 'static {
    /// Its length, in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Which file it is, and how.
    fn stamp(&self) -> io::Result<FileStamp>;

    /// Fills the buffer from this offset, or fails with `UnexpectedEof`.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// The same where the disk need not be waited for: else it says `false`, and any part of the
    /// buffer may be filled.
    fn read_at_once(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool>;

    /// Writes all bytes at this offset. After an error any part of them may be there.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what was written durable, as `fdatasync` does.
    fn sync(&self) -> io::Result<()>;

    /// Makes it at least this long, with zeros, and finds it room on the disk: to write there
    /// afterwards changes neither. Where a file system can't, it does nothing and says `false`.
    fn allocate(&self, length: u64) -> io::Result<bool>;

    /// Cuts it to this length.
    fn truncate(&self, length: u64) -> io::Result<()>;
}

/// A file at a moment: whoever finds the same stamp later finds the same bytes, as far as the file
/// system tells times apart (some milliseconds).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    /// Which file it is.
    pub file: FileId,
    /// Its length, in bytes.
    pub length: u64,
    /// When it was changed last, in seconds and nanoseconds; nobody can set it.
    pub changed: (i64, i64),
}

/// A file, by whatever name; of a copy it is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    /// The file system.
    pub device: u64,
    /// Its number there, which another has once this one is gone.
    pub inode: u64,
    /// When it was made, where the file system tells.
    pub made: Option<SystemTime>,
}
