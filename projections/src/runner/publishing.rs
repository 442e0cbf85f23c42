//! Publishing: a loop from the log to the event bus, under the lease and checkpoint of its own.
//!
//! It is no projection: events are passed on as they were recorded, also those that this release
//! can't read, so none is ever parked and no order changes; and what went out can't be rebuilt.

use std::pin::pin;
use std::time::{Duration, Instant};

use event_store::{Position, RecordedEvent, SubscribeError, SubscribeFrom};
use futures::StreamExt;
use futures::future::BoxFuture;
use metrics::{counter, gauge, histogram};
use sqlx::{Connection, PgConnection};
use thiserror::Error;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::kafka::{EventBus, EventBusError, Link};
use crate::runner::checkpoint::Status;
use crate::runner::supervisor::{LookError, Supervisor, take};
use crate::runner::{bookkeeping, checkpoint, lease};

/// Most events that are sent before the checkpoint moves.
const BATCH_EVENTS_MAX: usize = 1_000;

/// How often a process without the lease tries to take it.
const LEASE_INTERVAL: Duration = Duration::from_millis(200);

/// How often an idle publisher looks whether the log went on without it.
const IDLE_INTERVAL: Duration = Duration::from_millis(500);

/// How long a batch may stay unconfirmed before that is told.
const STALL: Duration = Duration::from_secs(10);

/// How long a batch may still be confirmed when the publisher is to stop.
const PARTING: Duration = Duration::from_secs(2);

#[derive(Debug, Error)]
enum PublishError {
    #[error("the database did not do its work")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Bus(#[from] EventBusError),
    #[error("the subscription ended")]
    Subscription(#[from] SubscribeError),
    #[error("the subscription ended without a reason")]
    SubscriptionEnded,
    #[error(transparent)]
    Look(#[from] LookError),
}

/// The publisher of this process.
pub(crate) struct Publisher {
    pub(crate) supervisor: Supervisor,
    pub(crate) bus: EventBus,
}

/// What a session works with once it has the lease.
struct Session {
    connection: PgConnection,
    link: Link,
    position: Position,
}

impl Publisher {
    /// Publishes until cancelled.
    pub(crate) async fn supervise(self) {
        self.supervisor.run(|| self.session()).await;
    }

    fn session(&self) -> BoxFuture<'_, Result<(), PublishError>> {
        Box::pin(async {
            let id = self.supervisor.id;
            bookkeeping::prepare(&self.supervisor.pool).await?;
            let Some(mut session) = self.begin().await? else {
                return Ok(());
            };
            let running = Status::Running;
            checkpoint::set_status(&mut session.connection, id, running, None, None).await?;
            self.supervisor.publish(session.position);
            gauge!("projection_running", "projection" => id.name).set(1.0);
            debug!(projection = %id, position = %session.position, "events are published");
            self.follow(&mut session).await?;
            let stopped = Status::Stopped;
            checkpoint::set_status(&mut session.connection, id, stopped, None, None).await?;
            gauge!("projection_running", "projection" => id.name).set(0.0);
            session.connection.close().await?;
            Ok(())
        })
    }

    /// Waits for the lease, then asks the bus what it has. `None` when cancelled.
    async fn begin(&self) -> Result<Option<Session>, PublishError> {
        let (id, cancel) = (self.supervisor.id, &self.supervisor.cancel);
        let mut connection = lease::connect(&self.supervisor.pool).await?;
        while !lease::try_take(&mut connection, id, lease::Work::Run).await? {
            if cancel.run_until_cancelled(sleep(LEASE_INTERVAL)).await.is_none() {
                return Ok(None);
            }
        }
        let position = match checkpoint::load(&mut connection, id).await? {
            Some(position) => position,
            None => {
                checkpoint::advance(&mut connection, id, Position::START).await?;
                Position::START
            }
        };
        let Some(link) =
            cancel.run_until_cancelled(self.bus.connect(&*self.supervisor.store)).await
        else {
            return Ok(None);
        };
        Ok(Some(Session { connection, link: link?, position }))
    }

    async fn follow(&self, session: &mut Session) -> Result<(), PublishError> {
        let Supervisor { store, filter, cancel, .. } = &self.supervisor;
        let from = SubscribeFrom::After(session.position);
        let subscription = store.subscribe_all(from, Some(filter.clone())).await?;
        let mut chunks = subscription.ready_chunks(BATCH_EVENTS_MAX);
        loop {
            let chunk = tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                chunk = chunks.next() => chunk.ok_or(PublishError::SubscriptionEnded)?,
                () = sleep(IDLE_INTERVAL) => {
                    let head = self.supervisor.nothing_until_head(session.position).await?;
                    if let Some(head) = head {
                        self.advance(session, head).await?;
                    }
                    continue;
                }
            };
            let (events, upto) = take(chunk, session.position)?;
            if !self.publish(session, &events).await? {
                return Ok(());
            }
            if upto > session.position {
                self.advance(session, upto).await?;
            }
        }
    }

    /// Publishes a batch; `false` when it was to stop before the batch was confirmed.
    async fn publish(
        &self,
        session: &mut Session,
        events: &[RecordedEvent],
    ) -> Result<bool, PublishError> {
        if events.is_empty() {
            return Ok(true);
        }
        let (id, started) = (self.supervisor.id, Instant::now());
        // On the connection that has the lease: where that is gone, another process may publish.
        checkpoint::load(&mut session.connection, id).await?;
        let mut sent = pin!(session.link.publish(events));
        let mut stalled = false;
        loop {
            let waited = self.supervisor.cancel.run_until_cancelled(timeout(STALL, &mut sent));
            match waited.await {
                Some(Ok(published)) => break published?,
                Some(Err(_)) if stalled => {}
                Some(Err(_)) => {
                    stalled = true;
                    let reason = "Kafka does not confirm what was sent; it is waited for";
                    warn!(projection = %id, reason);
                    self.supervisor.note(Status::Retrying, Some(reason)).await;
                }
                None => match timeout(PARTING, &mut sent).await {
                    Ok(published) => break published?,
                    Err(_) => return Ok(false),
                },
            }
        }
        if stalled {
            let running = Status::Running;
            checkpoint::set_status(&mut session.connection, id, running, None, None).await?;
            info!(projection = %id, "Kafka confirms again");
        }
        histogram!("projection_batch_seconds", "projection" => id.name).record(started.elapsed());
        counter!("projection_events_total", "projection" => id.name).increment(events.len() as u64);
        Ok(true)
    }

    async fn advance(&self, session: &mut Session, upto: Position) -> Result<(), PublishError> {
        checkpoint::advance(&mut session.connection, self.supervisor.id, upto).await?;
        session.position = upto;
        self.supervisor.publish(upto);
        Ok(())
    }
}
