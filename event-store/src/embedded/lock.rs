//! The lock on the folder: one process has it open.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use super::open::OpenError;

/// The name of its file.
pub(super) const LOCK: &str = "LOCK";

/// The lock, held until it is dropped; the kernel lets go of it when the process dies.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the lock, or tells who has it.
    pub(crate) fn take(folder: &Path) -> Result<Self, OpenError> {
        let failed = |source: io::Error| OpenError::Folder { path: folder.into(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join(LOCK))
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                file.read_to_string(&mut text).map_err(failed)?;
                return Err(OpenError::Locked {
                    path: folder.into(),
                    pid: text.trim().parse().ok(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // The text only helps whoever is refused, so a full disk must not keep the store shut.
        let told = file.set_len(0).and_then(|()| file.rewind());
        if let Err(error) = told.and_then(|()| writeln!(file, "{}", std::process::id())) {
            tracing::warn!(%error, "can't write the process id into the lock");
        }
        Ok(Self { _file: file })
    }
}
