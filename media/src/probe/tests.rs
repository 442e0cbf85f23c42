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
        pcm: Some("pcm_s16le".to_owned()),
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
async fn aac_of_many_channels_is_measured() {
    let home = tempfile::tempdir().unwrap();
    let wav = write(home.path(), "a.wav", &Chord::seconds(3).wav());
    for (layout, channels) in [("mono", 1), ("5.1", 6), ("quad", 4), ("6.1", 7), ("7.1", 8)] {
        let filter = format!("aformat=channel_layouts={layout}");
        let facts = probe(convert(&wav, "a.m4a", &["-c:a", "aac", "-af", &filter])).await;
        let facts = facts.unwrap_or_else(|error| panic!("{layout}: {error}"));
        assert_eq!((facts.codec, facts.channels), (AudioCodec::Aac, channels), "{layout}");
        assert!(facts.duration_ms.abs_diff(3_000) <= 1, "{layout}: {facts:?}");
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

/// Given a FLAC of a program that could not know how long it becomes, when parts of it are damaged
/// or missing, then its frames' own numbers tell.
#[tokio::test]
async fn a_flac_that_counts_no_samples_is_whole_or_says_what_is_wrong() {
    let home = tempfile::tempdir().unwrap();
    let mut whole = ten_seconds(home.path(), "a.flac", &[]);
    whole[21] &= 0xF0;
    whole[22..26].fill(0);
    let told = async |bytes: &[u8]| {
        let answer = probe(write(home.path(), "piped.flac", bytes)).await;
        answer.map(|facts| facts.duration_ms).map_err(|error| error.to_string())
    };
    assert_eq!(told(&whole).await, Ok(10_000));
    let twice = [whole.as_slice(), &whole].concat();
    assert!(told(&twice).await.is_err_and(|told| told.contains("several recordings")));
    let half = whole.len() / 2;
    assert!(told(&whole[..half]).await.is_err_and(|told| told.contains("is cut short")));
    let lacking = [&whole[..half], &whole[half + 3_000..]].concat();
    let mut zeroed = whole.clone();
    zeroed[half..half + 3_000].fill(0);
    let mut headless = whole.clone();
    headless[9_000..half].fill(0);
    let mut flipped = whole.clone();
    flipped[9_000] ^= 1;
    for damaged in [lacking, zeroed, headless, flipped] {
        let told = told(&damaged).await;
        assert!(told.as_ref().is_err_and(|told| told.contains("damaged")), "{told:?}");
    }
}

#[tokio::test]
async fn a_cut_file_says_how_much_is_there() {
    let home = tempfile::tempdir().unwrap();
    let whole = Chord::seconds(2).wav();
    let cut = write(home.path(), "cut.wav", &whole[..44 + (whole.len() - 44) / 2]);
    let error = probe(&cut).await.unwrap_err();
    let told = "the file is cut short, or damaged within: 1000 of 2000 ms are there";
    assert_eq!(error.to_string(), told);
    let nearly = write(home.path(), "nearly.wav", &whole[..whole.len() - 4 * 441]);
    let error = probe(&nearly).await.unwrap_err();
    let nearly_whole = matches!(error, ProbeError::Truncated { found_ms: 1_990, .. });
    assert!(nearly_whole, "{error:?}");
    let aiff = convert(&write(home.path(), "a.wav", &whole), "a.aiff", &[]);
    for whole in [whole.clone(), std::fs::read(aiff).unwrap()] {
        let cut = write(home.path(), "cut", &whole[..whole.len() - 1]);
        let told = probe(cut).await.unwrap_err().to_string();
        assert_eq!(told, "the file is cut short, or damaged within: 1999 of 2000 ms are there");
    }

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

/// What programs and accidents leave behind a file.
fn tails() -> Vec<(&'static str, Vec<u8>)> {
    let id3 = [b"TAG".as_slice(), &[b' '; 125]].concat();
    let ape = [b"APETAGEX\xd0\x07\0\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".as_slice(); 2].concat();
    let random = (0..4_096_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    vec![
        ("a byte", b"\n".to_vec()),
        ("three zeros", vec![0; 3]),
        ("an ID3v1 tag", id3),
        ("an APEv2 tag", ape),
        ("zeros", vec![0; 4_096]),
        ("random bytes", random),
    ]
}

#[tokio::test]
async fn what_is_behind_a_whole_file_costs_no_sound() {
    let home = tempfile::tempdir().unwrap();
    for (name, options) in [
        ("a.flac", &[][..]),
        ("piped.flac", &[]),
        ("loud.flac", &["-af", "volume=20dB,acrusher=bits=3:mix=1"]),
        ("a.m4a", &["-c:a", "aac"]),
        ("first.m4a", &["-c:a", "aac", "-movflags", "+faststart"]),
        ("fragments.m4a", &["-c:a", "aac", "-movflags", "+frag_keyframe+empty_moov"]),
        ("alac.m4a", &["-c:a", "alac"]),
        ("a.aiff", &[]),
        ("a.wav", &[]),
    ] {
        let mut whole = ten_seconds(home.path(), name, options);
        if name == "piped.flac" {
            // Whoever writes to a pipe leaves the count of samples empty, 36 bits of it.
            whole[21] &= 0xF0;
            whole[22..26].fill(0);
        }
        let expected = probe(write(home.path(), "whole", &whole)).await.unwrap();
        for (what, tail) in tails() {
            let bytes = [whole.as_slice(), &tail].concat();
            let facts = probe(write(home.path(), "odd", &bytes)).await;
            let facts = facts.unwrap_or_else(|error| panic!("{name} with {what}: {error}"));
            assert_eq!(facts, expected, "{name} with {what}");
        }
    }
}

#[tokio::test]
async fn a_cut_file_is_one_whatever_is_behind_it() {
    let home = tempfile::tempdir().unwrap();
    for (name, options) in [
        ("a.flac", &[][..]),
        ("a.m4a", &["-c:a", "aac"]),
        ("first.m4a", &["-c:a", "aac", "-movflags", "+faststart"]),
    ] {
        let whole = ten_seconds(home.path(), name, options);
        // To begin with, all that is cut is the last frame or box, and a byte at last.
        for cut_bytes in [1, 2, 3, 40, 700, 2_000, whole.len() / 2] {
            let cut = &whole[..whole.len() - cut_bytes];
            for (what, tail) in tails().into_iter().chain([("nothing", Vec::new())]) {
                // One byte for one byte is damage, which is not looked for.
                if tail.len() < cut_bytes || name == "a.flac" {
                    let bytes = [cut, &tail].concat();
                    let answer = probe(write(home.path(), "cut", &bytes)).await;
                    let told = answer.map_err(|error| error.to_string());
                    let is_told = told.as_ref().is_err_and(|told| told.contains("is cut short"));
                    assert!(is_told, "{name} without {cut_bytes}, with {what}: {told:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_file_with_a_little_mp3_in_it_is_none() {
    let home = tempfile::tempdir().unwrap();
    let live = ten_seconds(home.path(), "live.mp3", &["-b:a", "128k", "-write_xing", "0"]);
    let random = |bytes: u32| -> Vec<u8> {
        (0..bytes).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    };
    let frames = |count: usize| live[..count * 417].to_vec();
    for (what, bytes) in [
        ("a few frames", [random(1_000), frames(5), random(50_000)].concat()),
        ("a text", [b"dear all, ".repeat(500), frames(10)].concat()),
        ("a third of zeros", [&live[..80_000], &vec![0; 40_000], &live[120_000..]].concat()),
    ] {
        let answer = probe(write(home.path(), "little", &bytes)).await;
        assert!(matches!(answer, Err(ProbeError::MostlyOther { .. })), "{what}: {answer:?}");
    }
    let short = [random(500), frames(6)].concat();
    let short = probe(write(home.path(), "short", &short)).await;
    assert!(short.is_ok(), "{short:?}");
}

#[tokio::test]
async fn what_has_sound_in_it_and_is_none_is_told_by_its_beginning() {
    let home = tempfile::tempdir().unwrap();
    let wav = write(home.path(), "a.wav", &Chord::seconds(5).wav());
    for (name, options) in [
        ("a.mpg", &["-c:a", "libmp3lame", "-f", "mpeg"][..]),
        ("a.ts", &["-c:a", "libmp3lame", "-f", "mpegts"]),
        ("a.avi", &["-c:a", "libmp3lame"]),
        ("a.mkv", &["-c:a", "libmp3lame"]),
        ("a.flv", &["-c:a", "libmp3lame"]),
    ] {
        let answer = probe(convert(&wav, name, options)).await;
        assert!(matches!(answer, Err(ProbeError::NoAudio)), "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn what_is_behind_a_tag_of_another_format_is_taken_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let tag = [b"ID3\x04\0\0\0\0\x01\x03".as_slice(), &[0; 131]].concat();
    let mut unsized_wav = Chord::seconds(10).wav();
    unsized_wav[4..8].fill(0);
    unsized_wav[40..44].fill(0);
    for (format, bytes) in [
        (AudioFormat::Wav, ten_seconds(home.path(), "a.wav", &[])),
        (AudioFormat::Wav, unsized_wav),
        (AudioFormat::Aiff, ten_seconds(home.path(), "a.aiff", &[])),
        (AudioFormat::Ogg, ten_seconds(home.path(), "a.ogg", &["-c:a", "libvorbis"])),
    ] {
        let tagged = write(home.path(), "tagged", &[tag.as_slice(), &bytes].concat());
        let facts = probe(tagged).await.unwrap_or_else(|error| panic!("{format}: {error}"));
        assert_eq!((facts.format, facts.duration_ms), (format, 10_000));
    }
}

#[tokio::test]
async fn a_damaged_ogg_is_told_as_that_wherever_it_is() {
    let home = tempfile::tempdir().unwrap();
    for (name, options) in [
        ("a.ogg", &["-c:a", "libvorbis"][..]),
        ("opus.ogg", &["-c:a", "libopus"]),
        ("flac.ogg", &["-c:a", "flac"]),
    ] {
        let whole = ten_seconds(home.path(), name, options);
        // Of the headers too, and the marks of pages among them.
        let second = 1 + whole[1..].windows(4).position(|four| four == b"OggS").unwrap();
        let headers = [second - 4, second, second + 3, second + 5, second + 20, second + 60];
        let parts = (1..20).map(|part| whole.len() * part / 20);
        for at in headers.into_iter().chain(parts) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            let answer = probe(write(home.path(), "damaged", &bytes)).await;
            let is_told = matches!(answer, Err(ProbeError::Damaged { .. }));
            assert!(is_told, "{name}, byte {at} of {}: {answer:?}", bytes.len());
        }
    }
}

#[tokio::test]
async fn an_ogg_that_was_cut_out_of_another_is_as_long_as_players_play_it() {
    let home = tempfile::tempdir().unwrap();
    let wav = write(home.path(), "ten.wav", &Chord::seconds(10).wav());
    for codec in ["libvorbis", "libopus"] {
        let whole = convert(&wav, "whole.ogg", &["-c:a", codec]);
        let cut = convert(&whole, "cut.ogg", &["-ss", "1.5", "-c", "copy"]);
        let decoded = convert(&cut, "decoded.wav", &["-c:a", "pcm_s16le"]);
        let expected = probe(&decoded).await.unwrap().duration_ms;
        let facts = probe(&cut).await.unwrap();
        assert!(facts.duration_ms.abs_diff(expected) <= 1, "{codec}: {facts:?}, {expected}");
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
    assert!(matches!(mp3_in_wav, Err(ProbeError::UnsupportedCodec { .. })), "{mp3_in_wav:?}");
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
