//! The boxes that an MPEG-4 file is made of (ISO/IEC 14496-12, 4.2).

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::Range;

/// Most boxes that are looked at in one.
const BOXES_MAX: usize = 1_024;

/// Most bytes of a box that are read.
const READ_BYTES_MAX: u64 = 64;

/// A box: its name, and where its content lies.
type Found = ([u8; 4], Range<u64>);

/// What lies on this way from box to box.
pub(super) fn path(
    file: &mut File,
    mut within: Range<u64>,
    names: &[&[u8; 4]],
) -> io::Result<Option<Range<u64>>> {
    for name in names {
        let Some(found) = inside(file, within, name)?.into_iter().next() else {
            return Ok(None);
        };
        within = found;
    }
    Ok(Some(within))
}

/// The contents of the boxes of this name that lie directly within.
pub(super) fn inside(
    file: &mut File,
    within: Range<u64>,
    name: &[u8; 4],
) -> io::Result<Vec<Range<u64>>> {
    let mut found = Vec::new();
    let mut at = within.start;
    for _ in 0..BOXES_MAX {
        let Some((one, range)) = box_at(file, at..within.end)? else {
            break;
        };
        at = range.end;
        if one == *name {
            found.push(range);
        }
    }
    Ok(found)
}

/// The box that begins there; `None` where there is no whole one.
pub(super) fn box_at(file: &mut File, within: Range<u64>) -> io::Result<Option<Found>> {
    let head = content(file, within.clone())?;
    let (Some(short), Some(name)) = (number(&head, 0, 4), head.get(4..8)) else {
        return Ok(None);
    };
    let (head_bytes, bytes) = match short {
        0 => (8, within.end - within.start),
        1 => (16, number(&head, 8, 8).unwrap_or(0)),
        bytes => (8, bytes),
    };
    let end = within.start.saturating_add(bytes);
    if bytes < head_bytes || end > within.end {
        return Ok(None);
    }
    let name = name.try_into().unwrap_or_default();
    Ok(Some((name, within.start + head_bytes..end)))
}

/// The first bytes of a range.
pub(super) fn content(file: &mut File, of: Range<u64>) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(of.start))?;
    let mut bytes = Vec::new();
    file.take(of.end.saturating_sub(of.start).min(READ_BYTES_MAX)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A number of so many bytes, the highest first.
pub(super) fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + width)?;
    Some(bytes.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)))
}
