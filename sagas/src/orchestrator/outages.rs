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

#[derive(Debug)]
struct Outage {
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

    /// The store does its work.
    pub(crate) fn store_answered(&self) {
        if let Some(away) = self.answered(STORE, Instant::now()) {
            let away_seconds = away.as_secs();
            tracing::info!(away_seconds, "the store answers the sagas again");
        }
    }

    /// The step could not be done. Tells whether that is news.
    pub(crate) fn failed(&self, step: StepName, now: Instant) -> bool {
        let mut outages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let outage =
            outages.entry(step).or_insert(Outage { since: None, told_at: None, open: false });
        let began = outage.since.is_none();
        outage.since.get_or_insert(now);
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
