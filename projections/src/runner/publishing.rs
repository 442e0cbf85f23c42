//! Publishing: a loop from the log to the event bus, under the lease and checkpoint of its own.
//!
//! It is no projection: events are passed on as they were recorded, also those that this release
//! can't read, so none is ever parked and no order changes; and what went out can't be rebuilt.

use std::pin::pin;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use event_store::{Position, RecordedEvent, SubscribeError, SubscribeFrom};
use futures::{StreamExt, TryFutureExt};
use metrics::{counter, histogram};
use sqlx::{Connection, PgConnection};
use thiserror::Error;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::kafka::{EventBus, EventBusError, Link};
use crate::mark::{self, LogError, Mark};
use crate::runner::checkpoint::{Standing, Status};
use crate::runner::supervisor::{Leased, LookError, Supervisor, take};
use crate::runner::{checkpoint, lease};

/// Most events that are sent before the checkpoint moves.
const BATCH_EVENTS_MAX: usize = 1_000;

/// How often an idle publisher looks whether the log went on without it.
const IDLE_INTERVAL: Duration = Duration::from_millis(500);

/// How long a batch may stay unconfirmed before that is told.
const STALL: Duration = Duration::from_secs(10);

/// How long a batch may still be confirmed when the publisher is to stop.
const PARTING: Duration = Duration::from_secs(2);

#[derive(Debug, Error)]
pub(crate) enum PublishError {
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
    #[error(transparent)]
    Log(#[from] LogError),
}

/// The publisher of this process.
pub(crate) struct Publisher {
    pub(crate) supervisor: Supervisor,
    pub(crate) bus: EventBus,
}

/// What a session works with.
struct Session<'c> {
    connection: &'c mut PgConnection,
    link: Link,
    position: Position,
    /// The last event at or before the position that was seen.
    mark: Option<Mark>,
}

#[async_trait]
impl Leased for Publisher {
    type Error = PublishError;

    async fn session(&self, connection: &mut PgConnection) -> Result<(), PublishError> {
        let Some(mut session) = self.begin(connection).await? else {
            return Ok(());
        };
        self.supervisor.begun(session.connection, session.position).await?;
        self.follow(&mut session).await
    }

    fn is_told(&self, error: &PublishError) -> bool {
        matches!(error, PublishError::Bus(EventBusError::Kafka(_))) && self.bus.is_missed()
    }
}

impl Publisher {
    /// Publishes until cancelled.
    pub(crate) async fn supervise(self) {
        self.supervisor.run(&self).await;
    }

    /// Asks the bus what it has. `None` when cancelled.
    async fn begin<'c>(
        &self,
        connection: &'c mut PgConnection,
    ) -> Result<Option<Session<'c>>, PublishError> {
        let (id, cancel) = (self.supervisor.id, &self.supervisor.cancel);
        let standing = match checkpoint::load(connection, id).await? {
            Some(standing) => standing,
            None => {
                checkpoint::advance(connection, id, Standing::START).await?;
                Standing::START
            }
        };
        let link = cancel.run_until_cancelled(self.bus.connect(&*self.supervisor.store));
        let link = async { Ok::<_, PublishError>(link.await.transpose()?) };
        let Some(link) = lease::kept(connection, link).await? else {
            return Ok(None);
        };
        let standing = async { Ok::<_, PublishError>(self.of_this_log(standing).await?) };
        let Standing { position, mark } = lease::kept(connection, standing).await?;
        Ok(Some(Session { connection, link, position, mark }))
    }

    /// Where to go on. The topics were looked at before: what they have is of this log. So where
    /// the checkpoint is of another one, it is as good as lost, and nothing is sent twice.
    async fn of_this_log(&self, standing: Standing) -> Result<Standing, LogError> {
        let Supervisor { id, store, .. } = &self.supervisor;
        match mark::check(&**store, standing.position, standing.mark).await {
            Err(why) if why.is_of_the_log() => {
                warn!(projection = %id, %why, "another log is published, from its beginning");
                Ok(Standing::START)
            }
            checked => checked.map(|()| standing),
        }
    }

    async fn follow(&self, session: &mut Session<'_>) -> Result<(), PublishError> {
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
                    lease::answered(session.connection.ping()).await?;
                    if !self.look_after_brokers(session).await? {
                        return Ok(());
                    }
                    let look = self.supervisor.nothing_until_head(session.position);
                    let look = look.err_into::<PublishError>();
                    let head = lease::kept(session.connection, look).await?;
                    if let Some(head) = head {
                        self.advance(session, head, None).await?;
                    }
                    continue;
                }
            };
            let (events, upto) = take(chunk, session.position)?;
            if !self.publish(session, &events).await? {
                return Ok(());
            }
            if upto > session.position {
                let last = events.last().map(Mark::of);
                self.advance(session, upto, last).await?;
            }
        }
    }

    /// While nothing is to be sent: whether brokers that were away are back, with their topics.
    /// `false` when cancelled.
    async fn look_after_brokers(&self, session: &Session<'_>) -> Result<bool, PublishError> {
        if !self.bus.is_away() {
            return Ok(true);
        }
        match self.supervisor.cancel.run_until_cancelled(session.link.look()).await {
            None => Ok(false),
            // Still away.
            Some(Err(EventBusError::Kafka(_))) => Ok(true),
            Some(looked) => Ok(looked.map(|()| true)?),
        }
    }

    /// Publishes a batch; `false` when it was to stop before the batch was confirmed.
    async fn publish(
        &self,
        session: &mut Session<'_>,
        events: &[RecordedEvent],
    ) -> Result<bool, PublishError> {
        if events.is_empty() {
            return Ok(true);
        }
        let (id, started) = (self.supervisor.id, Instant::now());
        // On the connection that has the lease: where that is gone, another process may publish.
        lease::answered(checkpoint::load(session.connection, id)).await?;
        let mut sent = pin!(session.link.publish(events));
        let (mut stalled, mut is_told) = (false, false);
        loop {
            let waited = self.supervisor.cancel.run_until_cancelled(timeout(STALL, &mut sent));
            match waited.await {
                Some(Ok(published)) => break published?,
                Some(Err(_)) if stalled => lease::answered(session.connection.ping()).await?,
                Some(Err(_)) => {
                    stalled = true;
                    let reason = "Kafka does not confirm what was sent; it is waited for";
                    is_told = !self.bus.is_missed();
                    if is_told {
                        warn!(projection = %id, reason);
                    }
                    let retrying = Status::Retrying;
                    checkpoint::set_status(session.connection, id, retrying, Some(reason), None)
                        .await?;
                }
                None => match timeout(PARTING, &mut sent).await {
                    Ok(published) => break published?,
                    Err(_) => return Ok(false),
                },
            }
        }
        if is_told {
            // The checkpoint, which moves now, says that it runs again.
            info!(projection = %id, "Kafka confirms again");
        }
        histogram!("veza_projection_batch_seconds", "projection" => id.name)
            .record(started.elapsed());
        counter!("veza_projection_events_total", "projection" => id.name)
            .increment(events.len() as u64);
        Ok(true)
    }

    async fn advance(
        &self,
        session: &mut Session<'_>,
        upto: Position,
        last: Option<Mark>,
    ) -> Result<(), PublishError> {
        let to = Standing { position: upto, mark: last.or(session.mark) };
        lease::answered(checkpoint::advance(session.connection, self.supervisor.id, to)).await?;
        (session.position, session.mark) = (to.position, to.mark);
        self.supervisor.publish(upto);
        Ok(())
    }
}
