//! The segments of a log that is to be backed up, which may be written meanwhile.
//!
//! What of the last segment is durable can't be seen in its file: a frame may be whole in the page
//! cache that no sync has returned for. So whoever makes a backup asks the store for its head,
//! which it tells of events only that are durable, and takes the frames up to that. The files are
//! opened before: what scavenging takes out of a segment afterwards is still in the file that is
//! open, and whatever it has taken out before is hidden by metadata that the head covers.

use std::io;
use std::sync::Arc;

use crate::error::StoreError;
use crate::log::{Disk, DiskFile, SEGMENT_HEADER_BYTES, Segment, segment_files, segment_name};
use crate::position::Position;

/// The segments of a log, each open.
pub struct Originals {
    pub(super) all: Vec<Original>,
}

/// A segment that is open, and the file with its key where there is one.
pub(super) struct Original {
    pub(super) segment: Segment,
    pub(super) key: Option<(String, Arc<dyn DiskFile>)>,
}

impl Originals {
    /// Opens the segments of a folder; nothing in it is changed.
    ///
    /// # Errors
    /// When one can't be read, or its header is damaged.
    pub fn open(disk: &dyn Disk) -> Result<Self, StoreError> {
        let firsts = segment_files(disk)?;
        let mut all = Vec::with_capacity(firsts.len());
        for (number, &first) in firsts.iter().enumerate() {
            match Segment::open(disk, first) {
                Ok(segment) => {
                    let key = key_file(disk, &segment)?;
                    all.push(Original { segment, key });
                }
                // It is being made, and has no event.
                Err(StoreError::Corrupt { .. })
                    if number + 1 == firsts.len() && is_new(disk, first)? => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { all })
    }

    /// Whether every event up to this head, which was asked for after they were opened, is in them;
    /// else another segment was begun meanwhile, and they must be opened once more.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn reach(&self, disk: &dyn Disk, head: Position) -> Result<bool, StoreError> {
        let last = self.all.last().map_or(0, |last| last.segment.first);
        Ok(!segment_files(disk)?.into_iter().any(|first| first > last && first <= head.get()))
    }
}

/// The file with the key of a segment, where there is one, and its name.
fn key_file(disk: &dyn Disk, segment: &Segment) -> io::Result<Option<(String, Arc<dyn DiskFile>)>> {
    let name = format!("{:020}.{:08x}.key", segment.first, segment.layout.salt);
    match disk.open(&name, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => Ok(Some((name, opened?))),
    }
}

fn is_new(disk: &dyn Disk, first: u64) -> Result<bool, StoreError> {
    Ok(disk.open(&segment_name(first), false)?.length()? <= SEGMENT_HEADER_BYTES as u64)
}
