//! A segment that is about to become part of the log.

use std::io;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::chain::ChainEnd;
use super::data_key::{ChainPlace, DataKey};
use super::disk::{Disk, DiskFile};
use super::header::SegmentHeader;
use super::key_file::KeyOf;
use super::segment::{Segment, segment_name};
use super::segment_keys::SegmentKeys;
use crate::error::StoreError;

/// The files of a new segment, under names that no segment has.
pub(crate) struct NewSegment {
    first: u64,
    salt: u32,
    file: Arc<dyn DiskFile>,
    key_file: Option<Arc<dyn DiskFile>>,
}

impl NewSegment {
    /// Opens the files of a segment that begins with this position.
    pub(crate) fn open(disk: &dyn Disk, first: u64, keys: &SegmentKeys) -> io::Result<Self> {
        let salt = Uuid::new_v4().as_fields().0;
        let file = disk.open(&temporary_name(first), true)?;
        let key_file = keys.encrypts().then(|| KeyOf { first, salt }.new_file(disk)).transpose()?;
        Ok(Self { first, salt, file, key_file })
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
        let (header, key) = match self.write(disk, keys, chain, created) {
            Ok(written) => written,
            Err(error) => {
                self.discard(disk);
                return Err(error);
            }
        };
        disk.rename(&temporary_name(first), &segment_name(first))?;
        disk.sync_folder()?;
        let segment = Segment::with(header, key, disk.open(&segment_name(first), false)?);
        SegmentKeys::remove_others(disk, &[(first, segment.salt_of_key())]);
        Ok(segment)
    }

    /// Makes the key and the header durable.
    fn write(
        &self,
        disk: &dyn Disk,
        keys: &SegmentKeys,
        chain: ChainEnd,
        created: DateTime<Utc>,
    ) -> Result<(SegmentHeader, Option<DataKey>), StoreError> {
        let Self { first, salt, file, key_file } = self;
        let of = KeyOf { first: *first, salt: *salt };
        let key = key_file.as_ref().map(|file| keys.make(disk, of, &**file)).transpose()?;
        let chain = match &key {
            Some(key) => key.hide(chain, *first, ChainPlace::Segment),
            None => chain,
        };
        let header = SegmentHeader {
            first: *first,
            created_micros: created.timestamp_micros(),
            salt: *salt,
            chain_before: Some(chain),
            encrypted: key.is_some(),
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

fn temporary_name(first: u64) -> String {
    format!("{}.tmp", segment_name(first))
}

/// Removes what was left half made by a crash: the log has no part of it.
pub(crate) fn remove_half_made(disk: &dyn Disk) -> io::Result<()> {
    for name in disk.list()?.iter().filter(|name| name.ends_with(".tmp")) {
        disk.remove(name)?;
    }
    Ok(())
}
