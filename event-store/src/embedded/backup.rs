//! Backups of the log while it is written, and putting them back.
//!
//! A backup is a folder that is whole by itself: the segments, up to some position, and a manifest
//! that says what they are (`manifest`), written last. It is made by whoever can read the folder of
//! the store (`making`), beside the process that writes; what is durable there `originals` says.
//! Restoring makes a new folder of it, up to its end or to some moment (`restore`, `cut`).

mod copying;
mod cut;
mod error;
mod making;
mod manifest;
mod measure;
mod originals;
mod restore;
mod target;

pub use error::BackupError;
pub use making::{BackedUp, Backup, back_up};
pub use manifest::{FileEntry, Manifest, SegmentEntry};
pub use originals::Originals;
pub use restore::{Restored, restore};
pub use target::{TargetFolder, Unfit};

/// How far a backup or a restore has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyProgress {
    /// How many segments are done.
    pub segments_done: u64,
    /// How many there are.
    pub segments: u64,
    /// How many bytes were copied.
    pub bytes_copied: u64,
}
