//! FLACs written sample by sample, so that it is known where their frames begin.

use symphonia::core::checksum::{Crc8Ccitt, Crc16Ansi};
use symphonia::core::io::Monitor as _;

/// How frames say where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frames {
    /// By which frame they are.
    Numbered,
    /// By their first sample.
    Placed,
    /// The same, as it was written before there was a flag for it.
    PlacedWithoutAFlag,
}

/// What frames have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    pub(super) frames: Frames,
    pub(super) rate_hz: u32,
    pub(super) channels: u8,
    pub(super) bits: u8,
    /// The number of the first frame.
    pub(super) first: u64,
}

impl Default for Stream {
    fn default() -> Self {
        Self { frames: Frames::Numbered, rate_hz: 8_000, channels: 1, bits: 16, first: 0 }
    }
}

impl Stream {
    /// The stream with its count of samples, and where its frames begin. What is left for the last
    /// frame does not count among the shortest and longest.
    pub(super) fn written(&self, blocks: &[u32], last: Option<u32>) -> (Vec<u8>, Vec<usize>) {
        let all = || blocks.iter().copied().chain(last);
        let samples: u64 = all().map(u64::from).sum();
        let (min, max) = (blocks.iter().min().unwrap(), blocks.iter().max().unwrap());
        let mut written = [b"fLaC\x80\0\0\x22".as_slice(), &[0; 34]].concat();
        written[8..10].copy_from_slice(&u16::try_from(*min).unwrap().to_be_bytes());
        written[10..12].copy_from_slice(&u16::try_from(*max).unwrap().to_be_bytes());
        let (rate, channels, bits) = (self.rate_hz, self.channels - 1, self.bits - 1);
        let packed =
            u64::from(rate) << 44 | u64::from(channels) << 41 | u64::from(bits) << 36 | samples;
        written[18..26].copy_from_slice(&packed.to_be_bytes());
        let (mut begins, mut number) = (Vec::new(), self.first);
        for samples in all() {
            begins.push(written.len());
            written.extend(self.frame(number, samples));
            number += if self.frames == Frames::Numbered { 1 } else { u64::from(samples) };
        }
        (written, begins)
    }

    fn frame(&self, number: u64, samples: u32) -> Vec<u8> {
        let kind = if self.frames == Frames::Placed { 0xF9 } else { 0xF8 };
        let bits_code = match self.bits {
            8 => 1,
            12 => 2,
            16 => 4,
            20 => 5,
            24 => 6,
            32 => 7,
            _ => 0,
        };
        // Lengths are told in two bytes, and odd rates are left to the stream.
        let (rate_code, rate) = match self.rate_hz {
            8_000 => (4, vec![]),
            44_100 => (9, vec![]),
            rate if rate % 10 == 0 => (14, u16::try_from(rate / 10).unwrap().to_be_bytes().into()),
            _ => (0, vec![]),
        };
        let mut frame =
            vec![0xFF, kind, 0x70 | rate_code, (self.channels - 1) << 4 | bits_code << 1];
        frame.extend(coded(number));
        frame.extend(u16::try_from(samples - 1).unwrap().to_be_bytes());
        frame.extend(rate);
        let mut checksum = Crc8Ccitt::new(0);
        checksum.process_buf_bytes(&frame);
        frame.push(checksum.crc());
        let mut bits = Bits { bytes: frame, used: 0 };
        for channel in 0..u32::from(self.channels) {
            // The samples follow as they are.
            bits.push(0x02, 8);
            for sample in 0..samples {
                let mixed = (sample + channel).wrapping_mul(2_654_435_761) ^ number as u32;
                bits.push(mixed >> (32 - u32::from(self.bits)), self.bits);
            }
        }
        let mut checksum = Crc16Ansi::new(0);
        checksum.process_buf_bytes(&bits.bytes);
        [bits.bytes, checksum.crc().to_be_bytes().into()].concat()
    }
}

/// A number as frames have it, up to 21 bits.
fn coded(number: u64) -> Vec<u8> {
    let letter = char::from_u32(u32::try_from(number).unwrap()).unwrap();
    letter.to_string().into_bytes()
}

/// Bytes that are filled from their highest bits on.
struct Bits {
    bytes: Vec<u8>,
    /// How many bits of the last byte are used; none of one that is still to come.
    used: u8,
}

impl Bits {
    fn push(&mut self, number: u32, bits: u8) {
        for bit in (0..bits).rev() {
            if self.used == 0 {
                self.bytes.push(0);
            }
            let last = self.bytes.last_mut().unwrap();
            *last |= u8::from(number >> bit & 1 == 1) << (7 - self.used);
            self.used = (self.used + 1) % 8;
        }
    }
}
