//! The port of what makes a stream of a master, and its adapter on the `media` crate.

use std::sync::Arc;

use async_trait::async_trait;
use event_schemas::TrackId;
use event_schemas::audio::{AudioProperties, Master};
use media::{HlsFile, MediaId, ObjectKey, ObjectStorage, Prober, Transcoder, remove_hls};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::Semaphore;

/// How many masters are probed at once; the transcoder bounds what comes after by itself.
const PROBES_AT_ONCE_MAX: usize = 8;

/// Makes streams of masters. Repeated for a track, it makes the same again in the same place.
#[async_trait]
pub trait Encoder: Send + Sync + 'static {
    /// Probes the master and stores its stream.
    async fn encode(&self, track_id: TrackId, master: &Master) -> Result<Encoded, EncoderError>;

    /// Removes the track's stream; one that is not there is removed already.
    async fn remove(&self, track_id: TrackId) -> Result<(), EncoderError>;
}

/// A stored stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoded {
    /// What is in the master.
    pub properties: AudioProperties,
    /// The HLS master playlist among the objects.
    pub playlist_key: String,
}

/// Why there is no stream.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EncoderError {
    /// The fault is in the master: another time would end the same.
    #[error("{0}")]
    BadMaster(String),
    /// The fault is here; the master may well pass at another time.
    #[error("{0}")]
    Unavailable(String),
}

/// The encoder on the `media` crate.
pub struct MediaEncoder {
    storage: Arc<dyn ObjectStorage>,
    prober: Prober,
    probes: Semaphore,
    transcoder: Transcoder,
}

impl MediaEncoder {
    /// An encoder of the masters in this storage; the transcoder stores there too.
    pub fn new(storage: Arc<dyn ObjectStorage>, prober: Prober, transcoder: Transcoder) -> Self {
        Self { storage, prober, probes: Semaphore::new(PROBES_AT_ONCE_MAX), transcoder }
    }
}

#[async_trait]
impl Encoder for MediaEncoder {
    async fn encode(&self, track_id: TrackId, master: &Master) -> Result<Encoded, EncoderError> {
        let key = ObjectKey::new(&master.object_key)
            .map_err(|error| EncoderError::BadMaster(error.to_string()))?;
        let turn = self.probes.acquire().await.expect("it is never closed");
        let facts = self.prober.probe_object(self.storage.as_ref(), &key).await;
        drop(turn);
        let facts = facts.map_err(|error| failed(error.is_transient(), &error))?;
        let media = MediaId::from(track_id.0);
        let package = self.transcoder.to_hls(media, &key, &facts).await;
        let package = package.map_err(|error| failed(error.is_transient(), &error))?;
        let codec = serde_json::to_value(facts.codec).unwrap_or_default();
        let properties = AudioProperties {
            duration_ms: facts.duration_ms,
            codec: codec.as_str().unwrap_or_default().to_owned(),
            sample_rate_hz: facts.sample_rate_hz,
            channels: facts.channels,
        };
        let playlist_key = HlsFile::Master.key(package.media).to_string();
        Ok(Encoded { properties, playlist_key })
    }

    async fn remove(&self, track_id: TrackId) -> Result<(), EncoderError> {
        let removed = remove_hls(self.storage.as_ref(), MediaId::from(track_id.0)).await;
        removed.map_err(|error| failed(true, &error))
    }
}

fn failed(transient: bool, error: &dyn std::error::Error) -> EncoderError {
    if transient {
        EncoderError::Unavailable(error.to_string())
    } else {
        EncoderError::BadMaster(error.to_string())
    }
}
