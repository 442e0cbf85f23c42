//! How long and how much is measured.

use std::time::Duration;

/// How long a load runs: first unmeasured, then measured.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub warm_up: Duration,
    pub measured: Duration,
}

impl Span {
    /// How many calls become due at so many a second: those that are not measured, and all.
    pub fn calls(self, rate: f64) -> (u64, u64) {
        let count = |time: Duration| (time.as_secs_f64() * rate) as u64;
        (count(self.warm_up), count(self.warm_up + self.measured))
    }
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

    /// The file of a part's results; figures that mean nothing get a name that says so.
    pub fn results(self, part: &str) -> String {
        if self.smoke { format!("{part}.smoke.json") } else { format!("{part}.json") }
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
