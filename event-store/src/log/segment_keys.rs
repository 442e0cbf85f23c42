//! The keys of all segments: made for new ones, read for old ones, wrapped anew.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::data_key::DataKey;
use super::disk::{Disk, DiskFile};
use super::entropy::{Entropy, SystemEntropy};
use super::key_file::{KeyError, KeyOf};
use super::segment::segment_name;
use crate::encryption::{KeyBytes, WrappingKeys, random};
use crate::error::StoreError;

/// What the keys of segments are wrapped by, and whether new segments have any.
pub(crate) struct SegmentKeys {
    /// Held while a file of a key is made, so that none is wrapped by a key of before.
    wrapping: Mutex<Option<Arc<WrappingKeys>>>,
    /// Held while all are wrapped anew.
    rotating: Mutex<()>,
    encrypts: bool,
    entropy: Arc<dyn Entropy>,
}

/// What [`EmbeddedStore::rotate_keys`](crate::EmbeddedStore::rotate_keys) has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotatedKeys {
    /// How many keys of segments there are.
    pub keys: u64,
    /// How many of them were wrapped anew; the others were wrapped by the first key already.
    pub rewrapped: u64,
}

impl SegmentKeys {
    /// With these wrapping keys, new segments are encrypted or not. Their salts and keys, and the
    /// nonces that these are wrapped with, are taken from there.
    pub(crate) fn new(
        wrapping: Option<Arc<WrappingKeys>>,
        encrypts: bool,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let encrypts = encrypts && wrapping.is_some();
        Self { wrapping: Mutex::new(wrapping), rotating: Mutex::new(()), encrypts, entropy }
    }

    /// With these, to read only.
    pub(crate) fn to_read(wrapping: Option<Arc<WrappingKeys>>) -> Self {
        Self::new(wrapping, false, Arc::new(SystemEntropy))
    }

    /// What nobody can foresee.
    pub(crate) fn entropy(&self) -> &dyn Entropy {
        &*self.entropy
    }

    /// Whether new segments are encrypted.
    pub(crate) fn encrypts(&self) -> bool {
        self.encrypts
    }

    /// Makes the key of a new segment; it is durable in this new file afterwards.
    pub(crate) fn make(
        &self,
        disk: &dyn Disk,
        of: KeyOf,
        file: &dyn DiskFile,
    ) -> Result<DataKey, StoreError> {
        let wrapping = lock(&self.wrapping);
        let wrapping = wrapping.as_deref().expect("new segments have keys only where these are");
        let key = random(self.entropy());
        of.write(disk, file, &key, wrapping, self.entropy())?;
        disk.sync_folder()?;
        Ok(DataKey::new(&key))
    }

    /// The key of a segment.
    pub(crate) fn of(&self, disk: &dyn Disk, of: KeyOf) -> Result<DataKey, KeyError> {
        let segment = || segment_name(of.first).into();
        let mut wrapping = self.wrapping_for(of)?;
        let read = loop {
            let read = Self::read_if_there(disk, of, &wrapping);
            let now = self.wrapping_for(of)?;
            // All may be wrapped anew meanwhile, and this one be so already.
            if read.is_ok() || Arc::ptr_eq(&wrapping, &now) {
                break read?;
            }
            wrapping = now;
        };
        let missing = || KeyError::Missing { segment: segment(), file: of.file_name().into() };
        read.map(|(key, _)| DataKey::new(&key)).ok_or_else(missing)
    }

    /// What keys are wrapped by now; this segment has one.
    fn wrapping_for(&self, of: KeyOf) -> Result<Arc<WrappingKeys>, KeyError> {
        let segment = || segment_name(of.first).into();
        lock(&self.wrapping).clone().ok_or_else(|| KeyError::NoKeys { segment: segment() })
    }

    /// The key of a segment and the name of what wraps it, unless the segment is gone meanwhile: a
    /// new one took its place.
    fn read_if_there(
        disk: &dyn Disk,
        of: KeyOf,
        wrapping: &WrappingKeys,
    ) -> Result<Option<(KeyBytes, String)>, KeyError> {
        match of.read(disk, wrapping) {
            Err(KeyError::Store(StoreError::Io(error))) if error.kind() == ErrorKind::NotFound => {
                Ok(None)
            }
            read => read.map(Some),
        }
    }

    /// Wraps all keys by the first of these, which must open all, and those of new segments from
    /// now on. Once it returns, this log needs no other, but each backup made before needs those it
    /// was made with. After it was cut off anywhere, every key is
    /// wrapped by the one of before or by the new one, and it can be done again.
    pub(crate) fn rotate(
        &self,
        disk: &dyn Disk,
        new: Arc<WrappingKeys>,
    ) -> Result<RotatedKeys, KeyError> {
        let _one_at_a_time = lock(&self.rotating);
        let mut held = lock(&self.wrapping);
        let keys: Vec<KeyOf> =
            disk.list()?.iter().filter_map(|name| KeyOf::of_file(name)).collect();
        // Nothing is changed before all are known to open.
        for of in &keys {
            Self::read_if_there(disk, *of, &new)?;
        }
        *held = Some(Arc::clone(&new));
        drop(held);
        let mut rotated = RotatedKeys { keys: 0, rewrapped: 0 };
        for of in &keys {
            let Some((key, id)) = Self::read_if_there(disk, *of, &new)? else { continue };
            rotated.keys += 1;
            if id != new.first() {
                // Should its segment be gone by now, this makes a key of none, which the next
                // opening removes.
                of.write(disk, &*of.new_file(disk)?, &key, &new, self.entropy())?;
                rotated.rewrapped += 1;
            }
        }
        disk.sync_folder()?;
        Ok(rotated)
    }

    /// Removes the keys of segments in whose places others stand by now: of those, each with its
    /// first position, and its salt if it has a key.
    pub(crate) fn remove_others(disk: &dyn Disk, segments: &[(u64, Option<u32>)]) {
        let is_other = |of: KeyOf| {
            let mut places = segments.iter().filter(|(first, _)| *first == of.first);
            places.any(|(_, salt)| *salt != Some(of.salt))
        };
        let removed = disk.list().and_then(|names| {
            let others = names.iter().filter(|name| KeyOf::of_file(name).is_some_and(is_other));
            others.into_iter().try_for_each(|name| disk.remove(name))
        });
        if let Err(error) = removed {
            tracing::warn!(%error, "can't remove a key that no segment has any more");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
