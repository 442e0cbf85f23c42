//! Putting a backup back.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::CopyProgress;
use super::copying::copy_checked;
use super::cut::{cut, is_after};
use super::error::BackupError;
use super::manifest::{Manifest, SegmentEntry};
use super::measure::measure;
use super::target::{RESTORE_UNFINISHED, begin};
use crate::encryption::WrappingKeys;
use crate::index::{NameKey, Remade, Sealed};
use crate::log::{AuditHead, ChainEnd, CleanMark, Disk, KeyError, Segment, SegmentKeys};
use crate::position::Position;
use crate::read::AsOf;

/// What was put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The hash chain up to the last event of the log now.
    pub head: AuditHead,
    /// The position of the last event in the backup.
    pub backup_end: Position,
    /// When the backup was made.
    pub made_at: DateTime<Utc>,
    /// How many segments it has.
    pub segments: u64,
    /// How many bytes they have.
    pub bytes: u64,
}

/// Makes the folder of a store out of a backup, up to its end, or to a moment.
///
/// All of it is checked: the manifest, each file by its digest, each frame and record, and the hash
/// chain to the head. The indexes are made again. A store opens on the folder only when all is
/// done. What is encrypted is read with these keys, and stays encrypted.
///
/// A moment parts nothing that was committed together: an append, or several that shared a sync.
/// All of it was recorded at one time, so up to a time the log is exactly what was recorded until
/// then; up to a position it may end before that, where what was committed with it goes on.
///
/// # Errors
/// When the backup is not whole, or ends before the position, its keys can't be had, the folder is
/// not empty, or a file can't be read or written. Then no store opens on the folder, and it can be
/// begun again; without the keys nothing is begun.
pub fn restore(
    from: &dyn Disk,
    to: &dyn Disk,
    keys: Option<Arc<WrappingKeys>>,
    until: Option<AsOf>,
    tell: &mut dyn FnMut(CopyProgress),
) -> Result<Restored, BackupError> {
    put_back(from, to, keys, until, tell).map_err(|error| error.of_disk(to))
}

fn put_back(
    from: &dyn Disk,
    to: &dyn Disk,
    keys: Option<Arc<WrappingKeys>>,
    until: Option<AsOf>,
    tell: &mut dyn FnMut(CopyProgress),
) -> Result<Restored, BackupError> {
    let manifest = Manifest::read(from)?;
    let end = manifest.head.position;
    if let Some(AsOf::Position(asked)) = until
        && asked > end
    {
        return Err(BackupError::EndsBefore { asked, end });
    }
    let is_later = |entry: &SegmentEntry| {
        until.is_some_and(|until| is_after(until, entry.first, entry.recorded_from))
    };
    let entries = &manifest.segments;
    let entries = &entries[..entries.iter().position(is_later).unwrap_or(entries.len())];
    let keys = SegmentKeys::to_read(keys);
    are_given(&keys, from, entries)?;
    begin(to, RESTORE_UNFINISHED)?;
    let mut restoring = Restoring::new(from, to, keys, until);
    let (mut bytes_copied, segments) = (0, entries.len() as u64);
    for (entry, segments_done) in entries.iter().zip(1..) {
        restoring.segment(entry)?;
        bytes_copied += entry.file.bytes;
        tell(CopyProgress { segments_done, segments, bytes_copied });
    }
    restoring.finish(&manifest)
}

/// Whether these keys open what is encrypted, before anything is written. What is missing or
/// damaged is told when it is copied.
fn are_given(
    keys: &SegmentKeys,
    from: &dyn Disk,
    entries: &[SegmentEntry],
) -> Result<(), BackupError> {
    for entry in entries {
        match Segment::open(from, entry.first, keys) {
            Ok(_) | Err(KeyError::Missing { .. } | KeyError::Store(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

struct Restoring<'a> {
    from: &'a dyn Disk,
    to: &'a dyn Disk,
    keys: SegmentKeys,
    /// What the hashes in the indexes are made with.
    names: NameKey,
    until: Option<AsOf>,
    head: AuditHead,
    sealed: Vec<Arc<Sealed>>,
    /// The last segment so far, which has no index when no other follows.
    last: Option<Last>,
    bytes: u64,
}

struct Last {
    segment: Segment,
    length: u64,
    remade: Remade,
}

impl<'a> Restoring<'a> {
    fn new(from: &'a dyn Disk, to: &'a dyn Disk, keys: SegmentKeys, until: Option<AsOf>) -> Self {
        let names = NameKey::new(keys.entropy());
        let head = AuditHead { position: Position::START, chain: ChainEnd::START };
        Self { from, to, keys, names, until, head, sealed: Vec::new(), last: None, bytes: 0 }
    }

    fn segment(&mut self, entry: &SegmentEntry) -> Result<(), BackupError> {
        for file in std::iter::once(&entry.file).chain(&entry.key) {
            copy_checked(self.from, file, self.to)?;
        }
        let mut segment = Segment::open(self.to, entry.first, &self.keys)?;
        let mut remade = Remade::new(&segment, self.names);
        let (before, bound) = (self.head.chain, entry.end.position.get());
        let measured = measure(&segment, before, bound, |record, _| remade.add(*record))?;
        let recorded = (entry.recorded_from, entry.recorded_until);
        if (measured.end, measured.length, measured.recorded)
            != (entry.end, entry.file.bytes, recorded)
        {
            let (file, reason) = (entry.file.name.clone(), "it is not what the manifest tells");
            return Err(BackupError::Damaged { file, reason: reason.to_owned() });
        }
        let mut head = entry.end;
        if let Some(until) = self.until
            && is_after(until, bound, entry.recorded_until)
        {
            match cut(self.to, &self.keys, segment, before, bound, until)? {
                Some(left) => (segment, head) = left,
                None => {
                    let files = std::iter::once(&entry.file).chain(&entry.key);
                    files.into_iter().try_for_each(|file| self.to.remove(&file.name))?;
                    return Ok(());
                }
            }
        }
        self.head = head;
        let length = segment.length()?;
        self.bytes += length;
        self.seal_last();
        self.last = Some(Last { segment, length, remade });
        Ok(())
    }

    /// Makes the index of the last segment, as another follows.
    fn seal_last(&mut self) {
        if let Some(Last { segment, length, remade }) = self.last.take() {
            let sealed = Sealed::scanned(self.to, Arc::new(segment), length, remade, &self.sealed);
            self.sealed.push(Arc::new(sealed));
        }
    }

    fn finish(self, manifest: &Manifest) -> Result<Restored, BackupError> {
        if let Some(Last { segment, length, .. }) = &self.last {
            CleanMark { segment: segment.first, length: *length }.write(self.to)?;
        }
        // The files must not be missing when the folder counts as whole.
        self.to.sync_folder()?;
        self.to.remove(RESTORE_UNFINISHED)?;
        self.to.sync_folder()?;
        let segments = self.sealed.len() as u64 + u64::from(self.last.is_some());
        let (backup_end, made_at) = (manifest.head.position, manifest.made_at);
        Ok(Restored { head: self.head, backup_end, made_at, segments, bytes: self.bytes })
    }
}
