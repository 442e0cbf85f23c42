//! Outages: what is out of reach, for steps of a kind or for all, is told when it begins and when
//! it ends, not by each run that meets it.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::orchestrator::definition::StepName;

/// A party that comes and goes is told of no more often than this.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What all steps need.
const STORE: StepName = "store";

/// Which steps can't be done just now for want of somebody else.
#[derive(Debug, Default)]
pub(crate) struct Outages(Mutex<HashMap<StepName, Outage>>);

#[derive(Debug, Default)]
struct Outage {
    /// When it may have begun, before anything failed for it.
    hinted_at: Option<Instant>,
    since: Option<Instant>,
    told_at: Option<Instant>,
    /// Whether its end is still to be told.
    open: bool,
}

impl Outages {
    /// The store does not do its work.
    pub(crate) fn store_failed(&self, error: &(dyn Error + 'static)) {
        if self.failed(STORE, Instant::now()) {
            tracing::warn!(error, "the sagas wait for the store");
        } else {
            tracing::debug!(error, "the sagas wait for the store");
        }
    }

    /// The store has stopped telling what happens. It may only be slow to, and is asked for it
    /// again for a while before that counts as failed; but then, it was away from here on.
    pub(crate) fn store_fell_silent(&self) {
        self.may_fail(STORE, Instant::now());
    }

    /// The store does its work.
    pub(crate) fn store_answered(&self) {
        if let Some(away) = self.answered(STORE, Instant::now()) {
            let away_seconds = away.as_secs();
            tracing::info!(away_seconds, "the store answers the sagas again");
        }
    }

    fn may_fail(&self, step: StepName, now: Instant) {
        let mut outages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        outages.entry(step).or_default().hinted_at.get_or_insert(now);
    }

    /// The step could not be done. Tells whether that is news.
    pub(crate) fn failed(&self, step: StepName, now: Instant) -> bool {
        let mut outages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let outage = outages.entry(step).or_default();
        let began = outage.since.is_none();
        outage.since.get_or_insert(outage.hinted_at.unwrap_or(now));
        let news = began && outage.told_at.is_none_or(|at| now - at >= TELL_EVERY);
        if news {
            (outage.told_at, outage.open) = (Some(now), true);
        }
        news
    }

    /// Who the step needs has answered. Tells how long they were away, when that is news.
    pub(crate) fn answered(&self, step: StepName, now: Instant) -> Option<Duration> {
        let mut outages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let outage = outages.get_mut(step)?;
        outage.hinted_at = None;
        let away = now - outage.since.take()?;
        std::mem::take(&mut outage.open).then_some(away)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_and_the_end_are_told_once() {
        let (outages, began) = (Outages::default(), Instant::now());
        assert_eq!(outages.answered("pay", began), None);
        assert!(outages.failed("pay", began));
        let later = began + Duration::from_secs(300);
        assert!(!outages.failed("pay", later), "another run meets the same");
        assert!(outages.failed("ship", later), "another step is another party");
        assert_eq!(outages.answered("pay", later), Some(later - began));
        assert_eq!(outages.answered("pay", later), None);
    }

    #[test]
    fn an_outage_is_counted_from_its_first_sign() {
        let (outages, began) = (Outages::default(), Instant::now());
        let [failed, over] = [60, 95].map(|seconds| began + Duration::from_secs(seconds));
        outages.may_fail(STORE, began);
        assert!(outages.failed(STORE, failed));
        assert_eq!(outages.answered(STORE, over), Some(over - began));
        // A sign of nothing is forgotten.
        let later = over + TELL_EVERY;
        outages.may_fail(STORE, over);
        assert_eq!(outages.answered(STORE, over), None);
        assert!(outages.failed(STORE, later));
        assert_eq!(outages.answered(STORE, later), Some(Duration::ZERO));
    }

    #[test]
    fn who_comes_and_goes_is_told_of_now_and_then() {
        let (outages, began) = (Outages::default(), Instant::now());
        let seconds = (0..600).map(|second| began + Duration::from_secs(second));
        let (mut began_told, mut ends_told) = (0, 0);
        for now in seconds {
            began_told += usize::from(outages.failed("pay", now));
            ends_told += usize::from(outages.answered("pay", now).is_some());
        }
        assert_eq!((began_told, ends_told), (10, 10));
    }
}
