//! What a FLAC says of itself before its frames (RFC 9639, 8.2).

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use symphonia::core::codecs::{CODEC_TYPE_FLAC, CodecParameters};

use crate::id3;
use crate::probe::ProbeError;

/// What the stream begins with behind its tags.
const MARK: &[u8; 4] = b"fLaC";

/// A block's header, in bytes: its kind, and how long it is without this.
const BLOCK_HEADER_BYTES: usize = 4;

/// The flag of the last block before the frames; the rest of its byte is the block's kind.
const LAST_BLOCK: u8 = 0x80;

/// The kind and the length of the first block.
const STREAM_INFO: [u8; BLOCK_HEADER_BYTES] = [0, 0, 0, STREAM_INFO_BYTES as u8];
const STREAM_INFO_BYTES: usize = 34;

/// The least that a block of samples may have, but for the last one.
const BLOCK_SAMPLES_MIN: u64 = 16;

/// The least bits that a sample may have.
const SAMPLE_BITS_MIN: u32 = 4;

/// What is told of a stream that says of itself what can't be.
const MALFORMED: &str = "what it says of its sound can't be";

/// What all frames of a stream have in common.
pub(super) struct StreamInfo {
    /// As it is written.
    block: [u8; STREAM_INFO_BYTES],
    pub(super) block_samples_min: u64,
    pub(super) block_samples_max: u64,
    pub(super) sample_rate_hz: u32,
    pub(super) channels: u16,
    pub(super) bits_per_sample: u32,
    /// How many samples a channel has; `None` where who wrote it could not know.
    pub(super) samples: Option<u64>,
}

impl StreamInfo {
    /// Reads it, and tells where the frames begin behind all blocks that are about them.
    pub(super) fn read(file: &mut File) -> Result<(Self, u64), ProbeError> {
        let begin = id3::end_of_tags(file).map_err(ProbeError::Io)?;
        let head = bytes_at::<{ Self::HEAD_BYTES }>(file, begin)?;
        if !Self::begins(&head) {
            return Err(malformed());
        }
        let block = head[MARK.len() + BLOCK_HEADER_BYTES..].try_into().map_err(|_| malformed())?;
        let info = Self::of(block).ok_or_else(malformed)?;
        let mut at = begin + MARK.len() as u64;
        loop {
            let [kind, length @ ..] = bytes_at::<BLOCK_HEADER_BYTES>(file, at)?;
            let length = length.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
            at += BLOCK_HEADER_BYTES as u64 + length;
            if kind & LAST_BLOCK != 0 {
                return Ok((info, at));
            }
        }
    }

    /// The mark, and the first block with its header, in bytes.
    pub(super) const HEAD_BYTES: usize = MARK.len() + BLOCK_HEADER_BYTES + STREAM_INFO_BYTES;

    /// Whether a stream begins here.
    pub(super) fn begins(bytes: &[u8]) -> bool {
        let Some(block) = bytes.strip_prefix(MARK) else { return false };
        matches!(block, [kind, length @ ..]
            if kind & !LAST_BLOCK == STREAM_INFO[0] && length.starts_with(&STREAM_INFO[1..]))
    }

    fn of(block: [u8; STREAM_INFO_BYTES]) -> Option<Self> {
        let number = |at: usize, width: usize| {
            block[at..at + width].iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
        };
        // 20 bits of the rate, 3 of the channels, 5 of a sample's bits, and 36 of the samples.
        let packed = number(10, 8);
        let samples = packed & ((1 << 36) - 1);
        let info = Self {
            block,
            block_samples_min: number(0, 2),
            block_samples_max: number(2, 2),
            sample_rate_hz: u32::try_from(packed >> 44).ok()?,
            channels: u16::try_from((packed >> 41) & 0x7).ok()? + 1,
            bits_per_sample: u32::try_from((packed >> 36) & 0x1F).ok()? + 1,
            samples: (samples > 0).then_some(samples),
        };
        let can_be = info.block_samples_max >= BLOCK_SAMPLES_MIN
            && info.bits_per_sample >= SAMPLE_BITS_MIN
            && info.sample_rate_hz > 0;
        can_be.then_some(info)
    }

    /// What a decoder has to know.
    pub(super) fn parameters(&self) -> CodecParameters {
        let mut parameters = CodecParameters::new();
        parameters.for_codec(CODEC_TYPE_FLAC).with_extra_data(self.block.into());
        parameters
    }
}

fn malformed() -> ProbeError {
    ProbeError::Damaged { reason: MALFORMED.to_owned() }
}

/// So many bytes from there on.
fn bytes_at<const N: usize>(file: &mut File, at: u64) -> Result<[u8; N], ProbeError> {
    let mut bytes = [0; N];
    let read = file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut bytes));
    match read {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(ProbeError::HeaderTruncated)
        }
        Err(error) => Err(ProbeError::Io(error)),
    }
}
