//! What can go wrong with a backup.

use thiserror::Error;

use crate::embedded::open::OpenError;
use crate::error::StoreError;
use crate::log::{Disk, KeyError};
use crate::position::Position;

/// Why a backup was not made, or not put back. What was begun counts as not there.
#[derive(Debug, Error)]
pub enum BackupError {
    /// There is something in the folder that is to be filled.
    #[error("{name} is in the folder: a new or an empty one is needed")]
    NotEmpty {
        /// What is there.
        name: String,
    },
    /// There is no whole backup in the folder that is to be read.
    #[error("there is no backup in {folder}{}", begun(*.unfinished))]
    NoBackup {
        /// Which folder.
        folder: String,
        /// Whether one was begun.
        unfinished: bool,
    },
    /// A file of a backup is not what was written.
    #[error("the backup is damaged: {file}: {reason}")]
    Damaged {
        /// Which file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The former backup is not one of this log as it is now.
    #[error(
        "the former backup is not of this log: position {position} is another there; make a whole \
         backup without it"
    )]
    OfAnotherLog {
        /// The first place at which they are known to differ.
        position: Position,
    },
    /// The backup ends before the moment that it is to be put back up to.
    #[error("the backup ends at position {end}, before {asked}")]
    EndsBefore {
        /// What was asked for.
        asked: Position,
        /// The position of its last event.
        end: Position,
    },
    /// The folder to be filled can't be made or is in use.
    #[error(transparent)]
    Target(#[from] OpenError),
    /// A segment is encrypted and its key can't be had.
    #[error(transparent)]
    Key(KeyError),
    /// A file can't be read or written, or the log is corrupt.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn begun(unfinished: bool) -> &'static str {
    if unfinished { ": it was not finished" } else { "" }
}

impl BackupError {
    /// The same, naming the folder that is filled where its disk is full.
    pub(super) fn of_disk(self, disk: &dyn Disk) -> Self {
        match (self, disk.folder()) {
            (Self::Store(StoreError::StorageFull), Some(path)) => {
                Self::Target(OpenError::Full { path: path.into() })
            }
            (error, _) => error,
        }
    }
}

impl From<KeyError> for BackupError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Store(error) => Self::Store(error),
            error => Self::Key(error),
        }
    }
}

impl From<std::io::Error> for BackupError {
    fn from(error: std::io::Error) -> Self {
        Self::Store(error.into())
    }
}
