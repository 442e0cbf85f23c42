//! How fast a pass may work, and whether it is to stop.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many times a second a pass that is too fast waits.
const WAITS_PER_SECOND: u64 = 64;

/// So many bytes at most are worked on before anybody looks whether it is to stop.
const STEP_BYTES_MAX: u64 = 1024 * 1024;

/// Tells a pass to stop, also while it waits.
#[derive(Debug, Default)]
pub(super) struct Stop {
    asked: Mutex<bool>,
    rings: Condvar,
}

impl Stop {
    /// Asks for it, or takes that back.
    pub(super) fn set(&self, asked: bool) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = asked;
        self.rings.notify_all();
    }

    /// Waits so long, or until it is asked for; returns whether it is.
    fn within(&self, time: Duration) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.rings.wait_timeout_while(asked, time, |asked| !*asked);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Keeps a pass to its bytes a second.
pub(super) struct Pace<'a> {
    stop: &'a Stop,
    bytes_per_second: u64,
    since: Instant,
    bytes: u64,
}

impl<'a> Pace<'a> {
    pub(super) fn new(stop: &'a Stop, bytes_per_second: u64) -> Self {
        let bytes_per_second = bytes_per_second.max(1);
        Self { stop, bytes_per_second, since: Instant::now(), bytes: 0 }
    }

    /// Says that so many bytes were worked on, and waits where that was too fast; returns whether
    /// the pass is to go on.
    pub(super) fn goes_on(&mut self, bytes: usize) -> bool {
        self.bytes += bytes as u64;
        if self.bytes < (self.bytes_per_second / WAITS_PER_SECOND).min(STEP_BYTES_MAX) {
            return true;
        }
        let due = Duration::from_secs_f64(self.bytes as f64 / self.bytes_per_second as f64);
        let goes_on = !self.stop.within(due.saturating_sub(self.since.elapsed()));
        (self.since, self.bytes) = (Instant::now(), 0);
        goes_on
    }
}
