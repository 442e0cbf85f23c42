//! When events are recorded: by the clock, and always after the events that are there already, so
//! that a moment parts them from what follows.

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
    /// The clock is so many seconds behind the log; times hardly move until it has come there.
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
        let at_micros = last_micros.map_or(now_micros, |last| now_micros.max(last + 1));
        let at = DateTime::from_timestamp_micros(at_micros).unwrap_or(now);
        let behind = at_micros - now_micros;
        let news = match (self.is_set_back, behind) {
            (false, SET_BACK_MICROS..) => Some(News::Behind(behind / 1_000_000)),
            (true, ..=1) => Some(News::Caught),
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
    fn a_clock_that_was_set_back_is_told_once_and_times_rise_all_the_same() {
        let of = |micros: i64| DateTime::from_timestamp_micros(micros).unwrap();
        let second = 1_000_000;
        let mut times = RecordedAt::default();
        for (now, last, at, news) in [
            (1_000 * second, None, 1_000 * second, None),
            (1_001 * second, Some(1_000 * second), 1_001 * second, None),
            (901 * second, Some(1_001 * second), 1_001 * second + 1, Some(News::Behind(100))),
            (902 * second, Some(1_001 * second + 1), 1_001 * second + 2, None),
            (1_001 * second + 2, Some(1_001 * second + 2), 1_001 * second + 3, Some(News::Caught)),
            (1_002 * second, Some(1_001 * second + 3), 1_002 * second, None),
            (1_000 * second, Some(1_002 * second), 1_002 * second + 1, Some(News::Behind(2))),
        ] {
            assert_eq!(times.next(of(now), last), (of(at), news), "{now} after {last:?}");
        }
        let mut times = RecordedAt::default();
        let corrected = of(1_002 * second - 900_000);
        assert_eq!(times.next(corrected, Some(1_002 * second)), (of(1_002 * second + 1), None));
    }
}
