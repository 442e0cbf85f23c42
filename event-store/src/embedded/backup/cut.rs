//! Cutting a segment at a moment, so that no append is parted.
//!
//! An append is in one frame, with others that were committed by the same sync, so the end of a
//! frame is a good place, unless the segment was written anew by scavenging, which makes other
//! frames. All events of a frame were recorded at one time, so between two times is a good place
//! too, and the end of a segment always.

use super::measure::measure;
use crate::error::StoreError;
use crate::log::{
    AuditHead, ChainEnd, Disk, Rewrite, ScannedRecord, Segment, SegmentKeys, replace_segment,
    try_scan_whole,
};
use crate::read::AsOf;

/// A place behind a record at which a segment can be cut.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The chain up to that record.
    head: AuditHead,
    /// Where the record ends in the file.
    offset: u64,
    /// Whether its frame ends there too, so that the file can simply be cut.
    frame_ends: bool,
    recorded_at_micros: i64,
}

/// Cuts a segment whose events continue this chain, and are not all of that moment; returns what is
/// left of it. `None` when nothing is: then it is as it was.
pub(super) fn cut(
    disk: &dyn Disk,
    keys: &SegmentKeys,
    segment: Segment,
    chain: ChainEnd,
    last: u64,
    until: AsOf,
) -> Result<Option<(Segment, AuditHead)>, StoreError> {
    let Some(place) = last_place(&segment, chain, last, until)? else {
        return Ok(None);
    };
    if place.frame_ends {
        segment.file().truncate(place.offset)?;
        segment.file().sync()?;
        return Ok(Some((segment, place.head)));
    }
    Ok(Some((written_anew(disk, keys, &segment, chain, place.head)?, place.head)))
}

/// Whether the event was not yet there at that moment.
pub(super) fn is_after(until: AsOf, position: u64, recorded_at_micros: i64) -> bool {
    match until {
        AsOf::Position(until) => position > until.get(),
        AsOf::Time(until) => recorded_at_micros > until.timestamp_micros(),
    }
}

/// The last place at which no append is parted, and all before it was there at that moment.
fn last_place(
    segment: &Segment,
    chain: ChainEnd,
    last: u64,
    until: AsOf,
) -> Result<Option<Place>, StoreError> {
    let (mut good, mut before): (Option<Place>, Option<Place>) = (None, None);
    let mut is_past = false;
    measure(segment, chain, last, |record: &ScannedRecord<'_>, head| {
        let at = record.recorded_at_micros;
        let between = before.filter(|before| {
            before.frame_ends && !segment.reclaimed || before.recorded_at_micros < at
        });
        if !is_past {
            good = between.or(good);
            is_past = is_after(until, record.position, at);
        }
        before = (!is_past).then(|| Place {
            head,
            offset: u64::from(record.offset) + record.head.length as u64,
            frame_ends: record.chain.is_some(),
            recorded_at_micros: at,
        });
    })?;
    Ok(if is_past { good } else { before })
}

/// Writes the segment anew up to this event, in the place of the old one; with a key of its own
/// where that is encrypted.
fn written_anew(
    disk: &dyn Disk,
    keys: &SegmentKeys,
    segment: &Segment,
    chain: ChainEnd,
    head: AuditHead,
) -> Result<Segment, StoreError> {
    let mut rewrite = Rewrite::begin(disk, segment, keys, chain)?;
    try_scan_whole::<StoreError>(segment, segment.length()?, |record| {
        if record.position <= head.position.get() {
            rewrite.add(&record, false)?;
        }
        Ok(())
    })?;
    let renewed = rewrite.finish()?;
    let written = measure(&renewed, chain, head.position.get(), |_, _| {})?;
    if written.end != head {
        return Err(renewed.corrupt(0, "it was not written as it was read"));
    }
    replace_segment(disk, &renewed)?;
    Ok(renewed)
}
