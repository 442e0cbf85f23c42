//! The segments of a log that is to be backed up, which may be written meanwhile.
//!
//! What of the last segment is durable can't be seen in its file: a frame may be whole in the page
//! cache that no sync has returned for. So whoever makes a backup asks the store for its head,
//! which it tells of events only that are durable, and takes the frames up to that. The files are
//! opened before: what scavenging takes out of a segment afterwards is still in the file that is
//! open, and whatever it has taken out before is hidden by metadata that the head covers.

use std::io;
use std::sync::Arc;

use super::error::BackupError;
use crate::encryption::WrappingKeys;
use crate::error::StoreError;
use crate::log::{
    Disk, DiskFile, KeyError, KeyOf, Segment, SegmentKeys, is_unborn, segment_files, segment_name,
};
use crate::position::Position;

/// The segments of a log, each open.
pub struct Originals {
    pub(super) all: Vec<Original>,
}

/// A segment that is open, and the file with its key where it is encrypted.
pub(super) struct Original {
    pub(super) segment: Segment,
    pub(super) key: Option<KeyFile>,
}

/// The file with a key, as it is wrapped when it is opened.
pub(super) struct KeyFile {
    pub(super) name: String,
    pub(super) file: Arc<dyn DiskFile>,
}

impl Originals {
    /// Opens the segments of a folder, those that are encrypted with these keys; nothing in it is
    /// changed.
    ///
    /// # Errors
    /// When one can't be read, its key can't be had, or its header is damaged.
    pub fn open(disk: &dyn Disk, keys: Option<Arc<WrappingKeys>>) -> Result<Self, BackupError> {
        let keys = SegmentKeys::to_read(keys);
        let firsts = segment_files(disk)?;
        let mut all = Vec::with_capacity(firsts.len());
        for (number, &first) in firsts.iter().enumerate() {
            match Original::open(disk, first, &keys) {
                Ok(original) => all.push(original),
                // It is being made, and has no event.
                Err(KeyError::Store(StoreError::Corrupt { .. }))
                    if number + 1 == firsts.len()
                        && is_unborn(&*disk.open(&segment_name(first), false)?)? => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self { all })
    }

    /// Whether every event up to this head, which was asked for after they were opened, is in them;
    /// else another segment was begun meanwhile, also in the place of an empty one, and they must
    /// be opened once more.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn reach(&self, disk: &dyn Disk, head: Position) -> Result<bool, StoreError> {
        let last = self.all.last().map(|last| &last.segment);
        let last_first = last.map_or(0, |last| last.first);
        let is_begun = |first| first > last_first && first <= head.get();
        if segment_files(disk)?.into_iter().any(is_begun) {
            return Ok(false);
        }
        Ok(!last.map(|last| last.is_replaced(disk)).transpose()?.unwrap_or_default())
    }
}

impl Original {
    fn open(disk: &dyn Disk, first: u64, keys: &SegmentKeys) -> Result<Self, KeyError> {
        Segment::open_beside(disk, first, keys, |segment| {
            let key = key_file(disk, &segment)?;
            Ok(Self { segment, key })
        })
    }
}

/// The file with the key of a segment, where it is encrypted.
fn key_file(disk: &dyn Disk, segment: &Segment) -> Result<Option<KeyFile>, KeyError> {
    let Some(salt) = segment.salt_of_key() else {
        return Ok(None);
    };
    let name = KeyOf { first: segment.first, salt }.file_name();
    match disk.open(&name, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(KeyError::Missing { segment: segment.name.as_str().into(), file: name.into() })
        }
        opened => Ok(Some(KeyFile { name, file: opened? })),
    }
}
