//! The hash chain over all events: nothing that was recorded can be changed, left out or put in
//! between without another end.
//!
//! The digest of a record is the BLAKE3 hash of all that is in it behind its checksum. The end of
//! the chain after a record is the BLAKE3 hash of the end before it and of its digest.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::position::Position;

/// Where a record's digest begins in its bytes: behind its length and its checksum.
const DIGESTED_FROM: usize = 8;

const HASH_BYTES: usize = 32;

/// The digest of an event.
pub(crate) type Digest = [u8; HASH_BYTES];

/// The digest of the event in this record.
pub(crate) fn digest(record: &[u8]) -> Digest {
    *blake3::hash(&record[DIGESTED_FROM..]).as_bytes()
}

/// The end of the chain after some event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChainEnd([u8; HASH_BYTES]);

impl ChainEnd {
    /// Before the first event.
    pub const START: Self = Self([0; HASH_BYTES]);

    pub(crate) const BYTES: usize = HASH_BYTES;

    pub(crate) fn from_bytes(bytes: [u8; HASH_BYTES]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; HASH_BYTES] {
        &self.0
    }

    /// The end after the next event, which has this digest.
    #[must_use]
    pub(crate) fn after(&self, digest: &Digest) -> Self {
        let mut link = [0; 2 * HASH_BYTES];
        link[..HASH_BYTES].copy_from_slice(&self.0);
        link[HASH_BYTES..].copy_from_slice(digest);
        Self(*blake3::hash(&link).as_bytes())
    }
}

impl fmt::Display for ChainEnd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for ChainEnd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The chain up to some event, to be kept elsewhere and compared later. As text it is
/// `<position>:<64 hexadecimal digits>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AuditHead {
    /// The position of that event; [`Position::START`] when there is none.
    pub position: Position,
    /// The end of the chain after it.
    pub chain: ChainEnd,
}

/// A text that is no [`AuditHead`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a head is a position, a colon and 64 hexadecimal digits")]
pub struct NoAuditHead;

impl fmt::Display for AuditHead {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.position, self.chain)
    }
}

impl From<AuditHead> for String {
    fn from(head: AuditHead) -> Self {
        head.to_string()
    }
}

impl TryFrom<String> for AuditHead {
    type Error = NoAuditHead;

    fn try_from(text: String) -> Result<Self, NoAuditHead> {
        text.parse()
    }
}

impl FromStr for AuditHead {
    type Err = NoAuditHead;

    fn from_str(text: &str) -> Result<Self, NoAuditHead> {
        let (position, digits) = text.trim().split_once(':').ok_or(NoAuditHead)?;
        let position = position.parse().map_err(|_| NoAuditHead)?;
        if digits.len() != 2 * HASH_BYTES || !digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        {
            return Err(NoAuditHead);
        }
        let mut chain = [0; HASH_BYTES];
        for (byte, pair) in chain.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let pair = str::from_utf8(pair).map_err(|_| NoAuditHead)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| NoAuditHead)?;
        }
        Ok(Self { position, chain: ChainEnd(chain) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_and_their_order_count() {
        let (one, other) = (digest(b"........first"), digest(b"........second"));
        let end = ChainEnd::START.after(&one).after(&other);
        assert_ne!(end, ChainEnd::START.after(&other).after(&one));
        assert_ne!(end, ChainEnd::START.after(&other));
        assert_eq!(end, ChainEnd::START.after(&digest(b"checksumfirst")).after(&other));
    }

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let chain = ChainEnd::START.after(&digest(b"........x"));
        let head = AuditHead { position: Position::new(7), chain };
        assert_eq!(head.to_string().parse(), Ok(head));
        for bad in ["", "7", "7:", "x:00", &format!("7:{}", "é".repeat(32)), &"0".repeat(70)] {
            assert_eq!(bad.parse::<AuditHead>(), Err(NoAuditHead), "{bad:?}");
        }
    }
}
