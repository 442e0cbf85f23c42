//! The log is read whole now and then, so that what rots on the disk is found while a backup has
//! it.

use std::sync::Arc;
use std::time::Duration;

use event_store::log::{Clock as _, SystemClock};
use event_store::{EmbeddedStore, ScrubOptions};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

/// How often that is, unless it is set, as a setting has it.
pub const SCRUB_EVERY: &str = "7d";

/// A scrub that is due when the process starts begins so long after at the latest.
const FIRST_AFTER_MAX: Duration = Duration::from_secs(600);

/// Scrubs once in every period, where there is one, also over restarts, until it is cancelled. What
/// is damaged the store says in the log itself, and readiness tells it.
pub fn scrub_every(
    store: &Arc<EmbeddedStore>,
    period: Option<Duration>,
    until: &CancellationToken,
) {
    if let Some(period) = period {
        let scrubs = scrub(Arc::clone(store), period);
        tokio::spawn(until.clone().run_until_cancelled_owned(scrubs));
    }
}

async fn scrub(store: Arc<EmbeddedStore>, period: Duration) {
    let since = store.last_scrub().and_then(|ended| (SystemClock.now() - ended).to_std().ok());
    let left = since.map_or(Duration::ZERO, |since| period.saturating_sub(since));
    let first = Instant::now() + left.max(period.min(FIRST_AFTER_MAX));
    let mut scrubs = interval_at(first, period);
    scrubs.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        scrubs.tick().await;
        if let Err(error) = store.scrub(ScrubOptions::default()).await {
            tracing::warn!(%error, "scrubbing failed");
        }
    }
}
