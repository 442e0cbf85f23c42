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
    /// A line is not an entry, and is no torn last one.
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
    /// Where the last entry ends that is on disk.
    length: u64,
    /// Whether something may be behind it that did not come to be an entry.
    torn: bool,
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
        Ok((Self { file, length, torn: false }, ledger))
    }

    /// Appends an entry; when this returns, it is on disk. One that failed is not in the books, and
    /// may be appended again.
    pub(super) fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry).map_err(io::Error::other)?;
        line.push(b'\n');
        if self.torn {
            self.cut()?;
        }
        self.torn = true;
        self.file.write_all(&line)?;
        self.file.sync_data()?;
        self.torn = false;
        self.length += line.len() as u64;
        Ok(())
    }

    /// Cuts what is behind the last entry. What a failed sync left in memory may differ from what
    /// is on disk, so none of it is kept: it is written anew.
    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length))?;
        self.file.sync_all()
    }
}

/// The books in these bytes, and where the last entry ends.
///
/// A crash may leave the last line in part: without its end, or with a hole of zeros before it.
/// Any other line that is no entry was whole once, and is never cut: to forget it would be to
/// forget a charge.
pub(super) fn read_books(bytes: &[u8]) -> Result<(Ledger, u64), OpenError> {
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let (mut ledger, mut length) = (Ledger::default(), 0);
    for (index, line) in bytes[..whole].split_inclusive(|&byte| byte == b'\n').enumerate() {
        match serde_json::from_slice(line) {
            Ok(entry) => ledger.enter(entry),
            Err(_) if length + line.len() == whole && line.contains(&0) => break,
            Err(source) => return Err(OpenError::Corrupt { line: index + 1, source }),
        }
        length += line.len();
    }
    Ok((ledger, length as u64))
}

#[cfg(test)]
mod tests {
    use event_schemas::OrderId;
    use uuid::Uuid;

    use super::*;
    use crate::activities::payment::Outcome;
    use crate::activities::sandbox::Request;
    use crate::orchestrator::IdempotencyKey;

    fn entry(number: u128) -> Entry {
        let (id, order_id) = (Uuid::from_u128(number), OrderId(Uuid::from_u128(number)));
        Entry {
            key: IdempotencyKey(id),
            request: Request::GiveUp { order_id },
            order_id,
            outcome: Outcome::Declined("for the test".to_owned()),
            postings: vec![],
        }
    }

    #[test]
    fn a_failure_is_over_when_the_disk_is_well_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let (mut book, _) = BookFile::open(&path).unwrap();
        book.append(&entry(1)).unwrap();
        let well = book.file.try_clone().unwrap();
        book.file = File::open(&path).unwrap();
        book.append(&entry(2)).unwrap_err();
        // A disk that fails may have taken a part, and may fail again when that is cut.
        (&well).write_all(b"{\"key\":").unwrap();
        book.append(&entry(3)).unwrap_err();
        book.file = well;
        book.append(&entry(4)).unwrap();
        book.append(&entry(5)).unwrap();
        drop(book);
        let (_, ledger) = BookFile::open(&path).unwrap();
        assert_eq!(ledger.entries(), [entry(1), entry(4), entry(5)]);
    }
}
