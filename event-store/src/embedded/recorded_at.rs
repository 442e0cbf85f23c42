//! When events are recorded: by the clock, and never before the event that is there already.

use chrono::{DateTime, Utc};

/// How far behind the log's last event a clock is that was set back; less is one that is corrected.
const SET_BACK_MICROS: i64 = 1_000_000;

/// Times of events, as one writer gives them.
#[derive(Debug, Default)]
pub(super) struct RecordedAt {
    is_set_back: bool,
}

/// What there is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The clock is so many seconds behind the log; times stand still until it has come there.
    Behind(i64),
    /// It has come there.
    Caught,
}

impl RecordedAt {
    /// The time of what is recorded now, behind what was recorded `last`.
    pub(super) fn next(
        &mut self,
        now: DateTime<Utc>,
        last_micros: Option<i64>,
    ) -> (DateTime<Utc>, Option<News>) {
        let now_micros = now.timestamp_micros();
        let at_micros = last_micros.map_or(now_micros, |last| last.max(now_micros));
        let at = DateTime::from_timestamp_micros(at_micros).unwrap_or(now);
        let behind = at_micros - now_micros;
        let news = match (self.is_set_back, behind) {
            (false, SET_BACK_MICROS..) => Some(News::Behind(behind / 1_000_000)),
            (true, 0) => Some(News::Caught),
            _ => None,
        };
        self.is_set_back = news.map_or(self.is_set_back, |news| news != News::Caught);
        (at, news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_is_told_once_and_times_stand_still_meanwhile() {
        let of = |seconds: i64| DateTime::from_timestamp(seconds, 0).unwrap();
        let mut times = RecordedAt::default();
        for (now, last, at, news) in [
            (1_000, None, 1_000, None),
            (1_001, Some(1_000), 1_001, None),
            (901, Some(1_001), 1_001, Some(News::Behind(100))),
            (902, Some(1_001), 1_001, None),
            (1_001, Some(1_001), 1_001, Some(News::Caught)),
            (1_002, Some(1_001), 1_002, None),
            (1_000, Some(1_002), 1_002, Some(News::Behind(2))),
        ] {
            let last = last.map(|seconds: i64| seconds * 1_000_000);
            assert_eq!(times.next(of(now), last), (of(at), news), "{now} after {last:?}");
        }
        let corrected = of(1_002) - chrono::TimeDelta::milliseconds(900);
        let mut times = RecordedAt::default();
        assert_eq!(times.next(corrected, Some(1_002_000_000)), (of(1_002), None));
    }
}
