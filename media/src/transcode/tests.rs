//! Transcodes with the real `ffmpeg`, and with programs that misbehave in its place.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::hls::{HlsFile, list_hls};
use crate::object_key::KeyPrefix;
use crate::probe::{AudioCodec, probe_object};
use crate::sample_audio::{Chord, rms};
use crate::sniff::AudioFormat;
use crate::storage::{
    ByteRange, ByteStream, FileStorage, ListedObject, LocalFile, ObjectHead, ObjectReader,
    StoredObject,
};

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
        let key = media().master_key();
        let body = stream::iter([Ok(Bytes::from(bytes))]).boxed();
        self.storage.put(&key, body).await.unwrap();
        key
    }

    async fn read(&self, file: &HlsFile) -> Bytes {
        let reader = self
            .storage
            .get(&file.key(media()), ByteRange::Whole)
            .await
            .unwrap();
        reader.bytes(u64::MAX).await.unwrap()
    }

    /// Decodes the init segment and the segments, put one behind the other, to samples.
    async fn decode(&self, package: &HlsPackage) -> Vec<i16> {
        let stream = self.home.path().join("stream.mp4");
        let mut sound = Vec::new();
        for file in &package.files {
            if matches!(file, HlsFile::Init { .. } | HlsFile::Segment { .. }) {
                sound.extend_from_slice(&self.read(file).await);
            }
        }
        fs::write(&stream, sound).unwrap();
        decode(&stream)
    }

    fn assert_scratch_is_empty(&self) {
        assert_eq!(
            fs::read_dir(self.home.path().join("scratch"))
                .unwrap()
                .count(),
            0
        );
    }
}

/// What `ffmpeg` plays of a file, as samples.
fn decode(path: &Path) -> Vec<i16> {
    let decoded = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-i"])
        .arg(path)
        .args(["-f", "s16le", "-"])
        .output()
        .unwrap();
    assert!(
        decoded.status.success(),
        "{}",
        String::from_utf8_lossy(&decoded.stderr)
    );
    decoded
        .stdout
        .chunks_exact(2)
        .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
        .collect()
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
    }
}

/// The master and what is streamed of it play equally long and equally loud.
async fn assert_sounds_alike(chord: Chord) {
    let studio = Studio::new();
    let master = studio.put_master(chord.wav()).await;
    let facts = probe_object(studio.storage.as_ref(), &master)
        .await
        .unwrap();
    let package = studio
        .real()
        .await
        .to_hls(media(), &master, &facts)
        .await
        .unwrap();
    let (sent, streamed) = (chord.samples(), studio.decode(&package).await);

    let off_frames = streamed.len().abs_diff(sent.len()) / usize::from(chord.channels);
    assert!(
        off_frames <= 2 * AAC_FRAME,
        "off by {off_frames} samples a channel"
    );
    // The padding, already bounded above, is silent: loudness is over what was sent.
    let frames = sent.len();
    let (loud, streamed_loud) = (rms(&sent, frames), rms(&streamed, frames));
    assert!(
        (streamed_loud / loud - 1.0).abs() < 0.05,
        "{loud} became {streamed_loud}"
    );
    let off_ms = package.duration_ms.abs_diff(facts.duration_ms);
    assert!(off_ms <= 60, "the playlist is off by {off_ms} ms");
    // A player that follows the playlists from the master on hears the same.
    let objects = studio.home.path().join("objects");
    let followed = decode(&objects.join(HlsFile::Master.key(media()).as_str()));
    assert!(
        followed == streamed,
        "{} samples, not {}",
        followed.len(),
        streamed.len()
    );
    studio.assert_scratch_is_empty();
}

#[tokio::test]
async fn stereo_streams_as_it_was_sent() {
    assert_sounds_alike(Chord::seconds(10)).await;
}

#[tokio::test]
async fn mono_at_another_rate_streams_as_it_was_sent() {
    assert_sounds_alike(Chord {
        sample_rate_hz: 48_000,
        channels: 1,
        frames: 48_000 * 5,
    })
    .await;
}

#[tokio::test]
async fn a_blink_of_sound_streams_too() {
    assert_sounds_alike(Chord {
        frames: 9_000,
        ..Chord::seconds(0)
    })
    .await;
}

#[tokio::test]
async fn a_package_is_complete_and_its_playlists_fit() {
    let studio = Studio::new();
    let master = studio.put_master(Chord::seconds(10).wav()).await;
    let package = studio
        .real()
        .await
        .to_hls(media(), &master, &facts(10_000))
        .await
        .unwrap();

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
    assert!(
        text.lines().any(|line| line == "aac-128/playlist.m3u8"),
        "{text}"
    );
    let rendition = &package.renditions[0];
    assert!(
        text.contains(&format!("BANDWIDTH={},", rendition.peak_bps)),
        "{text}"
    );
    assert!(
        (100_000..200_000).contains(&rendition.average_bps),
        "{rendition:?}"
    );
    assert!(rendition.peak_bps >= rendition.average_bps);

    let playlist = HlsFile::Playlist {
        rendition: "aac-128".to_owned(),
    };
    let text = String::from_utf8(studio.read(&playlist).await.to_vec()).unwrap();
    assert!(text.contains("#EXT-X-PLAYLIST-TYPE:VOD"), "{text}");
    let parsed = crate::hls::MediaPlaylist::parse(&text).unwrap();
    for segment in &parsed.segments[..2] {
        assert!(
            segment.duration_us.abs_diff(4_000_000) < 50_000,
            "{segment:?}"
        );
    }
}

#[tokio::test]
async fn repeating_writes_the_same_and_removes_what_is_over() {
    let studio = Studio::new();
    let transcoder = studio.real().await;
    let long = studio.put_master(Chord::seconds(9).wav()).await;
    let first = transcoder
        .to_hls(media(), &long, &facts(9_000))
        .await
        .unwrap();
    let segment = HlsFile::Segment {
        rendition: "aac-128".to_owned(),
        index: 1,
    };
    let before = (
        studio.read(&HlsFile::Master).await,
        studio.read(&segment).await,
    );
    let again = transcoder
        .to_hls(media(), &long, &facts(9_000))
        .await
        .unwrap();
    assert_eq!(again, first);
    let after = (
        studio.read(&HlsFile::Master).await,
        studio.read(&segment).await,
    );
    assert!(after == before, "the same master gives the same bytes");

    let short = studio.put_master(Chord::seconds(3).wav()).await;
    let shorter = transcoder
        .to_hls(media(), &short, &facts(3_000))
        .await
        .unwrap();
    let stored = list_hls(studio.storage.as_ref(), media()).await.unwrap();
    assert!(shorter.files.len() < first.files.len());
    assert_eq!(stored.len(), shorter.files.len());
}

/// A storage whose disk is full after so many puts.
struct FillingUp {
    inner: Arc<FileStorage>,
    puts_left: AtomicUsize,
}

#[async_trait]
impl ObjectStorage for FillingUp {
    async fn put(&self, key: &ObjectKey, body: ByteStream) -> Result<StoredObject, StorageError> {
        let left = |left: usize| left.checked_sub(1);
        match self
            .puts_left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, left)
        {
            Ok(_) => self.inner.put(key, body).await,
            Err(_) => Err(StorageError::Full),
        }
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<ObjectReader, StorageError> {
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectHead, StorageError> {
        self.inner.head(key).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StorageError> {
        self.inner.delete(key).await
    }

    async fn list(
        &self,
        prefix: &KeyPrefix,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ListedObject>, StorageError> {
        self.inner.list(prefix, after, limit).await
    }

    async fn local_file(&self, key: &ObjectKey) -> Result<LocalFile, StorageError> {
        self.inner.local_file(key).await
    }
}

#[tokio::test]
async fn a_disk_that_fills_up_leaves_no_master_playlist() {
    let studio = Studio::new();
    let master = studio.put_master(Chord::seconds(5).wav()).await;
    // An init segment, two segments, a playlist; the fifth put is the master playlist.
    for puts in 0..5 {
        let inner = studio.storage.clone();
        let full = Arc::new(FillingUp {
            inner,
            puts_left: AtomicUsize::new(puts),
        });
        let scratch = Scratch::open(studio.home.path().join("scratch")).unwrap();
        let ffmpeg = Ffmpeg::locate().await.unwrap();
        let transcoder = Transcoder::new(ffmpeg, full, scratch, TranscodeLimits::default());
        let error = transcoder
            .to_hls(media(), &master, &facts(5_000))
            .await
            .unwrap_err();
        assert!(
            matches!(&error, TranscodeError::Storage(StorageError::Full)),
            "{error:?}"
        );
        assert!(error.is_transient());
        let stored = list_hls(studio.storage.as_ref(), media()).await.unwrap();
        assert!(
            !stored.contains(&HlsFile::Master),
            "after {puts} puts: {stored:?}"
        );
    }
    let package = studio
        .real()
        .await
        .to_hls(media(), &master, &facts(5_000))
        .await
        .unwrap();
    assert_eq!(package.files.len(), 5);
}

#[tokio::test]
async fn every_format_can_be_transcoded() {
    let studio = Studio::new();
    let transcoder = studio.real().await;
    let wav = studio.home.path().join("a.wav");
    fs::write(&wav, Chord::seconds(2).wav()).unwrap();
    for name in ["a.flac", "a.mp3", "a.ogg", "a.aiff", "a.m4a"] {
        let converted = studio.home.path().join(name);
        let made = std::process::Command::new("ffmpeg")
            .args(["-nostdin", "-loglevel", "error", "-i"])
            .args([&wav, &converted])
            .status();
        assert!(made.unwrap().success());
        let master = studio.put_master(fs::read(converted).unwrap()).await;
        let facts = probe_object(studio.storage.as_ref(), &master)
            .await
            .unwrap();
        let package = transcoder.to_hls(media(), &master, &facts).await;
        assert!(package.is_ok(), "{name}: {package:?}");
    }
}

#[tokio::test]
async fn a_master_that_is_no_sound_fails_with_a_reason() {
    let studio = Studio::new();
    let master = studio
        .put_master(b"RIFF\x24\0\0\0WAVEno sound at all".to_vec())
        .await;
    let failed = studio
        .real()
        .await
        .to_hls(media(), &master, &facts(1_000))
        .await;
    let error = failed.unwrap_err();
    assert!(
        matches!(&error, TranscodeError::Failed { reason } if !reason.is_empty()),
        "{error}"
    );
    assert!(
        !error.is_transient() && !error.to_string().contains('\n'),
        "{error}"
    );
    assert_eq!(
        list_hls(studio.storage.as_ref(), media()).await.unwrap(),
        []
    );
    studio.assert_scratch_is_empty();

    let absent = ObjectKey::new("masters/absent").unwrap();
    let error = studio
        .real()
        .await
        .to_hls(media(), &absent, &facts(1_000))
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        TranscodeError::Storage(StorageError::NotFound { .. })
    ));
}

#[tokio::test]
async fn a_master_cannot_reach_other_files() {
    let studio = Studio::new();
    let secret = studio.home.path().join("secret.wav");
    fs::write(&secret, Chord::seconds(2).wav()).unwrap();
    let playlist = format!(
        "#EXTM3U\n#EXTINF:2,\nfile://{}\n#EXT-X-ENDLIST\n",
        secret.display()
    );
    let master = studio.put_master(playlist.into_bytes()).await;
    let refused = studio
        .real()
        .await
        .to_hls(media(), &master, &facts(2_000))
        .await;
    assert!(
        matches!(refused, Err(TranscodeError::Failed { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_run_that_hangs_is_ended() {
    let studio = Studio::new();
    let ffmpeg = studio.impostor("exec sleep 600").await;
    let limits = TranscodeLimits {
        base_ms_max: 300,
        ..TranscodeLimits::default()
    };
    let master = studio.put_master(Chord::seconds(1).wav()).await;
    let ended = studio
        .transcoder(ffmpeg, limits)
        .to_hls(media(), &master, &facts(0))
        .await;
    assert!(
        matches!(ended, Err(TranscodeError::TimedOut { limit_ms: 300 })),
        "{ended:?}"
    );
    studio.assert_scratch_is_empty();
}

#[tokio::test]
async fn a_run_that_floods_is_ended() {
    let studio = Studio::new();
    let ffmpeg = studio
        .impostor("exec cat /dev/zero > aac-128/init.mp4")
        .await;
    let limits = TranscodeLimits {
        base_bytes_max: 100_000,
        ..TranscodeLimits::default()
    };
    let master = studio.put_master(Chord::seconds(1).wav()).await;
    let ended = studio
        .transcoder(ffmpeg, limits)
        .to_hls(media(), &master, &facts(0))
        .await;
    let limited = matches!(
        ended,
        Err(TranscodeError::OutputTooLarge {
            limit_bytes: 100_000
        })
    );
    assert!(limited, "{ended:?}");
    studio.assert_scratch_is_empty();
}

#[tokio::test]
async fn what_ffmpeg_says_is_not_believed() {
    let playlist = "#EXTM3U\n#EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF:2,\nsegment-00000.m4s\n\
        #EXT-X-ENDLIST\n";
    let master = Chord::seconds(2).wav();
    for (script, told) in [
        ("exit 0", "aac-128/playlist.m3u8 is missing"),
        (
            "cat > aac-128/playlist.m3u8 <<END\n#EXTM3U\nEND",
            "it has no segments",
        ),
        (
            &format!("cat > aac-128/playlist.m3u8 <<END\n{playlist}END"),
            "aac-128/init.mp4 is missing",
        ),
        (
            &format!(
                "cd aac-128; echo x > init.mp4; echo x > segment-00000.m4s\n\
                 cat > playlist.m3u8 <<END\n{playlist}END"
            ),
            "plays 2000 ms instead of 9000 ms",
        ),
        (
            "echo 'write: No space left on device' >&2; exit 1",
            "the disk is full",
        ),
        ("kill -9 $$", "ffmpeg was stopped by a signal"),
        ("echo one >&2; echo two >&2; exit 1", "one; two"),
    ] {
        let studio = Studio::new();
        let ffmpeg = studio.impostor(script).await;
        let key = studio.put_master(master.clone()).await;
        let transcoder = studio.transcoder(ffmpeg, TranscodeLimits::default());
        let error = transcoder
            .to_hls(media(), &key, &facts(9_000))
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains(told),
            "{error} should tell that {told}"
        );
        assert_eq!(
            list_hls(studio.storage.as_ref(), media()).await.unwrap(),
            []
        );
    }
}

#[tokio::test]
async fn a_transcode_that_is_dropped_kills_its_ffmpeg() {
    let studio = Studio::new();
    let ffmpeg = studio.impostor("echo $$ > ../../new; mv ../../new ../../pid; exec sleep 600");
    let transcoder = studio.transcoder(ffmpeg.await, TranscodeLimits::default());
    let master = studio.put_master(Chord::seconds(1).wav()).await;
    let pid_file = studio.home.path().join("pid");
    let work = tokio::spawn(async move {
        transcoder
            .to_hls(media(), &master, &facts(1_000))
            .await
            .map(|package| package.media)
    });
    poll_until("the program runs", || pid_file.exists()).await;
    let pid = fs::read_to_string(&pid_file).unwrap().trim().to_owned();
    assert!(is_running(&pid));
    work.abort();
    assert!(work.await.unwrap_err().is_cancelled());
    poll_until("the program is dead", || !is_running(&pid)).await;
    studio.assert_scratch_is_empty();
}

#[tokio::test]
async fn only_so_many_run_at_once_and_politely() {
    let studio = Studio::new();
    // Each leaves a mark, notes how many marks there are, and waits until it is let go.
    let script = "touch ../../run-$$; cut -d' ' -f19 /proc/$$/stat > ../../nice-$$\n\
        while [ ! -e ../../go ]; do sleep 0.05; cut -d' ' -f19 /proc/$$/stat > ../../nice-$$\n\
        done; rm ../../run-$$; exit 1";
    let ffmpeg = studio.impostor(script).await;
    let limits = TranscodeLimits {
        at_once_max: 2,
        ..TranscodeLimits::default()
    };
    let transcoder = Arc::new(studio.transcoder(ffmpeg, limits));
    let master = studio.put_master(Chord::seconds(1).wav()).await;
    let work: Vec<_> = (0..4_u128)
        .map(|id| {
            let (transcoder, master) = (transcoder.clone(), master.clone());
            let media = MediaId::from(Uuid::from_u128(id));
            tokio::spawn(async move { transcoder.to_hls(media, &master, &facts(1_000)).await })
        })
        .collect();
    let home: PathBuf = studio.home.path().to_owned();
    let named = |prefix: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(&home)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let matches = |path: &PathBuf| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        };
        entries.filter(matches).collect()
    };
    poll_until("two run", || named("run-").len() == 2).await;
    assert_eq!(transcoder.permits.available_permits(), 0);
    poll_until("both are nice", || {
        let nice = |path: PathBuf| fs::read_to_string(path).unwrap_or_default().trim() == "10";
        named("nice-").into_iter().all(nice)
    })
    .await;
    assert_eq!(named("nice-").len(), 2, "no third has begun");
    fs::write(home.join("go"), "").unwrap();
    for ended in work {
        assert!(matches!(
            ended.await.unwrap(),
            Err(TranscodeError::Failed { .. })
        ));
    }
    assert_eq!(named("nice-").len(), 4, "the others had their turn");
}

async fn poll_until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn is_running(pid: &str) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}
