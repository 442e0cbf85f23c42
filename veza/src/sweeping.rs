//! What is left behind, removed at the start and every hour: unused uploads, and files of what was
//! killed. Each looks only at what is left, so it costs no more when a platform has grown.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use command_api::CommandApi;
use media::{ObjectStorage, Scratch};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

/// How often it is looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);

/// Where something may be left.
pub struct Sweeper {
    objects: Arc<dyn ObjectStorage>,
    transcodes: Option<Scratch>,
    /// The uploads, where the process takes them.
    pub uploads: Option<CommandApi>,
}

impl Sweeper {
    /// Sweeps the objects, and the files of transcodes where the process does those.
    #[must_use]
    pub fn new(objects: Arc<dyn ObjectStorage>, transcodes: Option<Scratch>) -> Self {
        Self { objects, transcodes, uploads: None }
    }

    /// Sweeps until it is dropped. What fails is said in the log, and tried again the next time.
    pub async fn run(self) {
        let mut ticks = interval(SWEEP_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.sweep().await;
        }
    }

    async fn sweep(&self) {
        if let Some(api) = &self.uploads {
            say("unused uploads", api.sweep_uploads().await);
        }
        say("objects that were not finished", self.objects.sweep().await);
        if let Some(scratch) = self.transcodes.clone() {
            let swept = spawn_blocking(move || scratch.sweep(SystemTime::now())).await;
            say("files of killed transcodes", swept.unwrap_or_else(|error| Err(error.into())));
        }
    }
}

fn say<E: std::error::Error + 'static>(what: &'static str, swept: Result<usize, E>) {
    match swept {
        Ok(0) => {}
        Ok(count) => tracing::info!(what, count, "what was left behind was removed"),
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(what, error, "what was left behind could not be removed");
        }
    }
}
