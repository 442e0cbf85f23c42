//! Making a backup.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::CopyProgress;
use super::copying::{Linked, copy, link_checked};
use super::error::BackupError;
use super::manifest::{Manifest, SegmentEntry};
use super::measure::{Measured, measure};
use super::originals::{KeyFile, Original, Originals};
use super::target::{BACKUP_UNFINISHED, begin};
use crate::log::{AuditHead, ChainEnd, Disk, Segment};
use crate::position::Position;

/// A backup to be made.
pub struct Backup<'a> {
    /// The segments of the log, which were opened before the head was asked for.
    pub originals: &'a Originals,
    /// The head that the store has told: this event and all before it are durable.
    pub head: Position,
    /// The folder to be filled: an empty one, or one in which a backup was not finished.
    pub to: &'a dyn Disk,
    /// A former backup of the same log: what is in it already is not copied again.
    pub since: Option<&'a dyn Disk>,
    /// When it is made.
    pub now: DateTime<Utc>,
}

/// What was backed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackedUp {
    /// The hash chain up to the last event in it.
    pub head: AuditHead,
    /// How many segments it has.
    pub segments: u64,
    /// How many of them are one file with the former backup.
    pub segments_linked: u64,
    /// How many bytes its segments have.
    pub bytes: u64,
    /// How many of them were copied.
    pub bytes_copied: u64,
    /// How many segments of the former backup were found damaged there, and copied from the log.
    pub former_damaged: u64,
}

/// Makes a backup: all segments, up to the frame with the head. Each is checked on the way, record
/// by record and along the hash chain, but for those that a former backup has: of those the digest
/// is. The folder is whole by itself afterwards; files may be shared with the former backup, where
/// both are on one file system.
///
/// # Errors
/// When the folder is not empty, the former backup is not one of this log, the log is corrupt, or a
/// file can't be read or written. What was made so far is no backup then, and can be begun again.
pub fn back_up(
    backup: &Backup<'_>,
    tell: &mut dyn FnMut(CopyProgress),
) -> Result<BackedUp, BackupError> {
    make(backup, tell).map_err(|error| error.of_disk(backup.to))
}

fn make(backup: &Backup<'_>, tell: &mut dyn FnMut(CopyProgress)) -> Result<BackedUp, BackupError> {
    let former = backup.since.map(Former::read).transpose()?;
    begin(backup.to, BACKUP_UNFINISHED)?;
    let start = AuditHead { position: Position::START, chain: ChainEnd::START };
    let mut making = Making {
        backup,
        former,
        entries: Vec::new(),
        told: BackedUp {
            head: start,
            segments: 0,
            segments_linked: 0,
            bytes: 0,
            bytes_copied: 0,
            former_damaged: 0,
        },
    };
    let all = &backup.originals.all;
    let count = all.partition_point(|original| original.segment.first <= backup.head.get());
    for (number, original) in all[..count].iter().enumerate() {
        making.segment(original, all.get(number + 1).map(|next| &next.segment))?;
        tell(CopyProgress {
            segments_done: number as u64 + 1,
            segments: count as u64,
            bytes_copied: making.told.bytes_copied,
        });
    }
    making.finish()
}

struct Making<'a> {
    backup: &'a Backup<'a>,
    former: Option<Former<'a>>,
    entries: Vec<SegmentEntry>,
    told: BackedUp,
}

impl Making<'_> {
    fn segment(&mut self, original: &Original, next: Option<&Segment>) -> Result<(), BackupError> {
        let segment = &original.segment;
        let expected = self.told.head.position.get() + 1;
        if segment.first != expected {
            let reason = format!("it begins at position {}, not at {expected}", segment.first);
            return Err(segment.corrupt(0, &reason).into());
        }
        let mut entry = match self.linked(segment, next)? {
            Some(entry) => {
                self.told.segments_linked += 1;
                entry
            }
            None => self.copied(segment, next)?,
        };
        // A key may be wrapped anew at any time, so it is always the log's own.
        entry.key = None;
        if let Some(KeyFile { name, file }) = &original.key {
            entry.key = Some(copy(&**file, file.length()?, self.backup.to, name)?);
        }
        self.told.head = entry.end;
        self.told.segments += 1;
        self.told.bytes += entry.file.bytes;
        self.entries.push(entry);
        Ok(())
    }

    /// The segment out of the former backup, where it is there as it is here, all of it.
    fn linked(
        &mut self,
        segment: &Segment,
        next: Option<&Segment>,
    ) -> Result<Option<SegmentEntry>, BackupError> {
        let (Some(former), Some(next)) = (&self.former, next) else {
            return Ok(None);
        };
        let Some(entry) = former.has(segment, next) else {
            return Ok(None);
        };
        let linked = link_checked(former.disk, &entry.file, self.backup.to)?;
        self.told.former_damaged += u64::from(linked == Linked::Damaged);
        Ok((linked == Linked::Whole).then(|| entry.clone()))
    }

    fn copied(
        &mut self,
        segment: &Segment,
        next: Option<&Segment>,
    ) -> Result<SegmentEntry, BackupError> {
        let last = next.map_or(u64::MAX, |next| next.first - 1);
        let bound = last.min(self.backup.head.get());
        let mut differs = None;
        let former = self.former.as_ref();
        let measured = measure(segment, self.told.head.chain, bound, |_, head| {
            if former.is_some_and(|former| !former.goes_through(head)) {
                differs.get_or_insert(head.position);
            }
        })?;
        if let Some(position) = differs {
            return Err(BackupError::OfAnotherLog { position });
        }
        let Measured { length, end, recorded } = measured;
        let file = copy(&**segment.file(), length, self.backup.to, &segment.name)?;
        self.told.bytes_copied += length;
        let (first, salt) = (segment.first, segment.layout.salt);
        let (recorded_from, recorded_until) = recorded;
        Ok(SegmentEntry { file, first, end, salt, recorded_from, recorded_until, key: None })
    }

    fn finish(self) -> Result<BackedUp, BackupError> {
        let head = self.told.head;
        if let Some(former) = self.former
            && former.manifest.head.position > head.position
        {
            let position = former.manifest.head.position;
            return Err(BackupError::OfAnotherLog { position });
        }
        Manifest::new(self.backup.now, head, self.entries).write(self.backup.to)?;
        Ok(self.told)
    }
}

/// A former backup.
struct Former<'a> {
    disk: &'a dyn Disk,
    manifest: Manifest,
    /// Where the chain is known to have gone through.
    ends: BTreeMap<Position, ChainEnd>,
}

impl<'a> Former<'a> {
    fn read(disk: &'a dyn Disk) -> Result<Self, BackupError> {
        let manifest = Manifest::read(disk)?;
        let ends =
            manifest.segments.iter().map(|segment| (segment.end.position, segment.end.chain));
        let ends = ends.collect();
        Ok(Self { disk, manifest, ends })
    }

    /// The entry of this segment of the log, before the `next` one, when it is the very same file.
    fn has(&self, segment: &Segment, next: &Segment) -> Option<&SegmentEntry> {
        let entry = self.manifest.segments.iter().find(|entry| entry.first == segment.first)?;
        let same = entry.salt == segment.layout.salt
            && entry.end.position.get() == next.first - 1
            && next.chain_before.is_none_or(|chain| chain == entry.end.chain);
        same.then_some(entry)
    }

    fn goes_through(&self, head: AuditHead) -> bool {
        self.ends.get(&head.position).is_none_or(|chain| *chain == head.chain)
    }
}
