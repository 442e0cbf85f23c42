//! The folder that holds the keys: written so that a crash leaves the old file or the new one,
//! and readable by its owner alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use zeroize::Zeroizing;

/// Permission bits of group and others, which a private file must not have.
const FOREIGN_MODE: u32 = 0o077;
/// No file of ours comes near this; a larger one is not ours.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A folder of small private files.
#[derive(Debug, Clone)]
pub struct KeyFolder {
    path: PathBuf,
}

/// A state of a folder. A file that is replaced is another inode for certain, whatever the clock
/// of the file system shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Inode and time of change.
    file: Option<(u64, i64, i64)>,
    /// When a name last came or went.
    folder: Option<(i64, i64)>,
}

/// How a file is put in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// Only where there is none: of two processes that create it at once, one wins.
    IfAbsent,
    /// In place of what is there.
    Replace,
}

impl KeyFolder {
    /// Opens the folder, and makes it (mode 0700) where there is none.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_folder(parent)?;
        }
        Ok(Self::at(path))
    }

    /// The folder as it is, also where there is none.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until nobody else has the lock; it is let go when the file is dropped.
    ///
    /// # Errors
    /// When the folder is not there or can't be locked.
    pub fn lock(&self) -> io::Result<File> {
        let folder = File::open(&self.path)?;
        folder.lock()?;
        Ok(folder)
    }

    /// What tells one state of the folder from another: another file under this name, or another
    /// name that came or went.
    pub fn stamp(&self, name: &str) -> Stamp {
        let file = fs::metadata(self.path_of(name)).ok();
        let folder = fs::metadata(&self.path).ok();
        Stamp {
            file: file.map(|file| (file.ino(), file.ctime(), file.ctime_nsec())),
            folder: folder.map(|folder| (folder.mtime(), folder.mtime_nsec())),
        }
    }

    /// Where the file of this name is.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The names in the folder that end with `suffix`, sorted.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn names_ending(&self, suffix: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            names.extend(name.to_str().filter(|name| name.ends_with(suffix)).map(str::to_owned));
        }
        names.sort();
        Ok(names)
    }

    /// The bytes of a file, or `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be read, is implausibly large, or others than its owner may read it.
    pub fn read_private(&self, name: &str) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        let file = match File::open(self.path_of(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let metadata = file.metadata()?;
        let mode = metadata.permissions().mode();
        if mode & FOREIGN_MODE != 0 {
            let what = format!("mode {:03o} lets others in, it must be 600", mode & 0o777);
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        }
        if metadata.len() > FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is too large"));
        }
        // The buffer never grows, so no copy of the key stays behind in freed memory.
        let mut bytes = Zeroizing::new(vec![0; metadata.len() as usize]);
        (&file).read_exact(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Writes a file with mode 0600: whole and synced before it has its name, and the name synced
    /// before this returns. Says whether it was put (`false` only with [`Put::IfAbsent`]).
    ///
    /// # Errors
    /// When any step fails; what was in place before is in place still.
    pub fn write(&self, name: &str, bytes: &[u8], put: Put) -> io::Result<bool> {
        let temporary = self.path_of(&temporary_name(name));
        let outcome = self.write_as(&temporary, name, bytes, put);
        if put == Put::IfAbsent || outcome.is_err() {
            // After a link, or a failure, the temporary name is left over.
            fs::remove_file(&temporary).ok();
        }
        let was_put = outcome?;
        sync_folder(&self.path)?;
        Ok(was_put)
    }

    /// Removes a file, durably. One that is gone already is no error.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path_of(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| sync_folder(&self.path)),
        }
    }

    fn write_as(&self, temporary: &Path, name: &str, bytes: &[u8], put: Put) -> io::Result<bool> {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        let target = self.path_of(name);
        match put {
            Put::Replace => fs::rename(temporary, target).map(|()| true),
            Put::IfAbsent => match fs::hard_link(temporary, target) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                linked => linked.map(|()| true),
            },
        }
    }
}

/// A name no other writer uses, of this process or another.
fn temporary_name(name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!(".{name}.{}-{number}-{}.tmp", std::process::id(), uuid::Uuid::new_v4().simple())
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_and_folder_are_private() {
        let root = tempfile::tempdir().unwrap();
        let folder = KeyFolder::open(&root.path().join("a/keys")).unwrap();
        assert!(folder.write("k", b"secret", Put::Replace).unwrap());
        assert_eq!(mode(&folder.path), 0o700);
        assert_eq!(mode(&folder.path_of("k")), 0o600);
        assert_eq!(folder.read_private("k").unwrap().unwrap().as_slice(), b"secret");
        assert!(folder.read_private("other").unwrap().is_none());
    }

    #[test]
    fn a_file_open_to_others_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let folder = KeyFolder::open(root.path()).unwrap();
        folder.write("k", b"secret", Put::Replace).unwrap();
        for open in [0o640, 0o604, 0o666] {
            let permissions = fs::Permissions::from_mode(open);
            fs::set_permissions(folder.path_of("k"), permissions).unwrap();
            let error = folder.read_private("k").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{open:o}");
        }
    }

    #[test]
    fn put_if_absent_keeps_the_first_and_leaves_nothing_behind() {
        let root = tempfile::tempdir().unwrap();
        let folder = KeyFolder::open(root.path()).unwrap();
        assert!(folder.write("k", b"first", Put::IfAbsent).unwrap());
        assert!(!folder.write("k", b"second", Put::IfAbsent).unwrap());
        assert_eq!(folder.read_private("k").unwrap().unwrap().as_slice(), b"first");
        assert!(folder.write("k", b"third", Put::Replace).unwrap());
        assert_eq!(folder.read_private("k").unwrap().unwrap().as_slice(), b"third");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
        assert_eq!(folder.names_ending("k").unwrap(), ["k"]);
        folder.remove("k").unwrap();
        folder.remove("k").unwrap();
        assert!(folder.read_private("k").unwrap().is_none());
    }
}
