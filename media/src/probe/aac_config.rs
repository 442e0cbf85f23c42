//! What AAC says of itself (ISO/IEC 14496-3, 1.6.2.1): how many channels it has. Containers leave
//! that to it, and the decoder at hand knows no more than two.

/// The kinds of AAC that are taken: Main, LC, LTP, and what lets LC do with less (SBR, PS).
const KINDS_TAKEN: [u32; 5] = [MAIN, LC, LTP, SBR, PARAMETRIC_STEREO];
const MAIN: u32 = 1;
const LC: u32 = 2;
const LTP: u32 = 4;
const SBR: u32 = 5;
const PARAMETRIC_STEREO: u32 = 29;

/// What stands for a kind that follows, less [`KIND_ESCAPED`].
const KIND_ESCAPE: u32 = 31;
const KIND_ESCAPED: u32 = 32;

/// What stands for a sample rate that follows, in hertz.
const RATE_ESCAPE: u32 = 15;

/// The channels by their number in the configuration; 0 of them: the coder lists them.
const CHANNELS: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 8];

/// How many channels it has; `None` where it is of a kind that is not taken, or does not say.
pub(super) fn channels(config: &[u8]) -> Option<usize> {
    let mut bits = Bits { bytes: config, at: 0 };
    let kind = kind(&mut bits)?;
    if !KINDS_TAKEN.contains(&kind) {
        return None;
    }
    pass_rate(&mut bits)?;
    let channels = *CHANNELS.get(usize::try_from(bits.next(4)?).ok()?)?;
    if matches!(kind, SBR | PARAMETRIC_STEREO) {
        pass_rate(&mut bits)?;
        self::kind(&mut bits)?;
    }
    match channels {
        0 => listed(&mut bits),
        // One channel is coded, and how to make two of it.
        1 if kind == PARAMETRIC_STEREO => Some(2),
        channels => Some(channels),
    }
}

fn kind(bits: &mut Bits<'_>) -> Option<u32> {
    match bits.next(5)? {
        KIND_ESCAPE => Some(KIND_ESCAPED + bits.next(6)?),
        kind => Some(kind),
    }
}

fn pass_rate(bits: &mut Bits<'_>) -> Option<()> {
    if bits.next(4)? == RATE_ESCAPE {
        bits.next(24)?;
    }
    Some(())
}

/// The channels of a list of elements (4.4.1.1), behind what says how frames are made.
fn listed(bits: &mut Bits<'_>) -> Option<usize> {
    let _is_short = bits.next(1)?;
    if bits.next(1)? == 1 {
        let _core_delay = bits.next(14)?;
    }
    let _is_extended = bits.next(1)?;
    let (_tag, _kind, _rate) = (bits.next(4)?, bits.next(2)?, bits.next(4)?);
    // In front, at the sides, and behind: each one channel, or a pair of them.
    let elements = bits.next(4)? + bits.next(4)? + bits.next(4)?;
    let low = bits.next(2)?;
    let (_data, _coupling) = (bits.next(3)?, bits.next(4)?);
    // How to mix down to one, to two, and from a matrix.
    for mix_bits in [4, 4, 3] {
        if bits.next(1)? == 1 {
            bits.next(mix_bits)?;
        }
    }
    let mut channels = low;
    for _ in 0..elements {
        channels += 1 + bits.next(1)?;
        let _tag = bits.next(4)?;
    }
    usize::try_from(channels).ok().filter(|channels| *channels > 0)
}

/// Bits, the highest of each byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    /// The next so many as a number; `None` where there are not so many.
    fn next(&mut self, count: usize) -> Option<u32> {
        let mut number = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            number = (number << 1) | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_those_that_are_heard() {
        for (what, config, heard) in [
            ("LC, one", &[0x12, 0x08][..], Some(1)),
            ("LC, two", &[0x12, 0x10], Some(2)),
            ("LC, 5.1", &[0x12, 0x30], Some(6)),
            ("LC, 7.1", &[0x12, 0x38], Some(8)),
            ("LC, a rate of its own", &[0x17, 0x80, 0x56, 0x22, 0x10], Some(2)),
            ("SBR, two", &[0x2B, 0x92, 0x08, 0x00], Some(2)),
            ("PS, one coded", &[0xEB, 0x8A, 0x08, 0x00], Some(2)),
            ("USAC", &[0xF9, 0x46, 0x40, 0x00], None),
            ("a number that is none", &[0x12, 0x40], None),
            ("cut", &[0x12], None),
            ("nothing", &[], None),
        ] {
            assert_eq!(channels(config), heard, "{what}");
        }
    }
}
