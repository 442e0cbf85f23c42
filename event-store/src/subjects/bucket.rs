//! A file of slots: those of all subjects whose hashes begin alike.
//!
//! There are 4096 of them, by the first twelve bits. To look a subject up is to read one file:
//! of a million subjects that has 31 KB. A slot never moves.

use std::io;

use super::slot::{self, SLOT_BYTES, Slot};
use super::subject::Subject;
use crate::encryption::Cipher;
use crate::error::StoreError;
use crate::log::{Disk, FileStamp};

/// What names of these files end with.
const ENDING: &str = ".keys";
/// How many there may be.
pub(super) const BUCKETS: usize = 1 << 12;

/// Which bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket(u16);

/// A bucket, as it was read.
pub(super) struct Slots {
    bucket: Bucket,
    /// Of the file, from before it was read; none where there was none.
    stamp: Option<FileStamp>,
    /// Whole slots only.
    bytes: Vec<u8>,
}

/// Where a subject is in a bucket.
pub(super) enum Place {
    /// In this slot, which may be damaged.
    At(usize),
    /// Nowhere.
    Nowhere,
    /// Not to be told: the slot there is damaged so that it is nobody's.
    Unknown(usize),
}

impl Bucket {
    pub(super) fn of(subject: Subject) -> Self {
        let [first, second, ..] = subject.as_bytes();
        Self(u16::from(*first) << 4 | u16::from(*second >> 4))
    }

    /// The buckets that are there.
    pub(super) fn on(disk: &dyn Disk) -> io::Result<Vec<Self>> {
        let mut found: Vec<Self> =
            disk.list()?.iter().filter_map(|name| Self::named(name)).collect();
        found.sort_unstable_by_key(|bucket| bucket.0);
        Ok(found)
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        let number = u16::from_str_radix(name.strip_suffix(ENDING)?, 16).ok()?;
        let bucket = Self(number);
        (usize::from(number) < BUCKETS && bucket.file_name() == name).then_some(bucket)
    }

    pub(super) fn number(self) -> usize {
        usize::from(self.0)
    }

    pub(super) fn file_name(self) -> String {
        format!("{:03x}{ENDING}", self.0)
    }

    /// Reads it; one that is not there has no slots. What an append that failed half way left
    /// behind the last slot is none.
    pub(super) fn read(self, disk: &dyn Disk) -> io::Result<Slots> {
        let file = match disk.open(&self.file_name(), false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Slots { bucket: self, stamp: None, bytes: Vec::new() });
            }
            file => file?,
        };
        let stamp = file.stamp()?;
        let length = usize::try_from(stamp.length).map_err(io::Error::other)?;
        let mut bytes = vec![0; length / SLOT_BYTES * SLOT_BYTES];
        file.read_at(&mut bytes, 0)?;
        Ok(Slots { bucket: self, stamp: Some(stamp), bytes })
    }
}

impl Slots {
    pub(super) fn count(&self) -> usize {
        self.bytes.len() / SLOT_BYTES
    }

    pub(super) fn bucket(&self) -> Bucket {
        self.bucket
    }

    pub(super) fn stamp(&self) -> Option<FileStamp> {
        self.stamp
    }

    pub(super) fn each(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks_exact(SLOT_BYTES)
    }

    pub(super) fn slot(&self, at: usize) -> &[u8] {
        &self.bytes[at * SLOT_BYTES..(at + 1) * SLOT_BYTES]
    }

    pub(super) fn find(&self, subject: Subject) -> Place {
        let mut place = Place::Nowhere;
        for (at, bytes) in self.each().enumerate() {
            if slot::subject(bytes) == subject {
                return Place::At(at);
            }
            if matches!(slot::read(bytes), Slot::Damaged) {
                place = Place::Unknown(at);
            }
        }
        place
    }

    /// The slots that are the subject's, from first to last: one, or none; or more where one was
    /// damaged when they were forgotten. And a damaged one that may be theirs, with a key in it,
    /// and nobody can tell whose it is.
    pub(super) fn of(&self, subject: Subject, store: &Cipher) -> (Vec<usize>, Option<usize>) {
        let (mut theirs, mut doubtful, mut is_sure) = (Vec::new(), None, false);
        for (at, bytes) in self.each().enumerate() {
            let (claimed, said) = (slot::subject(bytes), slot::read(bytes));
            if claimed == subject {
                // What is left of them, if anything, is elsewhere when they are forgotten already.
                is_sure |= !matches!(said, Slot::Forgotten);
                theirs.push(at);
            } else if !matches!(said, Slot::Damaged) || slot::opens_for(claimed, bytes, store) {
                continue;
            } else if slot::opens_for(subject, bytes, store) {
                is_sure = true;
                theirs.push(at);
            } else if slot::may_hold_key(bytes) {
                doubtful = Some(at);
            }
        }
        (theirs, doubtful.filter(|_| !is_sure))
    }

    /// Puts a slot there, or behind the last.
    pub(super) fn put(&mut self, at: usize, bytes: &[u8; SLOT_BYTES]) {
        let begin = at * SLOT_BYTES;
        self.bytes.resize(self.bytes.len().max(begin + SLOT_BYTES), 0);
        self.bytes[begin..begin + SLOT_BYTES].copy_from_slice(bytes);
    }

    /// Writes the slots from this one on into the file that was read, or a new one where none was,
    /// and makes them durable.
    pub(super) fn write_from(&self, disk: &dyn Disk, at: usize) -> io::Result<FileStamp> {
        let name = self.bucket.file_name();
        let file = disk.open(&name, self.stamp.is_none())?;
        let there = file.stamp()?;
        if self.stamp.map_or(there.length > 0, |read| read.file != there.file) {
            return Err(io::Error::other(format!("{name} was exchanged")));
        }
        let begin = at * SLOT_BYTES;
        file.write_at(&self.bytes[begin..], begin as u64)?;
        if !cfg!(veza_canary = "seal-before-sync") {
            file.sync()?;
        }
        file.stamp()
    }

    /// That a slot can't be used.
    pub(super) fn corrupt(&self, at: usize, reason: &str) -> StoreError {
        let place = format!("{}:{}", self.bucket.file_name(), at * SLOT_BYTES);
        StoreError::Corrupt { place: place.into(), reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_named_by_the_first_twelve_bits() {
        let subject: Subject = format!("abc{}", "0".repeat(61)).parse().unwrap();
        let bucket = Bucket::of(subject);
        assert_eq!((bucket.file_name().as_str(), bucket.number()), ("abc.keys", 0xabc));
        assert_eq!(Bucket::named("abc.keys"), Some(bucket));
        for name in ["ABC.keys", "abcd.keys", "ab.keys", "abc.key", "store.key", "+ab.keys"] {
            assert_eq!(Bucket::named(name), None, "{name}");
        }
    }
}
