//! A master becomes a stream, or its track tells why not; also when the process dies meanwhile.

use aggregates::CommandContext;
use chrono::DateTime;
use event_schemas::audio::{AudioProperties, Master};
use event_schemas::{Actor, TrackId, UserId};
use event_store::{EventStore, StreamName};
use media::{
    Ffmpeg, FileStorage, ObjectKey, ObjectStorage, Prober, Scratch, TranscodeLimits, Transcoder,
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
const MASTER_KEY: &str = "masters/three";

/// Says what it was made to say.
struct Scripted(Result<Encoded, EncoderError>);

#[async_trait]
impl Encoder for Scripted {
    async fn encode(&self, _: TrackId, _: &Master) -> Result<Encoded, EncoderError> {
        self.0.clone()
    }
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

struct Upload(Arc<dyn Encoder>);

#[async_trait]
impl Scenario for Upload {
    fn saga(&self, store: Arc<dyn EventStore>) -> SagaDefinition {
        transcode(Arc::new(CommandHandler::new(store)), self.0.clone())
    }

    async fn begin(&self, store: Arc<dyn EventStore>) {
        let artist_id = UserId(Uuid::from_u128(1));
        let create = TrackCommand::Create {
            track_id: TRACK,
            artist_id,
            title: "Three".to_owned(),
            tags: vec![],
            master: Master {
                object_key: MASTER_KEY.to_owned(),
                sha256: "0".repeat(64),
                size_bytes: 1,
                media_type: "audio/wav".to_owned(),
            },
        };
        let actor = Actor::User(artist_id);
        let context = CommandContext::first(TRACK.0, "test", actor, DateTime::UNIX_EPOCH);
        let commands = CommandHandler::new(store);
        commands.execute::<Track>(TRACK, create, &context).await.unwrap();
    }

    fn stream(&self) -> StreamName {
        stream_of(KIND, TRACK.0)
    }

    async fn is_done(&self, store: Arc<dyn EventStore>) {
        let track = track(store).await;
        assert_eq!(track.transcoded.unwrap().playlist_key, encoded().playlist_key);
    }

    async fn is_clean(&self, store: Arc<dyn EventStore>) {
        assert_eq!(track(store).await.transcoded, None);
    }
}

async fn track(store: Arc<dyn EventStore>) -> Track {
    let commands = CommandHandler::new(store);
    commands.inspect::<Track, _>(TRACK, Track::clone).await.unwrap()
}

fn good() -> Upload {
    Upload(Arc::new(Scripted(Ok(encoded()))))
}

/// The track, after the saga has run with this encoder.
async fn run(encoder: impl Encoder) -> Track {
    let scenario = Upload(Arc::new(encoder));
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    scenario.begin(store.clone()).await;
    let clock = SkippingClock::new(chrono::TimeDelta::hours(1));
    let _running = Running::start(store.clone(), vec![scenario.saga(store.clone())], clock);
    until(&store, &scenario.stream(), |run| run.state.end == Some(End::Completed)).await;
    track(store).await
}

/// Half a second of a tone, as a WAV file of 8 kHz, 16 bits, mono.
fn tone() -> Vec<u8> {
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
async fn with_master(bytes: Vec<u8>) -> (TempDir, Arc<dyn ObjectStorage>, MediaEncoder) {
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
async fn an_encoder_that_stays_away_pauses_the_run() {
    let away = EncoderError::Unavailable("the disk is full".to_owned());
    let scenario = Upload(Arc::new(Scripted(Err(away))));
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
    let places = harness::survives_every_crash(good, None).await;
    assert!(places > 10, "only {places} places were tried");
}
