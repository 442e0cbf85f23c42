//! How far a scrub has come, kept on the disk so that the next goes on there.

use std::io;

use chrono::{DateTime, Utc};

use crate::log::{Disk, Mark};

const MARK: Mark = Mark { name: "SCRUB", magic: *b"VEZASCR\0" };

/// Where the next scrub begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ScrubMark {
    /// When that was written, in microseconds since 1970.
    at_micros: i64,
    /// The first position that was not read; zero after the end of the log.
    pub(super) next: u64,
}

impl ScrubMark {
    pub(super) fn new(now: DateTime<Utc>, next: u64) -> Self {
        Self { at_micros: now.timestamp_micros(), next }
    }

    /// When the last scrub ended, if it came to the end.
    pub(super) fn ended(self) -> Option<DateTime<Utc>> {
        if self.next == 0 && self.at_micros > 0 {
            return DateTime::from_timestamp_micros(self.at_micros);
        }
        None
    }

    /// Writes the mark, durable.
    pub(super) fn write(self, disk: &dyn Disk) -> io::Result<()> {
        MARK.write(disk, [self.at_micros.cast_unsigned(), self.next])
    }

    /// The mark that is there; without one, or with a damaged one, a scrub begins at the first
    /// segment, which costs time only.
    pub(super) fn read(disk: &dyn Disk) -> io::Result<Self> {
        let [at_micros, next] = MARK.read(disk)?.unwrap_or_default();
        Ok(Self { at_micros: at_micros.cast_signed(), next })
    }
}
