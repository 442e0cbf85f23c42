//! How long a track is: what its file says, what of that is there, and what of it is heard.

use std::fs::File;
use std::io;
use std::ops::Range;

use symphonia::core::codecs::CodecParameters;
use symphonia::core::formats::Packet;
use symphonia::core::units::TimeBase;

use super::edits::{self, Edit};
use super::{AudioCodec, ProbeError, TORN, Walk, frame_count, ms_around, pages, pcm_bits, to_ms};
use crate::sniff::AudioFormat;

/// A WAV whose data claims this many bytes or more was written to a pipe, and its length is not
/// known: programs write the largest number that they have, with a sign or without. No upload is so
/// long.
pub(super) const STREAMED_DATA_BYTES: u64 = 0x7FFF_F000;

/// The two fields of an AIFF sound chunk that come before its samples, in bytes.
const AIFF_DATA_FIELDS_BYTES: u64 = 8;

/// How far the frames that an MP3 counts may be off, in milliseconds: some encoders count the
/// frame that they count in, and damaged frames are passed over.
const MP3_SLACK_MS: u64 = 250;

/// How much longer packets may be than what an Ogg stream says of its end, in milliseconds; where
/// they are longer, it counts in a way of its own.
const OGG_SLACK_MS: u64 = 1_000;

/// Where the header of Opus says what is to be left out at the start, in bytes.
const OPUS_PRE_SKIP: Range<usize> = 10..12;

/// What is known of a track before its length.
pub(super) struct Track<'a> {
    pub(super) id: u32,
    pub(super) parameters: &'a CodecParameters,
    pub(super) format: AudioFormat,
    pub(super) codec: AudioCodec,
    pub(super) channels: usize,
    pub(super) unit: TimeBase,
}

/// How long a track is, in units of its container.
pub(super) struct Length {
    /// By a header that counts; an MP3's counts only when it is far off.
    pub(super) declared: Option<u64>,
    /// By its packets.
    pub(super) found: u64,
    /// What of that is heard: encoders put silence around the sound, and say how much.
    pub(super) played: u64,
    /// Whether the end that a stream must have is there.
    pub(super) has_end: bool,
    /// Whether parts of the sound are missing between its beginning and its end, as far as its
    /// container tells.
    pub(super) is_damaged: bool,
}

impl Length {
    /// By what the track's kind of file says of it, or by its packets.
    pub(super) fn of(track: &Track<'_>, walk: &Walk, file: &mut File) -> io::Result<Self> {
        let (found, all) = (walk.units, walk.units);
        let silence = [track.parameters.delay, track.parameters.padding].into_iter().flatten();
        let sound = all.saturating_sub(silence.map(u64::from).sum());
        let length =
            Self { declared: None, found, played: sound, has_end: true, is_damaged: false };
        Ok(match track.format {
            AudioFormat::Mp3 => {
                let frames = frame_count::read(file)?;
                let samples = walk.first.as_ref().map_or(0, Packet::dur);
                let counted = frames.map(|frames| frames.saturating_mul(samples));
                let enough = found.saturating_add(track.units_of(MP3_SLACK_MS));
                Self { declared: counted.filter(|counted| enough < *counted), ..length }
            }
            AudioFormat::Ogg => {
                let end = pages::end_of(file, track.id)?;
                let played = end.granule.and_then(|granule| track.until(granule, all));
                let (played, is_damaged) = (played.unwrap_or(sound), end.is_damaged);
                Self { played, has_end: end.is_there, is_damaged, ..length }
            }
            AudioFormat::M4a => {
                // A film in fragments counts none at its beginning.
                let declared = track.parameters.n_frames.filter(|units| *units > 0);
                let all = declared.unwrap_or(all);
                let edit = edits::read(file)?;
                let played = edit.map_or(all, |edit| track.edited(&edit, all));
                Self { declared, played, ..length }
            }
            // A FLAC is asked for its frames.
            AudioFormat::Wav | AudioFormat::Aiff | AudioFormat::Flac => {
                let declared = track.samples_in_header();
                // The last packet of a cut file is announced whole; only its bytes tell.
                let found = track.samples_in(walk.bytes);
                Self { declared, found, played: declared.unwrap_or(found), ..length }
            }
        })
    }

    /// How long it plays, in milliseconds, or why it can't be a track, however long it may be.
    /// What is cut short is so by the reader of its container, too.
    pub(super) fn played_ms(&self, unit: TimeBase, cut_short: bool) -> Result<u64, ProbeError> {
        let (found_ms, _) = ms_around(self.found, unit);
        match self.declared {
            _ if self.is_damaged => Err(ProbeError::Damaged { reason: TORN.to_owned() }),
            Some(declared) if self.found < declared => {
                let (_, declared_ms) = ms_around(declared, unit);
                Err(ProbeError::Truncated { declared_ms, found_ms })
            }
            Some(_) if cut_short => Err(ProbeError::EndMissing { found_ms }),
            _ if !self.has_end => Err(ProbeError::EndMissing { found_ms }),
            _ if self.found == 0 || self.played == 0 => Err(ProbeError::ZeroLength),
            _ => Ok(to_ms(self.played, unit)),
        }
    }
}

impl Track<'_> {
    fn units_of(&self, ms: u64) -> u64 {
        ms.saturating_mul(u64::from(self.unit.denom)) / (1_000 * u64::from(self.unit.numer.max(1)))
    }

    fn samples_in(&self, bytes: u64) -> u64 {
        bytes * 8 / self.sample_bits().max(1)
    }

    /// The bits of a sample of all channels; 0 where they are coded in another way.
    fn sample_bits(&self) -> u64 {
        u64::from(pcm_bits(self.parameters.codec).unwrap_or(0)) * self.channels as u64
    }

    /// How many samples the header counts, where it was filled in.
    fn samples_in_header(&self) -> Option<u64> {
        let samples = self.parameters.n_frames?;
        match self.format {
            // The reader counts the fields before the samples as samples.
            AudioFormat::Aiff => {
                Some(samples.saturating_sub(self.samples_in(AIFF_DATA_FIELDS_BYTES)))
            }
            AudioFormat::Wav => {
                let bytes = samples.saturating_mul(self.sample_bits()) / 8;
                (bytes < STREAMED_DATA_BYTES).then_some(samples)
            }
            _ => Some(samples),
        }
    }

    /// What is played up to where an Ogg stream says it ends, when its packets come to that.
    fn until(&self, granule: u64, all: u64) -> Option<u64> {
        let pre_skip = match (self.codec, &self.parameters.extra_data) {
            (AudioCodec::Opus, Some(header)) => header.get(OPUS_PRE_SKIP)?,
            _ => &[0, 0],
        };
        let pre_skip = u64::from(u16::from_le_bytes(pre_skip.try_into().ok()?));
        // One that was recorded while it ran does not begin at 0; one that was cut out of another
        // begins before 0, where its first page has more in it than it says. Players play that.
        let before = match u64::from(self.parameters.delay.unwrap_or(0)) {
            delay if self.codec == AudioCodec::Opus && delay == pre_skip => 0,
            delay => delay,
        };
        let until = granule.checked_sub(self.parameters.start_ts)?.checked_add(before)?;
        let trimmed = all.checked_sub(until)?;
        (trimmed <= self.units_of(OGG_SLACK_MS)).then(|| until.saturating_sub(pre_skip))
    }

    /// What an edit plays of all that is there.
    fn edited(&self, edit: &Edit, all: u64) -> u64 {
        let left = all.saturating_sub(edit.begin);
        let film = TimeBase { numer: 1, denom: edit.film_units.max(1) };
        match edit.length {
            0 => left,
            length => left.min(self.units_of(to_ms(length, film))),
        }
    }
}
