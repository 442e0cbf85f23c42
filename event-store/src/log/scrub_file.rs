//! The file `SCRUB`: how far a scrub has come, and what was found damaged.

use std::io;

use chrono::{DateTime, Utc};
use crc32c::{crc32c, crc32c_append};

use super::codec::{i64_at, u32_at, u64_at};
use super::disk::Disk;
use super::findings::Rot;
use super::unfinished::unfinished;
use crate::limits::ROT_REMEMBERED_MAX;
use crate::position::Position;

const FILE: &str = "SCRUB";
const MAGIC: &[u8; 8] = b"VEZASCR\0";
const CRC_AT: usize = 28;
const HEAD_BYTES: usize = 32;
const ROT_HEAD_BYTES: usize = 12;

/// The longest file that is read, in bytes: what is wrong with a segment takes a line.
const FILE_BYTES_MAX: u64 = 1024 * ROT_REMEMBERED_MAX as u64;

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ScrubFile {
    /// When a scrub last wrote it, in microseconds since 1970.
    at_micros: i64,
    /// The first position that was not read; zero after the end of the log.
    pub(crate) next: u64,
    /// The segments that were found damaged.
    pub(crate) rot: Vec<Rot>,
}

impl ScrubFile {
    /// Keeps how far a scrub is by now.
    pub(super) fn reached(&mut self, now: DateTime<Utc>, next: u64) {
        (self.at_micros, self.next) = (now.timestamp_micros(), next);
    }

    /// When a scrub last kept how far it was.
    pub(crate) fn at(&self) -> Option<DateTime<Utc>> {
        let micros = (self.at_micros > 0).then_some(self.at_micros)?;
        DateTime::from_timestamp_micros(micros)
    }

    /// When the last scrub came to the end, if it did and all is whole.
    pub(super) fn ended(&self) -> Option<DateTime<Utc>> {
        self.at().filter(|_| self.next == 0 && self.rot.is_empty())
    }

    /// Writes it, durable, in place of what is there.
    pub(super) fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        let name = unfinished(FILE);
        let bytes = self.bytes();
        let file = disk.open(&name, true)?;
        file.truncate(0)?;
        file.write_at(&bytes, 0)?;
        file.sync()?;
        disk.rename(&name, FILE)?;
        disk.sync_folder()
    }

    /// What is there; without a file, or with a damaged one, a scrub begins at the first segment,
    /// which costs time only.
    pub(crate) fn read(disk: &dyn Disk) -> io::Result<Self> {
        if !disk.list()?.iter().any(|name| name == FILE) {
            return Ok(Self::default());
        }
        let file = disk.open(FILE, false)?;
        let length = file.length()?;
        let mut bytes = vec![0; usize::try_from(length.min(FILE_BYTES_MAX)).unwrap_or_default()];
        file.read_at(&mut bytes, 0)?;
        Ok(Self::from_bytes(&bytes).unwrap_or_default())
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(self.at_micros.to_le_bytes());
        bytes.extend(self.next.to_le_bytes());
        bytes.extend(count(self.rot.len()));
        bytes.extend([0; HEAD_BYTES - CRC_AT]);
        for Rot { segment, what } in &self.rot {
            bytes.extend(segment.get().to_le_bytes());
            bytes.extend(count(what.len()));
            bytes.extend(what.as_bytes());
        }
        let crc = crc_of(&bytes).to_le_bytes();
        bytes[CRC_AT..HEAD_BYTES].copy_from_slice(&crc);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let is_whole = bytes.len() >= HEAD_BYTES
            && bytes.starts_with(MAGIC)
            && crc_of(bytes) == u32_at(bytes, CRC_AT);
        if !is_whole {
            return None;
        }
        let (mut rot, mut rest) = (Vec::new(), &bytes[HEAD_BYTES..]);
        for _ in 0..u32_at(bytes, 24) {
            let (head, behind) = rest.split_at_checked(ROT_HEAD_BYTES)?;
            let (what, behind) = behind.split_at_checked(u32_at(head, 8) as usize)?;
            let segment = Position::new(u64_at(head, 0));
            rot.push(Rot { segment, what: one_line(std::str::from_utf8(what).ok()?).into() });
            rest = behind;
        }
        Some(Self { at_micros: i64_at(bytes, 8), next: u64_at(bytes, 16), rot })
    }
}

/// The text with its control characters escaped. The checksum keeps nobody from writing into the
/// file, and what is read goes to logs and terminals.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// As many as are remembered are few, and a text is short.
fn count(of: usize) -> [u8; 4] {
    u32::try_from(of).unwrap_or(u32::MAX).to_le_bytes()
}

/// The checksum of all but itself.
fn crc_of(bytes: &[u8]) -> u32 {
    crc32c_append(crc32c(&bytes[..CRC_AT]), &bytes[HEAD_BYTES..])
}
