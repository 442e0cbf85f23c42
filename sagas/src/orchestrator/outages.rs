//! Outages: what is out of reach for steps of a kind is told when it begins and when it ends, not
//! by each run that meets it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::orchestrator::definition::StepName;

/// A party that comes and goes is told of no more often than this.
const TELL_EVERY: Duration = Duration::from_secs(60);

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
    /// The step could not be done. Tells whether that is news.
    pub(crate) fn failed(&self, step: StepName) -> bool {
        let mut outages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let outage =
            outages.entry(step).or_insert(Outage { since: None, told_at: None, open: false });
        let now = Instant::now();
        let began = outage.since.is_none();
        outage.since.get_or_insert(now);
        let news = began && outage.told_at.is_none_or(|at| now - at >= TELL_EVERY);
        if news {
            (outage.told_at, outage.open) = (Some(now), true);
        }
        news
    }

    /// Who the step needs has answered. Tells how long they were away, when that is news.
    pub(crate) fn answered(&self, step: StepName) -> Option<Duration> {
        let mut outages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let outage = outages.get_mut(step)?;
        let away = outage.since.take()?.elapsed();
        std::mem::take(&mut outage.open).then_some(away)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_beginning_and_the_end_are_told_once() {
        let outages = Outages::default();
        assert_eq!(outages.answered("pay"), None);
        assert!(outages.failed("pay"));
        tokio::time::advance(Duration::from_secs(300)).await;
        assert!(!outages.failed("pay"), "another run meets the same");
        assert!(outages.failed("ship"), "another step is another party");
        assert_eq!(outages.answered("pay"), Some(Duration::from_secs(300)));
        assert_eq!(outages.answered("pay"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_and_goes_is_told_of_now_and_then() {
        let outages = Outages::default();
        let mut told = 0;
        for _ in 0..600 {
            told += usize::from(outages.failed("pay"));
            outages.answered("pay");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(told, 10);
    }
}
