//! Room in a storage: what uploads were promised and have not written yet, beside what is free.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::storage::{ObjectStorage, StorageError};

/// The room of one storage. Clones share it.
#[derive(Clone)]
pub(crate) struct Room {
    storage: Arc<dyn ObjectStorage>,
    reserve_bytes: u64,
    promised_bytes: Arc<AtomicU64>,
}

/// What was promised to one upload and has not come yet; given back when dropped.
pub(crate) struct Claim {
    room: Room,
    bytes: u64,
}

impl Room {
    /// All that is free in the storage but for a reserve.
    pub(crate) fn of(storage: Arc<dyn ObjectStorage>, reserve_bytes: u64) -> Self {
        Self { storage, reserve_bytes, promised_bytes: Arc::default() }
    }

    /// Promises so much.
    ///
    /// # Errors
    /// [`StorageError::Full`] when that is not there; else as the storage fails.
    pub(crate) async fn claim(&self, bytes: u64) -> Result<Claim, StorageError> {
        let mut claim = Claim { room: self.clone(), bytes: 0 };
        claim.extend(bytes).await?;
        Ok(claim)
    }

    /// What is promised in all.
    pub(crate) fn promised_bytes(&self) -> u64 {
        self.promised_bytes.load(Ordering::SeqCst)
    }
}

impl Claim {
    /// What may still come.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Promises so much more, and looks whether there is still room for all that is promised.
    ///
    /// # Errors
    /// As [`Room::claim`].
    pub(crate) async fn extend(&mut self, bytes: u64) -> Result<(), StorageError> {
        // Promised first and asked then: of two that do so at once neither overlooks the other.
        self.bytes += bytes;
        self.room.promised_bytes.fetch_add(bytes, Ordering::SeqCst);
        let free_bytes = self.room.storage.free_bytes().await?;
        let needed_bytes = self.room.reserve_bytes.saturating_add(self.room.promised_bytes());
        if free_bytes < needed_bytes { Err(StorageError::Full) } else { Ok(()) }
    }

    /// So much came, and is being written.
    pub(crate) fn spend(&mut self, bytes: u64) {
        let spent = bytes.min(self.bytes);
        self.bytes -= spent;
        self.room.promised_bytes.fetch_sub(spent, Ordering::SeqCst);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.spend(self.bytes);
    }
}
