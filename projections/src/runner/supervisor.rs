//! Supervision of one loop: failed sessions begin again, and PostgreSQL and the log are told.

use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use event_store::{
    Delivery, EventStore, Filter, Position, ReadAll, ReadError, RecordedEvent, StoreError,
    SubscribeError,
};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use metrics::{counter, gauge};
use sqlx::PgPool;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::projection::ModelId;
use crate::runner::batch::with_causes;
use crate::runner::checkpoint::{self, Status};

/// The first pause after a failure; it doubles with each further one.
const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// The longest pause after a failure.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// The log can't be looked at.
#[derive(Debug, Error)]
pub(crate) enum LookError {
    #[error("the log can't be read")]
    Read(#[from] ReadError),
    #[error("the event store can't be asked")]
    Store(#[from] StoreError),
}

/// What a loop from the log to somewhere stands on.
pub(crate) struct Supervisor {
    pub(crate) id: ModelId,
    pub(crate) filter: Filter,
    pub(crate) pool: PgPool,
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) committed: watch::Sender<Position>,
    pub(crate) cancel: CancellationToken,
}

impl Supervisor {
    /// Runs sessions until one ends well or all is cancelled; a failed one is begun again after a
    /// pause. A reason is told once, not at every try.
    pub(crate) async fn run<'a, E: Error>(
        &'a self,
        session: impl Fn() -> BoxFuture<'a, Result<(), E>> + Send + Sync,
    ) {
        let id = self.id;
        let mut backoff = BACKOFF_MIN;
        let mut told = String::new();
        while !self.cancel.is_cancelled() {
            let before = *self.committed.borrow();
            let reason = match AssertUnwindSafe(session()).catch_unwind().await {
                Ok(Ok(())) => break,
                Ok(Err(error)) => with_causes(&error),
                Err(_panic) => "it panicked".to_owned(),
            };
            if *self.committed.borrow() > before {
                backoff = BACKOFF_MIN;
                told.clear();
            }
            if reason == told {
                debug!(projection = %id, reason, "a projection failed and begins again");
            } else {
                warn!(projection = %id, reason, "a projection failed and begins again");
            }
            counter!("projection_errors_total", "projection" => id.name).increment(1);
            gauge!("projection_running", "projection" => id.name).set(0.0);
            let note = self.note(Status::Retrying, Some(&reason));
            self.cancel.run_until_cancelled(Box::pin(note)).await;
            told = reason;
            self.cancel.run_until_cancelled(sleep(backoff)).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
        debug!(projection = %id, position = %*self.committed.borrow(), "a projection stopped");
    }

    /// Writes the status down where that is possible; when PostgreSQL is gone, the log has it.
    pub(crate) async fn note(&self, status: Status, reason: Option<&str>) {
        let failing = match reason {
            Some(_) => self.next_event().await,
            None => None,
        };
        let Ok(mut connection) = self.pool.acquire().await else {
            return;
        };
        let noted = checkpoint::set_status(&mut connection, self.id, status, reason, failing).await;
        if let Err(error) = noted {
            let id = self.id;
            warn!(projection = %id, %error, "the status of a projection could not be written");
        }
    }

    /// Tells readers how far it has come.
    pub(crate) fn publish(&self, position: Position) {
        self.committed.send_if_modified(|reached| {
            let moved = position > *reached;
            *reached = position.max(*reached);
            moved
        });
        gauge!("projection_position", "projection" => self.id.name).set(position.get() as f64);
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
