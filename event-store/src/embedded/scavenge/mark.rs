//! How far a pass has come, kept on the disk so that the next goes on there.

use std::io;

use chrono::{DateTime, Utc};

use crate::log::{Disk, Mark};

const MARK: Mark = Mark { name: "SCAVENGE", magic: *b"VEZASCV\0" };

/// A pass that is not at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::embedded) struct ScavengeMark {
    /// When it began: what is too old is told by that.
    pub(in crate::embedded) began: DateTime<Utc>,
    /// The first position of the segments that it has not done.
    pub(in crate::embedded) next: u64,
}

impl ScavengeMark {
    /// Writes the mark, durable.
    pub(super) fn write(self, disk: &dyn Disk) -> io::Result<()> {
        MARK.write(disk, [self.began.timestamp_micros().cast_unsigned(), self.next])
    }

    /// The mark that is there; without one a pass begins at the first segment, so a damaged one
    /// costs time only.
    pub(in crate::embedded) fn read(disk: &dyn Disk) -> io::Result<Option<Self>> {
        let mark = MARK.read(disk)?.and_then(|[began, next]| {
            let began = DateTime::from_timestamp_micros(began.cast_signed())?;
            Some(Self { began, next })
        });
        Ok(mark)
    }

    /// Removes the mark, durable.
    pub(super) fn remove(disk: &dyn Disk) -> io::Result<()> {
        MARK.remove(disk)
    }
}
