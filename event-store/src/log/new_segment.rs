//! A segment that is about to become part of the log.

use std::sync::Arc;
use std::{io, iter};

use chrono::{DateTime, Utc};

use super::chain::ChainEnd;
use super::data_key::{ChainPlace, DataKey};
use super::disk::{Disk, DiskFile};
use super::header::SegmentHeader;
use super::key_file::KeyOf;
use super::segment::{Segment, segment_name};
use super::segment_keys::SegmentKeys;
use super::unfinished::unfinished;
use crate::error::StoreError;

/// The files of a new segment, under names that no segment has.
pub(crate) struct NewSegment {
    first: u64,
    salt: u32,
    reclaimed: bool,
    file: Arc<dyn DiskFile>,
    key_file: Option<Arc<dyn DiskFile>>,
}

impl NewSegment {
    /// Opens the files of a segment that begins with this position.
    pub(crate) fn open(disk: &dyn Disk, first: u64, keys: &SegmentKeys) -> io::Result<Self> {
        Self::with(disk, (first, new_salt(keys)), keys.encrypts(), false)
    }

    /// Opens the files of a segment that is to take the place of this one, with some of its events
    /// reclaimed. Its salt is another: whoever has an index or a key of the old one knows that it
    /// does not fit. It is encrypted where the old one is, or new segments are.
    pub(super) fn open_anew(
        disk: &dyn Disk,
        old: &Segment,
        keys: &SegmentKeys,
    ) -> io::Result<Self> {
        let mut salts = iter::repeat_with(|| new_salt(keys));
        let salt = salts.find(|&salt| salt != old.layout.salt).unwrap_or_default();
        let encrypted = keys.encrypts() || old.layout.key.is_some();
        Self::with(disk, (old.first, salt), encrypted, true)
    }

    fn with(
        disk: &dyn Disk,
        (first, salt): (u64, u32),
        encrypted: bool,
        reclaimed: bool,
    ) -> io::Result<Self> {
        let file = disk.open(&temporary_name(first), true)?;
        let key_file = encrypted.then(|| KeyOf { first, salt }.new_file(disk)).transpose();
        let key_file = key_file.inspect_err(|_| drop(disk.remove(&temporary_name(first))))?;
        Ok(Self { first, salt, reclaimed, file, key_file })
    }

    /// Makes the segment, behind this end of the chain; in the place of an empty one with its name.
    /// Its key, its header and its name are durable afterwards.
    pub(crate) fn create(
        self,
        disk: &dyn Disk,
        keys: &SegmentKeys,
        chain: ChainEnd,
        created: DateTime<Utc>,
    ) -> Result<Segment, StoreError> {
        let first = self.first;
        let (header, key) = self.write(disk, keys, chain, created.timestamp_micros())?;
        disk.rename(&temporary_name(first), &segment_name(first))?;
        if !cfg!(veza_canary = "skip-folder-sync") {
            disk.sync_folder()?;
        }
        let segment = Segment::with(header, key, self.file);
        SegmentKeys::remove_others(disk, &[(first, segment.salt_of_key())]);
        Ok(segment)
    }

    /// Makes the segment under the name that it has until it is whole, behind this end of the
    /// chain; its key and its header are durable afterwards.
    pub(super) fn begin(
        self,
        disk: &dyn Disk,
        keys: &SegmentKeys,
        chain: ChainEnd,
        created_micros: i64,
    ) -> Result<Segment, StoreError> {
        let (header, key) = self.write(disk, keys, chain, created_micros)?;
        Ok(Segment::with(header, key, self.file))
    }

    /// Makes the key and the header durable; leaves nothing where it can't.
    fn write(
        &self,
        disk: &dyn Disk,
        keys: &SegmentKeys,
        chain: ChainEnd,
        created_micros: i64,
    ) -> Result<(SegmentHeader, Option<DataKey>), StoreError> {
        let written = self.try_write(disk, keys, chain, created_micros);
        written.inspect_err(|_| self.discard(disk))
    }

    fn try_write(
        &self,
        disk: &dyn Disk,
        keys: &SegmentKeys,
        chain: ChainEnd,
        created_micros: i64,
    ) -> Result<(SegmentHeader, Option<DataKey>), StoreError> {
        let Self { first, salt, reclaimed, file, key_file } = self;
        let of = KeyOf { first: *first, salt: *salt };
        let key = key_file.as_ref().map(|file| keys.make(disk, of, &**file)).transpose()?;
        let chain = match &key {
            Some(key) => key.hide(chain, *first, ChainPlace::Segment),
            None => chain,
        };
        let header = SegmentHeader {
            first: *first,
            created_micros,
            salt: *salt,
            chain_before: Some(chain),
            encrypted: key.is_some(),
            reclaimed: *reclaimed,
        };
        file.truncate(0)?;
        file.write_at(&header.to_bytes(), 0)?;
        file.sync()?;
        Ok((header, key))
    }

    /// Removes what could not be finished: a disk that stays full would gather more of it with each
    /// attempt.
    fn discard(&self, disk: &dyn Disk) {
        let of = KeyOf { first: self.first, salt: self.salt };
        let keys = self.key_file.iter().flat_map(|_| [of.temporary_name(), of.file_name()]);
        for name in keys.chain([temporary_name(self.first)]) {
            // What can't be removed now is at the next opening.
            let _ = disk.remove(&name);
        }
    }
}

/// The name that a segment has until it is part of the log.
pub(super) fn temporary_name(first: u64) -> String {
    unfinished(&segment_name(first))
}

fn new_salt(keys: &SegmentKeys) -> u32 {
    let mut salt = [0; size_of::<u32>()];
    keys.entropy().fill(&mut salt);
    u32::from_le_bytes(salt)
}
