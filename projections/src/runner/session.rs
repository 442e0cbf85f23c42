//! One projection's loop: lease, subscription, batches; and the supervision that begins it again.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_store::{
    Delivery, EventStore, Position, ReadAll, ReadError, RecordedEvent, StoreError, SubscribeError,
    SubscribeFrom,
};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use metrics::{counter, gauge, histogram};
use sqlx::{Connection, PgConnection, PgPool};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::projection::Projection;
use crate::projection::Target;
use crate::runner::batch::{BatchError, BatchWriter, OnPoison, with_causes};
use crate::runner::checkpoint::Status;
use crate::runner::rebuild::{Rebuild, RebuildError};
use crate::runner::watermarks::Watermarks;
use crate::runner::{bookkeeping, checkpoint, lease, parked};

/// Most events in one transaction.
const BATCH_EVENTS_MAX: usize = 1_000;

/// The first pause after a failure; it doubles with each further one.
const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// The longest pause after a failure.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// How often a projection that does not have the lease tries to take it.
const LEASE_INTERVAL: Duration = Duration::from_millis(200);

/// How often an idle projection looks whether the log went on without it, and for retry requests.
const IDLE_INTERVAL: Duration = Duration::from_millis(500);

/// The same while somebody waits for a position.
const AWAITED_INTERVAL: Duration = Duration::from_millis(10);

/// Why a session ended.
#[derive(Debug, Error)]
enum SessionError {
    #[error("the database did not do its work")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error("the model could not be built")]
    Build(#[from] RebuildError),
    #[error("the subscription ended")]
    Subscription(#[from] SubscribeError),
    #[error("the subscription ended without a reason")]
    SubscriptionEnded,
    #[error("the log can't be read")]
    Read(#[from] ReadError),
    #[error("the event store can't be asked")]
    Store(#[from] StoreError),
    #[error("the projector panicked")]
    Panicked,
}

/// A projection in this process.
pub(crate) struct Lane {
    pub(crate) pool: PgPool,
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) projection: Arc<dyn Projection>,
    pub(crate) committed: watch::Sender<Position>,
    pub(crate) watermarks: Watermarks,
    pub(crate) cancel: CancellationToken,
}

/// What a session works with once it has the lease.
struct Session {
    connection: PgConnection,
    writer: BatchWriter,
    position: Position,
    pinned: Option<Position>,
}

impl Lane {
    /// Runs sessions until cancelled; a failed one is begun again after a pause.
    pub(crate) async fn supervise(self) {
        let id = self.projection.id();
        let mut backoff = BACKOFF_MIN;
        while !self.cancel.is_cancelled() {
            let before = *self.committed.borrow();
            let ended = AssertUnwindSafe(self.session()).catch_unwind().await;
            let error = match ended {
                Ok(Ok(())) => break,
                Ok(Err(error)) => error,
                Err(_panic) => SessionError::Panicked,
            };
            if *self.committed.borrow() > before {
                backoff = BACKOFF_MIN;
            }
            let reason = with_causes(&error);
            warn!(projection = %id, reason, "a projection failed and begins again");
            counter!("projection_errors_total", "projection" => id.name).increment(1);
            gauge!("projection_running", "projection" => id.name).set(0.0);
            let note = self.note(Status::Retrying, Some(&reason));
            self.cancel.run_until_cancelled(Box::pin(note)).await;
            let pause = sleep(backoff);
            self.cancel.run_until_cancelled(pause).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
        debug!(projection = %id, position = %*self.committed.borrow(), "a projection stopped");
    }

    /// Writes the status down where that is possible; when PostgreSQL is gone, the log has it.
    async fn note(&self, status: Status, reason: Option<&str>) {
        let id = self.projection.id();
        let failing = match reason {
            Some(_) => self.next_event().await,
            None => None,
        };
        let Ok(mut connection) = self.pool.acquire().await else {
            return;
        };
        let noted = checkpoint::set_status(&mut connection, id, status, reason, failing).await;
        if let Err(error) = noted {
            warn!(projection = %id, %error, "the status of a projection could not be written");
        }
    }

    /// The event that the projection can't get past.
    async fn next_event(&self) -> Option<Position> {
        let reached = *self.committed.borrow();
        let read = ReadAll::forward().from(reached).filter(self.projection.filter()).limit(2);
        let mut events = self.store.read_all(read).await.ok()?;
        while let Some(Ok(event)) = events.next().await {
            if event.position > reached {
                return Some(event.position);
            }
        }
        None
    }

    // Boxed, as the compiler can't tell otherwise that it may move between threads.
    fn session(&self) -> BoxFuture<'_, Result<(), SessionError>> {
        Box::pin(self.run_session())
    }

    async fn run_session(&self) -> Result<(), SessionError> {
        let id = self.projection.id();
        bookkeeping::prepare(&self.pool).await?;
        let Some(mut session) = self.begin().await? else {
            return Ok(());
        };
        checkpoint::set_status(&mut session.connection, id, Status::Running, None, None).await?;
        self.publish(session.position);
        gauge!("projection_running", "projection" => id.name).set(1.0);
        debug!(projection = %id, position = %session.position, "a projection runs");
        self.follow(&mut session).await?;
        checkpoint::set_status(&mut session.connection, id, Status::Stopped, None, None).await?;
        gauge!("projection_running", "projection" => id.name).set(0.0);
        session.connection.close().await?;
        Ok(())
    }

    /// Waits for the lease and builds the model where it was never built. `None` when cancelled.
    async fn begin(&self) -> Result<Option<Session>, SessionError> {
        let id = self.projection.id();
        let mut connection = lease::connect(&self.pool).await?;
        while !lease::try_take(&mut connection, id, lease::Work::Run).await? {
            // Readers in this process wait for what the other one commits.
            if let Some(position) = checkpoint::load(&mut connection, id).await? {
                self.publish(position);
            }
            let interval =
                if self.watermarks.somebody_waits() { AWAITED_INTERVAL } else { LEASE_INTERVAL };
            if self.cancel.run_until_cancelled(sleep(interval)).await.is_none() {
                return Ok(None);
            }
        }
        if checkpoint::load(&mut connection, id).await?.is_none() {
            let rebuild = Rebuild {
                pool: self.pool.clone(),
                store: Arc::clone(&self.store),
                projection: Arc::clone(&self.projection),
                on_poison: OnPoison::Park,
                cancel: self.cancel.clone(),
            };
            match rebuild.run(Box::new(|_| {})).await {
                Err(RebuildError::Cancelled) => return Ok(None),
                built => built?,
            };
        }
        let position = checkpoint::load(&mut connection, id).await?.unwrap_or(Position::START);
        let pinned = checkpoint::pinned(&mut connection, id).await?;
        let projection = Arc::clone(&self.projection);
        let writer = BatchWriter::new(projection, Target::Live, OnPoison::Park);
        Ok(Some(Session { connection, writer, position, pinned }))
    }

    async fn follow(&self, session: &mut Session) -> Result<(), SessionError> {
        let from = SubscribeFrom::After(session.position);
        let subscription = self.store.subscribe_all(from, Some(self.projection.filter())).await?;
        let mut chunks = subscription.ready_chunks(BATCH_EVENTS_MAX);
        let mut waiting_for_pin = Vec::new();
        loop {
            let awaited = self.watermarks.somebody_waits();
            let idle = if awaited { AWAITED_INTERVAL } else { IDLE_INTERVAL };
            let chunk = tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Ok(()),
                chunk = chunks.next() => chunk.ok_or(SessionError::SubscriptionEnded)?,
                () = sleep(idle) => {
                    if waiting_for_pin.is_empty() {
                        self.idle(session, awaited).await?;
                    }
                    continue;
                }
            };
            let (events, upto) = take(chunk, session.position)?;
            waiting_for_pin.extend(events);
            // A batch that may be in a sink outside already is made again with the same end.
            while let Some(pinned) = session.pinned {
                if upto < pinned {
                    break;
                }
                let rest = waiting_for_pin
                    .partition_point(|event: &RecordedEvent| event.position <= pinned);
                let rest = waiting_for_pin.split_off(rest);
                let batch = std::mem::replace(&mut waiting_for_pin, rest);
                self.commit(session, batch, pinned).await?;
                session.pinned = None;
            }
            if session.pinned.is_none() && upto > session.position {
                self.commit(session, std::mem::take(&mut waiting_for_pin), upto).await?;
            }
        }
    }

    /// Applies the events and moves the checkpoint to `upto`, all in one transaction.
    async fn commit(
        &self,
        session: &mut Session,
        mut events: Vec<RecordedEvent>,
        upto: Position,
    ) -> Result<(), SessionError> {
        let id = self.projection.id();
        let started = Instant::now();
        if self.projection.pins_batches() && session.pinned.is_none() && !events.is_empty() {
            checkpoint::pin(&mut session.connection, id, upto).await?;
        }
        let mut transaction = session.connection.begin().await?;
        let reached = checkpoint::lock(&mut transaction, id).await?.unwrap_or(Position::START);
        // A rebuild that went live in between may have come further than this loop.
        events.retain(|event| event.position > reached);
        let (count, upto) = (events.len() as u64, upto.max(reached));
        if !events.is_empty() {
            session.writer.write(&mut transaction, events).await?;
        }
        checkpoint::advance(&mut transaction, id, upto).await?;
        transaction.commit().await?;
        session.position = upto;
        self.publish(upto);
        histogram!("projection_batch_seconds", "projection" => id.name).record(started.elapsed());
        counter!("projection_events_total", "projection" => id.name).increment(count);
        Ok(())
    }

    /// While no event comes: the checkpoint follows the log over events of others, and keys that an
    /// operator asks for are tried again.
    async fn idle(&self, session: &mut Session, awaited: bool) -> Result<(), SessionError> {
        let head = self.store.head().await?;
        if head > session.position {
            let read = ReadAll::forward().from(session.position).filter(self.projection.filter());
            let mut events = self.store.read_all(read.limit(2)).await?;
            let mut first = events.next().await.transpose()?;
            if first.as_ref().is_some_and(|event| event.position <= session.position) {
                first = events.next().await.transpose()?;
            }
            // Everything up to the head was there before this read began.
            if first.is_none_or(|event| event.position > head) {
                self.commit(session, Vec::new(), head).await?;
            }
        }
        if awaited {
            return Ok(());
        }
        self.retry(session).await
    }

    async fn retry(&self, session: &mut Session) -> Result<(), SessionError> {
        let id = self.projection.id();
        let requests = parked::retry_requests(&mut session.connection, id).await?;
        if requests.is_empty() {
            return Ok(());
        }
        let mut transaction = session.connection.begin().await?;
        checkpoint::lock(&mut transaction, id).await?;
        for (_, position) in &requests {
            parked::release(&mut transaction, id, *position).await?;
        }
        for (key, position) in requests {
            let read = ReadAll::forward().from(position).limit(1);
            let Some(event) = self.store.read_all(read).await?.next().await.transpose()? else {
                continue;
            };
            if event.position == position {
                session.writer.write(&mut transaction, vec![event]).await?;
                info!(projection = %id, event.key = key, event.position = %position, "tried again");
            }
        }
        transaction.commit().await?;
        Ok(())
    }

    fn publish(&self, position: Position) {
        let id = self.projection.id();
        self.committed.send_if_modified(|reached| {
            let moved = position > *reached;
            *reached = position.max(*reached);
            moved
        });
        gauge!("projection_position", "projection" => id.name).set(position.get() as f64);
    }
}

/// The chunk's events, and up to where the log was looked at with them.
fn take(
    chunk: Vec<Result<Delivery, SubscribeError>>,
    position: Position,
) -> Result<(Vec<RecordedEvent>, Position), SubscribeError> {
    let mut events = Vec::with_capacity(chunk.len());
    let mut upto = position;
    for delivery in chunk {
        match delivery? {
            Delivery::Event(event) => {
                upto = upto.max(event.position);
                events.push(event);
            }
            Delivery::Checkpoint(position) => upto = upto.max(position),
            Delivery::CaughtUp | Delivery::FellBehind => {}
        }
    }
    Ok((events, upto))
}
