//! One projection's loop: lease, subscription, batches.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use event_store::{Position, ReadAll, ReadError, RecordedEvent, SubscribeError, SubscribeFrom};
use futures::{StreamExt, TryFutureExt};
use metrics::{counter, histogram};
use sqlx::{Connection, PgConnection};
use thiserror::Error;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{debug, info, warn};

use crate::mark::{self, LogError, Mark};
use crate::projection::{ApplyError, Projection, Target};
use crate::runner::batch::{BatchError, BatchWriter, OnPoison};
use crate::runner::checkpoint::{Standing, Status};
use crate::runner::of_log::OfLog;
use crate::runner::rebuild::{Rebuild, RebuildError};
use crate::runner::supervisor::{Leased, LookError, Supervisor, take};
use crate::runner::watermarks::AWAITED_INTERVAL;
use crate::runner::{checkpoint, lease, parked, schemas};

/// Most events in one transaction.
const BATCH_EVENTS_MAX: usize = 1_000;

/// How long no event came when a projection looks whether the log went on without it.
const IDLE_INTERVAL: Duration = Duration::from_millis(500);

/// How often a projection looks for parked keys that are to be tried again, however busy it is.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Why a session ended.
#[derive(Debug, Error)]
pub(crate) enum SessionError {
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
    #[error(transparent)]
    Look(#[from] LookError),
    #[error(transparent)]
    Sink(#[from] ApplyError),
    #[error(
        "the model is of another log, or of more of this one than is there: {why}; where this is \
         the log to go on with, `veza-replay rebuild {model}` makes it anew"
    )]
    AnotherLog { model: &'static str, why: LogError },
    #[error("the model is not the one that was left")]
    Exchanged,
    #[error(transparent)]
    Log(LogError),
}

/// How long no event came when a projection looks whether its model is still the one that it left.
const MODEL_INTERVAL: Duration = Duration::from_secs(5);

/// A projection in this process.
pub(crate) struct Lane {
    pub(crate) supervisor: Supervisor,
    pub(crate) projection: Arc<dyn Projection>,
}

/// What a session works with.
struct Session<'c> {
    connection: &'c mut PgConnection,
    writer: BatchWriter,
    position: Position,
    /// The last event at or before the position that was seen.
    mark: Option<Mark>,
    pinned: Option<Position>,
}

impl Session<'_> {
    /// Where it left the model.
    fn standing(&self) -> Standing {
        Standing { position: self.position, mark: self.mark }
    }
}

#[async_trait]
impl Leased for Lane {
    type Error = SessionError;

    async fn session(&self, connection: &mut PgConnection) -> Result<(), SessionError> {
        loop {
            let Some(mut session) = self.begin(connection).await? else {
                return Ok(());
            };
            self.supervisor.begun(session.connection, session.position).await?;
            match self.follow(&mut session).await {
                Err(SessionError::Exchanged) => {
                    let id = self.supervisor.id;
                    warn!(projection = %id, "a model was exchanged: it is looked at anew");
                    self.supervisor.withhold();
                }
                ended => return ended,
            }
        }
    }

    fn status_after(&self, error: &SessionError) -> Status {
        match error {
            SessionError::AnotherLog { .. } => Status::AnotherLog,
            _ => Status::Retrying,
        }
    }
}

impl Lane {
    /// Runs the projection until cancelled.
    pub(crate) async fn supervise(self) {
        self.supervisor.run(&self).await;
    }

    /// Builds the model where it was never built, and looks whether it is of this log. `None` when
    /// cancelled.
    ///
    /// A model that is of another log is left as it is, and not made anew: a store that was set
    /// back or is behind for a while has the events again later, and what is right is the
    /// operator's to say.
    async fn begin<'c>(
        &self,
        connection: &'c mut PgConnection,
    ) -> Result<Option<Session<'c>>, SessionError> {
        let id = self.supervisor.id;
        checkpoint::enter(connection, id).await?;
        let has_live = async { Ok::<_, SessionError>(self.projection.has_live().await?) };
        if !lease::kept(connection, has_live).await?
            || !schemas::are_live(connection, id, self.projection.tables()).await?
        {
            // For good, so that a build that is cut off is not taken for the model.
            checkpoint::forget(connection, id).await?;
            // So there is nothing of another log in it either.
            self.supervisor.watermarks.looked_at(id, OfLog::This);
        }
        schemas::drop_leftovers(connection, id).await?;
        if checkpoint::load(connection, id).await?.is_some() {
            schemas::complete_live(connection, id, self.projection.tables()).await?;
        } else {
            debug!(projection = %id, "a model is not there and is built from the whole log");
            let rebuild = Rebuild {
                pool: self.supervisor.pool.clone(),
                store: Arc::clone(&self.supervisor.store),
                projection: Arc::clone(&self.projection),
                on_poison: OnPoison::Park,
                cancel: self.supervisor.cancel.clone(),
            };
            let watermarks = self.supervisor.watermarks.clone();
            let built = rebuild.run(Box::new(move |progress| watermarks.building(progress)));
            match lease::kept(connection, built).await {
                Err(RebuildError::Cancelled) => return Ok(None),
                built => built?,
            };
        }
        let Standing { position, mark } =
            checkpoint::load(connection, id).await?.unwrap_or(Standing::START);
        let checked = mark::check(&*self.supervisor.store, position, mark).map_err(|why| {
            if why.is_of_the_log() {
                SessionError::AnotherLog { model: id.name, why }
            } else {
                SessionError::Log(why)
            }
        });
        lease::kept(connection, checked).await?;
        let pinned = checkpoint::pinned(connection, id).await?;
        let projection = Arc::clone(&self.projection);
        let writer = BatchWriter::new(projection, Target::Live, OnPoison::Park);
        Ok(Some(Session { connection, writer, position, mark, pinned }))
    }

    async fn follow(&self, session: &mut Session<'_>) -> Result<(), SessionError> {
        let from = SubscribeFrom::After(session.position);
        let subscription =
            self.supervisor.store.subscribe_all(from, Some(self.supervisor.filter.clone())).await?;
        let mut chunks = subscription.ready_chunks(BATCH_EVENTS_MAX);
        let mut waiting_for_pin = Vec::new();
        let mut retries = interval(RETRY_INTERVAL);
        retries.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut quiet_since, mut looked_at) = (Instant::now(), Instant::now());
        loop {
            let awaited = self.supervisor.watermarks.somebody_waits();
            let idle = if awaited { AWAITED_INTERVAL } else { IDLE_INTERVAL };
            let chunk = tokio::select! {
                biased;
                () = self.supervisor.cancel.cancelled() => return Ok(()),
                _ = retries.tick(), if session.pinned.is_none() => {
                    lease::within(lease::BATCH_TIME_MAX, self.retry(session)).await?;
                    continue;
                }
                chunk = chunks.next() => chunk.ok_or(SessionError::SubscriptionEnded)?,
                () = sleep_until(quiet_since + idle) => {
                    if session.pinned.is_some() {
                        self.complete_pinned(session, &mut waiting_for_pin).await?;
                    } else {
                        self.follow_others(session).await?;
                    }
                    if looked_at.elapsed() > MODEL_INTERVAL {
                        lease::within(lease::BATCH_TIME_MAX, self.look_again(session)).await?;
                        looked_at = Instant::now();
                    }
                    quiet_since = Instant::now();
                    continue;
                }
            };
            quiet_since = Instant::now();
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
            }
            if session.pinned.is_none() && upto > session.position {
                self.commit(session, std::mem::take(&mut waiting_for_pin), upto).await?;
            }
        }
    }

    /// Applies the events and moves the checkpoint to `upto`, in bounded time.
    async fn commit(
        &self,
        session: &mut Session<'_>,
        events: Vec<RecordedEvent>,
        upto: Position,
    ) -> Result<(), SessionError> {
        lease::within(lease::BATCH_TIME_MAX, self.apply(session, events, upto)).await
    }

    /// The same, all in one transaction.
    async fn apply(
        &self,
        session: &mut Session<'_>,
        mut events: Vec<RecordedEvent>,
        upto: Position,
    ) -> Result<(), SessionError> {
        let id = self.supervisor.id;
        let started = Instant::now();
        let mark = self.mark(session.mark, &events, upto);
        let mark = lease::kept(session.connection, mark.err_into::<SessionError>()).await?;
        // Pinned at an event: where no event is, no subscription need stop again.
        if let Some(last) = events.last().filter(|_| self.projection.pins_batches())
            && session.pinned.is_none()
        {
            checkpoint::pin(session.connection, id, last.position).await?;
        }
        let left = session.standing();
        // Waits for nobody: it shows whether there still is a server at the other end.
        let mut transaction = lease::answered(session.connection.begin()).await?;
        let live = checkpoint::lock(&mut transaction, id).await?.unwrap_or(Standing::START);
        self.check_goes_on(left, live).await?;
        // A rebuild that went live in between may have come further than this loop.
        events.retain(|event| event.position > live.position);
        let to = if upto > live.position { Standing { position: upto, mark } } else { live };
        let count = events.len() as u64;
        if !events.is_empty() {
            session.writer.write(&mut transaction, events).await?;
        }
        checkpoint::advance(&mut transaction, id, to).await?;
        transaction.commit().await?;
        (session.position, session.mark, session.pinned) = (to.position, to.mark, None);
        self.supervisor.publish(to.position);
        histogram!("veza_projection_batch_seconds", "projection" => id.name)
            .record(started.elapsed());
        counter!("veza_projection_events_total", "projection" => id.name).increment(count);
        Ok(())
    }

    /// While no event comes: others may have put something else in the place of the model, or
    /// nothing.
    async fn look_again(&self, session: &mut Session<'_>) -> Result<(), SessionError> {
        let (id, tables) = (self.supervisor.id, self.projection.tables());
        if !schemas::are_live(session.connection, id, tables).await? {
            return Err(SessionError::Exchanged);
        }
        let loaded = checkpoint::load(session.connection, id).await?;
        self.check_goes_on(session.standing(), loaded.unwrap_or(Standing::START)).await
    }

    /// That a model is where it was left, or that a rebuild of this log brought it further.
    async fn check_goes_on(&self, left: Standing, live: Standing) -> Result<(), SessionError> {
        if live == left {
            return Ok(());
        }
        if live.position < left.position {
            return Err(SessionError::Exchanged);
        }
        let checked = mark::check(&*self.supervisor.store, live.position, live.mark).await;
        checked.map_err(|why| match why.is_of_the_log() {
            true => SessionError::Exchanged,
            false => SessionError::Log(why),
        })
    }

    /// What the log is known by once these events are applied, which end at `upto` or before.
    async fn mark(
        &self,
        seen: Option<Mark>,
        events: &[RecordedEvent],
        upto: Position,
    ) -> Result<Option<Mark>, ReadError> {
        let last = events.last().map(Mark::of);
        if last.is_some_and(|last| last.position == upto) {
            return Ok(last);
        }
        // What is there is of others, or gone; then what was seen before it has to do.
        let there = Mark::at(&*self.supervisor.store, upto).await?;
        Ok(there.or(last).or(seen))
    }

    /// While no event comes: the checkpoint follows the log over events of others.
    async fn follow_others(&self, session: &mut Session<'_>) -> Result<(), SessionError> {
        let look = self.supervisor.nothing_until_head(session.position);
        let head = lease::kept(session.connection, look.err_into::<SessionError>()).await?;
        if let Some(head) = head {
            self.commit(session, Vec::new(), head).await?;
        }
        Ok(())
    }

    /// While no event comes and a pinned batch is incomplete: its last events may be gone from the
    /// log, with the stream they were of. What is left of it is the batch then.
    async fn complete_pinned(
        &self,
        session: &mut Session<'_>,
        waiting: &mut Vec<RecordedEvent>,
    ) -> Result<(), SessionError> {
        let Some(pinned) = session.pinned else {
            return Ok(());
        };
        let reached = waiting.last().map_or(session.position, |event| event.position);
        // The batch may be waited for for long, and nothing else is asked meanwhile.
        lease::answered(session.connection.ping()).await?;
        let look = self.supervisor.first_after(reached);
        let next = lease::kept(session.connection, look.err_into::<SessionError>()).await?;
        if next.is_none_or(|next| next > pinned) {
            self.commit(session, std::mem::take(waiting), pinned).await?;
        }
        Ok(())
    }

    /// Tries the keys again that an operator asks for.
    async fn retry(&self, session: &mut Session<'_>) -> Result<(), SessionError> {
        let id = self.supervisor.id;
        let requests = lease::answered(parked::retry_requests(session.connection, id)).await?;
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
            let Some(event) =
                self.supervisor.store.read_all(read).await?.next().await.transpose()?
            else {
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
}
