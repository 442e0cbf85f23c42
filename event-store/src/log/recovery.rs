//! Reading segments when the store is opened: what is whole, what is torn, what is corrupt.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::clean::CleanMark;
use super::disk::{Disk, DiskFile};
use super::frame::{FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHead, RecordHead};
use super::segment::{SEGMENT_HEADER_BYTES, Segment, segment_name};
use crate::error::StoreError;
use crate::event::EventId;

/// How much is read at once, in bytes; more where a frame is larger.
const WINDOW_BYTES: usize = 1024 * 1024;

/// A record that a scan came across.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScannedRecord<'a> {
    pub(crate) id: EventId,
    pub(crate) position: u64,
    pub(crate) revision: u64,
    pub(crate) recorded_at_micros: i64,
    pub(crate) stream: &'a str,
    pub(crate) offset: u32,
}

/// How far the active segment is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// Where its last whole frame ends.
    pub(crate) length: u64,
    /// How many bytes of a torn write were cut behind it.
    pub(crate) torn_bytes: u64,
}

/// The first positions of all segments of the folder, in order. A last one that was cut off while
/// it was created is removed.
pub(crate) fn segments_on(disk: &dyn Disk) -> Result<Vec<u64>, StoreError> {
    let mut firsts: Vec<u64> =
        disk.list()?.iter().filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect();
    firsts.sort_unstable();
    if let Some(&last) = firsts.last() {
        let length = disk.open(&segment_name(last), false)?.length()?;
        let unborn = length <= SEGMENT_HEADER_BYTES as u64
            && matches!(Segment::open(disk, last), Err(StoreError::Corrupt { .. }));
        if unborn {
            disk.remove(&segment_name(last))?;
            disk.sync_folder()?;
            firsts.pop();
        }
    }
    Ok(firsts)
}

/// Makes the segment that begins with this position.
pub(crate) fn next_segment(
    disk: &dyn Disk,
    first: u64,
    now: DateTime<Utc>,
) -> Result<Segment, StoreError> {
    let salt = Uuid::new_v4().as_fields().0;
    Segment::create(disk, first, salt, now)
}

/// Visits every record up to this length; every byte must be as it was written.
pub(crate) fn scan_whole(
    segment: &Segment,
    length: u64,
    visit: impl FnMut(ScannedRecord<'_>),
) -> Result<(), StoreError> {
    let (end, _) = scan(segment, length, visit)?;
    if end < length {
        return Err(segment.corrupt(end, "a frame does not agree with its checksum"));
    }
    Ok(())
}

/// Visits every record of the active segment, and cuts a torn write off its end.
pub(crate) fn recover_active(
    segment: &Segment,
    clean: Option<CleanMark>,
    visit: impl FnMut(ScannedRecord<'_>),
) -> Result<Recovered, StoreError> {
    let length = segment.length()?;
    let (end, next) = scan(segment, length, visit)?;
    if clean.is_some_and(|mark| mark.segment > segment.first) {
        return Err(segment.corrupt(length, "the segment after this one is missing"));
    }
    if clean.is_some_and(|mark| mark.segment == segment.first && mark.length > end) {
        return Err(segment.corrupt(end, "the log was longer when it was closed"));
    }
    if end < length {
        if let Some(offset) = whole_frame_behind(segment, end, next)? {
            let reason = format!("a frame is damaged, and a whole one follows at {offset}");
            return Err(segment.corrupt(end, &reason));
        }
        segment.file().truncate(end)?;
        segment.file().sync()?;
    }
    Ok(Recovered { length: end, torn_bytes: length - end })
}

/// Visits the records of all whole frames from the beginning; returns where they end, and the
/// position that comes next.
fn scan(
    segment: &Segment,
    length: u64,
    mut visit: impl FnMut(ScannedRecord<'_>),
) -> Result<(u64, u64), StoreError> {
    let mut window = Window::new(&**segment.file(), length);
    let mut offset = SEGMENT_HEADER_BYTES as u64;
    let mut next = segment.first;
    while let Some(frame) = window.whole_frame(offset, segment.salt)? {
        let head = FrameHead::of_whole(frame, segment.salt)
            .ok_or_else(|| segment.corrupt(offset, "a frame changed while it was read"))?;
        if head.first != next {
            return Err(segment.corrupt(offset, "a frame is missing before this one"));
        }
        visit_frame(segment, offset, head, frame, &mut visit)?;
        offset += head.length as u64;
        next += u64::from(head.count);
    }
    Ok((offset, next))
}

fn visit_frame(
    segment: &Segment,
    frame_offset: u64,
    head: FrameHead,
    frame: &[u8],
    visit: &mut impl FnMut(ScannedRecord<'_>),
) -> Result<(), StoreError> {
    let mut at = FRAME_HEADER_BYTES;
    for position in head.first..head.first + u64::from(head.count) {
        let offset = frame_offset + at as u64;
        let corrupt = |reason| segment.corrupt(offset, reason);
        let bytes = frame.get(at..head.length).unwrap_or_default();
        let record = RecordHead::check(bytes, segment.salt).map_err(corrupt)?;
        if record.position != position {
            return Err(corrupt("a record is out of order"));
        }
        visit(ScannedRecord {
            id: record.id,
            position,
            revision: record.revision,
            recorded_at_micros: record.recorded_at_micros,
            stream: record.stream(bytes).map_err(corrupt)?,
            offset: u32::try_from(offset).map_err(|_| corrupt("the segment is too long"))?,
        });
        at += record.length;
    }
    if at != head.length {
        return Err(segment.corrupt(frame_offset, "the records of a frame do not fill it"));
    }
    Ok(())
}

/// Where a whole frame begins behind the first byte of a damaged one, in whose place the position
/// `next` belongs. Only a later one counts: a damaged frame may hold a copy of an earlier one.
fn whole_frame_behind(
    segment: &Segment,
    damaged: u64,
    next: u64,
) -> Result<Option<u64>, StoreError> {
    let length = segment.length()?;
    let mut window = Window::new(&**segment.file(), length);
    let mut offset = damaged + 1;
    while offset + (FRAME_HEADER_BYTES as u64) <= length {
        let bytes = window.at_least(offset, FRAME_HEADER_BYTES)?;
        let magic = bytes.windows(FRAME_MAGIC.len()).position(|four| four == FRAME_MAGIC);
        match magic {
            Some(at) => {
                offset += at as u64;
                let frame = window.whole_frame(offset, segment.salt)?;
                let head = frame.and_then(|frame| FrameHead::of_whole(frame, segment.salt));
                if head.is_some_and(|head| head.first > next) {
                    return Ok(Some(offset));
                }
                offset += 1;
            }
            None => offset += (bytes.len() - (FRAME_MAGIC.len() - 1)) as u64,
        }
    }
    Ok(None)
}

/// A part of a file in memory, moved along as it is read.
struct Window<'a> {
    file: &'a dyn DiskFile,
    length: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    fn new(file: &'a dyn DiskFile, length: u64) -> Self {
        Self { file, length, start: 0, bytes: Vec::new() }
    }

    /// The bytes from this offset on, as many as are at hand, but at least so many; fewer only
    /// where the file ends.
    fn at_least(&mut self, offset: u64, count: usize) -> Result<&[u8], StoreError> {
        let left = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = count.min(left);
        let end = self.start + self.bytes.len() as u64;
        if offset < self.start || offset + count as u64 > end {
            self.bytes.resize(count.max(WINDOW_BYTES).min(left), 0);
            self.file.read_at(&mut self.bytes, offset)?;
            self.start = offset;
        }
        Ok(&self.bytes[usize::try_from(offset - self.start).unwrap_or(usize::MAX)..])
    }

    /// The frame that begins at this offset, when it is whole.
    fn whole_frame(&mut self, offset: u64, salt: u32) -> Result<Option<&[u8]>, StoreError> {
        let header = self.at_least(offset, FRAME_HEADER_BYTES)?;
        let Some(length) = FrameHead::claimed_length(header) else {
            return Ok(None);
        };
        if length as u64 > self.length - offset {
            return Ok(None);
        }
        let frame = &self.at_least(offset, length)?[..length];
        Ok(FrameHead::of_whole(frame, salt).map(|_| frame))
    }
}
