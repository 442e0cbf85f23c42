//! Frames of MPEG audio, layer III (ISO/IEC 11172-3 and 13818-3; "2.5" is an extension that halves
//! the rates of MPEG-2 once more).

/// A frame's header, in bytes.
pub(crate) const HEADER_BYTES: usize = 4;

/// How many frames must follow each other to be taken for sound among bytes that are none.
const FRAMES_IN_A_ROW: usize = 3;

/// Kilobits a second by their index in a header; 0 is "free": any other rate.
const MPEG_1_KILOBITS: [usize; 15] =
    [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
const MPEG_2_KILOBITS: [usize; 15] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];

/// Samples a second of MPEG-1 by their index in a header.
const SAMPLE_RATES: [usize; 3] = [44_100, 48_000, 32_000];

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Of MPEG-1; else of MPEG-2 or 2.5.
    pub is_mpeg_1: bool,
    /// Of one channel.
    pub is_mono: bool,
    /// Samples a second.
    sample_rate: usize,
    /// The whole frame; `None` where its rate is free.
    length_bytes: Option<usize>,
}

impl FrameHeader {
    /// Reads what begins here; `None` when it is no header, or one of a rate that does not exist.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let &[0xFF, kind, rates, mode, ..] = bytes else { return None };
        let (sync, version, layer) = (kind >> 5, (kind >> 3) & 3, (kind >> 1) & 3);
        if sync != 7 || layer != 1 {
            return None;
        }
        let (divisor, kilobits, slot_bits) = match version {
            3 => (1, MPEG_1_KILOBITS, 144),
            2 => (2, MPEG_2_KILOBITS, 72),
            0 => (4, MPEG_2_KILOBITS, 72),
            _ => return None,
        };
        let bits = kilobits.get(usize::from(rates >> 4))? * 1_000;
        let sample_rate = SAMPLE_RATES.get(usize::from((rates >> 2) & 3))? / divisor;
        let padding = usize::from((rates >> 1) & 1);
        Some(Self {
            is_mpeg_1: version == 3,
            is_mono: mode >> 6 == 3,
            sample_rate,
            length_bytes: (bits > 0).then(|| slot_bits * bits / sample_rate + padding),
        })
    }

    /// Whether frames of the two may be in one stream.
    fn goes_with(self, other: Self) -> bool {
        (self.is_mpeg_1, self.sample_rate) == (other.is_mpeg_1, other.sample_rate)
    }
}

/// Where the first frame begins that is followed by others like it, whatever is before it: sound
/// that was cut out of a stream begins in the middle of a frame.
pub(crate) fn first_of_a_row(bytes: &[u8]) -> Option<usize> {
    (0..bytes.len()).find(|&first| {
        let mut at = first;
        let mut before: Option<FrameHeader> = None;
        (0..FRAMES_IN_A_ROW).all(|_| {
            let header = bytes.get(at..).and_then(FrameHeader::read);
            let Some((header, length)) = header.and_then(|it| Some((it, it.length_bytes?))) else {
                return false;
            };
            at += length;
            before.replace(header).is_none_or(|before| before.goes_with(header))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_frame_is_that_of_its_rates() {
        for (header, length) in [
            ([0xFF, 0xFB, 0x90, 0x64], Some(417)),
            ([0xFF, 0xFB, 0x92, 0x64], Some(418)),
            ([0xFF, 0xFB, 0xE8, 0x64], Some(1_440)),
            ([0xFF, 0xF3, 0x84, 0xC4], Some(192)),
            ([0xFF, 0xE3, 0x18, 0xC4], Some(72)),
            ([0xFF, 0xFB, 0x00, 0x64], None),
        ] {
            assert_eq!(FrameHeader::read(&header).unwrap().length_bytes, length, "{header:x?}");
        }
        for header in [
            [0xFE, 0xFB, 0x90, 0x64],
            [0xFF, 0xEB, 0x90, 0x64],
            [0xFF, 0xFD, 0x90, 0x64],
            [0xFF, 0xFB, 0xF0, 0x64],
            [0xFF, 0xFB, 0x9C, 0x64],
        ] {
            assert_eq!(FrameHeader::read(&header), None, "{header:x?}");
        }
        assert_eq!(FrameHeader::read(&[0xFF, 0xFB, 0x90]), None);
    }

    #[test]
    fn a_row_is_found_behind_whatever_is_no_sound() {
        let frame = |rate: u8| [&[0xFF, 0xFB, rate, 0x64][..], &[0; 413]].concat();
        let row = [frame(0x90), frame(0x90), frame(0x90)].concat();
        assert_eq!(first_of_a_row(&row), Some(0));
        assert_eq!(first_of_a_row(&row[100..]), None, "two are too few");
        let long = [&frame(0x90)[100..], &row].concat();
        assert_eq!(first_of_a_row(&long), Some(317), "behind the end of another");
        assert_eq!(first_of_a_row(&[&[0xFF; 99][..], &row].concat()), Some(99));
        let mixed = [frame(0x90), frame(0x94), frame(0x90), frame(0x94)].concat();
        assert_eq!(first_of_a_row(&mixed), None, "of two sample rates");
    }
}
