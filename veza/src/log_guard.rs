//! Guards the log that is there: as long as models remember another one, nothing is written by
//! commands or sagas. Whoever put an older copy of the log in place by mistake puts the right one
//! back, and has lost nothing; whoever meant it says so by rebuilding the models.

use std::sync::Arc;
use std::time::Duration;

use event_store::EventStore;
use projections::{ModelId, models_of_another_log};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How often is looked. A log can only be exchanged under a running process where it is kept by
/// another one.
const INTERVAL: Duration = Duration::from_millis(500);

/// How long a look may take.
const LOOK_TIME_MAX: Duration = Duration::from_secs(5);

/// Whether the log is the one that the models were made from. Cheap to clone; it is looked at until
/// the last clone is dropped.
#[derive(Clone, Debug)]
pub struct LogGuard {
    foreign: watch::Receiver<Vec<ModelId>>,
    _looking: Arc<DropGuard>,
}

impl LogGuard {
    /// Looks at these models now, and goes on looking.
    pub async fn watch(pool: PgPool, store: Arc<dyn EventStore>, models: Vec<ModelId>) -> Self {
        let stop = CancellationToken::new();
        let (seen, foreign) = watch::channel(Vec::new());
        let look = Look { pool, store, models, seen };
        look.once().await;
        tokio::spawn(stop.clone().run_until_cancelled_owned(look.go_on()));
        Self { foreign, _looking: Arc::new(stop.drop_guard()) }
    }

    /// Whether models are of another log: then nothing may be written to this one.
    #[must_use]
    pub fn is_of_another_log(&self) -> bool {
        !self.foreign.borrow().is_empty()
    }

    /// Returns once the log is that of the models, or is not any more.
    pub async fn until(&self, is_of_another_log: bool) {
        let mut foreign = self.foreign.clone();
        let is_so = |foreign: &Vec<ModelId>| foreign.is_empty() != is_of_another_log;
        if foreign.wait_for(is_so).await.is_ok() {
            return;
        }
        // Nobody looks any more: it stays as it is.
        std::future::pending().await
    }
}

/// One who looks.
struct Look {
    pool: PgPool,
    store: Arc<dyn EventStore>,
    models: Vec<ModelId>,
    seen: watch::Sender<Vec<ModelId>>,
}

impl Look {
    async fn go_on(self) {
        loop {
            sleep(INTERVAL).await;
            self.once().await;
        }
    }

    /// What can't be told just now stays as it was.
    async fn once(&self) {
        let looked = models_of_another_log(&self.pool, &*self.store, &self.models);
        let Ok(Ok(Some(foreign))) = timeout(LOOK_TIME_MAX, looked).await else {
            return;
        };
        let changed = |seen: &mut Vec<ModelId>| std::mem::replace(seen, foreign.clone()) != foreign;
        if !self.seen.send_if_modified(changed) {
            return;
        }
        let names = foreign.iter().map(ModelId::to_string).collect::<Vec<_>>().join(", ");
        if foreign.is_empty() {
            tracing::info!("the log is that of the models: commands and sagas again");
        } else {
            tracing::error!(models = names, "models are of another log: no commands, no sagas");
        }
    }
}
