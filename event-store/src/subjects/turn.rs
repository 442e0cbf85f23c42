//! One at a time changes the folder, of all threads of all processes.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Who may change the folder.
pub(super) struct Turns {
    /// None: a disk that only this process has.
    folder: Option<PathBuf>,
    threads: Mutex<()>,
}

/// The turn of one of them; the kernel ends it when the process dies.
pub(super) struct Turn<'a> {
    _process: Option<File>,
    _thread: MutexGuard<'a, ()>,
}

impl Turns {
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, threads: Mutex::new(()) }
    }

    /// Waits for the turn.
    pub(super) fn wait(&self) -> io::Result<Turn<'_>> {
        // It guards no data: what a thread that panicked left is read from the disk.
        let thread = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let process = match &self.folder {
            None => None,
            Some(folder) => {
                let file = File::open(folder)?;
                file.lock()?;
                Some(file)
            }
        };
        Ok(Turn { _process: process, _thread: thread })
    }
}
