//! The real disk: a folder of the file system.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{DirBuilderExt as _, FileExt, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, ReadWriteFlags, preadv2, retry_on_intr};

use super::disk::{Disk, DiskFile, FileId, FileStamp};

/// The mode of folders about which nothing is asked for: what the process leaves to others.
pub(crate) const FOLDER_MODE: u32 = 0o777;

/// A folder of the file system as a [`Disk`].
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    read_only: bool,
}

impl Folder {
    /// The folder at this path, which must be there.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), read_only: false }
    }

    /// The same, of which nothing can be changed, also where the file system would let it.
    pub fn read_only(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), read_only: true }
    }

    fn writable(&self) -> io::Result<()> {
        if self.read_only { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes the folder and those above it that are missing, each with this mode, as far as the process
/// leaves it, and its entry durable.
pub(crate) fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    make_folder(parent, mode)?;
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    File::open(parent)?.sync_all()
}

fn stamp(there: &Metadata) -> FileStamp {
    let file = FileId { device: there.dev(), inode: there.ino(), made: there.created().ok() };
    FileStamp { file, length: there.len(), changed: (there.ctime(), there.ctime_nsec()) }
}

impl Disk for Folder {
    fn list(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.path)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.path.join(name);
        // Else a pipe of that name would be waited for, and a folder give an error without a name.
        if fs::metadata(&path).is_ok_and(|there| !there.is_file()) {
            return Err(io::Error::other(format!("{name} is no file")));
        }
        let file = OpenOptions::new()
            .read(true)
            .write(!self.read_only)
            .create(create && !self.read_only)
            .truncate(false)
            .open(path)?;
        Ok(Arc::new(file))
    }

    fn stamp(&self, name: &str) -> io::Result<Option<FileStamp>> {
        match fs::metadata(self.path.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            there => Ok(Some(stamp(&there?))),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.writable()?;
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.writable()?;
        fs::remove_file(self.path.join(name))
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn folder(&self) -> Option<&Path> {
        Some(&self.path)
    }
}

impl DiskFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn stamp(&self) -> io::Result<FileStamp> {
        Ok(stamp(&self.metadata()?))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn read_at_once(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        let length = buffer.len();
        let into = &mut [IoSliceMut::new(buffer)];
        match preadv2(self, into, offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => Ok(read == length),
            // Some file systems, and old kernels, can't tell.
            Err(Errno::AGAIN | Errno::INTR | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn allocate(&self, length: u64) -> io::Result<bool> {
        match retry_on_intr(|| fallocate(self, FallocateFlags::empty(), 0, length)) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            outcome => Ok(outcome.map(|()| true)?),
        }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}
