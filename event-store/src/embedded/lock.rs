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
                return Err(locked(folder, &text));
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // The text only helps whoever is refused, so a full disk must not keep the store shut.
        let told = file.set_len(0).and_then(|()| file.rewind());
        if let Err(error) = told.and_then(|()| writeln!(file, "{}", holder())) {
            tracing::warn!(%error, "can't write into the lock who has it");
        }
        Ok(Self { _file: file })
    }
}

/// Who has it, in the lock's text: the process' id and its program.
fn holder() -> String {
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(Path::file_name).unwrap_or_default();
    // So the kernel names one whose file another was put in the place of.
    let program = program.to_string_lossy().trim_end_matches(" (deleted)").to_owned();
    format!("{} {program}", std::process::id()).trim().to_owned()
}

/// That somebody else has it; one of an older release tells its id alone.
fn locked(folder: &Path, text: &str) -> OpenError {
    let (pid, program) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let is_told = !program.is_empty() && !program.contains(char::is_control);
    OpenError::Locked {
        path: folder.into(),
        pid: pid.parse().ok(),
        program: is_told.then(|| program.into()),
    }
}
