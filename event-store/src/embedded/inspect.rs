//! Looking at a data folder from outside: what is in it, and what opening it would do.
//!
//! Nothing is changed and no lock is taken, so a folder may be looked at while a store has it open:
//! then what is told of its last segment is that of a moment.

mod counting;
mod progress;
mod recovery;

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::backup::{BackupError, Manifest};
use crate::encryption::WrappingKeys;
use crate::error::StoreError;
use crate::index::{NameKey, key_of_log, look_at_index};
use crate::log::{
    AuditHead, ChainEnd, CleanMark, Disk, Look, NewestMark, Segment, SegmentKeys, check_active,
    check_sealed, is_unborn, is_written, look, look_locked, segment_files, segment_name, u32_at,
};
use crate::position::Position;
use counting::Counting;
use progress::Checkpoints;

pub use crate::index::IndexState;
pub use counting::{Largest, Statistics};
pub use progress::{InspectedCheckpoint, InspectedScavenge, InspectedScrub};
pub use recovery::RecoveryStep;

/// What there is to be seen of a data folder.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// Its segments, from old to new.
    pub segments: Vec<InspectedSegment>,
    /// How long the log was when its store was last closed in peace.
    pub clean: Option<CleanEnd>,
    /// What is in the log, as far as it can be read.
    pub statistics: Statistics,
    /// The hash chain up to the last event; `None` where a segment is damaged or locked.
    pub head: Option<AuditHead>,
    /// How far groups of consumers are that keep their checkpoints in the log, by name.
    pub checkpoints: Vec<InspectedCheckpoint>,
    /// A pass of scavenging that is under way, or was stopped.
    pub scavenge: Option<InspectedScavenge>,
    /// How far a scrub is, or when the last one ended, and what is known to be damaged; `None`
    /// where nothing was ever kept of it.
    pub scrub: Option<InspectedScrub>,
    /// What the next opening would do, in this order; a refusal is the last.
    pub recovery: Vec<RecoveryStep>,
}

impl Inspected {
    /// Whether a store opens on it, or it is a backup, and every byte of every segment is as it was
    /// written. Of a segment that is locked it says so of the header and the frames.
    pub fn is_good(&self) -> bool {
        self.segments.iter().all(|segment| segment.wrong.is_none())
            && !self.recovery.iter().any(|step| {
                matches!(step, RecoveryStep::Refuse(_) | RecoveryStep::RefuseBadBackup(_))
            })
    }
}

/// The end of the log at a close in peace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanEnd {
    /// The first position of the last segment.
    pub segment: Position,
    /// Its length, in bytes.
    pub length: u64,
}

/// One segment.
#[derive(Clone, Debug)]
pub struct InspectedSegment {
    /// The name of its file.
    pub name: String,
    /// The first position that belongs in it.
    pub first: Position,
    /// The position of its last event; `None` when it has none.
    pub last: Option<Position>,
    /// How many of its events were reclaimed, as far as it can be read.
    pub reclaimed: u64,
    /// Its length up to the end of its last whole frame, in bytes.
    pub bytes: u64,
    /// How much room the file has behind that, in bytes.
    pub room_bytes: u64,
    /// How many bytes stand behind its last whole frame that are no room: a torn write.
    pub torn_bytes: u64,
    /// What its header says; `None` where that is damaged.
    pub header: Option<InspectedHeader>,
    /// Why its key can't be had, where it is encrypted. Its header, the checksums of its frames and
    /// its index were checked; its records were not, nor was the hash chain from there on.
    pub locked: Option<String>,
    /// When its first event was recorded, and its last; `None` also where it is locked.
    pub recorded: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// Whether another one follows it.
    pub sealed: bool,
    /// Its index; `None` of the last segment, whose index is in memory.
    pub index: Option<IndexState>,
    /// What is wrong with it, with file and offset.
    pub wrong: Option<String>,
    /// Whether that is the hash chain and nothing else: a store opens on it, for it is a
    /// verification that goes along the chain.
    pub breaks_chain: bool,
    /// Whether the segment that belongs before it is missing: then no store opens on the folder.
    pub is_behind_a_gap: bool,
}

/// What the header of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InspectedHeader {
    /// The version of its format.
    pub version: u32,
    /// Where its checksums begin.
    pub salt: u32,
    /// Whether its records are encrypted.
    pub encrypted: bool,
    /// When it was made.
    pub created: DateTime<Utc>,
}

/// Looks at every byte of the segments and indexes of a folder, into those segments that are
/// encrypted with these keys.
///
/// # Errors
/// When the folder can't be read. What is damaged is no error, but told; so is what is locked.
pub fn inspect(disk: &dyn Disk, keys: Option<Arc<WrappingKeys>>) -> Result<Inspected, StoreError> {
    let keys = SegmentKeys::to_read(keys);
    // Before the files: a store that goes on in a new segment marks it once it is there.
    let newest = NewestMark::read(disk)?;
    let names = disk.list()?;
    let clean = CleanMark::read(disk)?;
    let firsts = segment_files(disk)?;
    let (chain, next) = (Some(ChainEnd::START), Some(1));
    let (counting, checkpoints) = (Counting::default(), Checkpoints::default());
    let sealed = sealed_among(disk, &firsts, newest)?;
    let hashing = key_of_log(disk, sealed);
    let mut walk = Walk { counting, checkpoints, chain, next, hashing };
    let mut segments = Vec::with_capacity(firsts.len());
    for (number, &first) in firsts.iter().enumerate() {
        let place = Place { first, sealed: number < sealed.len(), clean, newest };
        segments.push(walk.segment(disk, &keys, place)?);
    }
    let head = walk.chain.zip(walk.next);
    let head = head.map(|(chain, next)| AuditHead { position: Position::new(next - 1), chain });
    let lost = NewestMark::check(newest, firsts.last().copied()).err();
    let recovery = recovery::steps(&names, bad_manifest(disk)?, &segments, (clean, lost));
    let clean =
        clean.map(|mark| CleanEnd { segment: Position::new(mark.segment), length: mark.length });
    Ok(Inspected {
        clean,
        statistics: walk.counting.done(),
        head,
        checkpoints: walk.checkpoints.done(),
        scavenge: progress::scavenge(disk, &segments)?,
        scrub: progress::scrub(disk, &segments)?,
        recovery,
        segments,
    })
}

/// Those of the segments that an opening takes for sealed: all but the last, and the one before it
/// where that is removed, as it was cut off while it was made.
fn sealed_among<'a>(
    disk: &dyn Disk,
    firsts: &'a [u64],
    newest: Option<u64>,
) -> Result<&'a [u64], StoreError> {
    let Some((&last, before)) = firsts.split_last() else { return Ok(&[]) };
    let was_newest = newest.is_some_and(|newest| newest >= last);
    let is_removed = match disk.open(&segment_name(last), false) {
        Ok(file) => !was_newest && is_unborn(&*file)?,
        Err(_) => false,
    };
    Ok(if is_removed { before.split_last().map_or(&[], |(_, sealed)| sealed) } else { before })
}

/// What is wrong with the manifest, where there is one.
fn bad_manifest(disk: &dyn Disk) -> Result<Option<String>, StoreError> {
    match Manifest::read(disk) {
        Err(error @ BackupError::Damaged { .. }) => Ok(Some(error.to_string())),
        Err(BackupError::Store(error)) => Err(error),
        Ok(_) | Err(_) => Ok(None),
    }
}

/// Where a segment stands among the others.
#[derive(Clone, Copy)]
struct Place {
    first: u64,
    sealed: bool,
    clean: Option<CleanMark>,
    newest: Option<u64>,
}

impl Place {
    /// Whether it was ever the newest segment: then it was made whole.
    fn was_newest(self) -> bool {
        self.newest.is_some_and(|newest| newest >= self.first)
    }

    /// What is known of it before it is looked at.
    fn untold(self) -> InspectedSegment {
        InspectedSegment {
            name: segment_name(self.first),
            first: Position::new(self.first),
            last: None,
            reclaimed: 0,
            bytes: 0,
            room_bytes: 0,
            torn_bytes: 0,
            header: None,
            locked: None,
            recorded: None,
            sealed: self.sealed,
            index: None,
            wrong: None,
            breaks_chain: false,
            is_behind_a_gap: false,
        }
    }
}

/// The way through the segments.
struct Walk {
    counting: Counting,
    checkpoints: Checkpoints,
    /// The end of the chain, as long as nothing was damaged.
    chain: Option<ChainEnd>,
    /// Where the next segment begins, unless damage in the one before hides it.
    next: Option<u64>,
    /// What the hashes in the indexes are made with, where there are any.
    hashing: Option<NameKey>,
}

impl Walk {
    fn segment(
        &mut self,
        disk: &dyn Disk,
        keys: &SegmentKeys,
        place: Place,
    ) -> Result<InspectedSegment, StoreError> {
        let mut told = place.untold();
        let segment = match Self::opened(disk, keys, &mut told) {
            Ok(segment) => segment,
            Err(error) => {
                let file = match disk.open(&told.name, false) {
                    Ok(file) => file,
                    // A folder of that name, or a file that may not be read: so are not the others.
                    Err(refused) => {
                        told.wrong = Some(format!("{}: {refused}", told.name));
                        (self.chain, self.next) = (None, None);
                        return Ok(told);
                    }
                };
                told.bytes = file.length()?;
                if place.sealed || place.was_newest() || !is_unborn(&*file)? {
                    self.damaged(&mut told, error)?;
                }
                return Ok(told);
            }
        };
        told.header = Some(InspectedHeader {
            version: u32_at(&segment.bytes(8, 12)?, 0),
            salt: segment.layout.salt,
            encrypted: told.locked.is_some() || segment.salt_of_key().is_some(),
            created: DateTime::from_timestamp_micros(segment.created_micros()?).unwrap_or_default(),
        });
        if let Some(next) = self.next.take()
            && place.first != next
        {
            told.is_behind_a_gap = true;
            let reason = format!("it begins at position {}, not at {next}", place.first);
            self.damaged(&mut told, segment.corrupt(0, &reason))?;
        }
        let looked = match told.locked {
            Some(_) => self.frames(&segment, &mut told).map(|found| (found, None)),
            None => self.records(&segment, &mut told),
        };
        match looked {
            Ok((found, broken)) => {
                self.end(disk, &segment, place, found, &mut told)?;
                if let Some(error) = broken {
                    told.breaks_chain = told.wrong.is_none();
                    self.damaged(&mut told, error)?;
                }
            }
            Err(error) => {
                told.bytes = segment.length()?;
                told.index =
                    place.sealed.then(|| look_at_index(disk, &segment, told.bytes, self.hashing));
                self.damaged(&mut told, error)?;
            }
        }
        Ok(told)
    }

    /// Opens a segment, also where its key can't be had.
    fn opened(
        disk: &dyn Disk,
        keys: &SegmentKeys,
        told: &mut InspectedSegment,
    ) -> Result<Segment, StoreError> {
        let first = told.first.get();
        let error = match Segment::open_beside(disk, first, keys, Ok) {
            Ok(segment) => return Ok(segment),
            Err(error) => error,
        };
        // Where it is the header that is damaged, this fails for that.
        let segment = Segment::open_locked(disk, first)?;
        let locked = error.to_string();
        if !error.is_for_want_of_keys() {
            told.wrong = Some(locked.clone());
        }
        told.locked = Some(locked);
        Ok(segment)
    }

    /// Goes through the frames of a segment whose records can't be read.
    fn frames(
        &mut self,
        segment: &Segment,
        told: &mut InspectedSegment,
    ) -> Result<Look, StoreError> {
        // What is in it, and so the chain behind it, nobody knows.
        self.chain = None;
        let found = look_locked(segment)?;
        self.next = Some(found.next);
        told.last = (found.next > segment.first).then(|| Position::new(found.next - 1));
        Ok(found)
    }

    /// Goes through the records, as far as they are whole; tells where the chain is broken.
    fn records(
        &mut self,
        segment: &Segment,
        told: &mut InspectedSegment,
    ) -> Result<(Look, Option<StoreError>), StoreError> {
        let (mut chain, mut recorded) = (self.chain, None);
        let mut broken = chain.and_then(|chain| segment.check_chain_before(chain).err());
        let found = look(segment, |record| {
            let at = DateTime::from_timestamp_micros(record.recorded_at_micros).unwrap_or_default();
            recorded = Some((recorded.map_or(at, |(from, _)| from), at));
            told.last = Some(Position::new(record.position));
            told.reclaimed += u64::from(record.head.reclaimed);
            chain = chain.map(|chain| chain.after(&record.digest()));
            if broken.is_none() {
                broken = chain.and_then(|chain| segment.check_chain_at(&record, chain).err());
            }
            self.counting.add(&record);
            self.checkpoints.add(&record);
        });
        (told.recorded, self.chain) = (recorded, chain);
        let found = found?;
        self.next = Some(told.last.map_or(segment.first, |last| last.get() + 1));
        Ok((found, broken))
    }

    fn end(
        &mut self,
        disk: &dyn Disk,
        segment: &Segment,
        place: Place,
        found: Look,
        told: &mut InspectedSegment,
    ) -> Result<(), StoreError> {
        told.bytes = found.end;
        told.room_bytes = found.length - found.written;
        let mut torn_bytes = found.written - found.end;
        let checked = if place.sealed {
            // Its index knows how long it was, also where a frame is damaged.
            let length = if found.written > found.end { found.length } else { found.end };
            told.index = Some(look_at_index(disk, segment, length, self.hashing));
            torn_bytes = 0;
            check_sealed(segment, &found)
        } else {
            match check_active(segment, place.clean, &found) {
                // A store has opened meanwhile, and the mark says nothing of its segments.
                Err(_) if CleanMark::read(disk)? != place.clean => {
                    check_active(segment, None, &found)
                }
                checked => checked,
            }
        };
        // What looks torn, or damaged, may just have been written by a store that has it open.
        if (torn_bytes > 0 || checked.is_err()) && !place.sealed && is_written(segment, &found)? {
            return Ok(());
        }
        told.torn_bytes = torn_bytes;
        checked.or_else(|error| self.damaged(told, error))
    }

    /// Keeps what is wrong; only what could not be read at all is an error.
    fn damaged(
        &mut self,
        told: &mut InspectedSegment,
        error: StoreError,
    ) -> Result<(), StoreError> {
        // Behind it nobody knows the chain, nor how many events there were.
        (self.chain, self.next) = (None, None);
        let StoreError::Corrupt { .. } = error else {
            return Err(error);
        };
        told.wrong.get_or_insert(error.to_string());
        Ok(())
    }
}
