//! The frames of a FLAC, each behind the other (RFC 9639, 9), and what lies behind the last.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::Range;

use symphonia::core::checksum::Crc16Ansi;
use symphonia::core::codecs::DecoderOptions;
use symphonia::core::formats::Packet;
use symphonia::core::io::Monitor as _;

use super::frame_header::{FrameHeader, HEADER_BYTES_MAX};
use super::stream_info::StreamInfo;
use super::window::Window;
use crate::id3;
use crate::probe::last_tags;

/// The longest frame, in bytes: its length has 24 bits where it is told.
const FRAME_BYTES_MAX: u64 = 1 << 24;

/// How often it may look like the end of a frame and be none: by chance it is so once in 65,536
/// bytes, and zeros behind such a place are made to be so with each of them.
const ENDS_TRIED_MAX: u32 = 1_024;

/// What the frames come to that follow each other from the first on.
pub(super) struct Frames {
    /// Whether there is one, whole or not.
    pub(super) are_there: bool,
    /// How many samples there are in those that are whole.
    pub(super) samples: u64,
    /// Whether the last is whole, and nothing tells that it is not the last of all.
    pub(super) has_end: bool,
    /// What lies behind them.
    pub(super) behind: Behind,
}

/// What lies behind the frames that follow each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    /// No frame, whatever else it is.
    NoFrame,
    /// A frame that does not follow.
    Frame,
    /// Another recording, or the same once more.
    Recording,
}

/// What is found behind a frame.
enum Next {
    Frame(FrameHeader),
    Other(Behind),
}

/// Goes through the frames, the first of which has to begin there.
pub(super) fn walk(file: &mut File, info: &StreamInfo, first_at: u64) -> io::Result<Frames> {
    let mut window = Window::of(file, first_at, u64::MAX)?;
    let first = FrameHeader::read(window.ahead(HEADER_BYTES_MAX)?, info);
    let (mut last, mut last_at) = (first, first_at);
    let (mut samples, mut behind) = (0, None);
    while let Some(frame) = last {
        match next(&mut window, info, &frame)? {
            Some(Next::Frame(next)) => {
                samples += frame.samples;
                (last, last_at) = (Some(next), window.at());
            }
            Some(Next::Other(other)) => {
                behind = Some(other);
                break;
            }
            None => break,
        }
    }
    let tags_at = last_tags::begin(file, first_at)?;
    let behind = match behind {
        Some(behind) => behind,
        None => find_more(file, info, last_at + 1..tags_at)?,
    };
    let mut frames = Frames { are_there: first.is_some(), samples, has_end: false, behind };
    if let (Some(last), Behind::NoFrame) = (last, behind)
        && let Some(end) = end_of_last(file, info, last_at, tags_at)?
    {
        frames.samples += last.samples;
        // The last of all has what is left of the samples, and as many as others by chance alone.
        // So what lies behind such a one may have been a frame.
        let is_full = last.samples >= info.block_samples_max;
        frames.has_end = !is_full || id3::end_of_tags_from(file, end)? >= tags_at;
    }
    Ok(frames)
}

/// Goes on from a frame to what it ends before; `None` where nothing is found that it does.
fn next(
    window: &mut Window<'_>,
    info: &StreamInfo,
    frame: &FrameHeader,
) -> io::Result<Option<Next>> {
    let mut checksum = Crc16Ansi::new(0);
    let limit = window.at() + FRAME_BYTES_MAX;
    // Where the next may begin among what is ahead.
    let mut from = 1;
    while window.at() < limit {
        let ahead = window.ahead(HEADER_BYTES_MAX)?;
        let (mut sum_from, looked_at) = (0, looked_at(ahead, HEADER_BYTES_MAX));
        let found =
            (from..looked_at).filter(|at| FrameHeader::may_begin(&ahead[*at..])).find_map(|at| {
                checksum.process_buf_bytes(&ahead[sum_from..at]);
                sum_from = at;
                // That of a frame with its checksum is 0.
                let header = (checksum.crc() == 0).then(|| FrameHeader::read(&ahead[at..], info));
                header.flatten().map(|header| (at, header))
            });
        if let Some((at, header)) = found {
            window.pass(at);
            return Ok(Some(match header {
                header if header.follows(frame, info) => Next::Frame(header),
                FrameHeader { number: 0, .. } => Next::Other(Behind::Recording),
                _ => Next::Other(Behind::Frame),
            }));
        }
        if looked_at == 0 {
            break;
        }
        checksum.process_buf_bytes(&ahead[sum_from..looked_at]);
        window.pass(looked_at);
        from = 0;
    }
    Ok(None)
}

/// How many of the bytes that are ahead can be looked at with so many behind each, or with all that
/// there is.
fn looked_at(ahead: &[u8], behind: usize) -> usize {
    match ahead.len() {
        all if all <= behind => all,
        all => all - behind,
    }
}

/// What of the stream, or of another, is in there, whole or not.
fn find_more(file: &mut File, info: &StreamInfo, within: Range<u64>) -> io::Result<Behind> {
    let mut window = Window::of(file, within.start, within.end)?;
    loop {
        let ahead = window.ahead(StreamInfo::HEAD_BYTES)?;
        let looked_at = looked_at(ahead, StreamInfo::HEAD_BYTES);
        for at in 0..looked_at {
            if StreamInfo::begins(&ahead[at..]) {
                return Ok(Behind::Recording);
            }
            if FrameHeader::may_begin(&ahead[at..])
                && FrameHeader::read(&ahead[at..], info).is_some()
            {
                return Ok(Behind::Frame);
            }
        }
        if looked_at == 0 {
            return Ok(Behind::NoFrame);
        }
        window.pass(looked_at);
    }
}

/// Where the last frame ends, whatever lies behind it; `None` where it is not whole.
fn end_of_last(
    file: &mut File,
    info: &StreamInfo,
    at: u64,
    tags_at: u64,
) -> io::Result<Option<u64>> {
    file.seek(SeekFrom::Start(at))?;
    let mut rest = Vec::new();
    (&mut *file).take(FRAME_BYTES_MAX).read_to_end(&mut rest)?;
    let (mut checksum, mut tried) = (Crc16Ansi::new(0), 0);
    let mut undecoded = None;
    for (end, byte) in (at + 1..).zip(&rest) {
        checksum.process_byte(*byte);
        if checksum.crc() != 0 {
            continue;
        }
        // In the midst of a frame it may be so by chance; what ends there lacks samples.
        let bytes = usize::try_from(end - at).unwrap_or(rest.len());
        if is_decodable(info, &rest[..bytes]) {
            return Ok(Some(end));
        }
        // What the decoder at hand does not know is whole where nothing but tags is behind it.
        if id3::end_of_tags_from(file, end)? >= tags_at {
            undecoded = Some(end);
        }
        tried += 1;
        if tried == ENDS_TRIED_MAX {
            break;
        }
    }
    Ok(undecoded)
}

fn is_decodable(info: &StreamInfo, frame: &[u8]) -> bool {
    let decoder =
        symphonia::default::get_codecs().make(&info.parameters(), &DecoderOptions::default());
    let packet = Packet::new_from_slice(0, 0, 0, frame);
    decoder.is_ok_and(|mut decoder| decoder.decode(&packet).is_ok())
}
