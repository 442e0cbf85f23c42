//! Counts, rates and latencies.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::limits::LATENCIES_MAX;
use crate::persistent::info::Measurement;

/// How many were processed, in all and since it was last asked.
pub(super) struct Rate {
    since: Instant,
    total: u64,
    told: u64,
}

impl Rate {
    pub(super) fn new(since: Instant) -> Self {
        Self { since, total: 0, told: 0 }
    }

    pub(super) fn count(&mut self) {
        self.total += 1;
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The average over all its time.
    pub(super) fn per_second(&self, now: Instant) -> u64 {
        let millis = now.duration_since(self.since).as_millis().max(1);
        u64::try_from(u128::from(self.total) * 1000 / millis).unwrap_or(u64::MAX)
    }

    pub(super) fn since_last(&mut self) -> u64 {
        let count = self.total - self.told;
        self.told = self.total;
        count
    }
}

/// The last latencies of a consumer, from delivery to acknowledgement.
#[derive(Default)]
pub(super) struct Latencies(VecDeque<Duration>);

impl Latencies {
    pub(super) fn add(&mut self, latency: Duration) {
        if self.0.len() == LATENCIES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(latency);
    }

    /// What the protocol tells of them, by its names, in milliseconds.
    pub(super) fn told(&self) -> Vec<Measurement> {
        let mut sorted: Vec<Duration> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        let Some(fastest) = sorted.first() else { return Vec::new() };
        let sum: Duration = sorted.iter().sum();
        let mean = sum / u32::try_from(sorted.len()).unwrap_or(u32::MAX);
        // The smallest latency that so many in a thousand do not exceed.
        let at = |permille: usize| {
            let rank = (sorted.len() * permille).div_ceil(1000).clamp(1, sorted.len());
            sorted[rank - 1]
        };
        let ranks = [
            ("Quintile 1", 200),
            ("Quintile 2", 400),
            ("Quintile 3", 600),
            ("Quintile 4", 800),
            ("Quintile 5", 1000),
            ("90%", 900),
            ("95%", 950),
            ("99%", 990),
            ("99.5%", 995),
            ("99.9%", 999),
            ("Highest", 1000),
        ];
        let told = |key: &'static str, value: Duration| Measurement {
            key,
            millis: u64::try_from(value.as_millis()).unwrap_or(u64::MAX),
        };
        [told("Mean", mean), told("Median", at(500)), told("Fastest", *fastest)]
            .into_iter()
            .chain(ranks.map(|(key, permille)| told(key, at(permille))))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_told_by_rank_and_the_last_count() {
        let mut latencies = Latencies::default();
        assert!(latencies.told().is_empty());
        for millis in 0..2 * LATENCIES_MAX as u64 {
            latencies.add(Duration::from_millis(millis));
        }
        let told = latencies.told();
        let of = |key| told.iter().find(|it| it.key == key).unwrap().millis;
        let first = LATENCIES_MAX as u64;
        assert_eq!((of("Fastest"), of("Highest")), (first, 2 * first - 1));
        assert_eq!((of("Median"), of("90%")), (first + first / 2 - 1, first + first * 9 / 10 - 1));
        assert_eq!(of("Mean"), first + first / 2 - 1);
    }

    #[test]
    fn a_rate_is_over_all_its_time() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        (0..10).for_each(|_| rate.count());
        assert_eq!(rate.per_second(start + Duration::from_secs(5)), 2);
        assert_eq!((rate.since_last(), rate.since_last(), rate.total()), (10, 0, 10));
    }
}
