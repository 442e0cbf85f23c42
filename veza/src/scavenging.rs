//! What of the log nobody can see any more is given back to the disk, without being asked for.

use std::sync::Arc;
use std::time::Duration;

use event_store::maintenance::Scavenges;
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
    let store = Arc::clone(store);
    repeat(period, until, move || {
        let store = Arc::clone(&store);
        async move { drop(store.scavenge(ScavengeOptions::default()).await) }
    });
}

/// The same, each pass under an id and kept in the store, as operators know them.
pub fn scavenges_every(
    scavenges: &Arc<Scavenges>,
    period: Option<Duration>,
    until: &CancellationToken,
) {
    let scavenges = Arc::clone(scavenges);
    repeat(period, until, move || {
        // Where it can't begin the store is closed, or scavenged already.
        drop(scavenges.start(ScavengeOptions::default()));
        std::future::ready(())
    });
}

fn repeat<F>(
    period: Option<Duration>,
    until: &CancellationToken,
    pass: impl Fn() -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send,
{
    let Some(period) = period else { return };
    let passes = async move {
        let mut passes = interval_at(Instant::now() + period.min(FIRST_AFTER_MAX), period);
        passes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            passes.tick().await;
            pass().await;
        }
    };
    tokio::spawn(until.clone().run_until_cancelled_owned(passes));
}
