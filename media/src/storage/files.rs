//! Objects as files in the data folder: written aside, synced, then renamed into place, or linked
//! there where nothing may be in its place.
//!
//! `<root>/<key>` is the object; `<root>/.scratch` holds what is being written. A key has no part
//! that begins with a dot, so the two never meet. Both are one file system: a rename is atomic, and
//! so is a link.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use futures::StreamExt;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use tokio_util::io::ReaderStream;

use super::{
    ByteRange, ByteStream, ListedObject, LocalFile, ObjectHead, ObjectReader, ObjectStorage,
    Sha256Digest, StorageError, StoredObject,
};
use crate::limits::{LIST_PAGE_MAX, READ_BYTES, WRITE_BYTES};
use crate::object_key::{KeyPrefix, ObjectKey};
use crate::scratch::Scratch;

/// How often a put makes its folder again when a delete has just removed it as empty.
const PLACING_TRIES_MAX: usize = 16;

/// The storage that needs nothing but a folder.
#[derive(Debug, Clone)]
pub struct FileStorage {
    root: PathBuf,
    scratch: Scratch,
}

impl FileStorage {
    /// Opens the folder, and makes it if need be.
    ///
    /// # Errors
    /// When the folder can be neither made nor read.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        let scratch = Scratch::open(root.join(".scratch"))?;
        Ok(Self { root, scratch })
    }

    fn path(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// Writes the body aside, and has it put into its place; what came of that.
    async fn place<T: Send + 'static>(
        &self,
        key: &ObjectKey,
        body: ByteStream,
        into_place: fn(&Path, &Path, &Path) -> io::Result<T>,
    ) -> Result<(StoredObject, T), StorageError> {
        let aside = self.scratch.path();
        let file = File::create_new(aside.as_path()).map_err(StorageError::of_writing)?;
        let Written { size_bytes, sha256 } = write_body(file, body).await?;
        let (root, target) = (self.root.clone(), self.path(key));
        // The guard goes along: were this future dropped now, the file would still be found.
        let placed = in_background(move || into_place(&root, aside.as_path(), &target))
            .await
            .map_err(|error| StorageError::from_io(error, key))?;
        Ok((StoredObject { key: key.clone(), size_bytes, sha256 }, placed))
    }
}

#[async_trait]
impl ObjectStorage for FileStorage {
    async fn put(&self, key: &ObjectKey, body: ByteStream) -> Result<StoredObject, StorageError> {
        let (stored, ()) = self.place(key, body, move_into_place).await?;
        Ok(stored)
    }

    async fn create(
        &self,
        key: &ObjectKey,
        body: ByteStream,
    ) -> Result<Option<StoredObject>, StorageError> {
        let (stored, is_new) = self.place(key, body, link_into_place).await?;
        Ok(is_new.then_some(stored))
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<ObjectReader, StorageError> {
        let path = self.path(key);
        let (mut file, size_bytes) = in_background(move || open_object(&path))
            .await
            .map_err(|error| read_error(error, key))?;
        let range =
            range.resolve(size_bytes).ok_or(StorageError::RangeNotSatisfiable { size_bytes })?;
        file.seek(SeekFrom::Start(range.start)).map_err(StorageError::Io)?;
        let rest =
            tokio::io::AsyncReadExt::take(tokio::fs::File::from_std(file), range.end - range.start);
        let body = ReaderStream::with_capacity(rest, READ_BYTES).boxed();
        Ok(ObjectReader { size_bytes, range, body })
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectHead, StorageError> {
        let path = self.path(key);
        let head = in_background(move || {
            let metadata = fs::metadata(path)?;
            if !metadata.is_file() {
                return Err(io::ErrorKind::NotFound.into());
            }
            let modified = DateTime::<Utc>::from(metadata.modified()?);
            Ok(ObjectHead { size_bytes: metadata.len(), modified })
        });
        head.await.map_err(|error| read_error(error, key))
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StorageError> {
        let (root, path) = (self.root.clone(), self.path(key));
        in_background(move || remove(&root, &path)).await.map_err(StorageError::Io)
    }

    async fn list(
        &self,
        prefix: &KeyPrefix,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ListedObject>, StorageError> {
        let mut listing = Listing {
            root: self.root.clone(),
            after: after.cloned(),
            limit: limit.min(LIST_PAGE_MAX),
            found: Vec::new(),
        };
        let prefix = prefix.as_str().to_owned();
        in_background(move || {
            listing.walk(&prefix)?;
            Ok(listing.found)
        })
        .await
        .map_err(StorageError::Io)
    }

    async fn free_bytes(&self) -> Result<u64, StorageError> {
        let root = self.root.clone();
        let asked = in_background(move || {
            let disk = rustix::fs::statvfs(&root)?;
            // What an ordinary user could write.
            Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
        });
        asked.await.map_err(StorageError::Io)
    }

    async fn sweep(&self) -> Result<usize, StorageError> {
        let scratch = self.scratch.clone();
        let swept = in_background(move || scratch.sweep(SystemTime::now())).await;
        swept.map_err(StorageError::Io)
    }

    async fn local_file(&self, key: &ObjectKey) -> Result<LocalFile, StorageError> {
        self.head(key).await?;
        Ok(LocalFile::stored(self.path(key)))
    }
}

struct Written {
    size_bytes: u64,
    sha256: Sha256Digest,
}

/// Writes the whole stream to the file, counts and hashes it, and syncs.
async fn write_body(file: File, mut body: ByteStream) -> Result<Written, StorageError> {
    let mut sink = Sink { file, hasher: Sha256::new(), size_bytes: 0 };
    let mut gathered = BytesMut::new();
    while let Some(chunk) = body.next().await {
        gathered.extend_from_slice(&chunk.map_err(StorageError::Body)?);
        if gathered.len() >= WRITE_BYTES {
            let bytes = gathered.split().freeze();
            sink = in_background(move || sink.write(&bytes))
                .await
                .map_err(StorageError::of_writing)?;
        }
    }
    let bytes = gathered.freeze();
    let finish = move || {
        let sink = sink.write(&bytes)?;
        sink.file.sync_all()?;
        Ok(sink)
    };
    let sink = in_background(finish).await.map_err(StorageError::of_writing)?;
    let sha256 = Sha256Digest::from_bytes(sink.hasher.finalize().into());
    Ok(Written { size_bytes: sink.size_bytes, sha256 })
}

struct Sink {
    file: File,
    hasher: Sha256,
    size_bytes: u64,
}

impl Sink {
    fn write(mut self, bytes: &Bytes) -> io::Result<Self> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.size_bytes += bytes.len() as u64;
        Ok(self)
    }
}

fn move_into_place(root: &Path, from: &Path, to: &Path) -> io::Result<()> {
    let folder = to.parent().expect("an object lies in the root or below it");
    for _ in 0..PLACING_TRIES_MAX {
        match fs::create_dir_all(folder).and_then(|()| fs::rename(from, to)) {
            // A delete found the folder, or one above it, empty and removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
            Ok(()) => return sync_folders(root, folder),
        }
    }
    Err(io::Error::other("the object's folder was removed again and again"))
}

/// As [`move_into_place`], where nothing is in the place; else `false`, once what is there is
/// durable: whoever put it may not have come to that yet.
fn link_into_place(root: &Path, from: &Path, to: &Path) -> io::Result<bool> {
    let folder = to.parent().expect("an object lies in the root or below it");
    for _ in 0..PLACING_TRIES_MAX {
        // The name aside goes with its guard.
        let clash = match fs::create_dir_all(folder).and_then(|()| link(from, to)) {
            Ok(()) => return sync_folders(root, folder).map(|()| true),
            // As above.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => error,
            Err(error) => return Err(error),
        };
        match fs::metadata(to) {
            Ok(there) if there.is_file() => {
                return sync_folders(root, folder).map(|()| false);
            }
            Ok(_) => return Err(clash),
            // Removed since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("the object or its folder was removed again and again"))
}

/// A second name for a file; where the file system has no links, it is renamed. Neither takes the
/// place of anything.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if is_without_links(&error) => rename_to_nothing(from, to),
        linked => linked,
    }
}

/// As FAT and shares of Windows refuse it.
fn is_without_links(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported)
}

fn rename_to_nothing(from: &Path, to: &Path) -> io::Result<()> {
    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

/// Syncs the folder and those above it: any of them may be new, made here or by another writer.
fn sync_folders(root: &Path, folder: &Path) -> io::Result<()> {
    let inside = folder.ancestors().take_while(|ancestor| ancestor.starts_with(root));
    for ancestor in inside {
        match File::open(ancestor).and_then(|opened| opened.sync_all()) {
            // Removed meanwhile with all that was in it: nothing is left to be made durable.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            synced => synced?,
        }
    }
    Ok(())
}

fn open_object(path: &Path) -> io::Result<(File, u64)> {
    let mut file = File::open(path)?;
    // A folder opens like a file and fails at the first read.
    file.read_exact(&mut [])?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok((file, metadata.len()))
}

fn remove(root: &Path, path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if is_absent(&error) => return Ok(()),
        Err(error) => return Err(error),
    }
    let folder = path.parent().expect("an object lies in the root or below it");
    sync_folders(root, folder)?;
    // Folders go with their last object; one that is in use again refuses, and ends the walk.
    let below_root = folder.ancestors().take_while(|ancestor| *ancestor != root);
    below_root.map(fs::remove_dir).take_while(Result::is_ok).for_each(drop);
    Ok(())
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory
    )
}

fn read_error(error: io::Error, key: &ObjectKey) -> StorageError {
    if is_absent(&error) {
        StorageError::NotFound { key: key.clone() }
    } else {
        StorageError::Io(error)
    }
}

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

/// A walk in the order of keys that stops when its page is full.
struct Listing {
    root: PathBuf,
    after: Option<ObjectKey>,
    limit: usize,
    found: Vec<ListedObject>,
}

impl Listing {
    /// Lists a folder; `prefix` is empty or ends in a slash.
    fn walk(&mut self, prefix: &str) -> io::Result<()> {
        for name in self.names(prefix)? {
            if self.found.len() >= self.limit {
                return Ok(());
            }
            let full = format!("{prefix}{name}");
            if self.is_before_page(&full) {
                continue;
            }
            if full.ends_with('/') {
                self.walk(&full)?;
            } else if let Ok(key) = ObjectKey::new(full) {
                match fs::metadata(self.root.join(key.as_str())) {
                    Ok(metadata) => {
                        self.found.push(ListedObject { key, size_bytes: metadata.len() });
                    }
                    Err(error) if is_absent(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// The names in a folder, folders with a slash behind them: sorted so, a walk yields whole
    /// keys in the order of their bytes.
    fn names(&self, prefix: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.root.join(prefix)) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            // What is no key (hidden, or not even text) was not put here by a storage.
            let Ok(mut name) = entry.file_name().into_string() else {
                continue;
            };
            if name.starts_with('.') {
                continue;
            }
            if entry.file_type()?.is_dir() {
                name.push('/');
            }
            names.push(name);
        }
        names.sort_unstable();
        Ok(names)
    }

    fn is_before_page(&self, full: &str) -> bool {
        let Some(after) = self.after.as_ref().map(ObjectKey::as_str) else {
            return false;
        };
        full <= after && !(full.ends_with('/') && after.starts_with(full))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::stream;

    use super::super::conformance_tests;
    use super::*;
    use crate::limits::SCRATCH_AGE_SECONDS_MAX;

    fn body(bytes: &'static [u8]) -> ByteStream {
        stream::iter([Ok(Bytes::from_static(bytes))]).boxed()
    }

    fn left_aside(root: &Path) -> usize {
        fs::read_dir(root.join(".scratch")).unwrap().count()
    }

    #[tokio::test]
    async fn keeps_the_promises_of_the_port() {
        let home = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(home.path()).unwrap();
        conformance_tests::check(&storage).await;
        assert_eq!(left_aside(home.path()), 0);
    }

    #[tokio::test]
    async fn a_full_disk_is_named() {
        // `/dev/full` refuses every write as a full disk does.
        let file = File::options().write(true).open("/dev/full").unwrap();
        let refused = write_body(file, body(b"sound")).await;
        assert!(matches!(refused, Err(StorageError::Full)));
    }

    #[tokio::test]
    async fn a_put_that_is_given_up_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(home.path()).unwrap();
        let key = ObjectKey::new("masters/a").unwrap();
        let endless = stream::iter([Ok(Bytes::from_static(b"begun"))]).chain(stream::pending());
        let mut put = storage.put(&key, endless.boxed());
        assert!(futures::poll!(&mut put).is_pending());
        assert_eq!(left_aside(home.path()), 1);
        drop(put);
        assert_eq!(left_aside(home.path()), 0);
        assert!(matches!(storage.head(&key).await, Err(StorageError::NotFound { .. })));
    }

    #[tokio::test]
    async fn what_a_killed_put_left_is_swept_and_a_put_under_way_is_not() {
        let home = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(home.path()).unwrap();
        let killed = home.path().join(".scratch/killed");
        fs::write(&killed, "begun").unwrap();
        let endless = stream::iter([Ok(Bytes::from_static(b"begun"))]).chain(stream::pending());
        let key = ObjectKey::new("masters/a").unwrap();
        let mut put = storage.put(&key, endless.boxed());
        assert!(futures::poll!(&mut put).is_pending());
        assert_eq!(storage.sweep().await.unwrap(), 0, "any of them may be under way");
        let long_ago = SystemTime::now() - Duration::from_secs(2 * SCRATCH_AGE_SECONDS_MAX);
        File::options().write(true).open(killed).unwrap().set_modified(long_ago).unwrap();
        assert_eq!(storage.sweep().await.unwrap(), 1);
        assert_eq!(left_aside(home.path()), 1);
    }

    #[tokio::test]
    async fn an_object_is_no_folder_and_a_folder_no_object() {
        let home = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(home.path()).unwrap();
        let (leaf, below) = (ObjectKey::new("a/b").unwrap(), ObjectKey::new("a/b/c").unwrap());
        storage.put(&leaf, body(b"1")).await.unwrap();
        let refused = storage.put(&below, body(b"2")).await;
        assert!(matches!(refused, Err(StorageError::KeyClash { .. })));
        assert!(matches!(storage.head(&below).await, Err(StorageError::NotFound { .. })));
        let folder = ObjectKey::new("a").unwrap();
        let refused = storage.put(&folder, body(b"3")).await;
        assert!(matches!(refused, Err(StorageError::KeyClash { .. })));
        for key in [&below, &folder] {
            let refused = storage.create(key, body(b"4")).await;
            assert!(matches!(refused, Err(StorageError::KeyClash { .. })), "{key}: {refused:?}");
        }
        let read = storage.get(&folder, ByteRange::Whole).await;
        assert!(matches!(read, Err(StorageError::NotFound { .. })));
        assert_eq!(left_aside(home.path()), 0);
    }

    #[test]
    fn without_links_nothing_is_replaced_either() {
        for refusal in [rustix::io::Errno::PERM, rustix::io::Errno::OPNOTSUPP] {
            assert!(is_without_links(&refusal.into()), "{refusal}");
        }
        let home = tempfile::tempdir().unwrap();
        let [one, other, to] = ["one", "other", "to"].map(|name| home.path().join(name));
        fs::write(&one, "1").unwrap();
        fs::write(&other, "2").unwrap();
        rename_to_nothing(&one, &to).unwrap();
        let refused = rename_to_nothing(&other, &to).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&to).unwrap(), b"1");
        let nowhere = rename_to_nothing(&other, &home.path().join("folder/to")).unwrap_err();
        assert_eq!(nowhere.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn folders_go_with_their_last_object() {
        let home = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(home.path()).unwrap();
        let key = ObjectKey::new("a/b/c").unwrap();
        storage.put(&key, body(b"1")).await.unwrap();
        storage.delete(&key).await.unwrap();
        assert!(!home.path().join("a").exists());
        storage.put(&key, body(b"2")).await.unwrap();
    }
}
