//! The header of an index file: what it is of, how much is in it, and what its blocks are checked
//! by.

use std::io;
use std::sync::Arc;

use super::blocks::{Blocks, Damaged, Pieces};
use super::names::{NAME_KEY_BYTES, NameKey};
use super::table::small;
use crate::log::{
    Disk, DiskFile, RECORD_HEADER_BYTES, Segment, array_at, index_name, u32_at, u64_at,
};

pub(super) const MAGIC: [u8; 8] = *b"VEZAIDX\0";
/// Of older versions, which lack something or are sorted in another way, the index is made again.
pub(super) const VERSION: u32 = 6;
pub(super) const HEADER_BYTES: usize = LAST_AT + size_of::<u32>() + RECORD_HEADER_BYTES;
const VERSION_AT: usize = 8;
const SALT_AT: usize = 12;
const NAMES_AT: usize = 72;
const LAST_AT: usize = NAMES_AT + NAME_KEY_BYTES;

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The salt of the segment.
    pub(super) salt: u32,
    /// The first position of the segment.
    pub(super) first: u64,
    /// How many events the segment has.
    pub(super) events: usize,
    /// Of how many of them, the last, there are ids.
    pub(super) ids: usize,
    /// The length of the segment, in bytes.
    pub(super) segment_bytes: u64,
    /// When its last event was recorded, in microseconds since 1970.
    pub(super) last_recorded_at_micros: i64,
    /// How many entries and how many postings the tables of streams, categories and types have.
    pub(super) tables: [(usize, usize); 3],
    /// What its hashes are made with.
    pub(super) names: NameKey,
    /// The segment's last record.
    pub(super) last: LastRecord,
}

/// The header of a segment's last record, as it stands in the file. Two logs that began as one have
/// the same salts and keys, and segments of one length maybe, but not this: an id, a time and a
/// checksum are in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastRecord {
    offset: u32,
    header: [u8; RECORD_HEADER_BYTES],
}

impl LastRecord {
    /// The record that begins there.
    pub(crate) fn at(segment: &Segment, offset: u32) -> io::Result<Self> {
        let mut header = [0; RECORD_HEADER_BYTES];
        segment.file().read_at(&mut header, offset.into())?;
        Ok(Self { offset, header })
    }

    fn is_in(&self, segment: &Segment) -> bool {
        Self::at(segment, self.offset).is_ok_and(|there| there == *self)
    }
}

impl Header {
    /// Reads it from a file of this version, with the blocks behind it.
    pub(super) fn read(file: &Arc<dyn DiskFile>) -> Result<(Self, Blocks), Damaged> {
        let mut claimed = [0; HEADER_BYTES];
        file.read_at(&mut claimed, 0).map_err(|_| Damaged)?;
        let (salt, names) = (u32_at(&claimed, SALT_AT), names_in(&claimed));
        let blocks = Blocks::new(Arc::clone(file), salt, names);
        // What it claims to be checked by is checked with it.
        let bytes = blocks.read(0, HEADER_BYTES)?;
        if bytes[..VERSION_AT] != MAGIC || u32_at(&bytes, VERSION_AT) != VERSION {
            return Err(Damaged);
        }
        let number = |at| u32_at(&bytes, at) as usize;
        let table = |at| (number(at), number(at + 4));
        let header = Self {
            salt,
            first: u64_at(&bytes, 16),
            events: number(24),
            ids: number(28),
            segment_bytes: u64_at(&bytes, 32),
            last_recorded_at_micros: u64_at(&bytes, 40).cast_signed(),
            tables: [table(48), table(56), table(64)],
            names,
            last: LastRecord {
                offset: u32_at(&bytes, LAST_AT),
                header: array_at(&bytes, LAST_AT + size_of::<u32>()),
            },
        };
        Ok((header, blocks))
    }

    /// Whether it is that of a segment of this length.
    pub(super) fn fits(&self, segment: &Segment, length: u64) -> bool {
        let told = (self.salt, self.first, self.segment_bytes);
        told == (segment.layout.salt, segment.first, length) && self.last.is_in(segment)
    }

    /// Puts it into the payload, at its beginning.
    pub(super) fn put<E>(&self, payload: &mut Pieces<'_, E>) -> Result<(), E> {
        payload.put(&MAGIC)?;
        payload.put(&VERSION.to_le_bytes())?;
        payload.put(&self.salt.to_le_bytes())?;
        payload.put(&self.first.to_le_bytes())?;
        payload.put(&small(self.events))?;
        payload.put(&small(self.ids))?;
        payload.put(&self.segment_bytes.to_le_bytes())?;
        payload.put(&self.last_recorded_at_micros.to_le_bytes())?;
        for (entries, postings) in self.tables {
            payload.put(&small(entries))?;
            payload.put(&small(postings))?;
        }
        payload.put(self.names.as_bytes())?;
        payload.put(&self.last.offset.to_le_bytes())?;
        payload.put(&self.last.header)
    }
}

/// The key that the indexes of a log with these segments are made with: that of the first of them
/// which has an index that fits it; none where none has.
pub(crate) fn key_of_log(disk: &dyn Disk, firsts: &[u64]) -> Option<NameKey> {
    firsts.iter().find_map(|&first| {
        let file = disk.open(&index_name(first), false).ok()?;
        let (header, _) = Header::read(&file).ok()?;
        let segment = Segment::open_locked(disk, first).ok()?;
        header.fits(&segment, segment.length().ok()?).then_some(header.names)
    })
}

fn names_in(header: &[u8]) -> NameKey {
    NameKey::from_bytes(array_at::<NAME_KEY_BYTES>(header, NAMES_AT))
}
