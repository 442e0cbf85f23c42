//! What a master is: duration, codec, sample rate and channels, read from its packets.
//!
//! Headers lie (or were never filled in), so the packets are walked and counted. A decoder is
//! asked only for what the container does not say. What reads a file here may run out of memory
//! or time over a hostile one: [`crate::Prober`] has it done in a process of its own.

mod edits;
mod frame_count;
mod length;
mod opening;
mod pages;
mod slips;

use std::fmt;
use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};
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
    #[error("the audio is coded in a way that is not supported")]
    UnsupportedCodec,
    /// It ends before what its header promises.
    #[error("the file is cut short: {found_ms} of {declared_ms} ms are there")]
    Truncated {
        /// The duration that the header promises, in milliseconds.
        declared_ms: u64,
        /// The duration that is there, in milliseconds.
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

/// Probes a file in this very process, which a hostile one may take down.
pub(crate) fn probe_file(mut file: File) -> Result<AudioFacts, ProbeError> {
    let format = AudioFormat::of_file(&mut file).map_err(ProbeError::Io)?;
    let format = format.ok_or(ProbeError::NoAudio)?;
    let mut again = file.try_clone().map_err(ProbeError::Io)?;
    let (mut reader, track) = opening::open(file, format)?;
    let (track_id, parameters) = (track.id, track.codec_params);
    let codec = AudioCodec::of(parameters.codec).ok_or(ProbeError::UnsupportedCodec)?;

    let walk = Walk::run(reader.as_mut(), track_id)?;
    let first = walk.first.as_ref();
    let (sample_rate_hz, channels) = match (parameters.sample_rate, parameters.channels) {
        (Some(rate), Some(channels)) => (rate, channels.count()),
        _ => spec_of_first_packet(&parameters, first.ok_or(ProbeError::ZeroLength)?)?,
    };
    // The two handles of the file are at one place in it.
    drop(reader);
    // Containers count in units of their own; without one they count samples.
    let unit = parameters.time_base.unwrap_or(TimeBase { numer: 1, denom: sample_rate_hz.max(1) });
    let track = Track { id: track_id, parameters: &parameters, format, codec, channels, unit };
    let length = Length::of(&track, &walk, &mut again).map_err(ProbeError::Io)?;
    let found_ms = to_ms(length.found, unit);
    match length.declared {
        Some(declared) if length.found < declared || walk.cut_short => {
            return Err(ProbeError::Truncated { declared_ms: to_ms(declared, unit), found_ms });
        }
        _ if !length.has_end => return Err(ProbeError::EndMissing { found_ms }),
        _ if length.found == 0 || length.played == 0 => return Err(ProbeError::ZeroLength),
        _ => {}
    }
    let duration_ms = to_ms(length.played, unit);
    if duration_ms < DURATION_MS_MIN {
        return Err(ProbeError::TooShort { limit_ms: DURATION_MS_MIN });
    }
    if duration_ms > DURATION_MS_MAX {
        return Err(ProbeError::TooLong { limit_ms: DURATION_MS_MAX });
    }
    let channels = u16::try_from(channels).map_err(|_| ProbeError::UnsupportedCodec)?;
    let bits_per_sample = parameters.bits_per_sample.or(pcm_bits(parameters.codec));
    Ok(AudioFacts { duration_ms, format, codec, sample_rate_hz, channels, bits_per_sample })
}

fn to_ms(units: u64, unit: TimeBase) -> u64 {
    let denominator = u128::from(unit.denom.max(1));
    let numerator = u128::from(units) * 1_000 * u128::from(unit.numer);
    u64::try_from((numerator + denominator / 2) / denominator).unwrap_or(u64::MAX)
}

/// How many bits a stored sample of this kind of PCM has; `None` when it is no PCM.
fn pcm_bits(codec: CodecType) -> Option<u32> {
    let name = symphonia::default::get_codecs().get_codec(codec)?.short_name;
    match name.strip_prefix("pcm_")? {
        "alaw" | "mulaw" => Some(8),
        kind => kind.chars().filter(char::is_ascii_digit).collect::<String>().parse().ok(),
    }
}

/// What the packets of one track come to.
struct Walk {
    units: u64,
    bytes: u64,
    first: Option<Packet>,
    cut_short: bool,
}

impl Walk {
    fn run(reader: &mut dyn FormatReader, track_id: u32) -> Result<Self, ProbeError> {
        let mut walk = Self { units: 0, bytes: 0, first: None, cut_short: false };
        loop {
            match reader.next_packet() {
                Ok(packet) if packet.track_id() == track_id => {
                    walk.units = walk.units.saturating_add(packet.dur());
                    walk.bytes += packet.buf().len() as u64;
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

fn spec_of_first_packet(
    parameters: &CodecParameters,
    packet: &Packet,
) -> Result<(u32, usize), ProbeError> {
    let mut decoder = symphonia::default::get_codecs()
        .make(parameters, &DecoderOptions::default())
        .map_err(|_| ProbeError::UnsupportedCodec)?;
    let decoded = decoder.decode(packet).map_err(unreadable)?;
    Ok((decoded.spec().rate, decoded.spec().channels.count()))
}

fn unreadable(error: SymphoniaError) -> ProbeError {
    match error {
        SymphoniaError::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            ProbeError::HeaderTruncated
        }
        SymphoniaError::IoError(error) => ProbeError::Io(error),
        other => ProbeError::Damaged { reason: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;
    use crate::prober::tests::prober;
    use crate::sample_audio::Chord;

    pub(super) async fn probe(path: impl AsRef<Path>) -> Result<AudioFacts, ProbeError> {
        prober().probe(path.as_ref()).await
    }

    pub(super) fn write(home: &Path, name: &str, bytes: &[u8]) -> PathBuf {
        let path = home.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// The chord in another format, made by `ffmpeg`.
    pub(super) fn convert(wav: &Path, name: &str, options: &[&str]) -> PathBuf {
        let target = wav.with_file_name(name);
        let status = Command::new("ffmpeg")
            .args(["-nostdin", "-loglevel", "error", "-y", "-i"])
            .arg(wav)
            .args(options)
            .arg(&target)
            .status();
        assert!(status.unwrap().success(), "{name}");
        target
    }

    #[tokio::test]
    async fn a_wav_is_measured_to_the_millisecond() {
        let home = tempfile::tempdir().unwrap();
        let chord = Chord { sample_rate_hz: 48_000, channels: 1, frames: 48_000 * 3 + 24 };
        let wav = write(home.path(), "a.wav", &chord.wav());
        let expected = AudioFacts {
            duration_ms: 3_001,
            format: AudioFormat::Wav,
            codec: AudioCodec::Pcm,
            sample_rate_hz: 48_000,
            channels: 1,
            bits_per_sample: Some(16),
        };
        assert_eq!(probe(wav).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn every_format_is_measured() {
        let home = tempfile::tempdir().unwrap();
        let wav = write(home.path(), "a.wav", &Chord::seconds(3).wav());
        // Encoders that pad say so, but for what has no place for it: within two frames.
        for (name, options, codec, tolerance_ms) in [
            ("a.flac", &[][..], AudioCodec::Flac, 0),
            ("a.aiff", &[], AudioCodec::Pcm, 0),
            ("24.wav", &["-c:a", "pcm_s24le"], AudioCodec::Pcm, 0),
            ("float.wav", &["-c:a", "pcm_f32le"], AudioCodec::Pcm, 0),
            ("law.wav", &["-c:a", "pcm_mulaw"], AudioCodec::Pcm, 0),
            ("a.mp3", &["-b:a", "128k"], AudioCodec::Mp3, 1),
            ("vbr.mp3", &["-q:a", "4", "-write_xing", "0"], AudioCodec::Mp3, 80),
            ("a.ogg", &["-c:a", "libvorbis"], AudioCodec::Vorbis, 1),
            ("opus.ogg", &["-c:a", "libopus"], AudioCodec::Opus, 1),
            ("a.m4a", &["-c:a", "aac"], AudioCodec::Aac, 1),
            ("alac.m4a", &["-c:a", "alac"], AudioCodec::Alac, 0),
        ] {
            let facts = probe(convert(&wav, name, options)).await.unwrap();
            assert_eq!(facts.codec, codec, "{name}");
            assert!(facts.duration_ms.abs_diff(3_000) <= tolerance_ms, "{name}: {facts:?}");
            assert_eq!(facts.channels, 2, "{name}");
            let rate = if codec == AudioCodec::Opus { 48_000 } else { 44_100 };
            assert_eq!(facts.sample_rate_hz, rate, "{name}");
        }
    }

    #[tokio::test]
    async fn several_recordings_are_not_taken_for_the_first_of_them() {
        let home = tempfile::tempdir().unwrap();
        let wav = write(home.path(), "a.wav", &Chord::seconds(2).wav());
        let vorbis = convert(&wav, "vorbis.ogg", &["-c:a", "libvorbis"]);
        let opus = convert(&wav, "opus.ogg", &["-c:a", "libopus"]);
        for (first, second) in [(&vorbis, &opus), (&opus, &vorbis), (&vorbis, &vorbis)] {
            let bytes = [first, second].map(|path| std::fs::read(path).unwrap()).concat();
            let answer = probe(write(home.path(), "chain.ogg", &bytes)).await;
            assert!(matches!(answer, Err(ProbeError::SeveralRecordings)), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_cut_file_says_how_much_is_there() {
        let home = tempfile::tempdir().unwrap();
        let whole = Chord::seconds(2).wav();
        let cut = write(home.path(), "cut.wav", &whole[..44 + (whole.len() - 44) / 2]);
        let error = probe(&cut).await.unwrap_err();
        let told = "the file is cut short: 1000 of 2000 ms are there";
        assert_eq!(error.to_string(), told);
        let nearly = write(home.path(), "nearly.wav", &whole[..whole.len() - 4 * 441]);
        let error = probe(&nearly).await.unwrap_err();
        let nearly_whole = matches!(error, ProbeError::Truncated { found_ms: 1_990, .. });
        assert!(nearly_whole, "{error:?}");

        let whole = write(home.path(), "whole.wav", &whole);
        for name in ["a.flac", "a.aiff"] {
            let bytes = std::fs::read(convert(&whole, name, &[])).unwrap();
            let cut = write(home.path(), &format!("cut-{name}"), &bytes[..bytes.len() / 2]);
            let error = probe(cut).await.unwrap_err();
            let half = matches!(error, ProbeError::Truncated { declared_ms: 2_000, .. });
            assert!(half, "{name}: {error:?}");
        }
        for options in [&["-c:a", "aac"][..], &["-c:a", "aac", "-movflags", "+faststart"]] {
            let bytes = std::fs::read(convert(&whole, "a.m4a", options)).unwrap();
            let cut = write(home.path(), "cut-a.m4a", &bytes[..bytes.len() / 2]);
            let error = probe(cut).await.unwrap_err();
            assert!(matches!(error, ProbeError::HeaderTruncated), "{options:?}: {error:?}");
        }
    }

    /// A sound of ten seconds in this format.
    fn ten_seconds(home: &Path, name: &str, options: &[&str]) -> Vec<u8> {
        let wav = write(home, "ten.wav", &Chord::seconds(10).wav());
        std::fs::read(convert(&wav, name, options)).unwrap()
    }

    #[tokio::test]
    async fn a_cut_stream_is_refused_when_it_says_how_long_it_is() {
        let home = tempfile::tempdir().unwrap();
        for (name, options) in [
            ("info.mp3", &["-b:a", "128k"][..]),
            ("xing.mp3", &["-q:a", "4"]),
            ("mono.mp3", &["-ac", "1", "-ar", "22050"]),
            ("a.ogg", &["-c:a", "libvorbis"]),
            ("opus.ogg", &["-c:a", "libopus"]),
            ("flac.ogg", &["-c:a", "flac"]),
        ] {
            let bytes = ten_seconds(home.path(), name, options);
            for kept in [bytes.len() / 2, bytes.len() * 4 / 5] {
                let cut = probe(write(home.path(), "cut", &bytes[..kept])).await.unwrap_err();
                let told = match cut {
                    ProbeError::Truncated { declared_ms, found_ms } => {
                        assert!(declared_ms.abs_diff(10_000) < 100, "{name}: {declared_ms}");
                        found_ms
                    }
                    ProbeError::EndMissing { found_ms } => found_ms,
                    other => panic!("{name}: {other:?}"),
                };
                assert!((1..10_000).contains(&told), "{name}: {told}");
            }
        }
        // The very last byte of its last page.
        let bytes = ten_seconds(home.path(), "opus.ogg", &["-c:a", "libopus"]);
        let cut = probe(write(home.path(), "cut", &bytes[..bytes.len() - 1])).await.unwrap_err();
        let told = cut.to_string();
        assert!(told.starts_with("the file is cut short: its sound has no end after"), "{told}");
    }

    #[tokio::test]
    async fn what_is_whole_and_merely_odd_is_taken() {
        let home = tempfile::tempdir().unwrap();
        let live = ten_seconds(home.path(), "live.mp3", &["-write_xing", "0"]);
        let mp3 = ten_seconds(home.path(), "a.mp3", &[]);
        let opus = ten_seconds(home.path(), "opus.ogg", &["-c:a", "libopus"]);
        let vorbis = ten_seconds(home.path(), "a.ogg", &["-c:a", "libvorbis"]);
        let junk = |length: usize| (0..length).map(|at| (at * 7 % 251) as u8).collect::<Vec<u8>>();
        let id3 = [b"TAG".as_slice(), &[b' '; 125]].concat();
        for (what, bytes, ms) in [
            ("recorded live", live.clone(), 10_000),
            ("recorded live, half of it", live[..live.len() / 2].to_vec(), 5_000),
            ("cut out of a stream", live[1_000..].to_vec(), 10_000),
            ("behind what is no sound", [junk(3_000), live.clone()].concat(), 10_000),
            ("behind zeros, with a count", [vec![0; 2_000], mp3.clone()].concat(), 10_000),
            ("a tag behind", [mp3.clone(), id3].concat(), 10_000),
            ("a last frame that is damaged", [&mp3[..mp3.len() - 300], &[0; 300]].concat(), 10_000),
            ("two in one", [mp3.clone(), mp3].concat(), 20_000),
            ("junk behind Opus", [opus, junk(1_000)].concat(), 10_000),
            ("junk behind Vorbis", [vorbis, junk(1_000)].concat(), 10_000),
        ] {
            let facts = probe(write(home.path(), "odd", &bytes)).await;
            let facts = facts.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(facts.duration_ms.abs_diff(ms) <= 80, "{what}: {facts:?}");
        }
    }

    #[tokio::test]
    async fn a_wav_from_a_pipe_has_the_length_that_is_there() {
        let home = tempfile::tempdir().unwrap();
        let mut wav = Chord::seconds(2).wav();
        for unknown in [u32::MAX, 1 << 31, i32::MAX as u32 - 36] {
            wav[4..8].copy_from_slice(&unknown.saturating_add(36).to_le_bytes());
            wav[40..44].copy_from_slice(&unknown.to_le_bytes());
            let facts = probe(write(home.path(), "a.wav", &wav)).await.unwrap();
            assert_eq!(facts.duration_ms, 2_000, "{unknown:x}");
        }
    }

    #[tokio::test]
    async fn a_flac_with_a_tag_before_it_is_one() {
        let home = tempfile::tempdir().unwrap();
        let flac = ten_seconds(home.path(), "a.flac", &[]);
        let tagged = [b"ID3\x04\0\0\0\0\x01\x02".as_slice(), &[0; 130], &flac].concat();
        let twice = [b"ID3\x03\0\0\0\0\0\x04four".as_slice(), &tagged].concat();
        for tagged in [tagged, twice] {
            let facts = probe(write(home.path(), "tagged.flac", &tagged)).await.unwrap();
            assert_eq!((facts.format, facts.duration_ms), (AudioFormat::Flac, 10_000));
        }
    }

    #[tokio::test]
    async fn what_holds_no_sound_is_named() {
        let home = tempfile::tempdir().unwrap();
        let silent = Chord { frames: 0, ..Chord::seconds(0) }.wav();
        let silent = probe(write(home.path(), "0.wav", &silent)).await;
        assert!(matches!(silent, Err(ProbeError::ZeroLength)), "{silent:?}");
        let blink = Chord { frames: 4_000, ..Chord::seconds(0) }.wav();
        let blink = probe(write(home.path(), "blink.wav", &blink)).await;
        assert!(matches!(blink, Err(ProbeError::TooShort { .. })), "{blink:?}");
        let mut wav = Chord::seconds(1).wav();
        wav[20] = 0x55;
        let mp3_in_wav = probe(write(home.path(), "mp3.wav", &wav)).await;
        assert!(matches!(mp3_in_wav, Err(ProbeError::UnsupportedCodec)), "{mp3_in_wav:?}");
        let page = probe(write(home.path(), "page.wav", b"<!doctype html>")).await;
        assert!(matches!(page, Err(ProbeError::NoAudio)), "{page:?}");
        let stub = &Chord::seconds(1).wav()[..20];
        let stub = probe(write(home.path(), "stub.wav", stub)).await;
        assert!(matches!(stub, Err(ProbeError::HeaderTruncated)), "{stub:?}");
        let absent = probe(home.path().join("absent")).await;
        assert!(matches!(&absent, Err(error) if error.is_transient()), "{absent:?}");

        let film = home.path().join("film.m4a");
        let made = Command::new("ffmpeg")
            .args(["-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", "color=s=16x16:d=1"])
            .args(["-c:v", "mpeg4", "-f", "mp4"])
            .arg(&film)
            .status();
        assert!(made.unwrap().success());
        let film = probe(film).await;
        assert!(matches!(film, Err(ProbeError::NoAudio)), "{film:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever a header says: the probe answers, and what it accepts can be a track.
        #[test]
        fn a_damaged_header_is_answered(
            format in 0..3_usize,
            damage in prop::collection::vec((0..200_usize, any::<u8>()), 1..8),
        ) {
            let chord = Chord { frames: 6_000, ..Chord::seconds(0) };
            let mut bytes = chord.wav();
            match format {
                0 => {}
                1 => bytes.splice(0..44, *b"fLaC\0\0\0\x22").for_each(drop),
                _ => bytes.splice(0..44, *b"\0\0\0\x1cftypM4A \0\0\0\0").for_each(drop),
            }
            for (at, byte) in damage {
                bytes[at] = byte;
            }
            let home = tempfile::tempdir().unwrap();
            let path = write(home.path(), "damaged", &bytes);
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().unwrap();
            if let Ok(facts) = runtime.block_on(probe(path)) {
                prop_assert!(facts.channels > 0 && facts.sample_rate_hz > 0, "{facts:?}");
                prop_assert!(facts.duration_ms <= DURATION_MS_MAX, "{facts:?}");
            }
        }
    }
}
