//! Batches: events into a model inside one transaction, with poison events parked.

use std::collections::HashSet;
use std::error::Error;
use std::sync::Arc;

use event_store::{Position, RecordedEvent};
use metrics::counter;
use sqlx::{Connection, PgConnection};
use thiserror::Error;
use tracing::error;

use crate::envelope::{Envelope, OpenError};
use crate::projection::{ApplyError, ModelId, Projection, Target};
use crate::runner::foreign::Foreign;
use crate::runner::{parked, schemas};

/// What is done with an event that can't be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnPoison {
    /// Its key is parked, and the others go on: right for a model that people read.
    Park,
    /// Nothing more is done: right where an operator looks on.
    Stop,
}

/// Why a batch was not applied.
#[derive(Debug, Error)]
pub enum BatchError {
    /// PostgreSQL or another part did not do its work; trying again helps.
    #[error("a batch could not be applied just now: {0}")]
    Transient(Box<dyn Error + Send + Sync>),
    /// An event can't be applied, and that was to stop the work.
    #[error("the event at position {position} can't be applied: {reason}")]
    Poison {
        /// Where the event is.
        position: Position,
        /// Why, the causes included.
        reason: String,
    },
}

impl From<sqlx::Error> for BatchError {
    fn from(error: sqlx::Error) -> Self {
        Self::Transient(error.into())
    }
}

/// Applies batches to one copy of a model.
pub(crate) struct BatchWriter {
    projection: Arc<dyn Projection>,
    target: Target,
    on_poison: OnPoison,
    foreign: Foreign,
}

impl BatchWriter {
    /// A writer to this copy of the projection's model.
    pub(crate) fn new(
        projection: Arc<dyn Projection>,
        target: Target,
        on_poison: OnPoison,
    ) -> Self {
        Self { projection, target, on_poison, foreign: Foreign::default() }
    }

    /// Applies or parks the events; those of others are passed over. The connection is in a
    /// transaction that the caller commits.
    pub(crate) async fn write(
        &self,
        connection: &mut PgConnection,
        events: Vec<RecordedEvent>,
    ) -> Result<(), BatchError> {
        // Read anew each time: a rebuild, a retry or a batch that failed may have changed them.
        let mut parked = parked::keys(connection, self.id(), self.target).await?;
        schemas::search_in(connection, self.id(), self.target).await?;
        let mut open = Vec::with_capacity(events.len());
        for event in events {
            let key = self.projection.key(&event);
            match Envelope::open(event.clone()) {
                Err(OpenError::Foreign(_)) => self.foreign.passed_over(self.id(), &event),
                _ if parked.contains(&key) => self.park(connection, &event, None).await?,
                Ok(envelope) => open.push(envelope),
                Err(error) => {
                    self.poisoned(connection, &event, &error).await?;
                    parked.insert(key);
                }
            }
        }
        if open.is_empty() {
            return Ok(());
        }
        // An engine may make again, empty, what it lost, and take events into that. The session
        // ends with this, and the next one fills the model from the whole log.
        if self.target == Target::Live && !self.has_live().await? {
            return Err(BatchError::Transient(
                "the live copy is gone from where it was kept".into(),
            ));
        }
        match self.apply(connection, &open).await {
            Ok(()) => Ok(()),
            Err(ApplyError::Transient(error)) => Err(BatchError::Transient(error)),
            Err(ApplyError::Poison(_)) => self.one_by_one(connection, open).await,
        }
    }

    fn id(&self) -> ModelId {
        self.projection.id()
    }

    async fn has_live(&self) -> Result<bool, BatchError> {
        // No event is to blame for what comes of asking.
        self.projection.has_live().await.map_err(|error| BatchError::Transient(error.into()))
    }

    /// Applies the events all or none: what failed leaves the transaction usable.
    async fn apply(
        &self,
        connection: &mut PgConnection,
        events: &[Envelope],
    ) -> Result<(), ApplyError> {
        let mut savepoint = connection.begin().await?;
        match self.projection.apply(self.target, &mut savepoint, events).await {
            Ok(()) => Ok(savepoint.commit().await?),
            Err(error) => {
                savepoint.rollback().await?;
                Err(error)
            }
        }
    }

    /// Applies what can be. Keys of which an event could not be opened are not parked here: all of
    /// their events here came before that.
    async fn one_by_one(
        &self,
        connection: &mut PgConnection,
        events: Vec<Envelope>,
    ) -> Result<(), BatchError> {
        let mut parked = HashSet::new();
        for envelope in events {
            let key = self.projection.key(&envelope.recorded);
            if parked.contains(&key) {
                self.park(connection, &envelope.recorded, None).await?;
                continue;
            }
            match self.apply(connection, std::slice::from_ref(&envelope)).await {
                Ok(()) => {}
                Err(ApplyError::Transient(error)) => return Err(BatchError::Transient(error)),
                Err(poison) => {
                    self.poisoned(connection, &envelope.recorded, &poison).await?;
                    parked.insert(key);
                }
            }
        }
        Ok(())
    }

    async fn poisoned(
        &self,
        connection: &mut PgConnection,
        event: &RecordedEvent,
        why: &(dyn Error + Sync),
    ) -> Result<(), BatchError> {
        let reason = with_causes(why);
        let position = event.position;
        if self.on_poison == OnPoison::Stop {
            return Err(BatchError::Poison { position, reason });
        }
        let key = self.projection.key(event);
        error!(
            projection = %self.id(), event.position = %position, event.key = key, reason,
            "a projection parked an event that can't be applied"
        );
        counter!("veza_projection_parked_keys_total", "projection" => self.id().name).increment(1);
        self.park(connection, event, Some(&reason)).await
    }

    async fn park(
        &self,
        connection: &mut PgConnection,
        event: &RecordedEvent,
        reason: Option<&str>,
    ) -> Result<(), BatchError> {
        let key = self.projection.key(event);
        parked::park(connection, self.id(), self.target, &key, event, reason).await?;
        Ok(())
    }
}

/// An error and what caused it, in one line; a cause that is already told is not told again.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        cause = error.source();
    }
    text
}
