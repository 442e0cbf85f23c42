//! The port: what every storage of objects does, and all that anybody else knows of it.

mod files;
mod types;

#[cfg(test)]
mod conformance_tests;

use std::io;
use std::path::Path;

use async_trait::async_trait;
use futures::TryStreamExt;
use tokio_util::io::ReaderStream;

use crate::limits::READ_BYTES;
use crate::object_key::{KeyPrefix, ObjectKey};

pub use files::FileStorage;
pub use types::{
    ByteRange, ByteStream, ListedObject, LocalFile, ObjectHead, ObjectReader, Sha256Digest,
    StoredObject,
};

/// A storage of objects. One conformance suite holds all implementations to the same behaviour.
///
/// Promises: a put is durable when it returns, and readers see the old object or the new one,
/// never a part; a put that fails or is dropped leaves what was there before; a reader that has
/// begun goes on with the object it began with. What is created is put, but where nothing is.
#[async_trait]
pub trait ObjectStorage: Send + Sync + 'static {
    /// Stores what the stream yields under the key, in place of what was there.
    ///
    /// # Errors
    /// [`StorageError::Body`] when the stream fails; else as the storage fails.
    async fn put(&self, key: &ObjectKey, body: ByteStream) -> Result<StoredObject, StorageError>;

    /// Stores what the stream yields under the key, but only where nothing is: of any number at
    /// once, in any process, one does. `None` where an object is there already, which is left as it
    /// is, and is durable by then.
    ///
    /// # Errors
    /// As [`ObjectStorage::put`].
    async fn create(
        &self,
        key: &ObjectKey,
        body: ByteStream,
    ) -> Result<Option<StoredObject>, StorageError>;

    /// Stores a file's content under the key. The file stays where it is.
    ///
    /// # Errors
    /// As [`ObjectStorage::put`]; a file that cannot be read is [`StorageError::Body`].
    async fn put_file(&self, key: &ObjectKey, file: &Path) -> Result<StoredObject, StorageError> {
        let file = tokio::fs::File::open(file).await.map_err(StorageError::Body)?;
        let body: ByteStream =
            Box::pin(ReaderStream::with_capacity(file, READ_BYTES).into_stream());
        self.put(key, body).await
    }

    /// Reads an object, or a range of it.
    ///
    /// # Errors
    /// [`StorageError::NotFound`]; [`StorageError::RangeNotSatisfiable`].
    async fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<ObjectReader, StorageError>;

    /// Size and age of an object.
    ///
    /// # Errors
    /// [`StorageError::NotFound`].
    async fn head(&self, key: &ObjectKey) -> Result<ObjectHead, StorageError>;

    /// Removes an object. One that is not there is removed already.
    ///
    /// # Errors
    /// Only as the storage fails.
    async fn delete(&self, key: &ObjectKey) -> Result<(), StorageError>;

    /// The objects of a folder and below it, in the order of their keys' bytes: those after
    /// `after`, at most `limit` and never more than [`crate::limits::LIST_PAGE_MAX`].
    ///
    /// # Errors
    /// Only as the storage fails; a folder without objects is an empty list.
    async fn list(
        &self,
        prefix: &KeyPrefix,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ListedObject>, StorageError>;

    /// How much can still be stored, in bytes.
    ///
    /// # Errors
    /// Only as the storage fails.
    async fn free_bytes(&self) -> Result<u64, StorageError>;

    /// Removes what is left of puts that were killed, once it is older than any put under way; how
    /// many there were. Whoever has the storage open for days does so now and then.
    ///
    /// # Errors
    /// Only as the storage fails; what is left is removed the next time.
    async fn sweep(&self) -> Result<usize, StorageError>;

    /// The object as a file that can be read and sought, for tools that need one.
    ///
    /// # Errors
    /// [`StorageError::NotFound`].
    async fn local_file(&self, key: &ObjectKey) -> Result<LocalFile, StorageError>;
}

/// Why a storage did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// No object has this key.
    #[error("no object is stored under {key}")]
    NotFound {
        /// The key that was asked for.
        key: ObjectKey,
    },
    /// The disk, or the quota, is used up; what was there before is untouched.
    #[error("the object storage is full")]
    Full,
    /// The file system was made read-only, or leaves us no right to write; what is there is served.
    #[error("the object storage can't be written")]
    Unwritable(#[source] io::Error),
    /// The range begins behind the object's end.
    #[error("the range lies outside of an object of {size_bytes} bytes")]
    RangeNotSatisfiable {
        /// How large the object is, in bytes.
        size_bytes: u64,
    },
    /// The key is the folder of other objects, or has an object for a folder.
    #[error("{key} clashes with an object that is there already")]
    KeyClash {
        /// The key that was refused.
        key: ObjectKey,
    },
    /// What should have been stored could not be read.
    #[error("the object's content could not be read")]
    Body(#[source] io::Error),
    /// The storage itself failed.
    #[error("the object storage failed")]
    Io(#[source] io::Error),
}

impl StorageError {
    /// Names an error of the storage's own input and output.
    pub(crate) fn from_io(error: io::Error, key: &ObjectKey) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound { key: key.clone() },
            io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::AlreadyExists => Self::KeyClash { key: key.clone() },
            _ => Self::of_writing(error),
        }
    }

    /// Names an error of writing, whatever the key.
    pub(crate) fn of_writing(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                Self::Unwritable(error)
            }
            _ => Self::Io(error),
        }
    }
}
