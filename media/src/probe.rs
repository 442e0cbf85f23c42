//! What a master is: duration, codec, sample rate and channels, read from its packets.
//!
//! Headers lie (or were never filled in), so the packets are walked and counted. A decoder is
//! asked only for what the container does not say. What reads a file here may run out of memory
//! or time over a hostile one: [`crate::Prober`] has it done in a process of its own.

mod aac_config;
mod boxes;
mod coding;
mod edits;
mod flac;
mod frame_count;
mod frame_share;
mod last_tags;
mod length;
mod opening;
mod pages;
mod patched;
mod slips;
mod tail;

use std::fmt;
use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};
use symphonia::core::audio::Channels;
use symphonia::core::codecs::{self, CodecParameters, CodecType, DecoderOptions};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::{FormatReader, Packet};
use symphonia::core::units::TimeBase;

use self::length::{Length, Track};
use crate::limits::{DURATION_MS_MAX, DURATION_MS_MIN};
use crate::sniff::AudioFormat;
use crate::storage::StorageError;

/// What a probe finds out about a master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioFacts {
    /// How long it plays, in milliseconds, rounded.
    pub duration_ms: u64,
    /// The container.
    pub format: AudioFormat,
    /// How the samples are coded.
    pub codec: AudioCodec,
    /// Samples a second of one channel.
    pub sample_rate_hz: u32,
    /// How many channels.
    pub channels: u16,
    /// How many bits a sample has, where its codec has such a number.
    pub bits_per_sample: Option<u32>,
    /// Which kind of PCM it is where the header could be read as another, by the name that `ffmpeg`
    /// has for it too.
    pub pcm: Option<String>,
}

/// How samples are coded; the kinds of PCM are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AudioCodec {
    /// Samples as they are, of any width.
    Pcm,
    /// FLAC.
    Flac,
    /// MPEG audio layer III.
    Mp3,
    /// Vorbis.
    Vorbis,
    /// Opus.
    Opus,
    /// AAC.
    Aac,
    /// ALAC.
    Alac,
}

/// Why a file cannot become a track. What is in the file is told from one process to another.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub enum ProbeError {
    /// It is no sound at all, or a container that holds none.
    #[error("the file holds no audio")]
    NoAudio,
    /// Its sound is coded in a way that is not taken.
    #[error("the sound of the {format} is {}not taken in it: it may be {}",
        .found.as_ref().map_or_else(String::new, |found| format!("{found}, which is ")),
        coding::taken(*.format))]
    UnsupportedCodec {
        /// What it is coded in, where that is known.
        found: Option<String>,
        /// The container.
        format: AudioFormat,
    },
    /// There is MP3 in it, and much more of something else.
    #[error("the file is no MP3, or damaged: {sound_bytes} of its {bytes} bytes are sound")]
    MostlyOther {
        /// How much of it is frames of sound, in bytes.
        sound_bytes: u64,
        /// How much there is between its tags, in bytes.
        bytes: u64,
    },
    /// It ends before what its header promises.
    #[error("the file is cut short, or damaged within: {found_ms} of {declared_ms} ms are there")]
    Truncated {
        /// The duration that the header promises, in milliseconds, rounded up.
        declared_ms: u64,
        /// The duration that is there, in milliseconds, rounded down: so it is less, though but a
        /// byte is missing.
        found_ms: u64,
    },
    /// Its stream goes on where the file ends.
    #[error("the file is cut short: its sound has no end after {found_ms} ms")]
    EndMissing {
        /// The duration that is there, in milliseconds.
        found_ms: u64,
    },
    /// Where one recording ends in it, the next begins.
    #[error("the file holds several recordings, one behind the other: send each by itself")]
    SeveralRecordings,
    /// It ends, or lacks its end, before any of its sound can be reached.
    #[error("the file is cut short before its audio can be read")]
    HeaderTruncated,
    /// It holds not one sample.
    #[error("the audio has no length")]
    ZeroLength,
    /// It is shorter than is taken.
    #[error("the audio is shorter than {limit_ms} ms")]
    TooShort {
        /// The least that is taken, in milliseconds.
        limit_ms: u64,
    },
    /// It is longer than is taken.
    #[error("the audio is longer than {limit_ms} ms")]
    TooLong {
        /// The limit that was passed, in milliseconds.
        limit_ms: u64,
    },
    /// It is damaged.
    #[error("the file is damaged: {reason}")]
    Damaged {
        /// What the reader of the format found.
        reason: String,
    },
    /// It took more work to read than is allowed.
    #[error("the file took more than {limit_seconds} s of work to read")]
    TooSlow {
        /// The limit that was passed, in seconds of a processor.
        limit_seconds: u64,
    },
    /// The machine was too busy to read it in time.
    #[error("the file was not read within {limit_ms} ms")]
    #[serde(skip)]
    TimedOut {
        /// The limit that was passed, in milliseconds.
        limit_ms: u64,
    },
    /// The file could not be read.
    #[error("the file could not be read")]
    #[serde(skip)]
    Io(#[source] io::Error),
    /// The process that reads the file did not do its work.
    #[error("the file's reader did not run")]
    #[serde(skip)]
    Prober(#[source] io::Error),
    /// The object could not be had.
    #[error("the object could not be read")]
    #[serde(skip)]
    Storage(#[from] StorageError),
}

impl ProbeError {
    /// Whether the same file may well pass at another time: the fault was not in the file.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Io(_) | Self::Prober(_) | Self::TimedOut { .. } => true,
            Self::Storage(error) => !matches!(error, StorageError::NotFound { .. }),
            _ => false,
        }
    }
}

impl AudioCodec {
    fn of(codec: CodecType) -> Option<Self> {
        match codec {
            codecs::CODEC_TYPE_FLAC => Some(Self::Flac),
            codecs::CODEC_TYPE_MP3 => Some(Self::Mp3),
            codecs::CODEC_TYPE_VORBIS => Some(Self::Vorbis),
            codecs::CODEC_TYPE_OPUS => Some(Self::Opus),
            codecs::CODEC_TYPE_AAC => Some(Self::Aac),
            codecs::CODEC_TYPE_ALAC => Some(Self::Alac),
            _ => {
                let name = symphonia::default::get_codecs().get_codec(codec)?.short_name;
                name.starts_with("pcm_").then_some(Self::Pcm)
            }
        }
    }
}

impl fmt::Display for AudioCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pcm => "PCM",
            Self::Flac => "FLAC",
            Self::Mp3 => "MP3",
            Self::Vorbis => "Vorbis",
            Self::Opus => "Opus",
            Self::Aac => "AAC",
            Self::Alac => "ALAC",
        })
    }
}

/// What is wrong with a stream that is not all there between its beginning and its end.
const TORN: &str = "parts of its sound are missing, or not as they were written";

/// What is wrong with sound whose container is whole.
const UNDECODABLE: &str = "parts of its sound can't be decoded";

/// Where the header of Opus says how many channels it has, in bytes.
const OPUS_CHANNELS_AT: usize = 9;

/// Probes a file in this very process, which a hostile one may take down.
pub(crate) fn probe_file(mut file: File) -> Result<AudioFacts, ProbeError> {
    let format = AudioFormat::of_file(&mut file).map_err(ProbeError::Io)?;
    let format = format.ok_or(ProbeError::NoAudio)?;
    let mut again = file.try_clone().map_err(ProbeError::Io)?;
    let facts = match format {
        AudioFormat::Flac => flac::probe(&mut file)?,
        format => match by_packets(file, format) {
            Err(ProbeError::UnsupportedCodec { .. }) => {
                let found = coding::found(&mut again, format).map_err(ProbeError::Io)?;
                return Err(ProbeError::UnsupportedCodec { found, format });
            }
            // Its reader has no other word for samples that it does not know.
            Err(damage @ ProbeError::Damaged { .. }) => {
                let bits = coding::odd_bits(&mut again, format).map_err(ProbeError::Io)?;
                let found = bits.map(|bits| Some(format!("PCM of {bits} bits")));
                return Err(match found {
                    Some(found) => ProbeError::UnsupportedCodec { found, format },
                    None => damage,
                });
            }
            facts => facts?,
        },
    };
    if facts.duration_ms < DURATION_MS_MIN {
        return Err(ProbeError::TooShort { limit_ms: DURATION_MS_MIN });
    }
    if facts.duration_ms > DURATION_MS_MAX {
        return Err(ProbeError::TooLong { limit_ms: DURATION_MS_MAX });
    }
    Ok(facts)
}

/// Probes a file by the packets that the reader of its container finds; how long it may be is not
/// looked at.
fn by_packets(file: File, format: AudioFormat) -> Result<AudioFacts, ProbeError> {
    let mut again = file.try_clone().map_err(ProbeError::Io)?;
    let (mut reader, track) = opening::open(file, format)?;
    let (track_id, parameters) = (track.id, track.codec_params);
    let codec = AudioCodec::of(parameters.codec).ok_or(unsupported(format))?;

    let walk = Walk::run(reader.as_mut(), track_id)?;
    let first = walk.first.as_ref();
    let in_header = parameters.channels.map(Channels::count).or_else(|| told_channels(&parameters));
    let (sample_rate_hz, channels) = match (parameters.sample_rate, in_header) {
        (Some(rate), Some(channels)) => (rate, channels),
        _ => spec_of_first_packet(format, &parameters, first.ok_or(ProbeError::ZeroLength)?)?,
    };
    // The two handles of the file are at one place in it.
    drop(reader);
    // Containers count in units of their own; without one they count samples.
    let unit = parameters.time_base.unwrap_or(TimeBase { numer: 1, denom: sample_rate_hz.max(1) });
    let track = Track { id: track_id, parameters: &parameters, format, codec, channels, unit };
    if format == AudioFormat::Mp3 {
        frame_share::check(&mut again, &walk)?;
    }
    let length = Length::of(&track, &walk, &mut again).map_err(ProbeError::Io)?;
    let duration_ms = length.played_ms(unit, walk.cut_short)?;
    let channels = u16::try_from(channels).map_err(|_| unsupported(format))?;
    let bits_per_sample = parameters.bits_per_sample.or(pcm_bits(parameters.codec));
    let pcm = (format == AudioFormat::Wav).then(|| pcm_name(parameters.codec)).flatten();
    let pcm = pcm.map(str::to_owned);
    Ok(AudioFacts { duration_ms, format, codec, sample_rate_hz, channels, bits_per_sample, pcm })
}

/// So many units in milliseconds, rounded.
fn to_ms(units: u64, unit: TimeBase) -> u64 {
    let (ms, denominator) = ms_fraction(units, unit);
    u64::try_from((ms + denominator / 2) / denominator).unwrap_or(u64::MAX)
}

/// The same rounded down, and rounded up.
fn ms_around(units: u64, unit: TimeBase) -> (u64, u64) {
    let (ms, denominator) = ms_fraction(units, unit);
    let around = (ms / denominator, ms.div_ceil(denominator));
    (u64::try_from(around.0).unwrap_or(u64::MAX), u64::try_from(around.1).unwrap_or(u64::MAX))
}

fn ms_fraction(units: u64, unit: TimeBase) -> (u128, u128) {
    (u128::from(units) * 1_000 * u128::from(unit.numer), u128::from(unit.denom.max(1)))
}

/// How many bits a stored sample of this kind of PCM has; `None` when it is no PCM.
fn pcm_name(codec: CodecType) -> Option<&'static str> {
    let name = symphonia::default::get_codecs().get_codec(codec)?.short_name;
    name.starts_with("pcm_").then_some(name)
}

fn pcm_bits(codec: CodecType) -> Option<u32> {
    match pcm_name(codec)?.strip_prefix("pcm_")? {
        "alaw" | "mulaw" => Some(8),
        kind => kind.chars().filter(char::is_ascii_digit).collect::<String>().parse().ok(),
    }
}

/// What the packets of one track come to.
struct Walk {
    units: u64,
    bytes: u64,
    longest_bytes: u64,
    first: Option<Packet>,
    cut_short: bool,
}

impl Walk {
    fn run(reader: &mut dyn FormatReader, track_id: u32) -> Result<Self, ProbeError> {
        let mut walk = Self { units: 0, bytes: 0, longest_bytes: 0, first: None, cut_short: false };
        loop {
            match reader.next_packet() {
                Ok(packet) if packet.track_id() == track_id => {
                    walk.units = walk.units.saturating_add(packet.dur());
                    let bytes = packet.buf().len() as u64;
                    walk.bytes += bytes;
                    walk.longest_bytes = walk.longest_bytes.max(bytes);
                    walk.first.get_or_insert(packet);
                }
                Ok(_) => {}
                // Both the proper end and a cut one: only the count tells them apart.
                Err(SymphoniaError::IoError(error))
                    if error.kind() == io::ErrorKind::UnexpectedEof =>
                {
                    return Ok(walk);
                }
                // A chained stream begins anew.
                Err(SymphoniaError::ResetRequired) => return Err(ProbeError::SeveralRecordings),
                Err(error) if walk.units == 0 => return Err(unreadable(error)),
                Err(_) => {
                    walk.cut_short = true;
                    return Ok(walk);
                }
            }
        }
    }
}

/// What is not taken, and not yet looked at for what it is.
fn unsupported(format: AudioFormat) -> ProbeError {
    ProbeError::UnsupportedCodec { found: None, format }
}

/// How many channels a codec says that it has, which its container does not say.
fn told_channels(parameters: &CodecParameters) -> Option<usize> {
    match (parameters.codec, &parameters.extra_data) {
        (codecs::CODEC_TYPE_AAC, Some(config)) => aac_config::channels(config),
        (codecs::CODEC_TYPE_OPUS, Some(head)) => {
            head.get(OPUS_CHANNELS_AT).copied().map(usize::from)
        }
        _ => None,
    }
}

fn spec_of_first_packet(
    format: AudioFormat,
    parameters: &CodecParameters,
    packet: &Packet,
) -> Result<(u32, usize), ProbeError> {
    let mut decoder = symphonia::default::get_codecs()
        .make(parameters, &DecoderOptions::default())
        .map_err(|_| unsupported(format))?;
    // A packet is in memory: whatever a decoder calls its failure, the packet is at fault.
    let decoded = decoder.decode(packet);
    let decoded = decoded.map_err(|_| ProbeError::Damaged { reason: UNDECODABLE.to_owned() })?;
    Ok((decoded.spec().rate, decoded.spec().channels.count()))
}

fn unreadable(error: SymphoniaError) -> ProbeError {
    match error {
        SymphoniaError::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            ProbeError::HeaderTruncated
        }
        // The others are those of a reader that found no way on.
        SymphoniaError::IoError(error) if error.raw_os_error().is_some() => ProbeError::Io(error),
        other => ProbeError::Damaged { reason: other.to_string() },
    }
}

#[cfg(test)]
mod tests;
