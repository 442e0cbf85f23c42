//! Copying files with their digests.

use std::fs;
use std::io;
use std::sync::Arc;

use super::error::BackupError;
use super::manifest::FileEntry;
use crate::log::{Disk, DiskFile};

const CHUNK_BYTES: usize = 1024 * 1024;
/// So much is written before it is made durable, in bytes: a little at a time holds up the syncs of
/// appends least, where a backup shares their disk.
const SYNC_BYTES: u64 = 8 * 1024 * 1024;

/// Copies the first `length` bytes of a file to another disk, durable but for its name.
pub(super) fn copy(
    from: &dyn DiskFile,
    length: u64,
    to: &dyn Disk,
    name: &str,
) -> io::Result<FileEntry> {
    let target = to.open(name, true)?;
    target.truncate(0)?;
    let mut unsynced = 0;
    let blake3 = read(from, length, |bytes, offset| {
        target.write_at(bytes, offset)?;
        unsynced += bytes.len() as u64;
        if unsynced >= SYNC_BYTES {
            unsynced = 0;
            target.sync()?;
        }
        Ok(())
    })?;
    target.sync()?;
    Ok(FileEntry { name: name.to_owned(), bytes: length, blake3 })
}

/// Copies a file of a backup, which must be what the manifest says.
pub(super) fn copy_checked(
    from: &dyn Disk,
    entry: &FileEntry,
    to: &dyn Disk,
) -> Result<(), BackupError> {
    let file = open(from, entry)?;
    let copied = copy(&*file, entry.bytes, to, &entry.name)?;
    if copied != *entry { Err(damaged(entry, "its digest is another")) } else { Ok(()) }
}

/// What came of an attempt to share a file with a former backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Linked {
    /// It is there, and is what the manifest says.
    Whole,
    /// It is not what the manifest says, and is not there.
    Damaged,
    /// The two are not on one file system, or it can't share files.
    Unable,
}

/// Gives a file of a former backup the same name in a new one, without a copy.
pub(super) fn link_checked(
    from: &dyn Disk,
    entry: &FileEntry,
    to: &dyn Disk,
) -> io::Result<Linked> {
    let (Some(from), Some(folder)) = (from.folder(), to.folder()) else {
        return Ok(Linked::Unable);
    };
    match fs::hard_link(from.join(&entry.name), folder.join(&entry.name)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Linked::Damaged),
        Err(_) => return Ok(Linked::Unable),
    }
    let read = open(to, entry).map(|file| read(&*file, entry.bytes, |_, _| Ok(())));
    if matches!(read, Ok(Ok(blake3)) if blake3 == entry.blake3) {
        return Ok(Linked::Whole);
    }
    to.remove(&entry.name)?;
    Ok(Linked::Damaged)
}

fn open(disk: &dyn Disk, entry: &FileEntry) -> Result<Arc<dyn DiskFile>, BackupError> {
    let file = match disk.open(&entry.name, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(damaged(entry, "it is missing"));
        }
        Err(error) => {
            let named = format!("{}: {error}", entry.name);
            return Err(io::Error::new(error.kind(), named).into());
        }
        Ok(file) => file,
    };
    let length = file.length()?;
    if length != entry.bytes {
        let reason = format!("it has {length} bytes, not {}", entry.bytes);
        return Err(damaged(entry, &reason));
    }
    Ok(file)
}

/// Reads the first bytes of a file in turn, each with its offset; returns their digest.
fn read(
    file: &dyn DiskFile,
    length: u64,
    mut take: impl FnMut(&[u8], u64) -> io::Result<()>,
) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut offset = 0;
    while offset < length {
        let count = CHUNK_BYTES.min(usize::try_from(length - offset).unwrap_or(CHUNK_BYTES));
        file.read_at(&mut chunk[..count], offset)?;
        hasher.update(&chunk[..count]);
        take(&chunk[..count], offset)?;
        offset += count as u64;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn damaged(entry: &FileEntry, reason: &str) -> BackupError {
    BackupError::Damaged { file: entry.name.clone(), reason: reason.to_owned() }
}
