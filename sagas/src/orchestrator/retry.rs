//! When a failed step is tried again: later each time, spread out, and not for ever.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::orchestrator::activity::IdempotencyKey;

/// How often and how soon a failed step is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The wait after the first failure; it doubles with each further one.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// After so many failures the saga pauses.
    pub attempts_max: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(60),
            attempts_max: 12,
        }
    }
}

impl RetryPolicy {
    /// Whether nothing is tried again after this many failures.
    pub fn is_last(&self, attempt: u32) -> bool {
        attempt >= self.attempts_max
    }

    /// When to try again after this many failures; `None` when to give up.
    ///
    /// Between half of the full wait and all of it, by the step's key, so that runs that failed
    /// together do not come back together.
    pub fn retry_at(
        &self,
        key: IdempotencyKey,
        attempt: u32,
        now: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        if self.is_last(attempt) {
            return None;
        }
        let doubled = self.first.saturating_mul(1 << attempt.saturating_sub(1).min(30));
        let wait = doubled.min(self.longest);
        let share = Uuid::new_v5(&key.0, &attempt.to_be_bytes()).as_bytes()[0];
        let wait = wait / 2 + wait / 2 * u32::from(share) / 256;
        Some(now + TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_longest_and_end() {
        let policy = RetryPolicy::default();
        let (key, now) = (IdempotencyKey(Uuid::from_u128(7)), DateTime::UNIX_EPOCH);
        let mut full = policy.first;
        for attempt in 1..policy.attempts_max {
            let wait = (policy.retry_at(key, attempt, now).unwrap() - now).to_std().unwrap();
            assert!(wait >= full / 2 && wait <= full, "attempt {attempt} waits {wait:?}");
            full = (full * 2).min(policy.longest);
        }
        assert_eq!(policy.retry_at(key, policy.attempts_max, now), None);
    }

    #[test]
    fn runs_that_fail_together_are_spread() {
        let policy = RetryPolicy::default();
        let at = |id| policy.retry_at(IdempotencyKey(Uuid::from_u128(id)), 5, DateTime::UNIX_EPOCH);
        let distinct: std::collections::BTreeSet<_> = (0..50).map(at).collect();
        assert!(distinct.len() > 30, "{} waits of 50 differ", distinct.len());
    }
}
