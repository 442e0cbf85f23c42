//! The first frame of a FLAC, and the last with something behind it, such as a tag of another
//! format (RFC 9639, 9). The reader passes over what it can't read before the first. It tells where
//! a frame ends by where the next begins, and so loses the last.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use symphonia::core::checksum::Crc16Ansi;
use symphonia::core::codecs::{CodecParameters, DecoderOptions};
use symphonia::core::formats::Packet;
use symphonia::core::io::Monitor as _;

use crate::id3;

/// What the file begins with behind its tags.
const MARK: &[u8; 4] = b"fLaC";

/// The flag of the last block before the frames; the rest of its byte is the block's kind.
const LAST_BLOCK: u8 = 0x80;

/// The longest frame, in bytes: its length has 24 bits where it is told.
const FRAME_BYTES_MAX: u64 = 1 << 24;

/// How often it may look like the end of a frame and be none: by chance it is so once in 65,536
/// bytes, and zeros behind such a place are made to be so with each of them.
const ENDS_TRIED_MAX: u32 = 1_024;

/// How many samples are in the frame behind those that were read, which come to so many bytes; 0
/// where there is none, and `None` where it is not whole.
pub(super) fn samples(
    file: &mut File,
    parameters: &CodecParameters,
    read_bytes: u64,
) -> io::Result<Option<u64>> {
    let Some(frames_at) = frames_at(file)? else {
        return Ok(Some(0));
    };
    file.seek(SeekFrom::Start(frames_at + read_bytes))?;
    let mut rest = Vec::new();
    file.take(FRAME_BYTES_MAX).read_to_end(&mut rest)?;
    if !matches!(rest[..], [0xFF, 0xF8..=0xFB, ..]) {
        return Ok(Some(0));
    }
    let (mut checksum, mut tried) = (Crc16Ansi::new(0), 0);
    for (at, byte) in rest.iter().enumerate() {
        checksum.process_byte(*byte);
        // That of a frame with its checksum is 0. In the midst of one it may be so by chance; what
        // ends there lacks samples.
        if checksum.crc() == 0 {
            if let Some(samples) = decoded(parameters, &rest[..=at]) {
                return Ok(Some(samples));
            }
            tried += 1;
            if tried == ENDS_TRIED_MAX {
                break;
            }
        }
    }
    Ok(None)
}

/// Whether the frames begin with this one: a reader passes over what it can't read.
pub(super) fn is_first(file: &mut File, frame: &[u8]) -> io::Result<bool> {
    let Some(frames_at) = frames_at(file)? else {
        return Ok(true);
    };
    file.seek(SeekFrom::Start(frames_at))?;
    let mut there = Vec::with_capacity(frame.len());
    file.take(frame.len() as u64).read_to_end(&mut there)?;
    Ok(there == frame)
}

/// Where the frames begin, behind all blocks that are about them.
fn frames_at(file: &mut File) -> io::Result<Option<u64>> {
    let mut at = id3::end_of_tags(file)?;
    let head = head(file, at)?;
    if head != Some(*MARK) {
        return Ok(None);
    }
    at += MARK.len() as u64;
    loop {
        let Some(block) = self::head(file, at)? else {
            return Ok(None);
        };
        let [kind, length @ ..] = block;
        let length = length.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        at += block.len() as u64 + length;
        if kind & LAST_BLOCK != 0 {
            return Ok(Some(at));
        }
    }
}

fn head(file: &mut File, at: u64) -> io::Result<Option<[u8; 4]>> {
    let mut head = Vec::with_capacity(4);
    file.seek(SeekFrom::Start(at))?;
    file.take(4).read_to_end(&mut head)?;
    Ok(head.try_into().ok())
}

/// How many samples a frame has; `None` when it is not whole.
fn decoded(parameters: &CodecParameters, frame: &[u8]) -> Option<u64> {
    let mut decoder =
        symphonia::default::get_codecs().make(parameters, &DecoderOptions::default()).ok()?;
    let packet = Packet::new_from_slice(0, 0, 0, frame);
    decoder.decode(&packet).ok().map(|samples| samples.frames() as u64)
}
