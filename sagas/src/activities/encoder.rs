//! The port of what makes a stream of a master, and its adapter on the `media` crate.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use event_schemas::TrackId;
use event_schemas::audio::{AudioProperties, TrackCreated};
use media::{HlsFile, MediaId, ObjectKey, ObjectStorage, Prober, Transcoder, remove_hls};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::time::timeout;

use crate::activities::turns::Turns;

/// How many masters are probed at once.
const PROBES_AT_ONCE_MAX: usize = 8;

/// How many are transcoded at once; of one owner, one less.
const TRANSCODES_AT_ONCE_MAX: usize = 3;

/// Longest that a master may take to be probed, or transcoded and stored, without waiting for its
/// turn. The prober and the transcoder bound most of it more narrowly.
const WORK_TIME_MAX: Duration = Duration::from_secs(6 * 60 * 60);

/// Makes streams of masters. Repeated for a track, it makes the same again in the same place.
#[async_trait]
pub trait Encoder: Send + Sync + 'static {
    /// Probes the master of a track and stores its stream. It may wait for others of the artist,
    /// and of others, and bounds its own work.
    async fn encode(&self, track: &TrackCreated) -> Result<Encoded, EncoderError>;

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
    transcoder: Transcoder,
    probes: Turns,
    transcodes: Turns,
}

impl MediaEncoder {
    /// An encoder of the masters in this storage; the transcoder stores there too.
    pub fn new(storage: Arc<dyn ObjectStorage>, prober: Prober, transcoder: Transcoder) -> Self {
        let probes = Turns::new(PROBES_AT_ONCE_MAX);
        let transcodes = Turns::new(TRANSCODES_AT_ONCE_MAX);
        Self { storage, prober, transcoder, probes, transcodes }
    }
}

#[async_trait]
impl Encoder for MediaEncoder {
    async fn encode(&self, track: &TrackCreated) -> Result<Encoded, EncoderError> {
        let key = ObjectKey::new(&track.master.object_key)
            .map_err(|error| EncoderError::BadMaster(error.to_string()))?;
        let turn = self.probes.take(track.artist_id).await;
        let facts = in_time(self.prober.probe_object(self.storage.as_ref(), &key)).await?;
        drop(turn);
        let facts = facts.map_err(|error| failed(error.is_transient(), &error))?;
        let media = MediaId::from(track.track_id.0);
        let turn = self.transcodes.take(track.artist_id).await;
        let package = in_time(self.transcoder.to_hls(media, &key, &facts)).await?;
        drop(turn);
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

async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, EncoderError> {
    let done = timeout(WORK_TIME_MAX, work).await;
    done.map_err(|_| EncoderError::Unavailable("the work was not done in time".to_owned()))
}

fn failed(transient: bool, error: &dyn std::error::Error) -> EncoderError {
    if transient {
        EncoderError::Unavailable(error.to_string())
    } else {
        EncoderError::BadMaster(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use event_schemas::UserId;
    use event_schemas::audio::Master;
    use uuid::Uuid;

    use super::*;
    use crate::transcode::tests::{MASTER_KEY, tone, with_master};

    fn track_of(artist_id: UserId) -> TrackCreated {
        let master = Master {
            object_key: MASTER_KEY.to_owned(),
            sha256: "0".repeat(64),
            size_bytes: 1,
            media_type: "audio/wav".to_owned(),
        };
        let (title, tags) = ("One".to_owned(), Vec::new());
        TrackCreated { track_id: TrackId(Uuid::new_v4()), artist_id, title, tags, master }
    }

    #[tokio::test]
    async fn an_artist_with_many_masters_holds_up_no_other() {
        let (_folder, _storage, encoder) = with_master(tone()).await;
        let (busy, other) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        let mut held = Vec::new();
        for _ in 1..TRANSCODES_AT_ONCE_MAX {
            held.push(encoder.transcodes.take(busy).await);
        }
        let (of_busy, of_other) = (track_of(busy), track_of(other));
        let mut waiting = Box::pin(encoder.encode(&of_busy));
        tokio::select! {
            biased;
            encoded = &mut waiting => panic!("it did not wait: {encoded:?}"),
            encoded = encoder.encode(&of_other) => assert!(encoded.is_ok(), "{encoded:?}"),
        }
        drop(held);
        assert!(waiting.await.is_ok());
    }
}
