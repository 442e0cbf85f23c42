//! Watermarks: how far models have come, so that a reader can wait for its own writes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use event_store::Position;
use sqlx::PgPool;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::projection::ModelId;
use crate::query_error::is_undefined;
use crate::runner::checkpoint::{self, Checkpoint};

/// How often a process that does not run the projection looks at its checkpoint.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How often an idle projection looks at the log, or at its lease, while somebody waits for it.
pub(crate) const AWAITED_INTERVAL: Duration = Duration::from_millis(10);

/// How far each model has come, as committed. Cheap to clone.
#[derive(Clone)]
pub struct Watermarks {
    pool: PgPool,
    local: Arc<HashMap<ModelId, watch::Receiver<Position>>>,
    waiting: Arc<AtomicUsize>,
}

/// Why a wait ended without the position.
#[derive(Debug, Error)]
pub enum WaitError {
    /// The time is up.
    #[error("{model} has come to {reached} only")]
    NotYetVisible {
        /// The model that is behind.
        model: ModelId,
        /// How far it has come.
        reached: Position,
    },
    /// The checkpoint can't be read.
    #[error("the checkpoint can't be read")]
    Database(#[from] sqlx::Error),
}

impl Watermarks {
    /// For a process that runs no projection: it looks at the checkpoints in PostgreSQL.
    pub fn remote(pool: PgPool) -> Self {
        Self::local(pool, HashMap::new())
    }

    pub(crate) fn local(pool: PgPool, local: HashMap<ModelId, watch::Receiver<Position>>) -> Self {
        Self { pool, local: Arc::new(local), waiting: Arc::default() }
    }

    /// How far the model has come; [`Position::START`] when it was never built, or is of
    /// another log.
    pub async fn position(&self, model: ModelId) -> Result<Position, sqlx::Error> {
        if let Some(receiver) = self.local.get(&model) {
            return Ok(*receiver.borrow());
        }
        let mut connection = self.pool.acquire().await?;
        match checkpoint::reached(&mut connection, model).await {
            // No process has made the runner's tables yet.
            Err(error) if is_undefined(&error) => Ok(Position::START),
            loaded => Ok(loaded?.unwrap_or(Position::START)),
        }
    }

    /// All projections and how they fare.
    pub async fn checkpoints(&self) -> Result<Vec<Checkpoint>, sqlx::Error> {
        checkpoint::checkpoints(&self.pool).await
    }

    /// Returns when all of the models have everything up to the position, or the time is up.
    pub async fn wait_for(
        &self,
        models: &[ModelId],
        position: Position,
        timeout: Duration,
    ) -> Result<(), WaitError> {
        let deadline = Instant::now() + timeout;
        let _waiting = Waiting::enter(&self.waiting);
        for &model in models {
            match self.local.get(&model) {
                Some(receiver) => {
                    let mut receiver = receiver.clone();
                    let reached = receiver.wait_for(|reached| *reached >= position);
                    let came = matches!(timeout_at(deadline, reached).await, Ok(Ok(_)));
                    if !came {
                        let reached = *receiver.borrow();
                        return Err(WaitError::NotYetVisible { model, reached });
                    }
                }
                None => self.poll(model, position, deadline).await?,
            }
        }
        Ok(())
    }

    /// Whether somebody waits just now; idle projections then look at the log more often.
    pub(crate) fn somebody_waits(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    async fn poll(
        &self,
        model: ModelId,
        position: Position,
        deadline: Instant,
    ) -> Result<(), WaitError> {
        loop {
            let reached = self.position(model).await?;
            if reached >= position {
                return Ok(());
            }
            let next = Instant::now() + POLL_INTERVAL;
            if next > deadline {
                return Err(WaitError::NotYetVisible { model, reached });
            }
            sleep_until(next).await;
        }
    }
}

/// Counts a waiting reader for as long as it waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
