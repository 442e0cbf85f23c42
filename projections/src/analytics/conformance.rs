//! What every engine of analytics must count, as a suite that each engine's tests run.

use chrono::{DateTime, Duration, NaiveDate, Utc};
use event_schemas::analytics::TrackPlayed;
use event_schemas::{PlayId, TrackId, UserId};
use uuid::Uuid;

use crate::analytics::{DAYS_MAX, DayPlays, PlayStatistics, TrackPlays};

/// Runs the suite. `record` puts listenings into the log, each at its time, and returns when the
/// model has them.
///
/// # Panics
/// When the engine does not count as it must.
pub async fn holds(
    plays: &dyn PlayStatistics,
    record: impl AsyncFn(Vec<(TrackPlayed, DateTime<Utc>)>),
) {
    let (track, other) = (TrackId(Uuid::new_v4()), TrackId(Uuid::new_v4()));
    let (ada, grace) = (UserId(Uuid::new_v4()), UserId(Uuid::new_v4()));
    assert_eq!(plays.of_track(track).await.expect("it is answered"), TrackPlays::default());
    assert_eq!(plays.days(track, 7).await.expect("it is answered"), []);
    assert_eq!(plays.of_tracks(&[]).await.expect("it is answered"), []);

    // Days are UTC's; the last millisecond of one is not the next one's.
    record(vec![
        (listening(track, ada, 30_000), at("2026-03-28T23:59:59.999Z")),
        (listening(track, ada, 1), at("2026-03-29T00:00:00Z")),
        (listening(track, grace, u64::from(u32::MAX) * 2), at("2026-03-29T23:30:00-02:00")),
        (listening(other, grace, 0), at("1969-12-31T23:59:59Z")),
    ])
    .await;
    let listened_ms = 30_001 + u64::from(u32::MAX) * 2;
    let expected = TrackPlays { plays: 3, listeners: 2, listened_ms };
    assert_eq!(plays.of_track(track).await.expect("it is answered"), expected);
    let days = plays.days(track, 7).await.expect("it is answered");
    let told: Vec<_> = days.iter().map(|day| (day.day.to_string(), day.plays)).collect();
    let one_each = ["2026-03-30", "2026-03-29", "2026-03-28"].map(|day| (day.to_owned(), 1));
    assert_eq!(told, one_each);
    assert_eq!(plays.days(track, 1).await.expect("it is answered"), days[..1]);
    assert_eq!(plays.days(track, 0).await.expect("it is answered"), []);
    let before_the_epoch = NaiveDate::from_ymd_opt(1969, 12, 31).expect("a day");
    let of_other = plays.days(other, 7).await.expect("it is answered");
    assert_eq!(of_other, [DayPlays { day: before_the_epoch, plays: 1, listened_ms: 0 }]);

    let mut asked: Vec<TrackId> = (0..500).map(|_| TrackId(Uuid::new_v4())).collect();
    asked.extend([track, other, track]);
    let mut told = plays.of_tracks(&asked).await.expect("it is answered");
    told.sort_by_key(|(_, plays)| plays.plays);
    let of_other = TrackPlays { plays: 1, listeners: 1, listened_ms: 0 };
    assert_eq!(told, [(other, of_other), (track, expected)], "each once, the unplayed left out");
    days_are_bounded(plays, record).await;
}

async fn days_are_bounded(
    plays: &dyn PlayStatistics,
    record: impl AsyncFn(Vec<(TrackPlayed, DateTime<Utc>)>),
) {
    let (track, listener) = (TrackId(Uuid::new_v4()), UserId(Uuid::new_v4()));
    let first = at("2020-01-01T12:00:00Z");
    let days = i64::from(DAYS_MAX) + 10;
    let daily =
        (0..days).map(|day| (listening(track, listener, 1_000), first + Duration::days(day)));
    record(daily.collect()).await;
    let told = plays.days(track, u32::MAX).await.expect("it is answered");
    assert_eq!(told.len(), DAYS_MAX as usize);
    let last = first + Duration::days(days - 1);
    assert_eq!(told[0], DayPlays { day: last.date_naive(), plays: 1, listened_ms: 1_000 });
    assert!(told.is_sorted_by(|later, earlier| later.day > earlier.day), "latest first");
    let all = plays.of_track(track).await.expect("it is answered");
    assert_eq!((all.plays, all.listeners), (days.unsigned_abs(), 1));
}

fn listening(track_id: TrackId, listener_id: UserId, listened_ms: u64) -> TrackPlayed {
    let (play_id, artist_id) = (PlayId(Uuid::new_v4()), UserId(Uuid::new_v4()));
    TrackPlayed { play_id, track_id, artist_id, listener_id, listened_ms, heard_until: None }
}

fn at(time: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(time).expect("a time").to_utc()
}
