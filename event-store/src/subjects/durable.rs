//! Which slots this process has made durable: nothing is sealed with a key in another.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::bucket::{BUCKETS, Slots};
use super::turn::Turn;
use crate::error::StoreError;
use crate::log::{Disk, FileId, FileStamp};

/// The slots of all buckets.
pub(super) struct DurableSlots(Mutex<Vec<OfBucket>>);

#[derive(Clone, Default)]
struct OfBucket {
    /// In which file they are; a copy of it may not be durable.
    file: Option<FileId>,
    /// How many there are, the folder's entry included.
    count: usize,
    /// The most that there ever were. Files of slots only grow.
    most: usize,
}

impl DurableSlots {
    pub(super) fn none() -> Self {
        Self(Mutex::new(vec![OfBucket::default(); BUCKETS]))
    }

    /// Whether the bucket has fewer slots than this process has made durable: it is an older copy.
    pub(super) fn are_more_than(&self, slots: &Slots) -> bool {
        self.lock()[slots.bucket().number()].most > slots.count()
    }

    /// Makes the slots durable up to the last, those of `changed` in any case; the stamp of their
    /// file then. What another process wrote and did not make durable, or failed to, is written
    /// once more: a sync after one that failed would prove nothing of it.
    pub(super) fn make(
        &self,
        disk: &dyn Disk,
        _turn: &Turn<'_>,
        slots: &Slots,
        changed: Range<usize>,
    ) -> Result<Option<FileStamp>, StoreError> {
        let mut all = self.lock();
        let known = &mut all[slots.bucket().number()];
        let file = slots.stamp().map(|stamp| stamp.file);
        if known.file != file || known.count > slots.count() {
            (known.file, known.count) = (file, 0);
        }
        let from = if changed.is_empty() { known.count } else { changed.start.min(known.count) };
        if from >= slots.count() {
            return Ok(slots.stamp());
        }
        let is_named = known.count > 0;
        known.count = from.min(known.count);
        let stamp = slots.write_from(disk, from)?;
        if !is_named {
            disk.sync_folder()?;
        }
        let most = known.most.max(slots.count());
        *known = OfBucket { file: Some(stamp.file), count: slots.count(), most };
        Ok(Some(stamp))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<OfBucket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
