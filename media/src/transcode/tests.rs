//! Transcodes with the real `ffmpeg`: what streams is what was sent.

mod damage;
mod failures;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, stream};
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::hls::{HlsFile, list_hls};
use crate::probe::AudioCodec;
use crate::prober::tests::prober;
use crate::sample_audio::{Chord, rms};
use crate::sniff::AudioFormat;
use crate::storage::{ByteRange, FileStorage};

/// How long something that must happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The samples of one AAC frame, and those that an encoder puts before the first.
const AAC_FRAME: usize = 1_024;

struct Studio {
    home: TempDir,
    storage: Arc<FileStorage>,
}

impl Studio {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let storage = Arc::new(FileStorage::open(home.path().join("objects")).unwrap());
        Self { home, storage }
    }

    fn transcoder(&self, ffmpeg: Ffmpeg, limits: TranscodeLimits) -> Transcoder {
        let scratch = Scratch::open(self.home.path().join("scratch")).unwrap();
        Transcoder::new(ffmpeg, self.storage.clone(), scratch, limits)
    }

    /// Probes and transcodes a master of two seconds.
    async fn assert_streams(&self, master: Vec<u8>, name: &str) {
        let duration_ms = self.stream(master, name).await;
        assert!(duration_ms.abs_diff(2_000) <= 1, "{name}: {duration_ms} ms");
    }

    /// Probes and transcodes a master, and tells how long it plays by its probe, in milliseconds.
    async fn stream(&self, master: Vec<u8>, name: &str) -> u64 {
        let master = self.put_master(master).await;
        let facts = prober().probe_object(self.storage.as_ref(), &master).await;
        let facts = facts.unwrap_or_else(|error| panic!("{name}: {error}"));
        let package = self.real().await.to_hls(media(), &master, &facts).await;
        let package = package.unwrap_or_else(|error| panic!("{name}: {error}"));
        let off_ms = package.duration_ms.abs_diff(facts.duration_ms);
        assert!(off_ms <= 100, "{name}: off by {off_ms} ms");
        facts.duration_ms
    }

    async fn real(&self) -> Transcoder {
        self.transcoder(Ffmpeg::locate().await.unwrap(), TranscodeLimits::default())
    }

    /// A program in the place of `ffmpeg` that answers for its version, then runs this script.
    async fn impostor(&self, script: &str) -> Ffmpeg {
        let program = self.home.path().join("impostor");
        let version = "[ \"$1\" = -version ] && echo 'ffmpeg version 0-impostor x' && exit 0";
        fs::write(&program, format!("#!/bin/sh\n{version}\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        // A test beside this one that forks just now may still hold the file open for writing.
        let begun = Instant::now();
        loop {
            match Ffmpeg::at(&program).await {
                Ok(ffmpeg) => return ffmpeg,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
            }
        }
    }

    async fn put_master(&self, bytes: Vec<u8>) -> ObjectKey {
        let key = ObjectKey::new("masters/one").unwrap();
        let body = stream::iter([Ok(Bytes::from(bytes))]).boxed();
        self.storage.put(&key, body).await.unwrap();
        key
    }

    async fn read(&self, file: &HlsFile) -> Bytes {
        let reader = self.storage.get(&file.key(media()), ByteRange::Whole).await.unwrap();
        reader.bytes(u64::MAX).await.unwrap()
    }

    /// Decodes the init segment and the segments, put one behind the other, to samples.
    async fn decode(&self, package: &HlsPackage) -> Vec<i16> {
        decode(&self.joined(package).await)
    }

    /// The init segment and the segments, put one behind the other in one file.
    async fn joined(&self, package: &HlsPackage) -> PathBuf {
        let stream = self.home.path().join("stream.mp4");
        let mut sound = Vec::new();
        for file in &package.files {
            if matches!(file, HlsFile::Init { .. } | HlsFile::Segment { .. }) {
                sound.extend_from_slice(&self.read(file).await);
            }
        }
        fs::write(&stream, sound).unwrap();
        stream
    }

    fn assert_scratch_is_empty(&self) {
        assert_eq!(fs::read_dir(self.home.path().join("scratch")).unwrap().count(), 0);
    }
}

/// What `ffmpeg` plays of a file, as samples.
fn decode(path: &Path) -> Vec<i16> {
    let pairs = decoded(path, "s16le");
    pairs.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// The loudest that a file is, in decibels of what samples can hold; decoded so that nothing clips.
fn peak_db(path: &Path) -> f64 {
    let samples = decoded(path, "f32le");
    let samples =
        samples.chunks_exact(4).map(|it| f32::from_le_bytes([it[0], it[1], it[2], it[3]]));
    20.0 * f64::from(samples.fold(0.0, |peak: f32, sample| peak.max(sample.abs()))).log10()
}

/// What `ffmpeg` plays of a file, in this format.
fn decoded(path: &Path, format: &str) -> Vec<u8> {
    let decoded = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-i"])
        .arg(path)
        .args(["-f", format, "-"])
        .output()
        .unwrap();
    assert!(decoded.status.success(), "{}", String::from_utf8_lossy(&decoded.stderr));
    decoded.stdout
}

fn media() -> MediaId {
    MediaId::from(Uuid::from_u128(7))
}

fn facts(duration_ms: u64) -> AudioFacts {
    AudioFacts {
        duration_ms,
        format: AudioFormat::Wav,
        codec: AudioCodec::Pcm,
        sample_rate_hz: 44_100,
        channels: 2,
        bits_per_sample: Some(16),
        pcm: None,
    }
}

/// The master and what is streamed of it play equally long and equally loud.
async fn assert_sounds_alike(chord: Chord) {
    assert_sounds_as(&chord, chord.wav()).await;
}

/// The same of a master that has the samples of a chord in whatever way.
async fn assert_sounds_as(chord: &Chord, master: Vec<u8>) {
    let studio = Studio::new();
    let master = studio.put_master(master).await;
    let facts = prober().probe_object(studio.storage.as_ref(), &master).await.unwrap();
    let package = studio.real().await.to_hls(media(), &master, &facts).await.unwrap();
    let (sent, streamed) = (chord.samples(), studio.decode(&package).await);

    let off_frames = streamed.len().abs_diff(sent.len()) / usize::from(chord.channels);
    assert!(off_frames <= 2 * AAC_FRAME, "off by {off_frames} samples a channel");
    // The padding, already bounded above, is silent: loudness is over what was sent.
    let frames = sent.len();
    let (loud, streamed_loud) = (rms(&sent, frames), rms(&streamed, frames));
    assert!((streamed_loud / loud - 1.0).abs() < 0.05, "{loud} became {streamed_loud}");
    let off_ms = package.duration_ms.abs_diff(facts.duration_ms);
    assert!(off_ms <= 60, "the playlist is off by {off_ms} ms");
    // A player that follows the playlists from the master on hears the same.
    let objects = studio.home.path().join("objects");
    let followed = decode(&objects.join(HlsFile::Master.key(media()).as_str()));
    assert!(followed == streamed, "{} samples, not {}", followed.len(), streamed.len());
    studio.assert_scratch_is_empty();
}

#[tokio::test]
async fn stereo_streams_as_it_was_sent() {
    assert_sounds_alike(Chord::seconds(10)).await;
}

#[tokio::test]
async fn mono_at_another_rate_streams_as_it_was_sent() {
    assert_sounds_alike(Chord { sample_rate_hz: 48_000, channels: 1, frames: 48_000 * 5 }).await;
}

/// Given samples of fewer bits than they have room for, then they sound as they are.
#[tokio::test]
async fn samples_with_room_to_spare_stream_as_they_were_sent() {
    const KIND: &[u8] = b"\x01\0\0\0\0\0\x10\0\x80\0\0\xAA\0\x38\x9B\x71";
    let chord = Chord::seconds(2);
    for (valid_bits, room_bytes) in [(24_u16, 4_u16), (20, 4), (16, 4), (16, 3)] {
        let plain = chord.wav();
        let mut wav = plain[..20].to_vec();
        let (pad, frame_bytes) = (usize::from(room_bytes - 2), room_bytes * chord.channels);
        wav[16..20].copy_from_slice(&40_u32.to_le_bytes());
        wav.extend_from_slice(b"\xFE\xFF");
        wav.extend_from_slice(&plain[22..28]);
        wav.extend_from_slice(&(chord.sample_rate_hz * u32::from(frame_bytes)).to_le_bytes());
        for number in [frame_bytes, room_bytes * 8, 22, valid_bits, 3, 0] {
            wav.extend_from_slice(&number.to_le_bytes());
        }
        wav.extend_from_slice(KIND);
        let sound = chord.samples();
        wav.extend_from_slice(b"data");
        let bytes = u32::try_from(sound.len()).unwrap() * u32::from(room_bytes);
        wav.extend_from_slice(&bytes.to_le_bytes());
        for sample in sound {
            wav.resize(wav.len() + pad, 0);
            wav.extend_from_slice(&sample.to_le_bytes());
        }
        let riff = u32::try_from(wav.len() - 8).unwrap();
        wav[4..8].copy_from_slice(&riff.to_le_bytes());
        assert_sounds_as(&chord, wav).await;
    }
}

#[tokio::test]
async fn a_blink_of_sound_streams_too() {
    assert_sounds_alike(Chord { frames: 9_000, ..Chord::seconds(0) }).await;
}

#[tokio::test]
async fn loud_surround_is_mixed_down_without_clipping() {
    let chord = Chord { channels: 6, ..Chord::seconds(2) };
    let mono = Chord { channels: 1, ..chord }.samples();
    let loudest = mono.iter().map(|sample| sample.unsigned_abs()).max().unwrap();
    // The same in all channels, 1 dB below the most that there is.
    let gain = 0.89 * f64::from(i16::MAX) / f64::from(loudest);
    let mut master = chord.wav();
    for (frame, sample) in master[44..].chunks_exact_mut(12).zip(mono) {
        let sample = ((f64::from(sample) * gain) as i16).to_le_bytes();
        frame.copy_from_slice(&sample.repeat(6));
    }
    let studio = Studio::new();
    let sent = studio.home.path().join("sent.wav");
    fs::write(&sent, &master).unwrap();
    let master = studio.put_master(master).await;
    let facts = prober().probe_object(studio.storage.as_ref(), &master).await.unwrap();
    assert_eq!(facts.channels, 6);
    let package = studio.real().await.to_hls(media(), &master, &facts).await.unwrap();
    let (sent, streamed) = (peak_db(&sent), peak_db(&studio.joined(&package).await));
    assert!((-3.0..=1.0).contains(&(streamed - sent)), "{sent} dB became {streamed} dB");
}

#[tokio::test]
async fn a_package_is_complete_and_its_playlists_fit() {
    let studio = Studio::new();
    let master = studio.put_master(Chord::seconds(10).wav()).await;
    let package = studio.real().await.to_hls(media(), &master, &facts(10_000)).await.unwrap();

    let names: Vec<_> = package.files.iter().map(HlsFile::to_string).collect();
    let expected = [
        "master.m3u8",
        "aac-128/playlist.m3u8",
        "aac-128/init.mp4",
        "aac-128/segment-00000.m4s",
        "aac-128/segment-00001.m4s",
        "aac-128/segment-00002.m4s",
    ];
    assert_eq!(names, expected);
    let mut stored = list_hls(studio.storage.as_ref(), media()).await.unwrap();
    let mut files = package.files.clone();
    stored.sort();
    files.sort();
    assert_eq!(stored, files);

    let text = String::from_utf8(studio.read(&HlsFile::Master).await.to_vec()).unwrap();
    assert!(text.lines().any(|line| line == "aac-128/playlist.m3u8"), "{text}");
    let rendition = &package.renditions[0];
    assert!(text.contains(&format!("BANDWIDTH={},", rendition.peak_bps)), "{text}");
    assert!((100_000..200_000).contains(&rendition.average_bps), "{rendition:?}");
    assert!(rendition.peak_bps >= rendition.average_bps);

    let playlist = HlsFile::Playlist { rendition: "aac-128".to_owned() };
    let text = String::from_utf8(studio.read(&playlist).await.to_vec()).unwrap();
    assert!(text.contains("#EXT-X-PLAYLIST-TYPE:VOD"), "{text}");
    let parsed = crate::hls::MediaPlaylist::parse(&text).unwrap();
    for segment in &parsed.segments[..2] {
        assert!(segment.duration_us.abs_diff(4_000_000) < 50_000, "{segment:?}");
    }
}

#[tokio::test]
async fn repeating_writes_the_same_and_removes_what_is_over() {
    let studio = Studio::new();
    let transcoder = studio.real().await;
    let long = studio.put_master(Chord::seconds(9).wav()).await;
    let first = transcoder.to_hls(media(), &long, &facts(9_000)).await.unwrap();
    let segment = HlsFile::Segment { rendition: "aac-128".to_owned(), index: 1 };
    let before = (studio.read(&HlsFile::Master).await, studio.read(&segment).await);
    let again = transcoder.to_hls(media(), &long, &facts(9_000)).await.unwrap();
    assert_eq!(again, first);
    let after = (studio.read(&HlsFile::Master).await, studio.read(&segment).await);
    assert!(after == before, "the same master gives the same bytes");

    let short = studio.put_master(Chord::seconds(3).wav()).await;
    let shorter = transcoder.to_hls(media(), &short, &facts(3_000)).await.unwrap();
    let stored = list_hls(studio.storage.as_ref(), media()).await.unwrap();
    assert!(shorter.files.len() < first.files.len());
    assert_eq!(stored.len(), shorter.files.len());
}

#[tokio::test]
async fn every_format_can_be_transcoded() {
    let studio = Studio::new();
    let wav = studio.home.path().join("a.wav");
    fs::write(&wav, Chord::seconds(2).wav()).unwrap();
    for name in ["a.flac", "a.mp3", "a.ogg", "a.aiff", "a.m4a"] {
        let converted = studio.home.path().join(name);
        let made = std::process::Command::new("ffmpeg")
            .args(["-nostdin", "-loglevel", "error", "-i"])
            .args([&wav, &converted])
            .status();
        assert!(made.unwrap().success());
        let mut masters = vec![fs::read(converted).unwrap()];
        // Some programs put a tag of MP3 before a FLAC, or two.
        if name == "a.flac" {
            let tag = b"ID3\x03\0\0\0\0\0\x04four".as_slice();
            masters.push([tag, &masters[0]].concat());
            masters.push([tag, tag, &masters[0]].concat());
        }
        for master in masters {
            studio.assert_streams(master, name).await;
        }
    }
    // What is in a container more rarely.
    for (name, coder) in [
        ("u8.aiff", "pcm_u8"),
        ("law.wav", "pcm_alaw"),
        ("opus.mp4", "libopus"),
        ("flac.mp4", "flac"),
        ("mp3.mp4", "libmp3lame"),
    ] {
        let converted = studio.home.path().join(name);
        let made = std::process::Command::new("ffmpeg")
            .args(["-nostdin", "-loglevel", "error", "-i"])
            .arg(&wav)
            .args(["-c:a", coder, "-strict", "-2"])
            .arg(&converted)
            .status();
        assert!(made.unwrap().success(), "{name}");
        studio.assert_streams(fs::read(converted).unwrap(), name).await;
    }
    // A recorder that was not stopped.
    let mut endless = Chord::seconds(2).wav();
    endless[4..8].fill(0);
    endless[40..44].fill(0);
    studio.assert_streams(endless, "endless.wav").await;
    // Loudspeakers that no pair of channels has: those at the sides.
    let sides = with_loudspeakers(&Chord::seconds(2).wav(), 0x600);
    studio.assert_streams(sides, "sides.wav").await;
}

#[tokio::test]
async fn what_is_merely_odd_is_transcoded_too() {
    let studio = Studio::new();
    let made = |from: &str, name: &str, options: &[&str]| {
        let [from, name] = [from, name].map(|name| studio.home.path().join(name));
        let mut ffmpeg = std::process::Command::new("ffmpeg");
        ffmpeg.args(["-nostdin", "-loglevel", "error", "-i"]).arg(from).args(options).arg(&name);
        assert!(ffmpeg.status().unwrap().success(), "{}", name.display());
        fs::read(name).unwrap()
    };
    let wav = Chord::seconds(5).wav();
    fs::write(studio.home.path().join("a.wav"), &wav).unwrap();
    let tag = b"ID3\x03\0\0\0\0\0\x04four".as_slice();
    let tail = [b"TAG".as_slice(), &[b' '; 125]].concat();
    let vorbis = made("a.wav", "a.ogg", &["-c:a", "libvorbis"]);
    made("a.wav", "a.opus", &["-c:a", "libopus"]);
    let quad = ["-af", "aformat=channel_layouts=quad"];
    for (what, master) in [
        ("a tag before a WAV", [tag, &wav].concat()),
        ("a tag before an AIFF", [tag, &made("a.wav", "a.aiff", &[])].concat()),
        ("a tag before an Ogg", [tag, &vorbis].concat()),
        ("a tail behind a FLAC", [made("a.wav", "a.flac", &[]), tail.clone()].concat()),
        ("a tail behind an M4A", [made("a.wav", "a.m4a", &[]), tail].concat()),
        ("AAC of six channels", made("a.wav", "6.m4a", &["-ac", "6"])),
        ("AAC that lists its channels", made("a.wav", "4.m4a", &quad)),
        ("cut out of Vorbis", made("a.ogg", "cut.ogg", &["-ss", "1.5", "-c", "copy"])),
        ("cut out of Opus", made("a.opus", "cut.opus", &["-ss", "1.5", "-c", "copy"])),
    ] {
        let duration_ms = studio.stream(master, what).await;
        assert!((3_400..=5_010).contains(&duration_ms), "{what}: {duration_ms} ms");
    }
}

/// The same WAV of two channels in the extensible format, whose header names loudspeakers.
fn with_loudspeakers(wav: &[u8], mask: u32) -> Vec<u8> {
    const PCM: &[u8] = b"\x01\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71";
    let mut format = [b"\xfe\xff", &wav[22..36], b"\x16\0\x10\0"].concat();
    format.extend(mask.to_le_bytes());
    format.extend(PCM);
    let whole = u32::try_from(wav.len() + format.len() - 24).unwrap();
    let length = u32::try_from(format.len()).unwrap();
    let head = [b"RIFF", &whole.to_le_bytes()[..], b"WAVEfmt ", &length.to_le_bytes()].concat();
    [&head, &format, &wav[36..]].concat()
}

#[tokio::test]
async fn a_master_that_is_no_sound_fails_with_a_reason() {
    let studio = Studio::new();
    let master = studio.put_master(b"RIFF\x24\0\0\0WAVEno sound at all".to_vec()).await;
    let failed = studio.real().await.to_hls(media(), &master, &facts(1_000)).await;
    let error = failed.unwrap_err();
    assert!(matches!(&error, TranscodeError::Failed { reason } if !reason.is_empty()), "{error}");
    assert!(!error.is_transient() && !error.to_string().contains('\n'), "{error}");
    let told = error.to_string();
    let home = studio.home.path().to_string_lossy();
    assert!(
        told.contains("the master") && !told.contains(&*home) && !told.contains("0x"),
        "{told}"
    );
    assert_eq!(list_hls(studio.storage.as_ref(), media()).await.unwrap(), []);
    studio.assert_scratch_is_empty();

    let absent = ObjectKey::new("masters/absent").unwrap();
    let error = studio.real().await.to_hls(media(), &absent, &facts(1_000)).await.unwrap_err();
    assert!(matches!(error, TranscodeError::Storage(StorageError::NotFound { .. })));
}

#[tokio::test]
async fn a_master_cannot_reach_other_files() {
    let studio = Studio::new();
    let secret = studio.home.path().join("objects/masters/secret.wav");
    fs::create_dir_all(secret.parent().unwrap()).unwrap();
    fs::write(&secret, Chord::seconds(2).wav()).unwrap();
    // Left to guess, `ffmpeg` follows such a list to the files beside it.
    let list = "ffconcat version 1.0\nfile secret.wav\n";
    let master = studio.put_master(list.as_bytes().to_vec()).await;
    let refused = studio.real().await.to_hls(media(), &master, &facts(2_000)).await;
    assert!(matches!(refused, Err(TranscodeError::Failed { .. })), "{refused:?}");
}
