//! The search for a whole frame behind a damaged one, in time that goes by how many bytes there
//! are, whatever they say.
//!
//! What users stored may hold any number of beginnings of frames, of any length. So a frame's
//! checksum is not made from its bytes, but from two running ones: that of all bytes up to where it
//! begins, and of all up to where it ends.

use crc32c::{crc32c_append, crc32c_combine};

use super::codec::{u32_at, u64_at};
use super::frame::{COVERED_FROM, FIRST_AT, FRAME_MAGIC, FrameHead};
use super::recovery::Window;
use super::segment::Segment;
use crate::error::StoreError;

/// How far apart running checksums are kept, in bytes: so much is read to have one in between.
const STEP_BYTES: usize = 256;

/// Where a whole frame begins behind the first byte of a damaged one, in whose place the position
/// `next` belongs, and before `written`, behind which is room. Only a later one counts: a damaged
/// frame may hold a copy of an earlier one.
pub(super) fn whole_frame_behind(
    segment: &Segment,
    damaged: u64,
    written: u64,
    next: u64,
) -> Result<Option<u64>, StoreError> {
    let head_bytes = segment.layout.frame_head_bytes();
    let mut window = Window::new(&**segment.file(), segment.length()?);
    let mut checksums = None;
    let mut offset = damaged + 1;
    while offset < written {
        let bytes = window.at_least(offset, head_bytes)?;
        if bytes.len() < head_bytes {
            break;
        }
        let Some(at) = bytes.windows(FRAME_MAGIC.len()).position(|four| four == FRAME_MAGIC) else {
            offset += (bytes.len() + 1 - FRAME_MAGIC.len()) as u64;
            continue;
        };
        offset += at as u64;
        let head = window.at_least(offset, head_bytes)?;
        if let Some(length) = FrameHead::claimed_length(head, &segment.layout)
            && u64_at(head, FIRST_AT) > next
        {
            let claimed = u32_at(head, 4);
            if checksums.is_none() {
                checksums = Some(Checksums::of(segment, damaged)?);
            }
            let covered = (offset + COVERED_FROM as u64, offset + length as u64);
            if let Some(checksums) = &checksums
                && checksums.salted(covered)? == Some(claimed)
            {
                return Ok(Some(offset));
            }
        }
        offset += 1;
    }
    Ok(None)
}

/// The running checksum of the bytes of a segment from some offset on, at each step.
struct Checksums<'a> {
    segment: &'a Segment,
    from: u64,
    end: u64,
    at_steps: Vec<u32>,
}

impl<'a> Checksums<'a> {
    /// Those from this offset to the end of the file.
    fn of(segment: &'a Segment, from: u64) -> Result<Self, StoreError> {
        let mut window = Window::new(&**segment.file(), segment.length()?);
        let (mut end, mut running, mut at_steps) = (from, 0, vec![0]);
        loop {
            let bytes = window.at_least(end, STEP_BYTES)?;
            let step = &bytes[..bytes.len().min(STEP_BYTES)];
            running = crc32c_append(running, step);
            end += step.len() as u64;
            if step.len() < STEP_BYTES {
                return Ok(Self { segment, from, end, at_steps });
            }
            at_steps.push(running);
        }
    }

    /// The salted checksum of the bytes from one offset to another; none where the file ends
    /// before.
    fn salted(&self, (start, end): (u64, u64)) -> Result<Option<u32>, StoreError> {
        if end > self.end {
            return Ok(None);
        }
        let (before, behind) = (self.up_to(start)?, self.up_to(end)?);
        let bytes = usize::try_from(end - start).unwrap_or(usize::MAX);
        // To go on from the salt instead of what is before changes the result by what becomes of
        // the difference of the two over so many bytes: a checksum is linear.
        Ok(Some(crc32c_combine(before ^ self.segment.layout.salt, behind, bytes)))
    }

    /// That of all bytes up to this offset.
    fn up_to(&self, offset: u64) -> Result<u32, StoreError> {
        let step = usize::try_from(offset - self.from).unwrap_or(usize::MAX) / STEP_BYTES;
        let start = self.from + (step * STEP_BYTES) as u64;
        Ok(crc32c_append(self.at_steps[step], &self.segment.bytes(start, offset)?))
    }
}
