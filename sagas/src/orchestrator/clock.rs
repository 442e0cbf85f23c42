//! The clock that runs are driven by, so that tests can pass fourteen days at once.

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};

/// Longest sleep at once: a step of the wall clock is noticed after this, in seconds.
const SLEEP_SECONDS_MAX: i64 = 60;

/// Tells the time, and waits for it.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// What time it is.
    fn now(&self) -> DateTime<Utc>;

    /// Returns when it is that time, or earlier: the caller looks again.
    async fn sleep_until(&self, at: DateTime<Utc>);
}

/// The clock on the wall.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    async fn sleep_until(&self, at: DateTime<Utc>) {
        let wait = (at - Utc::now()).min(TimeDelta::seconds(SLEEP_SECONDS_MAX));
        // A moment that has passed is no duration, and nothing to wait for.
        if let Ok(wait) = wait.to_std() {
            tokio::time::sleep(wait).await;
        }
    }
}
