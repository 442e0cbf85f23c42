//! What goes into a storage and what comes out: ranges, digests, streams, listings.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::object_key::ObjectKey;
use crate::scratch::ScratchPath;

/// Bytes as they come, in pieces of any size.
pub type ByteStream = BoxStream<'static, io::Result<Bytes>>;

/// The SHA-256 of an object's content; written as 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Digest([u8; 32]);

/// What a put has stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    /// Where.
    pub key: ObjectKey,
    /// How much, in bytes.
    pub size_bytes: u64,
    /// The digest of exactly these bytes.
    pub sha256: Sha256Digest,
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectHead {
    /// How large it is, in bytes.
    pub size_bytes: u64,
    /// When it was put.
    pub modified: DateTime<Utc>,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// The object's key.
    pub key: ObjectKey,
    /// How large it is, in bytes.
    pub size_bytes: u64,
}

/// Which bytes of an object are wanted; the four kinds that HTTP knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// All of it.
    Whole,
    /// From this offset to the end.
    From(u64),
    /// From an offset, at most so many bytes; less where the object ends before.
    Within {
        /// The first byte's offset.
        start: u64,
        /// How many bytes at most.
        length_bytes: u64,
    },
    /// The last so many bytes; all of it when it has less.
    Last(u64),
}

/// An object being read.
pub struct ObjectReader {
    /// How large the whole object is, in bytes.
    pub size_bytes: u64,
    /// Which of its bytes the stream yields.
    pub range: Range<u64>,
    /// Those bytes.
    pub body: ByteStream,
}

/// An object as a file; where it had to be fetched, the copy goes when this is dropped.
#[derive(Debug)]
pub struct LocalFile {
    place: Place,
}

#[derive(Debug)]
enum Place {
    Stored(PathBuf),
    Fetched(ScratchPath),
}

impl Sha256Digest {
    /// A digest from its bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<Sha256Digest> for String {
    fn from(digest: Sha256Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Sha256Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const REASON: &str = "a sha-256 digest has 64 hexadecimal digits";
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(REASON);
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| REASON)?;
        }
        Ok(Self(bytes))
    }
}

impl ByteRange {
    /// The offsets that are meant in an object of this size; `None` when none of them is there.
    pub fn resolve(self, size_bytes: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::Whole => return Some(0..size_bytes),
            Self::From(start) => start..size_bytes,
            Self::Within { start, length_bytes } => {
                start..start.saturating_add(length_bytes).min(size_bytes)
            }
            Self::Last(length_bytes) => size_bytes.saturating_sub(length_bytes)..size_bytes,
        };
        (range.start < range.end).then_some(range)
    }
}

impl ObjectReader {
    /// Reads all that is left into memory.
    ///
    /// # Errors
    /// When reading fails, or when there are more than `limit_bytes`.
    pub async fn bytes(mut self, limit_bytes: u64) -> io::Result<Bytes> {
        let length_bytes = self.range.end - self.range.start;
        if length_bytes > limit_bytes {
            let reason = format!("{length_bytes} bytes, more than {limit_bytes}");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
        }
        let mut bytes = BytesMut::new();
        while let Some(chunk) = self.body.try_next().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }
}

impl fmt::Debug for ObjectReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size_bytes, range, body: _ } = self;
        f.debug_struct("ObjectReader")
            .field("size_bytes", size_bytes)
            .field("range", range)
            .finish_non_exhaustive()
    }
}

impl LocalFile {
    /// A file that stays when this is dropped.
    pub fn stored(path: impl Into<PathBuf>) -> Self {
        Self { place: Place::Stored(path.into()) }
    }

    /// A copy that is removed when this is dropped.
    pub fn fetched(path: ScratchPath) -> Self {
        Self { place: Place::Fetched(path) }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        match &self.place {
            Place::Stored(path) => path,
            Place::Fetched(path) => path.as_path(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_resolve_as_http_defines_them() {
        assert_eq!(ByteRange::Whole.resolve(0), Some(0..0));
        assert_eq!(ByteRange::From(3).resolve(10), Some(3..10));
        assert_eq!(ByteRange::From(10).resolve(10), None);
        assert_eq!(ByteRange::Last(4).resolve(10), Some(6..10));
        assert_eq!(ByteRange::Last(40).resolve(10), Some(0..10));
        assert_eq!(ByteRange::Last(0).resolve(10), None);
        let within = |start, length_bytes| ByteRange::Within { start, length_bytes }.resolve(10);
        assert_eq!(within(2, 3), Some(2..5));
        assert_eq!(within(9, u64::MAX), Some(9..10));
        assert_eq!(within(11, 1), None);
        assert_eq!(within(2, 0), None);
    }

    #[test]
    fn only_a_fetched_file_goes_with_its_holder() {
        let home = tempfile::tempdir().unwrap();
        let fetched = crate::scratch::Scratch::open(home.path()).unwrap().path();
        let stored = home.path().join("stored");
        for path in [fetched.as_path(), &stored] {
            std::fs::write(path, "x").unwrap();
        }
        let copy = fetched.as_path().to_owned();
        drop((LocalFile::fetched(fetched), LocalFile::stored(&stored)));
        assert!(stored.exists() && !copy.exists());
    }

    #[test]
    fn a_digest_reads_back_what_it_writes() {
        let digest = Sha256Digest::from_bytes(std::array::from_fn(|i| i as u8 * 7));
        let text = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Sha256Digest>(&text).unwrap(), digest);
        assert!(Sha256Digest::try_from("zz".repeat(32)).is_err());
        assert!(Sha256Digest::try_from("ab".to_owned()).is_err());
    }
}
