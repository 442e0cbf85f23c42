//! The header of a segment.

use crc32c::crc32c;

use super::chain::ChainEnd;
use super::codec::{array_at, i64_at, u32_at, u64_at};

/// The size of a segment's header, in bytes.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 128;
/// The same in version 1.
const UNCHAINED_HEADER_BYTES: usize = 64;
const SEGMENT_MAGIC: [u8; 8] = *b"VEZALOG\0";
const FORMAT_VERSION: u32 = 3;
/// Without flags, which are zeros in it.
const VERSION_WITHOUT_FLAGS: u32 = 2;
/// Without the chain.
const VERSION_UNCHAINED: u32 = 1;
const CHAIN_AT: usize = 40;
const FLAGS_AT: usize = 72;
const FLAG_ENCRYPTED: u32 = 1;
/// Events of the segment were reclaimed.
const FLAG_RECLAIMED: u32 = 2;
const CRC_BYTES: usize = 4;

/// The fields of a segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// The position of its first event.
    pub(crate) first: u64,
    /// When it was made, in microseconds since 1970.
    pub(crate) created_micros: i64,
    /// Where its checksums begin.
    pub(crate) salt: u32,
    /// The end of the chain before its first event, where it carries that; hidden where the records
    /// are encrypted.
    pub(crate) chain_before: Option<ChainEnd>,
    /// Whether its records are encrypted.
    pub(crate) encrypted: bool,
    /// Whether events of it were reclaimed.
    pub(crate) reclaimed: bool,
}

/// Why a header can't be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// It is not as it was written, or was not written whole.
    Damaged(&'static str),
    /// It is as it was written, and says what this build does not know.
    Unknown {
        /// Where it says so, in bytes.
        offset: u64,
        reason: String,
    },
}

impl SegmentHeader {
    /// Its bytes, in the version of today.
    pub(crate) fn to_bytes(self) -> [u8; SEGMENT_HEADER_BYTES] {
        const CRC_AT: usize = SEGMENT_HEADER_BYTES - CRC_BYTES;
        let chain = self.chain_before.unwrap_or(ChainEnd::START);
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let flags = flag(self.encrypted, FLAG_ENCRYPTED) | flag(self.reclaimed, FLAG_RECLAIMED);
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&(SEGMENT_HEADER_BYTES as u32).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.created_micros.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.salt.to_le_bytes());
        bytes[CHAIN_AT..FLAGS_AT].copy_from_slice(chain.as_bytes());
        bytes[FLAGS_AT..FLAGS_AT + 4].copy_from_slice(&flags.to_le_bytes());
        let crc = crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads it from the first bytes of a segment, as many as there are but no more than a header
    /// has.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, HeaderError> {
        if bytes.len() < UNCHAINED_HEADER_BYTES {
            return Err(HeaderError::Damaged("the header is cut off"));
        }
        if bytes[..8] != SEGMENT_MAGIC {
            return Err(HeaderError::Damaged("this is no segment"));
        }
        let length = u32_at(bytes, 12) as usize;
        let crc_at = length.checked_sub(CRC_BYTES).filter(|_| length <= bytes.len());
        if crc_at.is_none_or(|at| crc32c(&bytes[..at]) != u32_at(bytes, at)) {
            return Err(HeaderError::Damaged("the header does not agree with its checksum"));
        }
        let version = u32_at(bytes, 8);
        let (chained, flags) = match (version, length) {
            (FORMAT_VERSION, SEGMENT_HEADER_BYTES) => (true, u32_at(bytes, FLAGS_AT)),
            (VERSION_WITHOUT_FLAGS, SEGMENT_HEADER_BYTES) => (true, 0),
            (VERSION_UNCHAINED, UNCHAINED_HEADER_BYTES) => (false, 0),
            _ => {
                let reason = format!(
                    "the format is of version {version}, this build reads up to {FORMAT_VERSION}"
                );
                return Err(HeaderError::Unknown { offset: 8, reason });
            }
        };
        if flags & !(FLAG_ENCRYPTED | FLAG_RECLAIMED) != 0 {
            let reason = format!("the segment has flags {flags:#x} that this build does not know");
            return Err(HeaderError::Unknown { offset: FLAGS_AT as u64, reason });
        }
        let chain = || ChainEnd::from_bytes(array_at(bytes, CHAIN_AT));
        Ok(Self {
            first: u64_at(bytes, 16),
            created_micros: i64_at(bytes, 24),
            salt: u32_at(bytes, 32),
            chain_before: chained.then(chain),
            encrypted: flags & FLAG_ENCRYPTED != 0,
            reclaimed: flags & FLAG_RECLAIMED != 0,
        })
    }

    /// Its size, in bytes: where the frames begin.
    pub(crate) fn bytes(&self) -> usize {
        if self.chain_before.is_some() { SEGMENT_HEADER_BYTES } else { UNCHAINED_HEADER_BYTES }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written_and_unknown_flags_are_refused() {
        let header = SegmentHeader {
            first: 7,
            created_micros: -1,
            salt: 9,
            chain_before: Some(ChainEnd::START),
            encrypted: true,
            reclaimed: false,
        };
        for (encrypted, reclaimed) in [(false, false), (false, true), (true, false), (true, true)] {
            let header = SegmentHeader { encrypted, reclaimed, ..header };
            assert_eq!(SegmentHeader::from_bytes(&header.to_bytes()), Ok(header));
        }
        let mut bytes = header.to_bytes();
        bytes[FLAGS_AT + 3] = 0x80;
        let crc = crc32c(&bytes[..SEGMENT_HEADER_BYTES - CRC_BYTES]);
        bytes[SEGMENT_HEADER_BYTES - CRC_BYTES..].copy_from_slice(&crc.to_le_bytes());
        let refused = SegmentHeader::from_bytes(&bytes).unwrap_err();
        assert!(matches!(refused, HeaderError::Unknown { offset: 72, .. }), "{refused:?}");
    }
}
