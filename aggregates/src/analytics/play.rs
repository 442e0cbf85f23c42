//! A listener's day, and which of their listenings count as plays.
//!
//! Duration and artist come from the caller, who knows the track; what the listener's player says
//! is believed only as far as the track's duration and the listener's time allow. The plays of a
//! listener follow each other: one takes up to as much of their time as was listened to, and none
//! reaches further into the future than [`EARLY_MS_MAX`]. So those after the first of a day are
//! together no longer than the time that passed since it, whatever processes they were sent to, and
//! nobody waits for another's plays. The first is believed: it was heard before anything was told.
//!
//! The stream of a day is one that nobody reads after it, and short enough to be folded whole: its
//! plays have no more room than the day has. A play over midnight takes its time of the new day
//! alone.

use chrono::{DateTime, TimeDelta, Utc};
use event_schemas::analytics::{PlayEvent, TrackPlayed};
use event_schemas::{PlayId, TrackId, UserId};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::decider::{AggregateId, Decider, aggregate};

/// How long one has to listen for it to count, in milliseconds; half of a shorter track is enough.
pub const COUNTED_MS: u64 = 30_000;

/// How far beyond the end a player may say it was, in milliseconds: players count frames, not
/// samples. It is not counted.
pub const OVERRUN_MS_MAX: u64 = 1000;

/// How much sooner a play may come than there was time for it, in milliseconds: the one before may
/// have been longer on its way. It is owed, not given: the next must wait for it.
pub const EARLY_MS_MAX: i64 = 5000;

/// Which listener, and which day of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerDayId(pub Uuid);

impl ListenerDayId {
    /// The day (UTC) of a listener that a moment is in.
    pub fn of(listener: UserId, moment: DateTime<Utc>) -> Self {
        let name = format!("plays of {}", moment.date_naive());
        Self(Uuid::new_v5(&listener.0, name.as_bytes()))
    }
}

impl AggregateId for ListenerDayId {
    fn uuid(self) -> Uuid {
        self.0
    }
}

/// What can be asked of a listener's day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PlayCommand {
    /// Count a listening.
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
        /// When that was told: they have listened by then.
        now: DateTime<Utc>,
    },
}

/// Why a listening is not counted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlayRejection {
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
    /// They can't have listened to it since what they listened to before.
    #[error(
        "the listener has had no time for it: with their plays before, it ends {ahead_ms} ms \
             from now"
    )]
    NoTime {
        /// How far it reaches into the future, in milliseconds.
        ahead_ms: i64,
    },
}

/// What one listener heard on one day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ListenerDay {
    /// How many plays were counted.
    pub plays: u64,
    /// Up to when the listener's time is taken; `None` before anything is counted.
    pub heard_until: Option<DateTime<Utc>>,
}

aggregate!(ListenerDay: PlayCommand => PlayEvent, PlayRejection);

impl Decider for ListenerDay {
    type Id = ListenerDayId;

    fn decide(&self, command: PlayCommand) -> Result<Vec<PlayEvent>, PlayRejection> {
        let PlayCommand::Record {
            play_id,
            track_id,
            artist_id,
            listener_id,
            listened_ms,
            duration_ms,
            now,
        } = command;
        let listened_ms = counted(listened_ms, duration_ms)?;
        let heard_until = Some(self.heard_until_after(listened_ms, now)?);
        let played =
            TrackPlayed { play_id, track_id, artist_id, listener_id, listened_ms, heard_until };
        Ok(vec![played.into()])
    }

    fn evolve(&mut self, event: PlayEvent) {
        let PlayEvent::TrackPlayed(played) = event;
        self.plays += 1;
        self.heard_until = self.heard_until.max(played.heard_until);
    }
}

impl ListenerDay {
    /// Up to when the listener's time is taken with this listening too.
    fn heard_until_after(
        &self,
        listened_ms: u64,
        now: DateTime<Utc>,
    ) -> Result<DateTime<Utc>, PlayRejection> {
        let Some(before) = self.heard_until else {
            return Ok(now);
        };
        let listened = i64::try_from(listened_ms).ok().and_then(TimeDelta::try_milliseconds);
        let until = listened.and_then(|listened| before.checked_add_signed(listened));
        let until = until.unwrap_or(DateTime::<Utc>::MAX_UTC).max(now);
        let ahead_ms = (until - now).num_milliseconds();
        if ahead_ms > EARLY_MS_MAX {
            return Err(PlayRejection::NoTime { ahead_ms });
        }
        Ok(until)
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

    use super::*;

    /// So many milliseconds after noon.
    fn at(millis: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(43_200_000 + millis).unwrap()
    }

    fn record(listened_ms: u64, duration_ms: u64, now_ms: i64) -> PlayCommand {
        PlayCommand::Record {
            play_id: PlayId(Uuid::from_u128(1)),
            track_id: TrackId(Uuid::from_u128(2)),
            artist_id: UserId(Uuid::from_u128(3)),
            listener_id: UserId(Uuid::from_u128(4)),
            listened_ms,
            duration_ms,
            now: at(now_ms),
        }
    }

    fn played(listened_ms: u64, until_ms: i64) -> PlayEvent {
        TrackPlayed {
            play_id: PlayId(Uuid::from_u128(1)),
            track_id: TrackId(Uuid::from_u128(2)),
            artist_id: UserId(Uuid::from_u128(3)),
            listener_id: UserId(Uuid::from_u128(4)),
            listened_ms,
            heard_until: Some(at(until_ms)),
        }
        .into()
    }

    fn given(events: Vec<PlayEvent>) -> AggregateTestExecutor<ListenerDay> {
        TestFramework::with(()).given(events)
    }

    #[test]
    fn half_a_minute_or_half_the_track_counts() {
        given(vec![]).when(record(30_000, 200_000, 0)).then_expect_events(vec![played(30_000, 0)]);
        given(vec![]).when(record(5_000, 10_000, 0)).then_expect_events(vec![played(5_000, 0)]);
        let short = |listened_ms, counted_ms| PlayRejection::TooShort { listened_ms, counted_ms };
        given(vec![]).when(record(29_999, 200_000, 0)).then_expect_error(short(29_999, 30_000));
        given(vec![]).when(record(4_999, 10_000, 0)).then_expect_error(short(4_999, 5_000));
        given(vec![]).when(record(0, 1, 0)).then_expect_error(short(0, 1));
    }

    #[test]
    fn nobody_listens_longer_than_the_track() {
        given(vec![]).when(record(10_400, 10_000, 0)).then_expect_events(vec![played(10_000, 0)]);
        let longer = PlayRejection::LongerThanTrack { listened_ms: 11_001, duration_ms: 10_000 };
        given(vec![]).when(record(11_001, 10_000, 0)).then_expect_error(longer);
        given(vec![]).when(record(0, 0, 0)).then_expect_error(PlayRejection::NoDuration);
    }

    #[test]
    fn nobody_listens_longer_than_time_passes() {
        let no_time = |ahead_ms| PlayRejection::NoTime { ahead_ms };
        let heard = || given(vec![played(35_000, 0)]);
        heard().when(record(35_000, 200_000, 0)).then_expect_error(no_time(35_000));
        heard().when(record(35_000, 200_000, 29_999)).then_expect_error(no_time(5_001));
        // A little early is fine, and the next has to make up for it.
        heard()
            .when(record(35_000, 200_000, 30_000))
            .then_expect_events(vec![played(35_000, 35_000)]);
        given(vec![played(35_000, 0), played(35_000, 35_000)])
            .when(record(35_000, 200_000, 60_000))
            .then_expect_error(no_time(10_000));
        heard()
            .when(record(35_000, 200_000, 90_000))
            .then_expect_events(vec![played(35_000, 90_000)]);
        let longest = PlayRejection::NoTime {
            ahead_ms: (DateTime::<Utc>::MAX_UTC - at(0)).num_milliseconds(),
        };
        heard().when(record(u64::MAX, u64::MAX, 0)).then_expect_error(longest);
    }

    #[test]
    fn a_day_is_one_listeners() {
        let day = |listener, hour: i64| {
            ListenerDayId::of(UserId(Uuid::from_u128(listener)), at(hour * 3_600_000))
        };
        assert_eq!(day(1, 0), day(1, 11));
        assert_ne!(day(1, 0), day(1, 12));
        assert_ne!(day(1, 0), day(2, 0));
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

        #[test]
        fn what_was_heard_fits_into_the_time_that_passed(
            plays in prop::collection::vec((1_u64..90_000, 0_i64..60_000), 1..100),
        ) {
            let (mut day, mut now, mut heard) = (ListenerDay::default(), 0, 0);
            let mut first = None;
            for (listened_ms, later) in plays {
                now += later;
                for event in day.decide(record(listened_ms, 90_000, now)).unwrap_or_default() {
                    let PlayEvent::TrackPlayed(played) = &event;
                    let counted = i64::try_from(played.listened_ms).unwrap();
                    heard += counted;
                    let began = *first.get_or_insert(now - counted);
                    prop_assert!(heard <= now - began + EARLY_MS_MAX);
                    day.evolve(event);
                }
            }
        }
    }
}
