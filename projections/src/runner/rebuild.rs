//! Rebuilding: a shadow is filled from the log beside the live model, and then takes its place.

use std::sync::Arc;
use std::time::Duration;

use event_store::{EventStore, Position, ReadAll, ReadError, RecordedEvent, StoreError};
use futures::StreamExt;
use futures::future::BoxFuture;
use sqlx::{Connection, PgConnection, PgPool};
use thiserror::Error;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::mark::{self, LogError, Mark};
use crate::projection::{ApplyError, ModelId, Projection, Target};
use crate::runner::batch::{BatchError, BatchWriter, OnPoison};
use crate::runner::checkpoint::Standing;
use crate::runner::{bookkeeping, checkpoint, lease, parked, schemas};

/// Most events in one transaction of a rebuild.
const BATCH_EVENTS_MAX: usize = 2_000;

/// The shadow takes the live model's place when a pass over the log finds no more than this.
const SWAP_EVENTS_MAX: u64 = 2_000;

/// How long it is waited for another that rebuilds the same model: one that was killed is gone
/// when PostgreSQL has come to the end of its last statement.
const BUSY_TIME_MAX: Duration = Duration::from_secs(5);
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// How long the swap waits for the live projection before it looks whether it is still wanted.
const SWAP_PATIENCE: &str = "SET LOCAL lock_timeout = '500ms'";

/// Who is told how far a rebuild is.
pub type ProgressListener = Box<dyn FnMut(RebuildProgress) + Send>;

/// How far a rebuild is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RebuildProgress {
    /// Which model.
    pub model: ModelId,
    /// How many events were applied.
    pub events: u64,
    /// The last one's position.
    pub position: Position,
    /// Where the log ended when the rebuild began.
    pub head: Position,
    /// How long it has taken.
    pub elapsed: Duration,
}

impl RebuildProgress {
    /// How many events a second were applied.
    pub fn events_per_second(&self) -> f64 {
        self.events as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// How much of the log is behind it, from 0 to 1. Positions are no numbers of events, but how
    /// far one is between the first and the last is good enough for a guess.
    pub fn share(&self) -> f64 {
        (self.position.get() as f64 / self.head.get().max(1) as f64).min(1.0)
    }
}

/// Why a rebuild did not come to its end. The live model is as it was.
#[derive(Debug, Error)]
pub enum RebuildError {
    /// Another process rebuilds the same model.
    #[error("{0} is being rebuilt already")]
    Busy(ModelId),
    /// It was to stop.
    #[error("the rebuild was cancelled")]
    Cancelled,
    /// The log can't be read.
    #[error("the log can't be read")]
    Read(#[from] ReadError),
    /// The log's end can't be told.
    #[error("the event store can't be asked")]
    Store(#[from] StoreError),
    /// PostgreSQL refused.
    #[error("the database did not do its work")]
    Database(#[from] sqlx::Error),
    /// A batch could not be applied.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A sink outside PostgreSQL could not make or swap its shadow.
    #[error(transparent)]
    Shadow(#[from] ApplyError),
}

/// Rebuilds one model while the live one is read and goes on.
pub struct Rebuild {
    /// Where the models are.
    pub pool: PgPool,
    /// Where the events are.
    pub store: Arc<dyn EventStore>,
    /// What is rebuilt.
    pub projection: Arc<dyn Projection>,
    /// What is done with events that can't be applied.
    pub on_poison: OnPoison,
    /// Stops the work between two batches; the shadow is dropped then.
    pub cancel: CancellationToken,
}

impl Rebuild {
    /// Does it; tells its progress after every batch. The last progress is returned.
    // Boxed, as the compiler can't tell otherwise that it may move between threads.
    pub fn run(
        self,
        progress: ProgressListener,
    ) -> BoxFuture<'static, Result<RebuildProgress, RebuildError>> {
        Box::pin(self.do_it(progress))
    }

    async fn do_it(self, mut progress: ProgressListener) -> Result<RebuildProgress, RebuildError> {
        let id = self.projection.id();
        let prepared = self.cancel.run_until_cancelled(bookkeeping::prepare(&self.pool)).await;
        prepared.ok_or(RebuildError::Cancelled)??;
        let mut connection = lease::connect(&self.pool, lease::Work::Rebuild).await?;
        let begun = Instant::now();
        while !lease::try_take(&mut connection, id, lease::Work::Rebuild).await? {
            if begun.elapsed() > BUSY_TIME_MAX {
                return Err(RebuildError::Busy(id));
            }
            let pause = self.cancel.run_until_cancelled(sleep(BUSY_PAUSE)).await;
            pause.ok_or(RebuildError::Cancelled)?;
        }
        let built = self.build(&mut connection, &mut progress).await;
        if built.is_err()
            && let Err(error) = schemas::drop_shadow(&mut connection, id).await
        {
            // The next start of the projection drops it, or the next rebuild.
            warn!(projection = %id, %error, "what was built so far stays behind");
        }
        let told = built?;
        connection.close().await?;
        progress(told);
        Ok(told)
    }

    /// Fills the shadow, and swaps it in.
    async fn build(
        &self,
        connection: &mut PgConnection,
        progress: &mut ProgressListener,
    ) -> Result<RebuildProgress, RebuildError> {
        let id = self.projection.id();
        schemas::create_shadow(connection, id, self.projection.tables()).await?;
        self.projection.begin_shadow().await?;
        let head = self.store.head().await?;
        let mut filling = Filling {
            writer: BatchWriter::new(Arc::clone(&self.projection), Target::Shadow, self.on_poison),
            started: Instant::now(),
            told: RebuildProgress {
                model: id,
                events: 0,
                position: Position::START,
                head,
                elapsed: Duration::ZERO,
            },
        };
        loop {
            let before = filling.told.events;
            let head = self.store.head().await?;
            self.fill(connection, &mut filling, head, progress).await?;
            if filling.told.events - before <= SWAP_EVENTS_MAX {
                break;
            }
        }
        loop {
            if self.cancel.is_cancelled() {
                return Err(RebuildError::Cancelled);
            }
            if self.try_swap(connection, &mut filling).await? {
                break;
            }
        }
        // An empty one is no news: each platform begins with those.
        match filling.told.events {
            0 => debug!(projection = %id, "an empty model went live"),
            events => info!(projection = %id, events, "a rebuilt model went live"),
        }
        // Apart from the swap, so that it does not wait for readers of the old tables.
        if let Err(error) = schemas::drop_old(connection, id).await {
            // The next start of the projection drops it, or the next rebuild.
            warn!(projection = %id, %error, "the tables of the old model stay behind");
        }
        Ok(filling.told)
    }

    /// Applies what the log holds after the shadow's position, up to and with `upto`.
    async fn fill(
        &self,
        connection: &mut PgConnection,
        filling: &mut Filling,
        upto: Position,
        progress: &mut ProgressListener,
    ) -> Result<(), RebuildError> {
        if upto <= filling.told.position {
            return Ok(());
        }
        let mut chunks = self.events_after(filling.told.position).await?;
        loop {
            let next = self.cancel.run_until_cancelled(chunks.next()).await;
            let Some(chunk) = next.ok_or(RebuildError::Cancelled)? else {
                break;
            };
            let Some((events, more)) = up_to(chunk, filling.told.position, upto)? else {
                continue;
            };
            let mut transaction = connection.begin().await?;
            filling.apply(&mut transaction, events).await?;
            transaction.commit().await?;
            progress(filling.told);
            if !more {
                break;
            }
        }
        filling.told.position = filling.told.position.max(upto);
        Ok(())
    }

    async fn events_after(
        &self,
        position: Position,
    ) -> Result<futures::stream::ReadyChunks<event_store::EventReader>, ReadError> {
        let read = ReadAll::forward().filter(self.projection.filter());
        let read = if position > Position::START { read.from(position) } else { read };
        Ok(self.store.read_all(read).await?.ready_chunks(BATCH_EVENTS_MAX))
    }

    /// While the live projection waits for its checkpoint: what it has and the shadow has not is
    /// applied, and the shadow takes its place, all in one transaction. `false` when the checkpoint
    /// could not be had in time.
    async fn try_swap(
        &self,
        connection: &mut PgConnection,
        filling: &mut Filling,
    ) -> Result<bool, RebuildError> {
        let id = self.projection.id();
        let mut transaction = connection.begin().await?;
        schemas::run_script(&mut transaction, SWAP_PATIENCE).await?;
        let live = match checkpoint::lock(&mut transaction, id).await {
            Err(error) if is_lock_timeout(&error) => {
                transaction.rollback().await?;
                return Ok(false);
            }
            live => live?,
        };
        schemas::run_script(&mut transaction, "SET LOCAL lock_timeout = 0").await?;
        let live = match live {
            Some(live) if self.is_of_this_log(live).await? => live.position,
            // What a model of another log has, need not and can't be caught up with.
            _ => Position::START,
        };
        if live > filling.told.position {
            let mut chunks = self.events_after(filling.told.position).await?;
            while let Some(chunk) = chunks.next().await {
                let Some((events, more)) = up_to(chunk, filling.told.position, live)? else {
                    continue;
                };
                filling.apply(&mut transaction, events).await?;
                if !more {
                    break;
                }
            }
            filling.told.position = live;
        }
        let (live, shadow) = (id.schema(Target::Live), id.schema(Target::Shadow));
        let old = schemas::old_schema(id);
        let away = format!(
            "DROP SCHEMA IF EXISTS {old} CASCADE;
             DO $$ BEGIN
                 IF to_regnamespace('{live}') IS NOT NULL THEN
                     ALTER SCHEMA {live} RENAME TO {old};
                 END IF;
             END $$;
             ALTER SCHEMA {shadow} RENAME TO {live}"
        );
        schemas::run_script(&mut transaction, &away).await?;
        parked::swap(&mut transaction, id).await?;
        let position = filling.told.position;
        let mark = Mark::at(&*self.store, position).await?;
        checkpoint::advance(&mut transaction, id, Standing { position, mark }).await?;
        self.projection.swap_shadow().await?;
        transaction.commit().await?;
        Ok(true)
    }

    async fn is_of_this_log(&self, live: Standing) -> Result<bool, RebuildError> {
        match mark::check(&*self.store, live.position, live.mark).await {
            Ok(()) => Ok(true),
            Err(LogError::Read(error)) => Err(error.into()),
            Err(LogError::Behind { .. } | LogError::Another(_)) => Ok(false),
        }
    }
}

fn is_lock_timeout(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|said| said.code()).is_some_and(|code| code == "55P03")
}

/// A rebuild under way.
struct Filling {
    writer: BatchWriter,
    started: Instant,
    told: RebuildProgress,
}

impl Filling {
    async fn apply(
        &mut self,
        connection: &mut PgConnection,
        events: Vec<RecordedEvent>,
    ) -> Result<(), BatchError> {
        let Some(last) = events.last().map(|event| event.position) else {
            return Ok(());
        };
        self.told.events += events.len() as u64;
        self.writer.write(connection, events).await?;
        self.told.position = last;
        self.told.elapsed = self.started.elapsed();
        Ok(())
    }
}

/// The chunk's events in `(after, upto]`, and whether more may follow; `None` when there are none
/// yet.
fn up_to(
    chunk: Vec<Result<RecordedEvent, ReadError>>,
    after: Position,
    upto: Position,
) -> Result<Option<(Vec<RecordedEvent>, bool)>, ReadError> {
    let mut events = chunk.into_iter().collect::<Result<Vec<_>, _>>()?;
    events.retain(|event| event.position > after);
    let all = events.len();
    events.retain(|event| event.position <= upto);
    let more = events.len() == all;
    Ok((!events.is_empty() || !more).then_some((events, more)))
}
