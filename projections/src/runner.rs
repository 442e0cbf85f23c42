//! The runner: one supervised loop a projection, from the log into the model, exactly once in
//! effect.
//!
//! | module | what is there |
//! | --- | --- |
//! | `supervisor` | a loop waits for its lease, begins again when it failed, and says why |
//! | `session` | one projection's loop while it has the lease |
//! | `publishing` | the loop that passes events on to the event bus |
//! | `batch` | events into a model in one transaction; poison events are parked |
//! | `foreign` | events of others in streams of ours, which are passed over |
//! | `checkpoint`, `parked` | what PostgreSQL keeps of progress and of events that wait |
//! | `lease` | one process at a time |
//! | `rebuild` | a shadow filled beside the live model, then swapped |
//! | `of_log` | of which log a model is |
//! | `watermarks` | waiting for one's own writes |
//! | `bookkeeping` | the runner's own tables |
//! | `schemas` | the models' schemas: live, built beside it, left behind |

mod batch;
mod bookkeeping;
mod checkpoint;
mod foreign;
mod lease;
mod of_log;
mod parked;
mod publishing;
mod rebuild;
mod schemas;
mod session;
mod supervisor;
mod watermarks;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use event_store::{EventStore, Position};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use batch::{BatchError, OnPoison, with_causes};
pub use bookkeeping::prepare;
pub use checkpoint::{Checkpoint, NOT_RUN, SILENT, Status, checkpoints};
pub use lease::Lease;
pub use of_log::{LogMemory, models_of_another_log};
pub use parked::{ParkedEvent, parked_events, retry_parked};
pub use rebuild::{Rebuild, RebuildError, RebuildProgress};
pub use watermarks::{WaitError, Watermarks};

use crate::kafka::{self, EventBus};
use crate::projection::{ModelId, Projection};
use publishing::Publisher;
use session::Lane;
use supervisor::Supervisor;

/// The projections of this process, as long as it runs them.
pub struct Runner {
    pool: PgPool,
    cancel: CancellationToken,
    lanes: JoinSet<()>,
    watermarks: Watermarks,
}

impl Runner {
    /// Starts a loop for each projection. It makes what is missing in the database by itself, and
    /// waits for a database or event store that is not there yet.
    pub fn start(
        pool: PgPool,
        store: Arc<dyn EventStore>,
        projections: Vec<Arc<dyn Projection>>,
        cancel: CancellationToken,
    ) -> Self {
        let mut receivers: HashMap<ModelId, watch::Receiver<Position>> = HashMap::new();
        let mut senders = Vec::new();
        for projection in projections {
            let (sender, receiver) = watch::channel(Position::START);
            receivers.insert(projection.id(), receiver);
            senders.push((projection, sender));
        }
        let watermarks = Watermarks::local(pool.clone(), receivers);
        let mut lanes = JoinSet::new();
        for (projection, committed) in senders {
            let supervisor = Supervisor {
                id: projection.id(),
                filter: projection.filter(),
                pool: pool.clone(),
                store: Arc::clone(&store),
                committed,
                watermarks: watermarks.clone(),
                cancel: cancel.clone(),
                is_running: AtomicBool::new(false),
            };
            let lane = Lane { supervisor, projection };
            lanes.spawn(lane.supervise());
        }
        Self { pool, cancel, lanes, watermarks }
    }

    /// Also publishes every event of the platform on the bus, from the first one on, once each, as
    /// this store gives it; its checkpoint is [`kafka::MODEL`]'s. Waits for brokers that are not
    /// there yet.
    pub fn publish_to(&mut self, bus: EventBus, store: Arc<dyn EventStore>) {
        let supervisor = Supervisor {
            id: kafka::MODEL,
            filter: EventBus::filter(),
            pool: self.pool.clone(),
            store,
            committed: watch::Sender::new(Position::START),
            watermarks: self.watermarks.clone(),
            cancel: self.cancel.clone(),
            is_running: AtomicBool::new(false),
        };
        self.lanes.spawn(Publisher { supervisor, bus }.supervise());
    }

    /// How far the models have come.
    pub fn watermarks(&self) -> Watermarks {
        self.watermarks.clone()
    }

    /// Lets every loop finish its batch, at most this long; what has not ended by then is cut off,
    /// and its batch is done again by the next start. Tells whether all ended by themselves.
    pub async fn drain(mut self, limit: Duration) -> bool {
        self.cancel.cancel();
        let all = async { while self.lanes.join_next().await.is_some() {} };
        let drained = tokio::time::timeout(limit, all).await.is_ok();
        if !drained {
            warn!(limit_seconds = limit.as_secs_f64(), "projections did not end in time");
            self.lanes.shutdown().await;
        }
        drained
    }
}
