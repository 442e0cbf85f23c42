//! Supervision of one loop: it waits for its lease, failed sessions begin again, and PostgreSQL and
//! the log are told.

use std::error::Error;
use std::iter;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use event_store::{
    Delivery, EventStore, Filter, Position, ReadAll, ReadError, RecordedEvent, StoreError,
    SubscribeError,
};
use futures::{FutureExt, StreamExt};
use metrics::{counter, gauge};
use sqlx::{Connection, PgConnection, PgPool};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::projection::{ModelId, is_unreachable};
use crate::runner::batch::with_causes;
use crate::runner::checkpoint::{Reached, Status};
use crate::runner::of_log::OfLog;
use crate::runner::watermarks::{AWAITED_INTERVAL, Watermarks};
use crate::runner::{bookkeeping, checkpoint, lease};

/// The first pause after a failure; it doubles with each further one.
const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// The longest pause after a failure.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// How long whoever has the lease may leave an event alone before that is told.
const STANDSTILL: Duration = Duration::from_secs(5);

/// How long one that failed must run without a further event to count as well again.
const STEADY: Duration = Duration::from_secs(60);

/// How often it is looked whether it is.
const STEADY_INTERVAL: Duration = Duration::from_secs(1);

/// What a process without the lease last saw of the one that has it.
struct Seen {
    at: Instant,
    position: Option<Position>,
    /// The event that was to be applied next.
    next: Option<Position>,
    /// Whether it is told that nothing is applied.
    is_told: bool,
}

/// The lease can't be waited for.
#[derive(Debug, Error)]
#[error("the database did not do its work")]
struct LeaseError(#[from] sqlx::Error);

/// The log can't be looked at.
#[derive(Debug, Error)]
pub(crate) enum LookError {
    #[error("the log can't be read")]
    Read(#[from] ReadError),
    #[error("the event store can't be asked")]
    Store(#[from] StoreError),
}

/// What a loop does while it has its lease.
#[async_trait]
pub(crate) trait Leased: Send + Sync {
    /// Why it ends before it was to.
    type Error: Error + Send + 'static;

    /// Works on the connection that has the lease, until cancelled.
    async fn session(&self, connection: &mut PgConnection) -> Result<(), Self::Error>;

    /// How it fares when a session ended so.
    fn status_after(&self, _error: &Self::Error) -> Status {
        Status::Retrying
    }

    /// Whether others have told already why a session ended so, and more of it.
    fn is_told(&self, _error: &Self::Error) -> bool {
        false
    }
}

/// Why a session ended before it was to, and how the loop fares by that.
struct Failure {
    status: Status,
    reason: String,
    is_told: bool,
}

impl Failure {
    fn retrying(reason: String) -> Self {
        Self { status: Status::Retrying, reason, is_told: false }
    }
}

/// Whether it is for a database that does not answer: then all projections fail alike, and whoever
/// asks whether the process is ready tells of it once.
fn is_database_away(error: &(dyn Error + 'static)) -> bool {
    let mut causes = iter::successors(Some(error), |&error| error.source());
    causes.any(|cause| cause.downcast_ref().is_some_and(is_unreachable))
}

/// What a loop from the log to somewhere stands on.
pub(crate) struct Supervisor {
    pub(crate) id: ModelId,
    pub(crate) filter: Filter,
    pub(crate) pool: PgPool,
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) committed: watch::Sender<Position>,
    pub(crate) watermarks: Watermarks,
    pub(crate) cancel: CancellationToken,
    /// Whether a session has the lease and has come to its work.
    pub(crate) is_running: AtomicBool,
}

impl Supervisor {
    /// Runs sessions until one ends well or all is cancelled; a failed one is begun again after a
    /// pause. A reason is told once, not at every try, and once that it is over.
    pub(crate) async fn run(&self, work: &impl Leased) {
        let id = self.id;
        let mut backoff = BACKOFF_MIN;
        let (mut told, mut is_failing) = (String::new(), false);
        while !self.cancel.is_cancelled() {
            let before = *self.committed.borrow();
            let ended = self.watched_session(work, &mut is_failing).await;
            let Err(Failure { status, reason, is_told }) = ended else {
                break;
            };
            if *self.committed.borrow() > before {
                backoff = BACKOFF_MIN;
                told.clear();
            }
            if is_told || reason == told {
                debug!(projection = %id, reason, "a projection failed and begins again");
            } else if status == Status::AnotherLog {
                error!(projection = %id, reason, "a projection does not run: this is another log");
                is_failing = true;
            } else {
                warn!(projection = %id, reason, "a projection failed and begins again");
                is_failing = true;
            }
            counter!("veza_projection_errors_total", "projection" => id.name).increment(1);
            told = reason;
            self.cancel.run_until_cancelled(sleep(backoff)).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
        debug!(projection = %id, position = %*self.committed.borrow(), "a projection stopped");
    }

    /// One session; where those before it failed, that it does not is told.
    async fn watched_session(
        &self,
        work: &impl Leased,
        is_failing: &mut bool,
    ) -> Result<(), Failure> {
        let (before, began) = (*self.committed.borrow(), Instant::now());
        let mut session = pin!(self.session(work));
        loop {
            tokio::select! {
                ended = &mut session => return ended,
                () = sleep(STEADY_INTERVAL), if *is_failing => {
                    let goes_on = *self.committed.borrow() > before || began.elapsed() > STEADY;
                    if self.is_running.load(Ordering::Relaxed) && goes_on {
                        info!(projection = %self.id, "a projection runs again");
                        *is_failing = false;
                    }
                }
            }
        }
    }

    /// One session under the lease; an error is why it failed.
    async fn session(&self, work: &impl Leased) -> Result<(), Failure> {
        let leased = self.cancel.run_until_cancelled(self.lease()).await;
        let leased = leased.transpose().map_err(|error| Failure {
            is_told: is_database_away(&error),
            ..Failure::retrying(with_causes(&error))
        })?;
        let Some(mut connection) = leased else {
            return Ok(());
        };
        let ended = match AssertUnwindSafe(work.session(&mut connection)).catch_unwind().await {
            Ok(ended) => ended.map_err(|error| Failure {
                status: work.status_after(&error),
                reason: with_causes(&error),
                is_told: work.is_told(&error) || is_database_away(&error),
            }),
            Err(_panic) => Err(Failure::retrying("it panicked".to_owned())),
        };
        self.set_running(false);
        if let Err(error) = lease::answered(self.end(connection, &ended)).await
            && !is_unreachable(&error)
        {
            let id = self.id;
            warn!(projection = %id, %error, "the status of a projection could not be written");
        }
        // After that: readers look at the status too.
        if ended.as_ref().is_err_and(|failure| failure.status == Status::AnotherLog) {
            self.withhold();
        }
        ended
    }

    /// Waits for the lease.
    async fn lease(&self) -> Result<PgConnection, LeaseError> {
        lease::answered(bookkeeping::prepare(&self.pool)).await?;
        let mut connection = lease::answered(lease::connect(&self.pool, lease::Work::Run)).await?;
        let mut seen = Seen { at: Instant::now(), position: None, next: None, is_told: false };
        while !lease::answered(lease::try_take(&mut connection, self.id, lease::Work::Run)).await? {
            // Readers in this process wait for what the other one commits.
            let loaded = lease::answered(checkpoint::reached(&mut connection, self.id)).await?;
            let loaded = match loaded {
                Some(Reached::Position(position)) => {
                    self.watermarks.looked_at(self.id, OfLog::This);
                    self.publish(position);
                    Some(position)
                }
                Some(Reached::AtRest(position)) => Some(position),
                Some(Reached::OfAnotherLog) => {
                    self.withhold();
                    None
                }
                None => None,
            };
            if seen.at.elapsed() > STANDSTILL {
                seen = self.look_again(&mut connection, &seen, loaded).await?;
            }
            let awaited = self.watermarks.somebody_waits();
            sleep(if awaited { AWAITED_INTERVAL } else { lease::LEASE_INTERVAL }).await;
        }
        Ok(connection)
    }

    /// Whether the process that has the lease has left an event alone since the last look.
    async fn look_again(
        &self,
        connection: &mut PgConnection,
        last: &Seen,
        position: Option<Position>,
    ) -> Result<Seen, sqlx::Error> {
        let mut is_told = last.is_told;
        if is_told && position > last.position {
            info!(projection = %self.id, "the process that runs a projection goes on with it");
            is_told = false;
        }
        if let (Some(position), Some(next)) = (position, last.next)
            && last.position == Some(position)
        {
            let reason = format!(
                "the process that runs it has applied nothing for {} s",
                STANDSTILL.as_secs()
            );
            let told = checkpoint::stands_still(connection, self.id, position, &reason, next);
            if lease::answered(told).await? {
                warn!(projection = %self.id, %position, reason, "a projection stands still");
                is_told = true;
            }
        }
        let next = match position {
            Some(position) => self.first_after(position).await.ok().flatten(),
            None => None,
        };
        Ok(Seen { at: Instant::now(), position, next, is_told })
    }

    /// The session has come to its work, and the model is at this position.
    pub(crate) async fn begun(
        &self,
        connection: &mut PgConnection,
        position: Position,
    ) -> Result<(), sqlx::Error> {
        checkpoint::set_status(connection, self.id, Status::Running, None, None).await?;
        self.watermarks.looked_at(self.id, OfLog::This);
        self.publish(position);
        self.set_running(true);
        debug!(projection = %self.id, %position, "a projection runs");
        Ok(())
    }

    fn set_running(&self, is_running: bool) {
        self.is_running.store(is_running, Ordering::Relaxed);
        let gauge = gauge!("veza_projection_running", "projection" => self.id.name);
        gauge.set(if is_running { 1.0 } else { 0.0 });
    }

    /// Writes down how the session ended, on the connection that has the lease: whoever has lost
    /// that one has nothing to say of the projection any more, as another process may run it.
    async fn end(
        &self,
        mut connection: PgConnection,
        ended: &Result<(), Failure>,
    ) -> Result<(), sqlx::Error> {
        let (status, reason, failing) = match ended {
            Ok(()) => (Status::Stopped, None, None),
            Err(Failure { status: Status::AnotherLog, reason, .. }) => {
                (Status::AnotherLog, Some(reason.as_str()), None)
            }
            Err(Failure { status, reason, .. }) => {
                (*status, Some(reason.as_str()), self.next_event().await)
            }
        };
        checkpoint::set_status(&mut connection, self.id, status, reason, failing).await?;
        connection.close().await
    }

    /// Tells readers that the model is of another log. What it had come to is of no worth either to
    /// those who wait for what they have written.
    pub(crate) fn withhold(&self) {
        self.watermarks.looked_at(self.id, OfLog::Another);
        self.committed.send_replace(Position::START);
    }

    /// Tells readers how far it has come.
    pub(crate) fn publish(&self, position: Position) {
        self.committed.send_if_modified(|reached| {
            let moved = position > *reached;
            *reached = position.max(*reached);
            moved
        });
        gauge!("veza_projection_position", "projection" => self.id.name).set(position.get() as f64);
    }

    /// The end of the log, when nothing that is taken lies between it and the position.
    pub(crate) async fn nothing_until_head(
        &self,
        position: Position,
    ) -> Result<Option<Position>, LookError> {
        let head = self.store.head().await?;
        if head <= position {
            return Ok(None);
        }
        // Everything up to the head was there before this read begins.
        let next = self.first_after(position).await?;
        Ok(next.is_none_or(|next| next > head).then_some(head))
    }

    /// Where the next event is that is taken.
    pub(crate) async fn first_after(
        &self,
        position: Position,
    ) -> Result<Option<Position>, ReadError> {
        let read = ReadAll::forward().filter(self.filter.clone()).limit(2);
        let read = if position > Position::START { read.from(position) } else { read };
        let mut events = self.store.read_all(read).await?;
        while let Some(event) = events.next().await.transpose()? {
            if event.position > position {
                return Ok(Some(event.position));
            }
        }
        Ok(None)
    }

    /// The event that the loop can't get past.
    async fn next_event(&self) -> Option<Position> {
        let reached = *self.committed.borrow();
        self.first_after(reached).await.ok().flatten()
    }
}

/// The chunk's events, and up to where the log was looked at with them.
pub(crate) fn take(
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
