//! The file beside an encrypted segment that holds its key, wrapped.
//!
//! It is named by the segment's first position and its salt, so that a new segment in the place of
//! another has its key beside that of the other, and a crash in between leaves neither without.

use std::io;
use std::sync::Arc;

use thiserror::Error;

use super::codec::{u32_at, u64_at};
use super::disk::{Disk, DiskFile};
use super::entropy::Entropy;
use super::unfinished::unfinished;
use crate::encryption::{
    BlockKind, KeyBlock, KeyBytes, OWN_BYTES, WrappingKeys, damaged, read_block, unwrapped,
    wrapped_by, write_block,
};
use crate::error::StoreError;

const KIND: BlockKind = BlockKind { magic: *b"VEZAKEY\0", version: 1 };

/// Why the key of a segment can't be had. Each is one line that an operator can act on.
#[derive(Clone, Debug, Error)]
pub enum KeyError {
    /// A segment is encrypted, and there are no wrapping keys.
    #[error("{segment} is encrypted, and no key was given to open it with")]
    NoKeys {
        /// Which segment.
        segment: Box<str>,
    },
    /// The file with its key is not there.
    #[error("{segment} is encrypted, and {file} with its key is missing")]
    Missing {
        /// Which segment.
        segment: Box<str>,
        /// Which file.
        file: Box<str>,
    },
    /// Its key is wrapped by a key that is not among those that were given.
    #[error("{file} is wrapped by the key {id}, which is not among those given: {given}")]
    NotGiven {
        /// Which file.
        file: Box<str>,
        /// The name of the key that wraps it.
        id: Box<str>,
        /// The names of those that were given.
        given: Box<str>,
    },
    /// The key of that name does not unwrap it.
    #[error("{file} is not opened by the key {id}: that is another key, or the file was changed")]
    Refused {
        /// Which file.
        file: Box<str>,
        /// The name of the key.
        id: Box<str>,
    },
    /// The file is damaged, or the disk fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl KeyError {
    /// Whether it may be had with other keys than were given; else something is wrong with the
    /// files, or a given key is not what its name says.
    pub fn is_for_want_of_keys(&self) -> bool {
        matches!(self, Self::NoKeys { .. } | Self::NotGiven { .. })
    }
}

impl From<io::Error> for KeyError {
    fn from(error: io::Error) -> Self {
        Self::Store(error.into())
    }
}

/// A segment that has a key: its first position and its salt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyOf {
    pub(crate) first: u64,
    pub(crate) salt: u32,
}

impl KeyOf {
    /// The name of the file.
    pub(crate) fn file_name(self) -> String {
        format!("{:020}.{:08x}.key", self.first, self.salt)
    }

    /// What a file of this name holds the key of.
    pub(crate) fn of_file(name: &str) -> Option<Self> {
        let (first, salt) = name.strip_suffix(".key")?.split_once('.')?;
        let salt = u32::from_str_radix(salt, 16).ok()?;
        let of = Self { first: first.parse().ok()?, salt };
        (of.file_name() == name).then_some(of)
    }

    /// Opens a new file, which has its name once it was written.
    pub(crate) fn new_file(self, disk: &dyn Disk) -> io::Result<Arc<dyn DiskFile>> {
        disk.open(&self.temporary_name(), true)
    }

    /// Writes a key into that file, wrapped by the first of these; in the place of any that had
    /// its name. Its name is durable with the folder's next sync.
    pub(crate) fn write(
        self,
        disk: &dyn Disk,
        file: &dyn DiskFile,
        key: &KeyBytes,
        keys: &WrappingKeys,
        entropy: &dyn Entropy,
    ) -> io::Result<()> {
        file.truncate(0)?;
        file.write_at(&self.wrapped(key, keys, entropy), 0)?;
        file.sync()?;
        disk.rename(&self.temporary_name(), &self.file_name())
    }

    /// Reads the key and the name of the key that wraps it.
    pub(crate) fn read(
        self,
        disk: &dyn Disk,
        keys: &WrappingKeys,
    ) -> Result<(KeyBytes, String), KeyError> {
        let name = self.file_name();
        let bytes = read_block(&*disk.open(&name, false)?, &name, KIND)?;
        if (u64_at(&bytes[..], 16), u32_at(&bytes[..], 12)) != (self.first, self.salt) {
            return Err(damaged(&name, "it is the key of another segment"));
        }
        Ok((unwrapped(&bytes, &name, keys)?, wrapped_by(&bytes)))
    }

    /// The name that the file has until it is written.
    pub(crate) fn temporary_name(self) -> String {
        unfinished(&self.file_name())
    }

    fn wrapped(self, key: &KeyBytes, keys: &WrappingKeys, entropy: &dyn Entropy) -> KeyBlock {
        let mut own = [0; OWN_BYTES];
        own[..4].copy_from_slice(&self.salt.to_le_bytes());
        own[4..].copy_from_slice(&self.first.to_le_bytes());
        write_block(KIND.head(own), key, Some(keys), entropy)
    }
}

#[cfg(test)]
mod tests {
    use crc32c::crc32c;

    use super::*;
    use crate::encryption::{BLOCK_BYTES, random};
    use crate::log::{SimDisk, SystemEntropy};

    const CRC_AT: usize = BLOCK_BYTES - 4;

    fn keys(text: &str) -> WrappingKeys {
        let bytes = |digit: &str| digit.repeat(64);
        let lines = text.split(' ').map(|key| {
            let (id, digit) = key.split_once('=').unwrap();
            format!("{id}:{}", bytes(digit))
        });
        WrappingKeys::from_text(&lines.collect::<Vec<_>>().join("\n")).unwrap()
    }

    fn written(of: KeyOf, key: &KeyBytes, keys: &WrappingKeys) -> SimDisk {
        let disk = SimDisk::new();
        of.write(&disk, &*of.new_file(&disk).unwrap(), key, keys, &SystemEntropy).unwrap();
        disk
    }

    #[test]
    fn a_key_is_read_by_the_key_that_wrapped_it_and_no_other() {
        let (of, key) = (KeyOf { first: 12, salt: 0xbeef }, random(&SystemEntropy));
        let disk = written(of, &key, &keys("a=1"));
        assert_eq!(disk.list().unwrap(), ["00000000000000000012.0000beef.key"]);
        let (read, id) = of.read(&disk, &keys("b=2 a=1")).unwrap();
        assert_eq!((read, id.as_str()), (key, "a"));
        let refused = |keys| of.read(&disk, &keys).unwrap_err().to_string();
        let said = refused(keys("b=1 c=2"));
        assert!(said.contains("wrapped by the key a") && said.ends_with("b, c"), "{said}");
        assert!(refused(keys("a=2")).contains("not opened by the key a"));
    }

    #[test]
    fn every_changed_byte_and_the_key_of_another_segment_are_noticed() {
        let (of, keys) = (KeyOf { first: 12, salt: 7 }, keys("a=1"));
        let disk = written(of, &random(&SystemEntropy), &keys);
        let whole = disk.contents(&of.file_name()).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            disk.put(&of.file_name(), bytes.clone());
            assert!(of.read(&disk, &keys).is_err(), "byte {at}");
            // Whoever knows the format puts the checksum right.
            let crc = crc32c(&bytes[..CRC_AT]);
            bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
            disk.put(&of.file_name(), bytes);
            assert!(of.read(&disk, &keys).is_err() || at >= CRC_AT, "byte {at}, forged");
        }
        let other = KeyOf { first: 12, salt: 8 };
        disk.put(&other.file_name(), whole);
        let said = other.read(&disk, &keys).unwrap_err().to_string();
        assert!(said.contains("another segment"), "{said}");
    }

    #[test]
    fn names_that_are_not_exactly_ours_are_of_no_segment() {
        let of = KeyOf { first: 1, salt: 0xab };
        assert_eq!(KeyOf::of_file(&of.file_name()), Some(of));
        for name in ["1.ab.key", "00000000000000000001.log", "a.b.key", ".key"] {
            assert_eq!(KeyOf::of_file(name), None, "{name}");
        }
    }
}
