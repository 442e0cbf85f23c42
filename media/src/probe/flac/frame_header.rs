//! The header of a frame (RFC 9639, 9.1).

use symphonia::core::checksum::Crc8Ccitt;
use symphonia::core::io::Monitor as _;

use super::stream_info::StreamInfo;

/// The longest header, in bytes.
pub(super) const HEADER_BYTES_MAX: usize = 16;

/// The most samples that a block may have.
const BLOCK_SAMPLES_MAX: u64 = 65_535;

/// Samples a second by their codes, from 1 on.
const SAMPLE_RATES: [u32; 11] =
    [88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000];

/// How many bits a sample has by their codes, from 0 on; that of 0 is the stream's.
const SAMPLE_BITS: [Option<u32>; 8] =
    [None, Some(8), Some(12), None, Some(16), Some(20), Some(24), Some(32)];

/// The code of a frame that says nothing, but that its stream does.
const AS_THE_STREAM: u8 = 0;

/// The code of sample sizes that none has.
const NO_SAMPLE_BITS: u8 = 3;

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// Which frame it is, or which sample is its first.
    pub(super) number: u64,
    /// Whether samples are counted; else frames are.
    counts_samples: bool,
    /// How many samples a channel has in it.
    pub(super) samples: u64,
}

impl FrameHeader {
    /// Whether these are bytes that a header begins with.
    pub(super) fn may_begin(bytes: &[u8]) -> bool {
        matches!(bytes, [0xFF, 0xF8 | 0xF9, ..])
    }

    /// Reads what begins here; `None` when it is no header of this stream.
    pub(super) fn read(bytes: &[u8], of: &StreamInfo) -> Option<Self> {
        let &[0xFF, kind @ (0xF8 | 0xF9), codes, shape, ..] = bytes else { return None };
        if !has_shape(shape, of) {
            return None;
        }
        let mut rest = Rest { bytes, at: 4 };
        let number = rest.coded_number()?;
        let samples = match codes >> 4 {
            0 => return None,
            1 => 192,
            code @ 2..=5 => 576 << (code - 2),
            6 => rest.number(1)? + 1,
            7 => rest.number(2)? + 1,
            code => 256 << (code - 8),
        };
        let rate_hz = match codes & 0xF {
            AS_THE_STREAM => of.sample_rate_hz,
            12 => u32::try_from(rest.number(1)? * 1_000).ok()?,
            13 => u32::try_from(rest.number(2)?).ok()?,
            14 => u32::try_from(rest.number(2)? * 10).ok()?,
            code => *SAMPLE_RATES.get(usize::from(code) - 1)?,
        };
        let (header, checksum) = (bytes.get(..rest.at)?, *bytes.get(rest.at)?);
        // Decoders make room for no more than the stream says.
        let is_block = samples <= of.block_samples_max.min(BLOCK_SAMPLES_MAX);
        let is_header = is_block && rate_hz == of.sample_rate_hz && crc_8(header) == checksum;
        let counts_samples = kind & 1 == 1;
        is_header.then_some(Self { number, counts_samples, samples })
    }

    /// Whether this frame is the one behind that. Before blocks of many lengths had a flag, the
    /// stream's shortest and longest told that samples are counted.
    pub(super) fn follows(&self, before: &Self, of: &StreamInfo) -> bool {
        let frames = before.number + 1;
        let samples = before.number + before.samples;
        let may_count_samples = of.block_samples_min != of.block_samples_max;
        self.counts_samples == before.counts_samples
            && match self.counts_samples {
                true => self.number == samples,
                false => self.number == frames || may_count_samples && self.number == samples,
            }
    }
}

/// Whether channels and sample size, which this byte tells, are the stream's.
fn has_shape(byte: u8, of: &StreamInfo) -> bool {
    let channels = match byte >> 4 {
        code @ 0..=7 => u16::from(code) + 1,
        // Left, right, or their middle, and how the two differ.
        8..=10 => 2,
        _ => return false,
    };
    let bits = match (byte >> 1) & 0x7 {
        NO_SAMPLE_BITS => return false,
        code => SAMPLE_BITS[usize::from(code)].unwrap_or(of.bits_per_sample),
    };
    byte & 1 == 0 && channels == of.channels && bits == of.bits_per_sample
}

fn crc_8(bytes: &[u8]) -> u8 {
    let mut checksum = Crc8Ccitt::new(0);
    checksum.process_buf_bytes(bytes);
    checksum.crc()
}

/// What is still to be read of a header.
struct Rest<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Rest<'_> {
    /// A number of so many bytes.
    fn number(&mut self, width: usize) -> Option<u64> {
        let bytes = self.bytes.get(self.at..self.at + width)?;
        self.at += width;
        Some(bytes.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)))
    }

    /// A number of up to 36 bits, written as UTF-8 writes letters.
    fn coded_number(&mut self) -> Option<u64> {
        let first = u8::try_from(self.number(1)?).ok()?;
        let more = match first.leading_ones() {
            0 => return Some(u64::from(first)),
            ones @ 2..=7 => ones - 1,
            _ => return None,
        };
        let mut number = u64::from(first) & (0x3F >> more);
        for _ in 0..more {
            let byte = self.number(1)?;
            if byte >> 6 != 0b10 {
                return None;
            }
            number = (number << 6) | (byte & 0x3F);
        }
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_whatever_its_length() {
        for (bytes, number) in [
            (&[0x24][..], Some(36)),
            (&[0xC2, 0xA2], Some(162)),
            (&[0xE0, 0xA4, 0xB9], Some(2_361)),
            (&[0xF0, 0x90, 0x8D, 0x88], Some(66_376)),
            (&[0xFE, 0xBF, 0xBF, 0xBF, 0xBF, 0xBF, 0xBF], Some((1 << 36) - 1)),
            (&[0xFE, 0xBF, 0xBF], None),
            (&[0xC2, 0x22], None),
            (&[0x80], None),
            (&[0xFF, 0x80], None),
            (&[], None),
        ] {
            assert_eq!(Rest { bytes, at: 0 }.coded_number(), number, "{bytes:x?}");
        }
    }
}
