//! A sealed segment written anew, with some of its events reclaimed: beside the old one until it
//! takes its place.

use std::io;

use uuid::Uuid;

use super::chain::ChainEnd;
use super::disk::Disk;
use super::frame::FrameBuilder;
use super::recovery::ScannedRecord;
use super::segment::{NewSegment, Segment, segment_name};
use crate::error::StoreError;

/// What the names of files end with that are not finished.
pub(crate) const UNFINISHED: &str = ".tmp";

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
    /// Begins to write a segment anew, behind this end of the chain. Its salt is another: whoever
    /// has an index of the old one knows that it does not fit.
    pub(crate) fn begin(
        disk: &dyn Disk,
        old: &Segment,
        chain: ChainEnd,
    ) -> Result<Self, StoreError> {
        let salt = loop {
            let salt = Uuid::new_v4().as_fields().0;
            if salt != old.layout.salt {
                break salt;
            }
        };
        let (first, created_micros) = (old.first, old.created_micros()?);
        let new = NewSegment { first, salt, chain, created_micros, reclaimed: true };
        let segment = new.begin(disk.open(&unfinished(first), true)?)?;
        let (length, unsynced_bytes) = (segment.length()?, 0);
        let frame = FrameBuilder::begin(first, salt, chain);
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
            let salt = self.segment.layout.salt;
            self.frame = FrameBuilder::begin(record.position, salt, self.frame.chain());
        }
        if reclaim && !record.head.reclaimed {
            let added = self.frame.reclaim(&record.head, record.bytes);
            added.map_err(|reason| self.segment.corrupt(u64::from(record.offset), reason))?;
        } else {
            self.frame.copy(&record.head, record.bytes);
        }
        Ok(written)
    }

    /// The end of the chain after the last record.
    pub(crate) fn chain(&self) -> ChainEnd {
        self.frame.chain()
    }

    /// The segment whole and durable, under a name that is not yet its own.
    pub(crate) fn finish(mut self) -> Result<Segment, StoreError> {
        self.write_frame()?;
        self.segment.file().sync()?;
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

/// Puts the segment that was written anew in the place of the old one, durable.
pub(crate) fn replace_segment(disk: &dyn Disk, first: u64) -> io::Result<()> {
    disk.rename(&unfinished(first), &segment_name(first))?;
    disk.sync_folder()
}

/// Removes the segment that was being written anew, if there is one.
pub(crate) fn discard_segment(disk: &dyn Disk, first: u64) -> io::Result<()> {
    match disk.remove(&unfinished(first)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Removes what a process that died left unfinished.
pub(crate) fn remove_unfinished(disk: &dyn Disk) -> io::Result<()> {
    let mut names = disk.list()?;
    names.retain(|name| name.ends_with(UNFINISHED));
    names.iter().try_for_each(|name| disk.remove(name))?;
    if names.is_empty() { Ok(()) } else { disk.sync_folder() }
}

fn unfinished(first: u64) -> String {
    format!("{}{UNFINISHED}", segment_name(first))
}
