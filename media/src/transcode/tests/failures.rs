//! Transcodes that go wrong: programs that misbehave in the place of `ffmpeg`, full disks, drops.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::super::*;
use super::{PATIENCE, Studio, facts, media};
use crate::hls::{HlsFile, list_hls};
use crate::limits::{FFMPEG_MEMORY_BYTES_MAX, FFMPEG_NICENESS};
use crate::object_key::KeyPrefix;
use crate::sample_audio::Chord;
use crate::storage::{
    ByteRange, ByteStream, FileStorage, ListedObject, LocalFile, ObjectHead, ObjectReader,
    StoredObject,
};

/// A storage whose disk is full after so many puts.
struct FillingUp {
    inner: Arc<FileStorage>,
    puts_left: AtomicUsize,
}

#[async_trait]
impl ObjectStorage for FillingUp {
    async fn put(&self, key: &ObjectKey, body: ByteStream) -> Result<StoredObject, StorageError> {
        let left = |left: usize| left.checked_sub(1);
        match self.puts_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left) {
            Ok(_) => self.inner.put(key, body).await,
            Err(_) => Err(StorageError::Full),
        }
    }

    async fn create(
        &self,
        key: &ObjectKey,
        body: ByteStream,
    ) -> Result<Option<StoredObject>, StorageError> {
        self.inner.create(key, body).await
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

    async fn free_bytes(&self) -> Result<u64, StorageError> {
        self.inner.free_bytes().await
    }

    async fn sweep(&self) -> Result<usize, StorageError> {
        self.inner.sweep().await
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
        let full = Arc::new(FillingUp { inner, puts_left: AtomicUsize::new(puts) });
        let scratch = Scratch::open(studio.home.path().join("scratch")).unwrap();
        let ffmpeg = Ffmpeg::locate().await.unwrap();
        let transcoder = Transcoder::new(ffmpeg, full, scratch, TranscodeLimits::default());
        let error = transcoder.to_hls(media(), &master, &facts(5_000)).await.unwrap_err();
        assert!(matches!(&error, TranscodeError::Storage(StorageError::Full)), "{error:?}");
        assert!(error.is_transient());
        let stored = list_hls(studio.storage.as_ref(), media()).await.unwrap();
        assert!(!stored.contains(&HlsFile::Master), "after {puts} puts: {stored:?}");
    }
    let package = studio.real().await.to_hls(media(), &master, &facts(5_000)).await.unwrap();
    assert_eq!(package.files.len(), 5);
}

#[tokio::test]
async fn a_run_that_hangs_is_ended() {
    let studio = Studio::new();
    let ffmpeg = studio.impostor("exec sleep 600").await;
    let limits = TranscodeLimits { base_ms_max: 300, ..TranscodeLimits::default() };
    let master = studio.put_master(Chord::seconds(1).wav()).await;
    let ended = studio.transcoder(ffmpeg, limits).to_hls(media(), &master, &facts(0)).await;
    assert!(matches!(ended, Err(TranscodeError::TimedOut { limit_ms: 300 })), "{ended:?}");
    studio.assert_scratch_is_empty();
}

/// Given a master that keeps the encoder busy without end, then it is not tried again.
#[tokio::test]
async fn a_run_that_is_at_work_without_end_is_the_masters_fault() {
    let studio = Studio::new();
    let ffmpeg = studio.impostor("while :; do :; done").await;
    let limits = TranscodeLimits { base_ms_max: 60_000, ..TranscodeLimits::default() };
    let master = studio.put_master(Chord::seconds(1).wav()).await;
    let began = Instant::now();
    let transcoder = studio.transcoder(ffmpeg, limits);
    let error = transcoder.to_hls(media(), &master, &facts(0)).await.unwrap_err();
    assert!(matches!(error, TranscodeError::Endless { limit_ms: 15_000 }), "{error:?}");
    assert!(!error.is_transient() && began.elapsed().as_millis() < 60_000);
    studio.assert_scratch_is_empty();
}

#[tokio::test]
async fn a_run_that_floods_is_ended() {
    let studio = Studio::new();
    let ffmpeg = studio.impostor("exec cat /dev/zero > aac-128/init.mp4").await;
    let limits = TranscodeLimits { base_bytes_max: 100_000, ..TranscodeLimits::default() };
    let master = studio.put_master(Chord::seconds(1).wav()).await;
    let ended = studio.transcoder(ffmpeg, limits).to_hls(media(), &master, &facts(0)).await;
    let limited = matches!(ended, Err(TranscodeError::OutputTooLarge { limit_bytes: 100_000 }));
    assert!(limited, "{ended:?}");
    studio.assert_scratch_is_empty();
}

#[tokio::test]
async fn a_run_has_only_so_much_memory() {
    let studio = Studio::new();
    // It is bounded as soon as it runs; in KiB.
    let script = "while [ $(ulimit -d) = unlimited ]; do :; done; ulimit -d >&2; exit 1";
    let ffmpeg = studio.impostor(script).await;
    let master = studio.put_master(Chord::seconds(1).wav()).await;
    let transcoder = studio.transcoder(ffmpeg, TranscodeLimits::default());
    let error = transcoder.to_hls(media(), &master, &facts(0)).await.unwrap_err();
    let told = (FFMPEG_MEMORY_BYTES_MAX / 1024).to_string();
    assert!(matches!(&error, TranscodeError::Failed { reason } if *reason == told), "{error:?}");
}

#[tokio::test]
async fn what_ffmpeg_says_is_not_believed() {
    let playlist = "#EXTM3U\n#EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF:2,\nsegment-00000.m4s\n\
        #EXT-X-ENDLIST\n";
    let master = Chord::seconds(2).wav();
    for (script, told) in [
        ("exit 0", "aac-128/playlist.m3u8 is missing"),
        ("cat > aac-128/playlist.m3u8 <<END\n#EXTM3U\nEND", "it has no segments"),
        (
            &format!("cat > aac-128/playlist.m3u8 <<END\n{playlist}END"),
            "aac-128/init.mp4 is missing",
        ),
        (
            &format!(
                "cd aac-128; echo x > init.mp4; echo x > segment-00000.m4s\n\
                 cat > playlist.m3u8 <<END\n{playlist}END"
            ),
            "it tells of 9000 ms of sound, and plays 2000 ms",
        ),
        ("echo 'write: No space left on device' >&2; exit 1", "the disk is full"),
        ("exit 69", "the file is damaged: parts of its sound can't be decoded"),
        (
            "echo 'Error while decoding stream #0:0: Invalid data' >&2\n\
             echo 'Error configuring filter graph' >&2; exit 1",
            "the file is damaged: parts of its sound can't be decoded",
        ),
        ("kill -9 $$", "ffmpeg was stopped by a signal"),
        ("kill -ABRT $$", "ffmpeg broke down over it"),
        ("echo one >&2; echo two >&2; exit 1", "one; two"),
    ] {
        let studio = Studio::new();
        let ffmpeg = studio.impostor(script).await;
        let key = studio.put_master(master.clone()).await;
        let transcoder = studio.transcoder(ffmpeg, TranscodeLimits::default());
        let error = transcoder.to_hls(media(), &key, &facts(9_000)).await.unwrap_err();
        assert!(error.to_string().contains(told), "{error} should tell that {told}");
        assert_eq!(list_hls(studio.storage.as_ref(), media()).await.unwrap(), []);
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
        transcoder.to_hls(media(), &master, &facts(1_000)).await.map(|package| package.media)
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
async fn a_run_is_polite() {
    let studio = Studio::new();
    // It is so as soon as it runs.
    let script = format!(
        "until [ \"$(cut -d' ' -f19 /proc/$$/stat)\" = {FFMPEG_NICENESS} ]; do :; done\n\
         echo it is nice >&2; exit 1"
    );
    let ffmpeg = studio.impostor(&script).await;
    let master = studio.put_master(Chord::seconds(1).wav()).await;
    let transcoder = studio.transcoder(ffmpeg, TranscodeLimits::default());
    let error = transcoder.to_hls(media(), &master, &facts(0)).await.unwrap_err();
    assert!(error.to_string().ends_with("it is nice"), "{error}");
}

async fn poll_until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await; // poll
    }
}

fn is_running(pid: &str) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}
