//! Reading segments when the store is opened: what is whole, what is torn, what is corrupt.

use std::io;

use uuid::Uuid;

use super::chain::{ChainEnd, Digest};
use super::clean::CleanMark;
use super::disk::{Disk, DiskFile};
use super::frame::{FrameHead, Kinds, Layout, RecordHead};
use super::search::whole_frame_behind;
use super::segment::{NONE_RECLAIMED, Segment, is_unborn, segment_name};
use crate::error::StoreError;
use crate::event::EventId;

/// How much is read at once, in bytes; more where a frame is larger.
const WINDOW_BYTES: usize = 1024 * 1024;

/// A record that a scan came across.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScannedRecord<'a> {
    pub(crate) head: RecordHead,
    /// The id of the event; nil when it was reclaimed.
    pub(crate) id: EventId,
    pub(crate) position: u64,
    pub(crate) revision: u64,
    pub(crate) recorded_at_micros: i64,
    /// The name of its stream; empty when it was reclaimed.
    pub(crate) stream: &'a str,
    pub(crate) event_type: &'a str,
    pub(crate) offset: u32,
    /// The record itself, in plain, up to the end of its data.
    pub(crate) bytes: &'a [u8],
    /// The end of the chain after it, where it is the last of a frame that carries that.
    pub(crate) chain: Option<ChainEnd>,
}

impl ScannedRecord<'_> {
    /// Of which kinds the event is, or was.
    pub(crate) fn kinds(&self) -> Kinds {
        match self.head.reclaimed_kinds(self.bytes) {
            Some(kinds) => kinds,
            None => Kinds::of(self.stream, self.event_type),
        }
    }

    /// The digest of the event.
    pub(crate) fn digest(&self) -> Digest {
        self.head.digest(self.bytes)
    }
}

/// How far the active segment is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// Where its last whole frame ends.
    pub(crate) length: u64,
    /// How many bytes of a torn write were cut behind it.
    pub(crate) torn_bytes: u64,
    /// The end of the chain there, where the segment carries that.
    pub(crate) chain: Option<ChainEnd>,
}

/// What there is to be seen of a segment, from its beginning to the end of its file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Where its last whole frame ends.
    pub(crate) end: u64,
    /// Where the bytes end behind it that are not room only; the same when there are none.
    pub(crate) written: u64,
    /// How long the file is.
    pub(crate) length: u64,
    /// Where the last whole frame begins.
    last_frame: u64,
    /// The position that comes next.
    pub(crate) next: u64,
    /// The end of the chain there, where the segment carries that.
    chain: Option<ChainEnd>,
}

/// How far a scan came.
struct Scanned {
    /// Where the last whole frame ends.
    end: u64,
    /// Where that frame begins; where frames begin, when there is none.
    last_frame: u64,
    /// The position that comes next.
    next: u64,
    chain: Option<ChainEnd>,
}

/// The first positions of all segments that a folder has files of, in order.
pub(crate) fn segment_files(disk: &dyn Disk) -> Result<Vec<u64>, StoreError> {
    let first_of = |name: &String| {
        let first = name.strip_suffix(".log")?.parse().ok()?;
        // `7.log` is somebody else's.
        (segment_name(first) == *name).then_some(first)
    };
    let mut firsts: Vec<u64> = disk.list()?.iter().filter_map(first_of).collect();
    firsts.sort_unstable();
    Ok(firsts)
}

/// The first positions of all segments of the folder, in order. A last one that was cut off while
/// it was created is removed; one that a newer build made is not, nor one that was the newest.
pub(crate) fn segments_on(disk: &dyn Disk, newest: Option<u64>) -> Result<Vec<u64>, StoreError> {
    let mut firsts = segment_files(disk)?;
    if let Some(&last) = firsts.last()
        && newest.is_none_or(|newest| newest < last)
        && is_unborn(&*disk.open(&segment_name(last), false)?)?
    {
        disk.remove(&segment_name(last))?;
        disk.sync_folder()?;
        firsts.pop();
    }
    Ok(firsts)
}

/// Visits every record up to this length; every byte must be as it was written.
pub(crate) fn scan_whole(
    segment: &Segment,
    length: u64,
    mut visit: impl FnMut(ScannedRecord<'_>),
) -> Result<(), StoreError> {
    try_scan_whole(segment, length, |record| {
        visit(record);
        Ok(())
    })
}

/// The same, until a visit fails.
pub(crate) fn try_scan_whole<E: From<StoreError>>(
    segment: &Segment,
    length: u64,
    visit: impl FnMut(ScannedRecord<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let Scanned { end, .. } = try_scan(segment, length, visit)?;
    if end < length {
        return Err(segment.corrupt(end, "a frame does not agree with its checksum").into());
    }
    Ok(())
}

/// Visits every record up to the first bytes that are no whole frame, until a visit fails; returns
/// where they begin.
pub(crate) fn scan_written<E: From<StoreError>>(
    segment: &Segment,
    length: u64,
    visit: impl FnMut(ScannedRecord<'_>) -> Result<(), E>,
) -> Result<u64, E> {
    Ok(try_scan(segment, length, visit)?.end)
}

/// Visits every record of a segment, and looks at what is behind them; changes nothing.
pub(crate) fn look(
    segment: &Segment,
    visit: impl FnMut(ScannedRecord<'_>),
) -> Result<Look, StoreError> {
    let length = segment.length()?;
    look_behind(segment, length, scan(segment, length, visit)?)
}

/// The same of a segment whose key is not at hand: the frames are checked, and no record is read.
pub(crate) fn look_locked(segment: &Segment) -> Result<Look, StoreError> {
    let length = segment.length()?;
    let scanned = scan_frames::<StoreError>(segment, length, |_, _, _| Ok(()))?;
    look_behind(segment, length, scanned)
}

fn look_behind(segment: &Segment, length: u64, scanned: Scanned) -> Result<Look, StoreError> {
    let Scanned { end, last_frame, next, chain } = scanned;
    let (written, length) = written_end(segment, end, length)?;
    Ok(Look { end, written, length, last_frame, next, chain })
}

/// Whether by now a whole frame stands where the last one ended: then a store writes the segment.
pub(crate) fn is_written(segment: &Segment, look: &Look) -> Result<bool, StoreError> {
    let mut window = Window::new(&**segment.file(), segment.length()?);
    Ok(window.whole_frame(look.end, &segment.layout)?.is_some())
}

/// That nothing is behind the frames of a sealed segment but room.
pub(crate) fn check_sealed(segment: &Segment, look: &Look) -> Result<(), StoreError> {
    if look.written > look.end {
        return Err(segment.corrupt(look.end, "a frame does not agree with its checksum"));
    }
    Ok(())
}

/// That what is behind the frames of the active segment can be a torn write, and no more.
pub(crate) fn check_active(
    segment: &Segment,
    clean: Option<CleanMark>,
    look: &Look,
) -> Result<(), StoreError> {
    let &Look { end, written, length, next, .. } = look;
    if clean.is_some_and(|mark| mark.segment > segment.first) {
        return Err(segment.corrupt(length, "the segment after this one is missing"));
    }
    if end < written
        && !cfg!(veza_canary = "cut-damaged-middle")
        && let Some(offset) = whole_frame_behind(segment, end, written, next)?
    {
        let reason = format!("a frame is damaged, and a whole one follows at {offset}");
        return Err(segment.corrupt(end, &reason));
    }
    if clean.is_some_and(|mark| mark.segment == segment.first && mark.length > end) {
        return Err(segment.corrupt(end, "the log was longer when it was closed"));
    }
    Ok(())
}

/// Visits every record of a sealed segment, and gives back the room behind its last one that a
/// crash kept; returns its length.
pub(crate) fn recover_sealed(
    segment: &Segment,
    visit: impl FnMut(ScannedRecord<'_>),
) -> Result<u64, StoreError> {
    let found = look(segment, visit)?;
    check_sealed(segment, &found)?;
    segment.give_back(found.end)?;
    Ok(found.end)
}

/// Visits every record of the active segment, cuts a torn write off its end, and makes durable what
/// is left of it.
pub(crate) fn recover_active(
    segment: &Segment,
    clean: Option<CleanMark>,
    visit: impl FnMut(ScannedRecord<'_>),
) -> Result<Recovered, StoreError> {
    let found = look(segment, visit)?;
    check_active(segment, clean, &found)?;
    let Look { end, written, last_frame, chain, .. } = found;
    if end < written {
        segment.file().truncate(end)?;
    }
    if clean.is_none() && !cfg!(veza_canary = "unsynced-tail") {
        // It may be in the page cache only, for a process that died or a sync that failed; what a
        // sync failed for counts as synced from then on, so it is written once more.
        segment.file().write_at(&segment.bytes(last_frame, end)?, last_frame)?;
        segment.file().sync()?;
    }
    Ok(Recovered { length: end, torn_bytes: written - end, chain })
}

fn scan(
    segment: &Segment,
    length: u64,
    mut visit: impl FnMut(ScannedRecord<'_>),
) -> Result<Scanned, StoreError> {
    try_scan(segment, length, |record| {
        visit(record);
        Ok(())
    })
}

/// Visits the records of all whole frames from the beginning, until a visit fails.
fn try_scan<E: From<StoreError>>(
    segment: &Segment,
    length: u64,
    mut visit: impl FnMut(ScannedRecord<'_>) -> Result<(), E>,
) -> Result<Scanned, E> {
    scan_frames(segment, length, |offset, head, frame| {
        visit_frame(segment, offset, head, frame, &mut visit)
    })
}

/// Visits all whole frames from the beginning, each with where it begins, until a visit fails.
fn scan_frames<E: From<StoreError>>(
    segment: &Segment,
    length: u64,
    mut visit: impl FnMut(u64, FrameHead, &mut [u8]) -> Result<(), E>,
) -> Result<Scanned, E> {
    let mut window = Window::new(&**segment.file(), length);
    let mut offset = segment.frames_start();
    let mut last_frame = offset;
    let (mut next, mut chain) = (segment.first, segment.chain_before);
    while let Some(frame) = window.whole_frame(offset, &segment.layout)? {
        let head = FrameHead::of_whole(frame, &segment.layout)
            .ok_or_else(|| segment.corrupt(offset, "a frame changed while it was read"))?;
        if head.first != next {
            return Err(segment.corrupt(offset, "a frame is missing before this one").into());
        }
        visit(offset, head, frame)?;
        last_frame = offset;
        offset += head.length as u64;
        next += u64::from(head.count);
        chain = head.chain;
    }
    Ok(Scanned { end: offset, last_frame, next, chain })
}

fn visit_frame<E: From<StoreError>>(
    segment: &Segment,
    frame_offset: u64,
    head: FrameHead,
    frame: &mut [u8],
    visit: &mut impl FnMut(ScannedRecord<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut at = segment.layout.frame_head_bytes();
    for position in head.first..head.first + u64::from(head.count) {
        let offset = frame_offset + at as u64;
        let corrupt = |reason| segment.corrupt(offset, reason);
        let bytes = frame.get_mut(at..head.length).unwrap_or_default();
        let record = match RecordHead::open(bytes, &segment.layout) {
            Err(_) if cfg!(veza_canary = "recover-half-batch") => return Ok(()),
            opened => opened.map_err(corrupt)?,
        };
        if record.position != position {
            return Err(corrupt("a record is out of order").into());
        }
        if record.reclaimed && !segment.reclaimed {
            return Err(corrupt(NONE_RECLAIMED).into());
        }
        visit(ScannedRecord {
            head: record,
            id: if record.reclaimed { EventId(Uuid::nil()) } else { record.id },
            position,
            revision: record.revision,
            recorded_at_micros: record.recorded_at_micros,
            stream: record.stream(bytes).map_err(corrupt)?,
            event_type: record.event_type(bytes).map_err(corrupt)?,
            offset: u32::try_from(offset).map_err(|_| corrupt("the segment is too long"))?,
            bytes: &bytes[..record.data_end],
            chain: head.chain.filter(|_| at + record.length == head.length),
        })?;
        at += record.length;
    }
    if at != head.length {
        let reason = "the records of a frame do not fill it";
        return Err(segment.corrupt(frame_offset, reason).into());
    }
    Ok(())
}

/// Where the bytes end that are not room only, which is zeros, `from` at least; and the file.
fn written_end(segment: &Segment, from: u64, length: u64) -> Result<(u64, u64), StoreError> {
    const ROOM: [u8; 4096] = [0; 4096];
    let (mut window, mut offset, mut written) =
        (Window::new(&**segment.file(), length), from, from);
    while offset < window.length {
        let bytes = window.at_least(offset, 1)?;
        let part = &bytes[..bytes.len().min(ROOM.len())];
        if part != &ROOM[..part.len()] {
            let last = part.iter().rposition(|&byte| byte != 0).unwrap_or_default();
            written = offset + last as u64 + 1;
        }
        offset += part.len() as u64;
    }
    Ok((written, window.length))
}

/// A part of a file in memory, moved along as it is read.
pub(super) struct Window<'a> {
    file: &'a dyn DiskFile,
    length: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    pub(super) fn new(file: &'a dyn DiskFile, length: u64) -> Self {
        Self { file, length, start: 0, bytes: Vec::new() }
    }

    /// The bytes from this offset on, as many as are at hand, but at least so many; fewer only
    /// where the file ends, which is earlier once a store beside has given its room back.
    pub(super) fn at_least(&mut self, offset: u64, count: usize) -> Result<&mut [u8], StoreError> {
        loop {
            let left = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
            let count = count.min(left);
            let end = self.start + self.bytes.len() as u64;
            if offset >= self.start && offset + count as u64 <= end {
                let at = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
                return Ok(&mut self.bytes[at..]);
            }
            self.bytes.resize(count.max(WINDOW_BYTES).min(left), 0);
            self.start = offset;
            if let Err(error) = self.file.read_at(&mut self.bytes, offset) {
                self.bytes.clear();
                let length = self.file.length()?;
                if error.kind() != io::ErrorKind::UnexpectedEof || length >= self.length {
                    return Err(error.into());
                }
                self.length = length;
            }
        }
    }

    /// The frame that begins at this offset, when it is whole. What is changed of it is so for
    /// this window only.
    fn whole_frame(
        &mut self,
        offset: u64,
        layout: &Layout,
    ) -> Result<Option<&mut [u8]>, StoreError> {
        let header = self.at_least(offset, layout.frame_head_bytes())?;
        let Some(length) = FrameHead::claimed_length(header, layout) else {
            return Ok(None);
        };
        if length as u64 > self.length - offset {
            return Ok(None);
        }
        let frame = self.at_least(offset, length)?.get_mut(..length);
        Ok(frame.filter(|frame| FrameHead::of_whole(frame, layout).is_some()))
    }
}
