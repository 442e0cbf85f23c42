//! What there is to be seen of an index file, for whoever looks at a folder and changes nothing.

use super::blocks::{PAYLOAD_BYTES, blocks_bytes, read_payload};
use super::file::{HEADER_BYTES, IndexFile, MAGIC, VERSION};
use crate::log::{Disk, Segment, index_name, u32_at};

/// How much is read at once, in bytes of payload.
const READ_BYTES: usize = 256 * PAYLOAD_BYTES;

/// What an index file is found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexState {
    /// There is none.
    Missing,
    /// It is the segment's, and no block of it is damaged.
    Fits {
        /// The version of its format.
        version: u32,
        /// Its size, in bytes.
        bytes: u64,
        /// How many streams have events in the segment.
        streams: u64,
        /// Of how many events it has the ids.
        ids: u64,
    },
    /// It is of a version that this build makes again.
    OtherVersion(u32),
    /// It belongs to another file: the segment was written anew, or is longer.
    OfAnother,
    /// Bytes of it are not what was written.
    Damaged,
}

/// Looks at every byte of the index of a sealed segment of this length.
pub(crate) fn look_at_index(disk: &dyn Disk, segment: &Segment, length: u64) -> IndexState {
    let Ok(file) = disk.open(&index_name(segment.first), false) else {
        return IndexState::Missing;
    };
    let bytes = file.length().unwrap_or_default();
    let Ok(header) = read_payload(&*file, 0, HEADER_BYTES) else {
        return IndexState::Damaged;
    };
    if header[..8] != MAGIC {
        return IndexState::Damaged;
    }
    let version = u32_at(&header, 8);
    if version != VERSION {
        return IndexState::OtherVersion(version);
    }
    let mut at = 0;
    while blocks_bytes(at) < bytes {
        let left = usize::try_from(bytes - blocks_bytes(at)).unwrap_or(usize::MAX);
        let count = READ_BYTES.min(left.div_ceil(PAYLOAD_BYTES + 4) * PAYLOAD_BYTES);
        if read_payload(&*file, at, count).is_err() {
            return IndexState::Damaged;
        }
        at += count;
    }
    if IndexFile::open(disk, segment, length).is_err() {
        return IndexState::OfAnother;
    }
    let number = |at| u64::from(u32_at(&header, at));
    IndexState::Fits { version, bytes, streams: number(48), ids: number(28) }
}
