//! One listening, and whether it counts as a play.
//!
//! Duration and artist come from the caller, who knows the track; what the listener's player says
//! is believed only as far as the track's duration allows.

use event_schemas::analytics::{PlayEvent, TrackPlayed};
use event_schemas::{PlayId, TrackId, UserId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::decider::{Decider, aggregate};

/// How long one has to listen for it to count, in milliseconds; half of a shorter track is enough.
pub const COUNTED_MS: u64 = 30_000;

/// How far beyond the end a player may say it was, in milliseconds: players count frames, not
/// samples. It is not counted.
pub const OVERRUN_MS_MAX: u64 = 1000;

/// What can be asked of a listening.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PlayCommand {
    /// Count it.
    Record {
        /// Which listening.
        play_id: PlayId,
        /// Of which track.
        track_id: TrackId,
        /// Whose track it is.
        artist_id: UserId,
        /// Who listened.
        listener_id: UserId,
        /// How long they listened, in milliseconds.
        listened_ms: u64,
        /// How long the track is, in milliseconds.
        duration_ms: u64,
    },
}

/// Why a listening is not counted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlayRejection {
    /// Another listening was counted under this id.
    #[error("the play is already there")]
    AlreadyRecorded,
    /// There is nothing to listen to.
    #[error("the track has no duration")]
    NoDuration,
    /// It was too short to count.
    #[error("a play counts from {counted_ms} ms on, and this one has {listened_ms}")]
    TooShort {
        /// How long they listened, in milliseconds.
        listened_ms: u64,
        /// From when on it counts, in milliseconds.
        counted_ms: u64,
    },
    /// Nobody can listen that long.
    #[error("the track has {duration_ms} ms, and nobody can listen to {listened_ms} of them")]
    LongerThanTrack {
        /// How long they say they listened, in milliseconds.
        listened_ms: u64,
        /// How long the track is, in milliseconds.
        duration_ms: u64,
    },
}

/// One listening.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Play {
    /// What was counted; `None` before anything is.
    pub played: Option<TrackPlayed>,
}

aggregate!(Play: PlayCommand => PlayEvent, PlayRejection);

impl Decider for Play {
    type Id = PlayId;

    fn decide(&self, command: PlayCommand) -> Result<Vec<PlayEvent>, PlayRejection> {
        let PlayCommand::Record {
            play_id,
            track_id,
            artist_id,
            listener_id,
            listened_ms,
            duration_ms,
        } = command;
        let listened_ms = counted(listened_ms, duration_ms)?;
        let played = TrackPlayed { play_id, track_id, artist_id, listener_id, listened_ms };
        match &self.played {
            Some(known) if *known == played => Ok(vec![]),
            Some(_) => Err(PlayRejection::AlreadyRecorded),
            None => Ok(vec![played.into()]),
        }
    }

    fn evolve(&mut self, event: PlayEvent) {
        let PlayEvent::TrackPlayed(played) = event;
        self.played = Some(played);
    }
}

/// How much of a listening counts, in milliseconds.
fn counted(listened_ms: u64, duration_ms: u64) -> Result<u64, PlayRejection> {
    if duration_ms == 0 {
        return Err(PlayRejection::NoDuration);
    }
    if listened_ms > duration_ms.saturating_add(OVERRUN_MS_MAX) {
        return Err(PlayRejection::LongerThanTrack { listened_ms, duration_ms });
    }
    let listened_ms = listened_ms.min(duration_ms);
    let counted_ms = COUNTED_MS.min(duration_ms.div_ceil(2));
    if listened_ms < counted_ms {
        return Err(PlayRejection::TooShort { listened_ms, counted_ms });
    }
    Ok(listened_ms)
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::{AggregateTestExecutor, TestFramework};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn record(listened_ms: u64, duration_ms: u64) -> PlayCommand {
        PlayCommand::Record {
            play_id: PlayId(Uuid::from_u128(1)),
            track_id: TrackId(Uuid::from_u128(2)),
            artist_id: UserId(Uuid::from_u128(3)),
            listener_id: UserId(Uuid::from_u128(4)),
            listened_ms,
            duration_ms,
        }
    }

    fn played(listened_ms: u64) -> PlayEvent {
        TrackPlayed {
            play_id: PlayId(Uuid::from_u128(1)),
            track_id: TrackId(Uuid::from_u128(2)),
            artist_id: UserId(Uuid::from_u128(3)),
            listener_id: UserId(Uuid::from_u128(4)),
            listened_ms,
        }
        .into()
    }

    fn given(events: Vec<PlayEvent>) -> AggregateTestExecutor<Play> {
        TestFramework::with(()).given(events)
    }

    #[test]
    fn half_a_minute_or_half_the_track_counts() {
        given(vec![]).when(record(30_000, 200_000)).then_expect_events(vec![played(30_000)]);
        given(vec![]).when(record(5_000, 10_000)).then_expect_events(vec![played(5_000)]);
        let short = |listened_ms, counted_ms| PlayRejection::TooShort { listened_ms, counted_ms };
        given(vec![]).when(record(29_999, 200_000)).then_expect_error(short(29_999, 30_000));
        given(vec![]).when(record(4_999, 10_000)).then_expect_error(short(4_999, 5_000));
        given(vec![]).when(record(0, 1)).then_expect_error(short(0, 1));
    }

    #[test]
    fn nobody_listens_longer_than_the_track() {
        given(vec![]).when(record(10_400, 10_000)).then_expect_events(vec![played(10_000)]);
        let longer = PlayRejection::LongerThanTrack { listened_ms: 11_001, duration_ms: 10_000 };
        given(vec![]).when(record(11_001, 10_000)).then_expect_error(longer);
        given(vec![]).when(record(0, 0)).then_expect_error(PlayRejection::NoDuration);
    }

    #[test]
    fn a_listening_is_counted_once() {
        given(vec![played(5_000)]).when(record(5_000, 10_000)).then_expect_events(vec![]);
        given(vec![played(5_000)])
            .when(record(6_000, 10_000))
            .then_expect_error(PlayRejection::AlreadyRecorded);
    }

    proptest! {
        #[test]
        fn what_counts_is_within_the_track(listened_ms: u64, duration_ms: u64) {
            for (listened_ms, duration_ms) in
                [(listened_ms, duration_ms), (listened_ms % 90_000, duration_ms % 90_000)]
            {
                if let Ok(counted_ms) = counted(listened_ms, duration_ms) {
                    prop_assert!(counted_ms > 0 && counted_ms <= duration_ms);
                    prop_assert!(counted_ms <= listened_ms);
                    prop_assert!(counted_ms >= COUNTED_MS || counted_ms * 2 >= duration_ms);
                }
            }
        }
    }
}
