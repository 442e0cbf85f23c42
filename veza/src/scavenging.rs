//! What of the log nobody can see any more is given back to the disk, without being asked for.

use std::sync::Arc;
use std::time::Duration;

use event_store::{EmbeddedStore, ScavengeOptions};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

/// How often that is, unless it is set, as a setting has it.
pub const SCAVENGE_EVERY: &str = "24h";

/// The first pass begins so long after the start at the latest: a process that is started anew each
/// day is scavenged too.
const FIRST_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Scavenges once in every period, where there is one, until it is cancelled. What a pass did, or
/// why it failed, the store says in the log itself.
pub fn scavenge_every(
    store: &Arc<EmbeddedStore>,
    period: Option<Duration>,
    until: &CancellationToken,
) {
    if let Some(period) = period {
        let passes = scavenge(Arc::clone(store), period);
        tokio::spawn(until.clone().run_until_cancelled_owned(passes));
    }
}

async fn scavenge(store: Arc<EmbeddedStore>, period: Duration) {
    let mut passes = interval_at(Instant::now() + period.min(FIRST_AFTER_MAX), period);
    passes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        passes.tick().await;
        drop(store.scavenge(ScavengeOptions::default()).await);
    }
}
