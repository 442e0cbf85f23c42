//! How long and how much is measured.

use std::time::Duration;

/// How long a load runs: first unmeasured, then measured.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub warm_up: Duration,
    pub measured: Duration,
}

/// How long and how much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    smoke: bool,
    full: bool,
}

impl Scale {
    pub fn from_environment() -> Self {
        let is_on = |name| std::env::var(name).is_ok_and(|value| value == "1");
        Self { smoke: is_on("BENCH_SMOKE"), full: is_on("BENCH_FULL") }
    }

    /// Whether the long rows are wanted, too.
    pub fn is_full(self) -> bool {
        self.full
    }

    /// How often the platform and its baseline take turns.
    pub fn rounds(self) -> usize {
        if self.smoke { 1 } else { 5 }
    }

    /// The same for what the disk alone decides: shorter turns, as its mood changes.
    pub fn turns_of_disk(self) -> usize {
        if self.smoke { 1 } else { 12 }
    }

    /// The same for what takes long.
    pub fn long_rounds(self) -> usize {
        if self.smoke { 1 } else { 3 }
    }

    /// A load of this many seconds.
    pub fn span(self, seconds: f64) -> Span {
        let seconds = if self.smoke { 0.3 } else { seconds };
        let measured = Duration::from_secs_f64(seconds);
        Span { warm_up: measured / 4, measured }
    }

    /// This many things; few where only that it runs is of interest.
    pub fn count(self, count: usize) -> usize {
        if self.smoke { (count / 100).clamp(1, 2_000) } else { count }
    }
}
