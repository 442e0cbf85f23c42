//! Watermarks: how far models have come, so that a reader can wait for its own writes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use event_store::{EventStore, Position};
use sqlx::PgPool;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::projection::ModelId;
use crate::query_error::is_undefined;
use crate::runner::checkpoint::{self, Checkpoint, Reached};
use crate::runner::of_log::{self, OfLog};
use crate::runner::rebuild::RebuildProgress;

/// How often a process that does not run the projection looks at its checkpoint.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How long a process that does not run the projection goes by what it saw of its log.
const LOG_KNOWN_TIME: Duration = Duration::from_millis(250);

/// How long such a process goes by having found in the store what the model knows its log by.
const LOG_FOUND_TIME: Duration = Duration::from_secs(5);

/// How often an idle projection looks at the log, or at its lease, while somebody waits for it.
pub(crate) const AWAITED_INTERVAL: Duration = Duration::from_millis(10);

/// How far each model has come, as committed. Cheap to clone.
#[derive(Clone)]
pub struct Watermarks {
    pool: PgPool,
    local: Arc<HashMap<ModelId, watch::Receiver<Position>>>,
    waiting: Arc<AtomicUsize>,
    /// Of which log the local ones are; those that nobody has looked at yet are not in it.
    looks: Arc<watch::Sender<HashMap<ModelId, OfLog>>>,
    /// How far the first builds of models are that this process makes.
    builds: Arc<watch::Sender<HashMap<ModelId, RebuildProgress>>>,
    /// Of which log the others are.
    seen: Arc<tokio::sync::Mutex<HashMap<ModelId, Seen>>>,
    /// Where a process that runs no projection looks for itself of which log they are.
    store: Option<Arc<dyn EventStore>>,
}

/// What was seen of a model's log where nobody in this process runs it.
#[derive(Clone, Copy)]
struct Seen {
    at: Instant,
    is_foreign: bool,
    /// When the store was asked last, and had what the model knows its log by.
    found_at: Option<Instant>,
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
    /// Whoever runs it has not come to look yet whether it is of the log that is there.
    #[error("{model} was not looked at yet")]
    NotLookedAt {
        /// The model.
        model: ModelId,
    },
    /// What it has is of another log than the one that is there.
    #[error("{model} is of another log")]
    AnotherLog {
        /// The model.
        model: ModelId,
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
        let (waiting, looks, seen) = (Arc::default(), Arc::default(), Arc::default());
        let builds = Arc::default();
        Self { pool, local: Arc::new(local), waiting, looks, builds, seen, store: None }
    }

    /// The same, for a process that has this store: it looks there itself whether models are of its
    /// log, now and then. Their rows tell of the log that whoever ran them saw, which may be long
    /// ago.
    #[must_use]
    pub fn looking_at(self, store: Arc<dyn EventStore>) -> Self {
        Self { store: Some(store), ..self }
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
            loaded => Ok(loaded?.map_or(Position::START, Reached::position)),
        }
    }

    /// That the model is of the log that is there: by who runs it in this process, who after a
    /// start is waited for until then; elsewhere by its row in PostgreSQL, and by the store where
    /// there is one to look at, now and then.
    ///
    /// # Errors
    /// [`WaitError::AnotherLog`] when it is not, [`WaitError::NotLookedAt`] when the time is up
    /// before that is known: nothing of it may be answered.
    pub async fn check_log(&self, model: ModelId, limit: Duration) -> Result<(), WaitError> {
        if self.local.contains_key(&model) && self.look(model, limit).await? == OfLog::This {
            return Ok(());
        }
        // A rebuild beside this process mends the row, and the loop here sees that only later.
        if self.is_foreign(model).await? {
            return Err(WaitError::AnotherLog { model });
        }
        Ok(())
    }

    /// What whoever runs the model here has seen of its log, once that is so.
    async fn look(&self, model: ModelId, limit: Duration) -> Result<OfLog, WaitError> {
        let mut looks = self.looks.subscribe();
        let seen = timeout(limit, looks.wait_for(|looks| looks.contains_key(&model))).await;
        match seen {
            Ok(Ok(looks)) => Ok(looks[&model]),
            _ => Err(WaitError::NotLookedAt { model }),
        }
    }

    /// Whether the model's row says that it is of another log, or the store does; all who ask at
    /// once wait for one look. A store that is away for a while takes nothing back.
    async fn is_foreign(&self, model: ModelId) -> Result<bool, WaitError> {
        let mut seen = self.seen.lock().await;
        let last = seen.get(&model).copied();
        if let Some(last) = last
            && last.at.elapsed() < LOG_KNOWN_TIME
        {
            return Ok(last.is_foreign);
        }
        let mut connection = self.pool.acquire().await?;
        let reached = match checkpoint::reached(&mut connection, model).await {
            Err(error) if is_undefined(&error) => None,
            reached => reached?,
        };
        let mut is_foreign = reached == Some(Reached::OfAnotherLog);
        let mut found_at = last.and_then(|last| last.found_at);
        if let (Some(store), Some(_), false) = (&self.store, reached, is_foreign)
            && found_at.is_none_or(|at| at.elapsed() >= LOG_FOUND_TIME)
        {
            let log = of_log::find(&**store, &mut connection, model).await?;
            is_foreign = log == Some(OfLog::Another);
            if log.is_none() && found_at.is_none() {
                return Err(WaitError::NotLookedAt { model });
            }
            found_at = (!is_foreign).then(Instant::now);
        }
        seen.insert(model, Seen { at: Instant::now(), is_foreign, found_at });
        Ok(is_foreign)
    }

    /// How far the first build of the model is, where this process makes it.
    pub fn build(&self, model: ModelId) -> Option<RebuildProgress> {
        self.builds.borrow().get(&model).copied()
    }

    /// The first build of a model has come so far.
    pub(crate) fn building(&self, progress: RebuildProgress) {
        self.builds.send_modify(|builds| {
            builds.insert(progress.model, progress);
        });
    }

    /// Whoever runs the model has seen of which log it is.
    pub(crate) fn looked_at(&self, model: ModelId, log: OfLog) {
        self.looks.send_if_modified(|looks| looks.insert(model, log) != Some(log));
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
