//! What there is to be seen of an index file, for whoever looks at a folder and changes nothing.

use crc32c::crc32c;

use super::blocks::{BLOCK_BYTES, Blocks, PAYLOAD_BYTES, blocks_bytes};
use super::file::IndexFile;
use super::header::{Header, MAGIC, VERSION};
use super::names::NameKey;
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
    /// It belongs to another file: the segment was written anew, or is longer, or its hashes are
    /// made with another key than those of the log.
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

/// Looks at every byte of the index of a sealed segment of this length, in a log with this key.
pub(crate) fn look_at_index(
    disk: &dyn Disk,
    segment: &Segment,
    length: u64,
    names: Option<NameKey>,
) -> IndexState {
    let Ok(file) = disk.open(&index_name(segment.first), false) else {
        return IndexState::Missing;
    };
    if let Some(version) = older_version(&*file) {
        return IndexState::OtherVersion(version);
    }
    let Ok((header, blocks)) = Header::read(&file) else {
        return IndexState::Damaged;
    };
    let bytes = file.length().unwrap_or_default();
    let damaged = damaged_blocks(&blocks, bytes);
    match (IndexFile::open(disk, segment, length), damaged.is_empty()) {
        _ if !header.fits(segment, length) || names.is_some_and(|names| names != header.names) => {
            IndexState::OfAnother
        }
        (Ok(_), true) => {
            let [(streams, _), ..] = header.tables;
            let (streams, ids) = (streams as u64, header.ids as u64);
            IndexState::Fits { version: VERSION, bytes, streams, ids }
        }
        (Ok(index), false) => {
            let ids = damaged.iter().filter_map(|&at| index.last_id_in(at..at + PAYLOAD_BYTES));
            IndexState::DamagedWithin { ids_until: ids.max().map(Position::new) }
        }
        (Err(_), _) => IndexState::Damaged,
    }
}

/// The version of a file from before the checksums were bound to the segment.
fn older_version(file: &dyn DiskFile) -> Option<u32> {
    let mut block = [0; BLOCK_BYTES];
    file.read_at(&mut block, 0).ok()?;
    let (payload, _) = block.split_at(PAYLOAD_BYTES);
    let is_whole = crc32c(payload) == u32_at(&block, PAYLOAD_BYTES) && payload[..8] == MAGIC;
    is_whole.then(|| u32_at(payload, 8))
}

/// Where the payload of each damaged block of this file begins.
fn damaged_blocks(file: &Blocks, bytes: u64) -> Vec<usize> {
    let (mut at, mut damaged) = (0, Vec::new());
    while blocks_bytes(at) < bytes {
        let left = usize::try_from(bytes - blocks_bytes(at)).unwrap_or(usize::MAX);
        let count = READ_BYTES.min(left.div_ceil(PAYLOAD_BYTES + 4) * PAYLOAD_BYTES);
        if file.read(at, count).is_err() {
            let blocks = (at..at + count).step_by(PAYLOAD_BYTES);
            damaged.extend(blocks.filter(|&at| file.read(at, PAYLOAD_BYTES).is_err()));
        }
        at += count;
    }
    damaged
}
