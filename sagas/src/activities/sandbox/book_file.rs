//! The file that the sandbox's books are kept in: a line an entry, synced before it counts.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::activities::sandbox::ledger::{Entry, Ledger};

/// Why the books could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process keeps them.
    #[error("the sandbox's ledger {0} is in use")]
    InUse(PathBuf),
    /// A line before the last is not an entry.
    #[error("line {line} of the sandbox's ledger is not readable")]
    Corrupt {
        /// Which line, from one.
        line: usize,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The operating system refused.
    #[error("the sandbox's ledger can't be read or written")]
    Io(#[from] io::Error),
}

/// The open file.
pub(super) struct BookFile {
    file: File,
    length: u64,
    // After a failed sync nobody knows what is on disk until it is read again.
    broken: bool,
}

impl BookFile {
    /// Opens the file, cuts a torn last line, and reads the books.
    pub(super) fn open(path: &Path) -> Result<(Self, Ledger), OpenError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::InUse(path.to_owned()),
            TryLockError::Error(error) => error.into(),
        })?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (ledger, length) = read_books(&bytes)?;
        if length < bytes.len() as u64 {
            tracing::warn!(cut = bytes.len() as u64 - length, "a torn ledger entry was cut");
            file.set_len(length)?;
        }
        // Also makes the file itself durable, and entries that were written but never synced.
        file.sync_all()?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        file.seek(SeekFrom::Start(length))?;
        let broken = false;
        Ok((Self { file, length, broken }, ledger))
    }

    /// Appends an entry; when this returns, it is on disk.
    pub(super) fn append(&mut self, entry: &Entry) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("the ledger failed before"));
        }
        let mut line = serde_json::to_vec(entry).map_err(io::Error::other)?;
        line.push(b'\n');
        if let Err(error) = self.file.write_all(&line) {
            let cut = self.file.set_len(self.length);
            let back = cut.and_then(|()| self.file.seek(SeekFrom::Start(self.length)));
            self.broken = back.is_err();
            return Err(error);
        }
        self.file.sync_data().inspect_err(|_| self.broken = true)?;
        self.length += line.len() as u64;
        Ok(())
    }
}

/// The books in these bytes, and where the last whole line ends.
pub(super) fn read_books(bytes: &[u8]) -> Result<(Ledger, u64), OpenError> {
    let length = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let mut ledger = Ledger::default();
    let lines = bytes[..length].split_inclusive(|&byte| byte == b'\n');
    for (index, line) in lines.enumerate() {
        let entry = serde_json::from_slice(line);
        let line = index + 1;
        ledger.enter(entry.map_err(|source| OpenError::Corrupt { line, source })?);
    }
    Ok((ledger, length as u64))
}
