//! A master becomes a stream, or its track tells why not; also when the process dies meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};

use aggregates::CommandContext;
use chrono::DateTime;
use event_schemas::audio::{AudioProperties, Master};
use event_schemas::{Actor, TrackId, UserId};
use event_store::{EventStore, StreamName};
use media::{
    Ffmpeg, FileStorage, MediaId, ObjectKey, ObjectStorage, Prober, Scratch, TranscodeLimits,
    Transcoder, list_hls,
};
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::activities::MediaEncoder;
use crate::harness::memory_store::MemoryStore;
use crate::harness::{self, Running, Scenario, SkippingClock, until};
use crate::orchestrator::End;
use crate::orchestrator::journal::stream_of;

const TRACK: TrackId = TrackId(Uuid::from_u128(3));
const ARTIST: UserId = UserId(Uuid::from_u128(1));
pub(crate) const MASTER_KEY: &str = "masters/three";

/// Says what it was made to say.
struct Scripted {
    answer: Result<Encoded, EncoderError>,
    /// Whether it has a stream.
    stores: Arc<AtomicBool>,
}

#[async_trait]
impl Encoder for Scripted {
    async fn encode(&self, _: &TrackCreated) -> Result<Encoded, EncoderError> {
        self.stores.store(self.answer.is_ok(), Ordering::SeqCst);
        self.answer.clone()
    }

    async fn remove(&self, _: TrackId) -> Result<(), EncoderError> {
        self.stores.store(false, Ordering::SeqCst);
        Ok(())
    }
}

/// The real one; while it works, the artist takes the master down.
struct Overtaken {
    encoder: MediaEncoder,
    storage: Arc<dyn ObjectStorage>,
    store: Arc<dyn EventStore>,
    /// Whether it is at its end by then, or would go on for ever.
    ends: bool,
}

#[async_trait]
impl Encoder for Overtaken {
    async fn encode(&self, track: &TrackCreated) -> Result<Encoded, EncoderError> {
        let encoded = self.encoder.encode(track).await;
        assert!(!files(&self.storage).await.is_empty(), "{encoded:?}");
        let reason = "not cleared".to_owned();
        command(&self.store, TrackCommand::TakeDownMaster { by: ARTIST, moderator: false, reason })
            .await;
        if self.ends { encoded } else { std::future::pending().await }
    }

    async fn remove(&self, track_id: TrackId) -> Result<(), EncoderError> {
        self.encoder.remove(track_id).await
    }
}

/// What of the track is stored to be streamed.
async fn files(storage: &Arc<dyn ObjectStorage>) -> Vec<media::HlsFile> {
    list_hls(storage.as_ref(), MediaId::from(TRACK.0)).await.unwrap()
}

/// The artist's command to the track.
async fn command(store: &Arc<dyn EventStore>, command: TrackCommand) {
    let actor = Actor::User(ARTIST);
    let context = CommandContext::first(Uuid::new_v4(), "test", actor, DateTime::UNIX_EPOCH);
    let commands = CommandHandler::new(store.clone());
    commands.execute::<Track>(TRACK, command, &context).await.unwrap();
}

fn encoded() -> Encoded {
    Encoded {
        properties: AudioProperties {
            duration_ms: 500,
            codec: "pcm".to_owned(),
            sample_rate_hz: 8_000,
            channels: 1,
        },
        playlist_key: "hls/three/master.m3u8".to_owned(),
    }
}

struct Upload {
    encoder: Arc<dyn Encoder>,
    stores: Arc<AtomicBool>,
}

#[async_trait]
impl Scenario for Upload {
    fn saga(&self, store: Arc<dyn EventStore>) -> SagaDefinition {
        transcode(Arc::new(CommandHandler::new(store)), self.encoder.clone())
    }

    async fn begin(&self, store: Arc<dyn EventStore>) {
        let create = TrackCommand::Create {
            track_id: TRACK,
            artist_id: ARTIST,
            title: "Three".to_owned(),
            tags: vec![],
            master: Master {
                object_key: MASTER_KEY.to_owned(),
                sha256: "0".repeat(64),
                size_bytes: 1,
                media_type: "audio/wav".to_owned(),
            },
        };
        command(&store, create).await;
    }

    fn stream(&self) -> StreamName {
        stream_of(KIND, TRACK.0)
    }

    async fn is_done(&self, store: Arc<dyn EventStore>) {
        let track = track(store).await;
        assert_eq!(track.transcoded.unwrap().playlist_key, encoded().playlist_key);
        assert!(self.stores.load(Ordering::SeqCst), "the stream is there");
    }

    async fn is_clean(&self, store: Arc<dyn EventStore>) {
        assert_eq!(track(store).await.transcoded, None);
        assert!(!self.stores.load(Ordering::SeqCst), "no stream is left");
    }
}

async fn track(store: Arc<dyn EventStore>) -> Track {
    let commands = CommandHandler::new(store);
    commands.inspect::<Track, _>(TRACK, Track::clone).await.unwrap()
}

/// An upload whose encoder answers so.
fn scripted(answer: Result<Encoded, EncoderError>) -> Upload {
    let stores = Arc::new(AtomicBool::new(false));
    Upload { encoder: Arc::new(Scripted { answer, stores: stores.clone() }), stores }
}

fn good() -> Upload {
    scripted(Ok(encoded()))
}

/// The track, after the saga has come to this end with this encoder.
async fn run_on(store: Arc<dyn EventStore>, encoder: impl Encoder, end: End) -> Track {
    let scenario = Upload { encoder: Arc::new(encoder), stores: Arc::default() };
    scenario.begin(store.clone()).await;
    let clock = SkippingClock::new(chrono::TimeDelta::hours(1));
    let _running = Running::start(store.clone(), vec![scenario.saga(store.clone())], clock);
    until(&store, &scenario.stream(), |run| run.state.end == Some(end)).await;
    track(store).await
}

/// The same, where it is completed.
async fn run(encoder: impl Encoder) -> Track {
    run_on(Arc::new(MemoryStore::new()), encoder, End::Completed).await
}

/// Half a second of a tone, as a WAV file of 8 kHz, 16 bits, mono.
pub(crate) fn tone() -> Vec<u8> {
    let samples = (0..4_000_u32).map(|at| ((f64::from(at) * 0.35).sin() * 9_000.0) as i16);
    let data: Vec<u8> = samples.flat_map(i16::to_le_bytes).collect();
    let length = u32::try_from(data.len()).unwrap();
    let mut wav = [&b"RIFF"[..], &(36 + length).to_le_bytes(), b"WAVEfmt "].concat();
    wav.extend(16_u32.to_le_bytes());
    for field in [1_u16, 1] {
        wav.extend(field.to_le_bytes());
    }
    wav.extend(8_000_u32.to_le_bytes());
    wav.extend(16_000_u32.to_le_bytes());
    for field in [2_u16, 16] {
        wav.extend(field.to_le_bytes());
    }
    wav.extend([&b"data"[..], &length.to_le_bytes(), &data].concat());
    wav
}

/// The real encoder, with these bytes for the master.
pub(crate) async fn with_master(bytes: Vec<u8>) -> (TempDir, Arc<dyn ObjectStorage>, MediaEncoder) {
    let folder = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(folder.path().join("objects")).unwrap();
    let storage: Arc<dyn ObjectStorage> = Arc::new(storage);
    let file = folder.path().join("master");
    std::fs::write(&file, bytes).unwrap();
    storage.put_file(&ObjectKey::new(MASTER_KEY).unwrap(), &file).await.unwrap();
    let scratch = Scratch::open(folder.path().join("scratch")).unwrap();
    let ffmpeg = Ffmpeg::locate().await.expect("ffmpeg is installed");
    let limits = TranscodeLimits::default();
    let transcoder = Transcoder::new(ffmpeg, storage.clone(), scratch, limits);
    // The program of these tests, asked for the next function alone.
    let child = ["--exact", "transcode::tests::child", "--ignored"];
    let prober = Prober::new("/proc/self/exe", child);
    (folder, storage.clone(), MediaEncoder::new(storage, prober, transcoder))
}

#[test]
#[ignore = "the process that probes for the other tests"]
fn child() {
    media::answer_probe().unwrap();
}

#[tokio::test]
async fn a_master_becomes_a_stream() {
    let (_folder, storage, encoder) = with_master(tone()).await;
    let transcoded = run(encoder).await.transcoded.expect("it can be streamed");
    assert_eq!(transcoded.properties, encoded().properties);
    let playlist = ObjectKey::new(&transcoded.playlist_key).unwrap();
    assert!(storage.local_file(&playlist).await.is_ok(), "{playlist} is stored");
}

#[tokio::test]
async fn what_is_no_sound_is_told() {
    let (_folder, _storage, encoder) = with_master(b"these are words".to_vec()).await;
    let track = run(encoder).await;
    assert_eq!(track.transcoded, None);
    assert!(track.failed_because.is_some());
}

#[tokio::test]
async fn of_a_master_that_was_taken_down_meanwhile_no_stream_is_left() {
    for ends in [true, false] {
        let (_folder, storage, encoder) = with_master(tone()).await;
        let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
        let overtaken = Overtaken { encoder, storage: storage.clone(), store: store.clone(), ends };
        let track = run_on(store, overtaken, End::Compensated).await;
        assert_eq!((track.transcoded, track.failed_because), (None, None));
        assert_eq!(files(&storage).await, []);
    }
}

#[tokio::test]
async fn an_encoder_that_stays_away_pauses_the_run() {
    let away = EncoderError::Unavailable("the disk is full".to_owned());
    let scenario = scripted(Err(away));
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    scenario.begin(store.clone()).await;
    let clock = SkippingClock::new(chrono::TimeDelta::hours(1));
    let _running = Running::start(store.clone(), vec![scenario.saga(store.clone())], clock);
    let run = until(&store, &scenario.stream(), |run| run.state.pause.is_some()).await;
    assert_eq!(run.state.pause.unwrap().reason, "the disk is full");
    assert_eq!(track(store).await.failed_because, None, "it is not the master's fault");
}

#[tokio::test]
async fn every_step_can_repeat() {
    harness::every_step_can_repeat(good).await;
}

#[tokio::test]
async fn every_step_can_fail() {
    harness::every_step_can_fail(good).await;
}

#[tokio::test]
async fn it_survives_every_crash() {
    for refused in [None, Some("record")] {
        let places = harness::survives_every_crash(good, refused).await;
        assert!(places > 10, "only {places} places were tried");
    }
}

#[tokio::test]
async fn it_is_undone_once_in_effect() {
    harness::undo_is_idempotent(good).await;
}
