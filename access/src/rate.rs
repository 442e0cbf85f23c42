//! How often one caller may ask: token buckets in bounded memory.
//!
//! A bucket is kept as one moment, that at which it will be full again; taking a token moves it
//! on by the time that one token takes to refill. A bucket that is full is no different from one
//! that was never used, so when there is no room the bucket that will be full first goes: flooding
//! the limiter with new callers never frees one who is in debt.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use uuid::Uuid;

mod gate;

pub use gate::{RateGate, RateState, limit_rate};

/// How many buckets are kept. About 150 bytes each.
pub const RATE_KEYS_MAX: usize = 100_000;

/// Routes that share a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteClass {
    /// Queries and streaming.
    Read,
    /// Commands.
    Write,
    /// Bodies that are large and cost a transcoding.
    Upload,
    /// Log-in, sign-up and whatever else can be guessed at; each costs a password hash.
    Credential,
}

impl RouteClass {
    /// The name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Upload => "upload",
            Self::Credential => "credential",
        }
    }
}

/// Whom a bucket belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Caller {
    /// An account, wherever it calls from.
    Principal(Uuid),
    /// Everybody without a token at one address.
    Address(IpAddr),
}

/// The size of a bucket and how fast it fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    burst: u32,
    refill: Duration,
}

impl Rate {
    /// `burst` requests at once, and one more each `refill`.
    ///
    /// # Panics
    /// When either is zero: such a bucket would never give, or never be empty.
    #[must_use]
    pub const fn new(burst: u32, refill: Duration) -> Self {
        assert!(burst > 0 && !refill.is_zero());
        Self { burst, refill }
    }

    /// How long an empty bucket takes to be full.
    const fn depth(self) -> Duration {
        self.refill.saturating_mul(self.burst)
    }
}

/// The rate of each class of routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimits {
    /// For [`RouteClass::Read`].
    pub read: Rate,
    /// For [`RouteClass::Write`].
    pub write: Rate,
    /// For [`RouteClass::Upload`].
    pub upload: Rate,
    /// For [`RouteClass::Credential`].
    pub credential: Rate,
}

impl RateLimits {
    /// The rate of a class.
    #[must_use]
    pub const fn of(&self, class: RouteClass) -> Rate {
        match class {
            RouteClass::Read => self.read,
            RouteClass::Write => self.write,
            RouteClass::Upload => self.upload,
            RouteClass::Credential => self.credential,
        }
    }
}

/// What a person, a page full of players or an honest script never reaches.
impl Default for RateLimits {
    fn default() -> Self {
        Self {
            read: Rate::new(600, Duration::from_millis(5)),
            write: Rate::new(300, Duration::from_millis(10)),
            upload: Rate::new(60, Duration::from_millis(200)),
            credential: Rate::new(30, Duration::from_secs(1)),
        }
    }
}

/// The caller must wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests, the next is taken in {} ms", retry_after.as_millis())]
pub struct Limited {
    /// After this the next request is taken, if none comes before.
    pub retry_after: Duration,
}

type Key = (Caller, RouteClass);

/// The buckets of all callers. Times are durations since a start that the caller chooses, and may
/// be given out of order by threads that race: a bucket never goes back.
#[derive(Debug)]
pub struct RateLimiter {
    limits: RateLimits,
    keys_max: usize,
    buckets: Mutex<Buckets>,
}

#[derive(Debug, Default)]
struct Buckets {
    full_at: HashMap<Key, Duration>,
    /// The same by time, to find which goes first.
    by_time: BTreeSet<(Duration, Key)>,
}

// === impl RateLimiter ===

impl RateLimiter {
    /// A limiter that keeps at most `keys_max` buckets, at least one.
    #[must_use]
    pub fn new(limits: RateLimits, keys_max: usize) -> Self {
        Self { limits, keys_max: keys_max.max(1), buckets: Mutex::default() }
    }

    /// Takes one token of the caller's bucket for the class.
    ///
    /// # Errors
    /// When the bucket is empty; nothing is taken then.
    pub fn take(&self, caller: Caller, class: RouteClass, now: Duration) -> Result<(), Limited> {
        let rate = self.limits.of(class);
        let key = (caller, class);
        let mut buckets = self.lock();
        let was_full_at = buckets.full_at.get(&key).copied();
        let full_at = was_full_at.unwrap_or_default().max(now).saturating_add(rate.refill);
        let empty_until = full_at.saturating_sub(rate.depth());
        if empty_until > now {
            return Err(Limited { retry_after: empty_until - now });
        }
        if let Some(was) = was_full_at {
            buckets.by_time.remove(&(was, key));
        } else if buckets.full_at.len() >= self.keys_max {
            buckets.drop_first();
        }
        buckets.full_at.insert(key, full_at);
        buckets.by_time.insert((full_at, key));
        Ok(())
    }

    /// How many buckets are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().full_at.len()
    }

    /// Whether no bucket is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Buckets> {
        // A panic inside would leave at worst one bucket too many or too few.
        self.buckets.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Buckets {
    fn drop_first(&mut self) {
        if let Some((_, key)) = self.by_time.pop_first() {
            self.full_at.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits(burst: u32, refill: Duration) -> RateLimits {
        let rate = Rate::new(burst, refill);
        RateLimits { read: rate, write: rate, upload: rate, credential: rate }
    }

    fn caller(number: u128) -> Caller {
        Caller::Principal(Uuid::from_u128(number))
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_one_a_refill() {
        let limiter = RateLimiter::new(limits(3, SECOND), 10);
        let take =
            |millis| limiter.take(caller(1), RouteClass::Write, Duration::from_millis(millis));
        for _ in 0..3 {
            assert_eq!(take(0), Ok(()));
        }
        assert_eq!(take(0), Err(Limited { retry_after: SECOND }));
        assert_eq!(take(400), Err(Limited { retry_after: Duration::from_millis(600) }));
        assert_eq!(take(1000), Ok(()));
        assert_eq!(take(1000), Err(Limited { retry_after: SECOND }));
        // Long idle, it is full and no fuller.
        for _ in 0..3 {
            assert_eq!(take(60_000), Ok(()));
        }
        assert!(take(60_000).is_err());
    }

    #[test]
    fn callers_and_classes_have_buckets_of_their_own() {
        let limiter = RateLimiter::new(limits(1, SECOND), 10);
        let address = Caller::Address("1.2.3.4".parse().unwrap());
        for (who, class) in [
            (caller(1), RouteClass::Read),
            (caller(1), RouteClass::Write),
            (caller(2), RouteClass::Read),
            (address, RouteClass::Read),
        ] {
            assert_eq!(limiter.take(who, class, SECOND), Ok(()));
            assert!(limiter.take(who, class, SECOND).is_err());
        }
        assert_eq!(limiter.len(), 4);
    }

    #[test]
    fn a_flood_of_callers_frees_nobody_in_debt() {
        let limiter = RateLimiter::new(limits(3, SECOND), 100);
        for _ in 0..3 {
            limiter.take(caller(0), RouteClass::Write, SECOND).unwrap();
        }
        for number in 1..10_000 {
            limiter.take(caller(number), RouteClass::Write, SECOND).unwrap();
            assert!(limiter.len() <= 100);
        }
        assert!(limiter.take(caller(0), RouteClass::Write, SECOND).is_err());
    }

    proptest! {
        /// Over any run, a caller gets no more than burst plus what was refilled, and always
        /// what `retry_after` promised.
        #[test]
        fn no_more_than_burst_plus_refill(
            burst in 1_u32..20,
            refill_ms in 1_u64..500,
            steps in prop::collection::vec(0_u64..300, 1..300),
        ) {
            let refill = Duration::from_millis(refill_ms);
            let limiter = RateLimiter::new(limits(burst, refill), 4);
            let mut now = Duration::ZERO;
            let mut given = 0_u128;
            for step in steps {
                now += Duration::from_millis(step);
                match limiter.take(caller(1), RouteClass::Read, now) {
                    Ok(()) => given += 1,
                    Err(Limited { retry_after }) => {
                        prop_assert!(retry_after > Duration::ZERO && retry_after <= refill);
                        let before = now + retry_after - Duration::from_nanos(1);
                        prop_assert!(limiter.take(caller(1), RouteClass::Read, before).is_err());
                        now += retry_after;
                        prop_assert!(limiter.take(caller(1), RouteClass::Read, now).is_ok());
                        given += 1;
                    }
                }
                let refilled = now.as_millis() / u128::from(refill_ms);
                prop_assert!(given <= u128::from(burst) + refilled);
            }
        }

        /// Both indexes agree, and neither grows past the limit.
        #[test]
        fn memory_is_bounded(
            takes in prop::collection::vec((0_u128..50, 0_u64..2000), 1..400),
            keys_max in 1_usize..20,
        ) {
            let limiter = RateLimiter::new(limits(2, SECOND), keys_max);
            for (who, millis) in takes {
                limiter.take(caller(who), RouteClass::Read, Duration::from_millis(millis)).ok();
                let buckets = limiter.lock();
                prop_assert!(buckets.full_at.len() <= keys_max);
                prop_assert_eq!(buckets.full_at.len(), buckets.by_time.len());
            }
        }
    }
}
