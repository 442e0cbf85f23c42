//! The folder that a backup or a restore fills, and the file in it that says that this is not done.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use thiserror::Error;

use super::error::BackupError;
use super::manifest::MANIFEST;
use crate::embedded::lock::{FolderLock, LOCK};
use crate::embedded::open::OpenError;
use crate::log::{CleanMark, Disk, FOLDER_MODE, Folder, make_folder};

/// Where a backup is that is being made; it becomes the manifest at the end.
pub(super) const BACKUP_UNFINISHED: &str = "BACKUP.unfinished";
/// Where a log is being put back.
pub(super) const RESTORE_UNFINISHED: &str = "RESTORE.unfinished";

/// The mode of folders that are made above: what is kept beside this one may be another user's, who
/// passes through them and sees nothing.
const PASSABLE: u32 = 0o711;

/// A folder to be filled, made if need be, and locked as a store's is for as long as this lives.
/// What was made for it is removed again where nothing came into it, unless it is kept.
#[derive(Debug)]
pub struct TargetFolder {
    path: PathBuf,
    folder: Folder,
    /// Itself and those above it, as far as they were made.
    made: Vec<PathBuf>,
    _lock: FolderLock,
}

impl TargetFolder {
    /// The folder at this path; what is in it already is left as it is.
    ///
    /// # Errors
    /// When it can't be made, another process fills it or has a store there, or something is in it
    /// that no earlier beginning left.
    pub fn make(path: impl Into<PathBuf>) -> Result<Self, BackupError> {
        let path = path.into();
        let failed = |source| OpenError::Folder { path: path.as_path().into(), source };
        let mut made = Vec::new();
        // The last one above a relative path is empty.
        for folder in path.ancestors().filter(|folder| !folder.as_os_str().is_empty()) {
            if folder.try_exists().map_err(failed)? {
                break;
            }
            made.push(folder.to_owned());
        }
        make_folder(&path, FOLDER_MODE).map_err(failed)?;
        for above in made.iter().skip(1) {
            fs::set_permissions(above, Permissions::from_mode(PASSABLE)).map_err(failed)?;
        }
        if let Some(name) = foreign(&path).map_err(failed)? {
            return Err(BackupError::NotEmpty { name });
        }
        let lock = FolderLock::take(&path)?;
        Ok(Self { folder: Folder::new(path.clone()), path, made, _lock: lock })
    }

    /// Leaves it as it is, also when nothing is in it, as in a log without events.
    pub fn keep(mut self) {
        self.made.clear();
    }

    fn holds_only_its_lock(&self) -> bool {
        let Ok(mut entries) = fs::read_dir(&self.path) else { return false };
        entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == LOCK))
    }
}

impl Drop for TargetFolder {
    fn drop(&mut self) {
        if !self.made.is_empty() && self.holds_only_its_lock() {
            // What can't be removed does no harm: the next try takes it as it is.
            let _ = fs::remove_file(self.path.join(LOCK));
            self.made.iter().map(fs::remove_dir).take_while(Result::is_ok).for_each(drop);
        }
    }
}

impl Deref for TargetFolder {
    type Target = Folder;

    fn deref(&self) -> &Folder {
        &self.folder
    }
}

/// The name of something in a folder that no beginning of a backup or a restore can have left
/// there, where there is such a thing: among others what leads out of the folder.
fn foreign(path: &Path) -> io::Result<Option<String>> {
    let entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
    let is_mark = |name: &OsStr| name == BACKUP_UNFINISHED || name == RESTORE_UNFINISHED;
    let begun_before = entries.iter().any(|entry| is_mark(&entry.file_name()));
    for entry in entries {
        if !entry.file_type()?.is_file() || !begun_before && entry.file_name() != LOCK {
            return Ok(Some(entry.file_name().to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

/// What a folder is where no store may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unfit {
    /// A backup.
    #[error("it is a backup: restore it into another folder")]
    Backup,
    /// A backup that was not finished.
    #[error("it is a backup that was not finished")]
    BackupUnfinished,
    /// A restore that was not finished.
    #[error("a restore into it was not finished: restore once more")]
    RestoreUnfinished,
}

impl Unfit {
    /// What a folder with these files is, when it is no store's.
    pub(in crate::embedded) fn of(names: &[String]) -> Option<Self> {
        let kinds = [
            (RESTORE_UNFINISHED, Self::RestoreUnfinished),
            (MANIFEST, Self::Backup),
            (BACKUP_UNFINISHED, Self::BackupUnfinished),
        ];
        let is_there = |name: &str| names.iter().any(|there| there == name);
        kinds.into_iter().find_map(|(name, kind)| is_there(name).then_some(kind))
    }
}

/// Begins to fill an empty folder: the file of this name says so, durably. What an earlier
/// beginning left is removed.
pub(super) fn begin(disk: &dyn Disk, unfinished: &str) -> Result<(), BackupError> {
    let names = disk.list()?;
    let begun_before = names.iter().any(|name| name == unfinished);
    let ours = |name: &str| {
        name == unfinished
            || name == LOCK
            || begun_before
                && [".log", ".idx", ".key", ".tmp"].iter().any(|end| name.ends_with(end))
            || begun_before && name == CleanMark::FILE
    };
    if let Some(name) = names.iter().find(|name| !ours(name)) {
        return Err(BackupError::NotEmpty { name: name.clone() });
    }
    disk.open(unfinished, true)?.sync()?;
    disk.sync_folder()?;
    let left = names.iter().filter(|name| *name != unfinished && *name != LOCK);
    for name in left {
        disk.remove(name)?;
    }
    Ok(disk.sync_folder()?)
}
