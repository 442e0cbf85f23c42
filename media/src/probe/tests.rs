//! Masters of every format, whole, cut, damaged, and odd.

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
