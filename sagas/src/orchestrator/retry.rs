//! When a failed step is tried again: later each time, spread out, and not for ever. Somebody who
//! can't be reached is waited for much longer than what fails is tried.

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
    /// The longest wait between two looks whether somebody can be reached again.
    pub longest_outage_wait: Duration,
    /// So long they are waited for; then it counts as having failed too often.
    pub outage_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(60),
            attempts_max: 12,
            longest_outage_wait: Duration::from_secs(5 * 60),
            outage_max: Duration::from_secs(24 * 60 * 60),
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
        Some(spread(doubled.min(self.longest), key, &attempt.to_be_bytes(), now))
    }

    /// Whether somebody has been waited for since then for too long.
    pub fn is_given_up(&self, since: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        (now - since).to_std().is_ok_and(|waited| waited >= self.outage_max)
    }

    /// When to look again for somebody who is waited for since then; `None` when to give up.
    ///
    /// The wait is as long as they have been waited for until now, so it doubles each time.
    pub fn look_at(
        &self,
        key: IdempotencyKey,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        if self.is_given_up(since, now) {
            return None;
        }
        let waited = (now - since).to_std().unwrap_or_default();
        let wait = waited.clamp(self.first, self.longest_outage_wait.max(self.first));
        Some(spread(wait, key, &now.timestamp_millis().to_be_bytes(), now))
    }
}

/// Between half of the wait and all of it from now on.
fn spread(wait: Duration, key: IdempotencyKey, of: &[u8], now: DateTime<Utc>) -> DateTime<Utc> {
    let share = Uuid::new_v5(&key.0, of).as_bytes()[0];
    let wait = wait / 2 + wait / 2 * u32::from(share) / 256;
    now + TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX)
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
    fn somebody_who_is_away_is_waited_for_a_day_and_not_asked_too_often() {
        let policy = RetryPolicy::default();
        let key = IdempotencyKey(Uuid::from_u128(7));
        let since = DateTime::UNIX_EPOCH;
        let (mut now, mut looks) = (since, 0);
        while let Some(at) = policy.look_at(key, since, now) {
            let wait = (at - now).to_std().unwrap();
            assert!(wait >= policy.first / 2 && wait <= policy.longest_outage_wait, "{wait:?}");
            (now, looks) = (at, looks + 1);
        }
        assert!((now - since).to_std().unwrap() >= policy.outage_max);
        assert!((280..700).contains(&looks), "{looks}");
    }

    #[test]
    fn runs_that_fail_together_are_spread() {
        let policy = RetryPolicy::default();
        let at = |id| policy.retry_at(IdempotencyKey(Uuid::from_u128(id)), 5, DateTime::UNIX_EPOCH);
        let distinct: std::collections::BTreeSet<_> = (0..50).map(at).collect();
        assert!(distinct.len() > 30, "{} waits of 50 differ", distinct.len());
    }
}
