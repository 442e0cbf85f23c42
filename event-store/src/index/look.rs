//! What there is to be seen of an index file, for whoever looks at a folder and changes nothing.

use super::blocks::{PAYLOAD_BYTES, blocks_bytes, read_payload};
use super::file::{HEADER_BYTES, IndexFile, MAGIC, VERSION};
use crate::log::{Disk, DiskFile, Segment, index_name, u32_at};
use crate::position::Position;

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
    /// Bytes of it are not what was written, and it does not open.
    Damaged,
    /// Bytes of it are not what was written, behind what opening it reads: it is made again when
    /// they are read.
    DamagedWithin {
        /// The last event whose id is among them. A store that is opened reads the last ids.
        ids_until: Option<Position>,
    },
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
    let damaged = damaged_blocks(&*file, bytes);
    match (IndexFile::open(disk, segment, length), damaged.is_empty()) {
        (Ok(_), true) => {
            let number = |at| u64::from(u32_at(&header, at));
            IndexState::Fits { version, bytes, streams: number(48), ids: number(28) }
        }
        (Ok(index), false) => {
            let ids = damaged.iter().filter_map(|&at| index.last_id_in(at..at + PAYLOAD_BYTES));
            IndexState::DamagedWithin { ids_until: ids.max().map(Position::new) }
        }
        (Err(_), true) => IndexState::OfAnother,
        (Err(_), false) => IndexState::Damaged,
    }
}

/// Where the payload of each damaged block of this file begins.
fn damaged_blocks(file: &dyn DiskFile, bytes: u64) -> Vec<usize> {
    let (mut at, mut damaged) = (0, Vec::new());
    while blocks_bytes(at) < bytes {
        let left = usize::try_from(bytes - blocks_bytes(at)).unwrap_or(usize::MAX);
        let count = READ_BYTES.min(left.div_ceil(PAYLOAD_BYTES + 4) * PAYLOAD_BYTES);
        if read_payload(file, at, count).is_err() {
            let blocks = (at..at + count).step_by(PAYLOAD_BYTES);
            damaged.extend(blocks.filter(|&at| read_payload(file, at, PAYLOAD_BYTES).is_err()));
        }
        at += count;
    }
    damaged
}
