//! A simulated disk with somebody beside it, for the tests beside this folder.

use std::io;
use std::sync::Arc;

use event_store::log::{Disk, DiskFile, FileStamp, SimDisk};

/// Who stands beside a disk.
pub trait Watch: Send + Sync + 'static {
    /// Whether it is told of the file with this name.
    fn concerns(&self, name: &str) -> bool;

    /// Bytes are about to be written.
    fn writes(&self, _bytes: &[u8]) {}

    /// A sync is about to begin.
    fn syncs(&self) {}

    /// Whether the disk makes room ahead.
    fn has_room_ahead(&self) -> bool {
        true
    }
}

/// The disk.
pub struct WatchedDisk<W> {
    pub disk: SimDisk,
    pub watch: Arc<W>,
}

struct WatchedFile<W> {
    file: Arc<dyn DiskFile>,
    watch: Option<Arc<W>>,
}

impl<W: Watch> Disk for WatchedDisk<W> {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(name, create)?;
        let watch = self.watch.concerns(name).then(|| Arc::clone(&self.watch));
        Ok(Arc::new(WatchedFile { file, watch }))
    }

    fn stamp(&self, name: &str) -> io::Result<Option<FileStamp>> {
        self.disk.stamp(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.disk.sync_folder()
    }
}

impl<W: Watch> DiskFile for WatchedFile<W> {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn stamp(&self) -> io::Result<FileStamp> {
        self.file.stamp()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }

    fn read_at_once(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        self.file.read_at_once(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.watch.iter().for_each(|watch| watch.writes(bytes));
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.watch.iter().for_each(|watch| watch.syncs());
        self.file.sync()
    }

    fn allocate(&self, length: u64) -> io::Result<bool> {
        if self.watch.as_ref().is_none_or(|watch| watch.has_room_ahead()) {
            self.file.allocate(length)
        } else {
            Ok(false)
        }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }
}
