//! A sealed segment written anew, with some of its events reclaimed: beside the old one until it
//! takes its place.

use std::io;

use super::chain::ChainEnd;
use super::disk::Disk;
use super::frame::FrameBuilder;
use super::key_file::KeyOf;
use super::new_segment::{NewSegment, temporary_name};
use super::recovery::ScannedRecord;
use super::segment::{Segment, segment_name};
use super::segment_keys::SegmentKeys;
use crate::error::StoreError;

/// A frame takes no further record beyond this, in bytes. Nothing needs the frames of the appends
/// any more: what they hold together is durable.
const FRAME_BYTES: usize = 256 * 1024;

/// So much is written before it is made durable, in bytes: a little at a time holds up the syncs of
/// appends least.
const SYNC_BYTES: usize = 8 * 1024 * 1024;

/// A segment that is being written anew.
pub(crate) struct Rewrite {
    segment: Segment,
    length: u64,
    unsynced_bytes: usize,
    frame: FrameBuilder,
}

impl Rewrite {
    /// Begins to write a segment anew, behind this end of the chain, with a key of its own where it
    /// is encrypted.
    pub(crate) fn begin(
        disk: &dyn Disk,
        old: &Segment,
        keys: &SegmentKeys,
        chain: ChainEnd,
    ) -> Result<Self, StoreError> {
        let new = NewSegment::open_anew(disk, old, keys)?;
        let segment = new.begin(disk, keys, chain, old.created_micros()?)?;
        let (length, unsynced_bytes) = (segment.length()?, 0);
        let frame = FrameBuilder::begin(old.first, &segment.layout, chain);
        Ok(Self { segment, length, unsynced_bytes, frame })
    }

    /// Adds the next record of the old segment, or what is left of it when it is reclaimed. Returns
    /// how many bytes this made it write.
    pub(crate) fn add(
        &mut self,
        record: &ScannedRecord<'_>,
        reclaim: bool,
    ) -> Result<usize, StoreError> {
        let mut written = 0;
        if self.frame.bytes().len() >= FRAME_BYTES {
            written = self.write_frame()?;
            let (layout, chain) = (&self.segment.layout, self.frame.chain());
            self.frame = FrameBuilder::begin(record.position, layout, chain);
        }
        if reclaim && !record.head.reclaimed {
            let added = self.frame.reclaim(&record.head, record.bytes);
            added.map_err(|reason| self.segment.corrupt(u64::from(record.offset), reason))?;
        } else {
            self.frame.copy(&record.head, record.bytes);
        }
        Ok(written)
    }

    /// The salt of the new segment, where it has a key.
    pub(crate) fn salt_of_key(&self) -> Option<u32> {
        self.segment.salt_of_key()
    }

    /// The end of the chain after the last record.
    pub(crate) fn chain(&self) -> ChainEnd {
        self.frame.chain()
    }

    /// The segment whole and durable, under a name that is not yet its own.
    pub(crate) fn finish(mut self) -> Result<Segment, StoreError> {
        self.write_frame()?;
        if !cfg!(veza_canary = "replace-before-sync") {
            self.segment.file().sync()?;
        }
        Ok(self.segment)
    }

    fn write_frame(&mut self) -> Result<usize, StoreError> {
        self.frame.finish();
        let bytes = self.frame.bytes();
        self.segment.file().write_at(bytes, self.length)?;
        self.length += bytes.len() as u64;
        self.unsynced_bytes += bytes.len();
        if self.unsynced_bytes >= SYNC_BYTES {
            self.segment.file().sync()?;
            self.unsynced_bytes = 0;
        }
        Ok(bytes.len())
    }
}

/// Puts the segment that was written anew in the place of the old one, durable. The old one's key,
/// if it had any, is removed: those who read the old one on have it in memory.
pub(crate) fn replace_segment(disk: &dyn Disk, new: &Segment) -> io::Result<()> {
    disk.rename(&temporary_name(new.first), &segment_name(new.first))?;
    disk.sync_folder()?;
    SegmentKeys::remove_others(disk, &[(new.first, new.salt_of_key())]);
    Ok(())
}

/// Removes what was being written in the place of the segment that begins with this position, if
/// there is anything, and its key, which has this salt. The keys of others stay: which segment has
/// the name can't be told when an earlier attempt failed at making that durable.
pub(crate) fn discard_segment(
    disk: &dyn Disk,
    first: u64,
    salt_of_key: Option<u32>,
) -> io::Result<()> {
    match disk.remove(&temporary_name(first)) {
        // It may have the old one's name, and that be durable or not: either may need its key.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            salt_of_key.map_or(Ok(()), |salt| disk.remove(&KeyOf { first, salt }.file_name()))
        }
    }
}
