//! Events of the analytics domain.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::family::event_family;
use crate::ids::{PlayId, TrackId, UserId};

event_family! {
    /// What one listener heard on one day; streams `play-<id>`.
    PlayEvent in "play":
        TrackPlayed v 1,
}

/// Somebody listened to a track long enough for it to count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrackPlayed {
    /// Which listening.
    pub play_id: PlayId,
    /// Which track.
    pub track_id: TrackId,
    /// Whose track it is.
    pub artist_id: UserId,
    /// Who listened.
    pub listener_id: UserId,
    /// How long they listened, in milliseconds; not where in the track they stopped.
    pub listened_ms: u64,
    /// Up to when the listener's time is taken by it and by what they heard before on that day.
    /// Absent where nobody asked for it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_until: Option<DateTime<Utc>>,
}
