//! How far those are who work on a log: groups of consumers by what they keep in it, scavenging and
//! scrubs by what they keep beside it.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::InspectedSegment;
use crate::embedded::scavenge::ScavengeMark;
use crate::limits::INSPECTED_NAMES_MAX;
use crate::log::{Disk, Rot, ScannedRecord, ScrubFile};
use crate::persistent::group_of_checkpoints;
use crate::position::Position;
use crate::stream::StreamMetadata;

/// The last checkpoint of a group of consumers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectedCheckpoint {
    /// Its source and its name: `source::name`.
    pub group: String,
    /// Up to where all is done, as it was kept: a revision, or `C:42/P:42` of the log.
    pub place: String,
    /// When it was kept.
    pub at: DateTime<Utc>,
}

/// A pass of scavenging that is not at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InspectedScavenge {
    /// When it began.
    pub began: DateTime<Utc>,
    /// The first position of the segments that it has not done.
    pub next: Position,
    /// How many sealed segments it has done.
    pub segments_done: usize,
}

/// What scrubs have left, and reads that met damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectedScrub {
    /// When a scrub last kept how far it was; `None` when none did.
    pub at: Option<DateTime<Utc>>,
    /// The first position of the segments that it has not read; `None` when it came to the end:
    /// that was at the time above.
    pub next: Option<Position>,
    /// How many sealed segments it has read.
    pub segments_done: usize,
    /// The segments that were found damaged, and not found whole since.
    pub damaged: Vec<Rot>,
}

/// The last checkpoints by group, of as many groups as there is memory for.
#[derive(Default)]
pub(super) struct Checkpoints(BTreeMap<String, (String, DateTime<Utc>)>);

impl Checkpoints {
    /// Takes the record where it is a checkpoint, or of a group that was deleted.
    pub(super) fn add(&mut self, record: &ScannedRecord<'_>) {
        let of_metadata = record.stream.strip_prefix("$$");
        let holder = of_metadata.filter(|subject| group_of_checkpoints(subject).is_some());
        let Some(group) = group_of_checkpoints(holder.unwrap_or(record.stream)) else { return };
        let Ok(event) = record.head.event(&Bytes::copy_from_slice(record.bytes)) else { return };
        if holder.is_some() {
            let metadata = serde_json::from_slice::<StreamMetadata>(&event.data);
            if metadata.is_ok_and(|metadata| metadata.is_of_deleted()) {
                self.0.remove(group);
            }
            return;
        }
        let Ok(place) = serde_json::from_slice::<String>(&event.data) else { return };
        if self.0.len() < INSPECTED_NAMES_MAX || self.0.contains_key(group) {
            self.0.insert(group.to_owned(), (place, event.recorded_at));
        }
    }

    /// All of them, by group.
    pub(super) fn done(self) -> Vec<InspectedCheckpoint> {
        let all = self.0.into_iter();
        all.map(|(group, (place, at))| InspectedCheckpoint { group, place, at }).collect()
    }
}

/// How far a pass of scavenging is; none where none was left half-way.
pub(super) fn scavenge(
    disk: &dyn Disk,
    segments: &[InspectedSegment],
) -> io::Result<Option<InspectedScavenge>> {
    let mark = ScavengeMark::read(disk)?;
    Ok(mark.map(|ScavengeMark { began, next }| InspectedScavenge {
        began,
        next: Position::new(next),
        segments_done: before(segments, next),
    }))
}

/// How far a scrub is, or when the last one ended; none where nothing was ever kept.
pub(super) fn scrub(
    disk: &dyn Disk,
    segments: &[InspectedSegment],
) -> io::Result<Option<InspectedScrub>> {
    let file = ScrubFile::read(disk)?;
    if file == ScrubFile::default() {
        return Ok(None);
    }
    let next = (file.next > 0).then(|| Position::new(file.next));
    let read = file.at().map_or(0, |_| before(segments, next.map_or(u64::MAX, Position::get)));
    Ok(Some(InspectedScrub { at: file.at(), next, segments_done: read, damaged: file.rot }))
}

/// How many sealed segments begin before this position.
fn before(segments: &[InspectedSegment], next: u64) -> usize {
    segments.iter().filter(|segment| segment.sealed && segment.first.get() < next).count()
}
