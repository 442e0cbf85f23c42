//! Whose personal data something is.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The size of a subject, in bytes.
pub(super) const SUBJECT_BYTES: usize = 32;

/// Somebody whose personal data is sealed: the BLAKE3 hash of their id, as it is written in the
/// data of events, byte for byte.
///
/// Ids must say nothing by themselves, as UUIDs do: a hash of an address would be found by trying
/// addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject([u8; SUBJECT_BYTES]);

/// Why a text is no [`Subject`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a subject is 64 hexadecimal digits")]
pub struct NoSubject;

impl Subject {
    /// The subject with this id.
    pub fn new(id: &str) -> Self {
        Self(*blake3::hash(id.as_bytes()).as_bytes())
    }

    pub(super) fn from_bytes(bytes: [u8; SUBJECT_BYTES]) -> Self {
        Self(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8; SUBJECT_BYTES] {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        blake3::Hash::from_bytes(self.0).to_hex().fmt(formatter)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Subject({self})")
    }
}

impl FromStr for Subject {
    type Err = NoSubject;

    fn from_str(text: &str) -> Result<Self, NoSubject> {
        let hash = blake3::Hash::from_hex(text).map_err(|_| NoSubject)?;
        Ok(Self(*hash.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_read_back_from_its_text() {
        let subject = Subject::new("3f1a");
        assert_eq!(subject.to_string().parse(), Ok(subject));
        assert_ne!(subject, Subject::new("3f1b"));
        for bad in ["", "3f1a", &"g".repeat(64), &"0".repeat(65)] {
            assert_eq!(bad.parse::<Subject>(), Err(NoSubject));
        }
    }
}
