//! What works without being asked: the projectors that fill the models, and the sagas.

use std::sync::Arc;
use std::time::Duration;

use aggregates::CommandHandler;
use anyhow::Context as _;
use event_store::EventStore;
use media::{ObjectStorage, Scratch};
use projections::postgres::profiles;
use projections::{Runner, Watermarks, with_causes};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Role};
use crate::log_guard::LogGuard;
use crate::read_side::ReadSide;
use crate::saga_role::{SagaWatch, Sagas};

/// How long projectors and sagas may take to end what they are at.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Projectors and sagas at work, as far as they are among the process's roles.
pub struct Background {
    projectors: Option<Runner>,
    /// Who fills the model of people where no projector is.
    people: Option<Runner>,
    sagas: Option<(JoinHandle<anyhow::Result<()>>, SagaWatch)>,
    scratch: Option<Scratch>,
    stop: CancellationToken,
}

/// The event store, as it is read here and as it is kept.
pub struct Stores {
    /// With its personal fields open.
    pub open: Arc<dyn EventStore>,
    /// With its personal fields sealed: what is passed on to others.
    pub sealed: Arc<dyn EventStore>,
}

impl Background {
    /// Starts those that are among the process's roles.
    ///
    /// # Errors
    /// When ffmpeg is missing, or the sandbox gateway's ledger can't be opened.
    pub async fn start(
        config: &Config,
        stores: Stores,
        handler: Arc<CommandHandler>,
        objects: Arc<dyn ObjectStorage>,
        (pool, log): (PgPool, LogGuard),
        read_side: ReadSide,
    ) -> anyhow::Result<Self> {
        let Stores { open: store, sealed } = stores;
        let stop = CancellationToken::new();
        let (projectors, people, sagas, scratch) = (None, None, None, None);
        let mut started = Self { projectors, people, sagas, scratch, stop: stop.clone() };
        if config.does(Role::Saga) {
            let scratch = Scratch::open(config.data.join("scratch"))
                .with_context(|| format!("can't use the folder {}", config.data.display()))?;
            started.scratch = Some(scratch.clone());
            let through = (Arc::clone(&store), handler, pool.clone(), log);
            let sagas = Sagas::prepare(config, through, objects, scratch).await?;
            started.sagas = Some(sagas.start(stop.clone()));
        }
        let ReadSide { projections, bus, .. } = read_side;
        if config.does(Role::CommandApi) && !config.does(Role::Projector) {
            // Who signs up is held against it, also while no projector runs: whoever comes first
            // has its lease.
            let people = projections.iter().filter(|it| it.id() == profiles::MODEL).cloned();
            let store = Arc::clone(&store);
            started.people = Some(Runner::start(pool, store, people.collect(), stop));
        } else if config.does(Role::Projector) {
            let mut projectors = Runner::start(pool, store, projections, stop);
            if let Some(bus) = bus {
                projectors.publish_to(bus, sealed);
            }
            started.projectors = Some(projectors);
        }
        Ok(started)
    }

    /// How far the models have come that this process fills; none where it fills none.
    #[must_use]
    pub fn watermarks(&self) -> Option<Watermarks> {
        self.projectors.as_ref().map(Runner::watermarks)
    }

    /// What tells of the sagas; none where the process has none.
    #[must_use]
    pub fn sagas(&self) -> Option<SagaWatch> {
        self.sagas.as_ref().map(|(_, watch)| watch.clone())
    }

    /// The files of transcodes; none where the process does none.
    #[must_use]
    pub fn scratch(&self) -> Option<Scratch> {
        self.scratch.clone()
    }

    /// Lets them end what they are at; says in the log what did not end in time.
    pub async fn drain(self) {
        self.stop.cancel();
        if let Some(projectors) = self.projectors.or(self.people)
            && !projectors.drain(DRAIN_TIME).await
        {
            tracing::warn!("the projectors did not end in time");
        }
        let Some((sagas, _)) = self.sagas else {
            return;
        };
        match tokio::time::timeout(DRAIN_TIME, sagas).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => {
                tracing::error!(
                    error = with_causes(error.as_ref()),
                    "the sagas ended with an error"
                );
            }
            Ok(Err(error)) => tracing::error!(%error, "the sagas ended with a panic"),
            Err(_) => tracing::warn!("the sagas did not end in time"),
        }
    }
}
