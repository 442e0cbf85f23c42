//! Seeds for tests that go through many of them: a few in every run of the tests, and as many as
//! the time allows in a long one. A seed that fails is told, with the command that repeats it.

use std::env;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// For how many seconds each of these tests goes on, from seeds that nobody tried yet.
const SECONDS: &str = "TORTURE_SECONDS";
/// The one seed to try.
const SEED: &str = "TORTURE_SEED";

/// The seeds of one test.
pub struct Seeds {
    test: &'static str,
    first: u64,
    given: u64,
    end: End,
    begun: Instant,
}

enum End {
    After(u64),
    /// At this moment, but not before so many.
    At(Instant, u64),
}

/// A few seeds for this test; in a long run as many as there is time for, and this many at least.
pub fn seeds(test: &'static str, few: u64, many: u64) -> Seeds {
    let begun = Instant::now();
    let (first, end) = match (number_in(SEED), long_seconds()) {
        (Some(seed), _) => (seed, End::After(1)),
        (None, Some(seconds)) => {
            let moment = begun + Duration::from_secs(seconds);
            (RandomState::new().hash_one(test), End::At(moment, many))
        }
        (None, None) => (0, End::After(few)),
    };
    Seeds { test, first, given: 0, end, begun }
}

/// For how long such a test goes on, where this is a long run.
pub fn long_seconds() -> Option<u64> {
    number_in(SECONDS)
}

fn number_in(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is a number, not `{value}`")))
}

impl Iterator for Seeds {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let more = match self.end {
            End::After(count) => self.given < count,
            End::At(moment, many) => self.given < many || Instant::now() < moment,
        };
        more.then(|| {
            self.given += 1;
            self.first.wrapping_add(self.given - 1)
        })
    }
}

impl Drop for Seeds {
    fn drop(&mut self) {
        let Self { test, first, given, .. } = *self;
        let seconds = self.begun.elapsed().as_secs_f32();
        println!("{test}: {given} seeds from {first} on, in {seconds:.1} s");
        if std::thread::panicking() {
            let seed = first.wrapping_add(given.saturating_sub(1));
            println!("to repeat: {SEED}={seed} cargo nextest run -p event-store -E 'test({test})'");
        }
    }
}
