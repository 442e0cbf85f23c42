//! Temporary files and folders that are removed when nobody holds them, even after a crash.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use crate::limits::SCRATCH_AGE_SECONDS_MAX;

/// A folder for temporary files, on the disk that the caller picks.
#[derive(Debug, Clone)]
pub struct Scratch {
    root: PathBuf,
    /// The open folder, locked together with all others that use it; a killed process lets go.
    _lock: Arc<File>,
}

/// A path of its own inside a [`Scratch`]; what is there when this is dropped is removed.
#[derive(Debug)]
pub struct ScratchPath {
    path: PathBuf,
}

impl Scratch {
    /// Opens the folder, makes it if need be, and removes what killed processes left.
    ///
    /// While other processes share the folder and may be at work, only what is older than a day
    /// goes.
    ///
    /// # Errors
    /// When the folder can't be made, read or locked.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root)?;
        let lock = File::open(&root)?;
        let age_min = match lock.try_lock() {
            Ok(()) => Duration::ZERO,
            Err(TryLockError::WouldBlock) => Duration::from_secs(SCRATCH_AGE_SECONDS_MAX),
            Err(TryLockError::Error(error)) => return Err(error),
        };
        sweep(&root, age_min, SystemTime::now())?;
        // One that sweeps as the only one is waited for; nothing of this one is there yet.
        lock.lock_shared()?;
        Ok(Self { root, _lock: Arc::new(lock) })
    }

    /// Removes what processes left that were killed a day ago or more, while others may be at work;
    /// how much there was. Whoever works for days does so now and then.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn sweep(&self, now: SystemTime) -> io::Result<usize> {
        sweep(&self.root, Duration::from_secs(SCRATCH_AGE_SECONDS_MAX), now)
    }

    /// A new path; nothing is there yet.
    pub fn path(&self) -> ScratchPath {
        ScratchPath { path: self.root.join(Uuid::new_v4().to_string()) }
    }

    /// A new, empty folder.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self) -> io::Result<ScratchPath> {
        let folder = self.path();
        fs::create_dir(&folder.path)?;
        Ok(folder)
    }
}

impl ScratchPath {
    /// Where it is.
    pub fn as_path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchPath {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a temporary file stays behind");
        }
    }
}

fn sweep(root: &Path, age_min: Duration, now: SystemTime) -> io::Result<usize> {
    let mut swept = 0;
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        // Another process may sweep the same folder: what is gone is gone.
        let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified()) else {
            continue;
        };
        let age = now.duration_since(modified).unwrap_or(Duration::ZERO);
        if age >= age_min {
            remove(&entry.path())?;
            swept += 1;
        }
    }
    Ok(swept)
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let scratch = Scratch::open(home.path().join("scratch")).unwrap();
        let file = scratch.path();
        let folder = scratch.folder().unwrap();
        fs::write(file.as_path(), "x").unwrap();
        fs::write(folder.as_path().join("y"), "y").unwrap();
        drop((file, folder));
        assert_eq!(fs::read_dir(home.path().join("scratch")).unwrap().count(), 0);
    }

    #[test]
    fn only_what_is_old_is_swept() {
        let home = tempfile::tempdir().unwrap();
        let scratch = Scratch::open(home.path()).unwrap();
        fs::write(home.path().join("old"), "x").unwrap();
        let day = Duration::from_secs(SCRATCH_AGE_SECONDS_MAX);
        assert_eq!(scratch.sweep(SystemTime::now() + day / 2).unwrap(), 0);
        assert!(home.path().join("old").exists());
        assert_eq!(scratch.sweep(SystemTime::now() + day * 2).unwrap(), 1);
        assert!(!home.path().join("old").exists());
    }

    #[test]
    fn what_nobody_can_be_at_goes_at_once() {
        let home = tempfile::tempdir().unwrap();
        let first = Scratch::open(home.path()).unwrap();
        let at_work = first.path();
        fs::write(at_work.as_path(), "x").unwrap();
        let second = Scratch::open(home.path()).unwrap();
        assert!(at_work.as_path().exists(), "the first may be at it");
        let left = home.path().join("left");
        fs::create_dir_all(left.join("inside")).unwrap();
        drop(first);
        drop(Scratch::open(home.path()).unwrap());
        assert!(left.exists(), "the second may be at it");
        drop(second);
        Scratch::open(home.path()).unwrap();
        assert!(!left.exists(), "as after a kill");
    }
}
