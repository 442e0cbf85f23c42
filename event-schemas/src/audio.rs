//! Events of the audio domain.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::family::event_family;
use crate::ids::{TrackId, UserId};

event_family! {
    /// What happens to a track; streams `track-<id>`.
    TrackEvent in "track":
        TrackCreated v 1,
        TrackTranscoded v 1,
        TrackTranscodeFailed v 1,
        TrackPublished v 1,
        TrackMasterTakenDown v 1,
}

/// The file a track was made from, as it was uploaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Master {
    /// Where it is among the objects.
    pub object_key: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// Its size, in bytes.
    pub size_bytes: u64,
    /// What it is, as its first bytes tell: `audio/wav` and the like.
    pub media_type: String,
}

/// What probing found in a master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AudioProperties {
    /// How long it plays, in milliseconds.
    pub duration_ms: u64,
    /// The codec's short name.
    pub codec: String,
    /// Samples a second of each channel.
    pub sample_rate_hz: u32,
    /// How many channels.
    pub channels: u16,
}

/// A musician made a track of an upload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrackCreated {
    /// Which track.
    pub track_id: TrackId,
    /// Whose it is.
    pub artist_id: UserId,
    /// Its title.
    pub title: String,
    /// Words it is found by, such as genres and moods.
    pub tags: Vec<String>,
    /// The file it was made from.
    pub master: Master,
}

/// The track can be streamed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrackTranscoded {
    /// Which track.
    pub track_id: TrackId,
    /// What is in its master.
    pub properties: AudioProperties,
    /// The HLS master playlist among the objects.
    pub playlist_key: String,
}

/// The track's master could not be made into a stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrackTranscodeFailed {
    /// Which track.
    pub track_id: TrackId,
    /// Why, for the musician to read.
    pub reason: String,
}

/// The track is there for everybody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrackPublished {
    /// Which track.
    pub track_id: TrackId,
}

/// The master is no longer to be handed out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrackMasterTakenDown {
    /// Which track.
    pub track_id: TrackId,
    /// Who took it down.
    pub by: UserId,
    /// Why.
    pub reason: String,
}
