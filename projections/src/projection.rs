//! The port of a projection: what a model must tell and do so that the runner can fill it.

use std::fmt;

use async_trait::async_trait;
use event_store::{Filter, RecordedEvent};
use sqlx::PgConnection;
use thiserror::Error;

use crate::envelope::Envelope;

/// Which model, in which shape of its tables; each version has a PostgreSQL schema of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ModelId {
    /// Its name: lower-case letters and `_`.
    pub name: &'static str,
    /// The version of its shape and of how it is filled.
    pub version: u32,
}

impl ModelId {
    /// The PostgreSQL schema that holds it live or while it is built.
    pub fn schema(&self, target: Target) -> String {
        match target {
            Target::Live => self.to_string(),
            Target::Shadow => format!("{self}_build"),
        }
    }

    /// The version, as PostgreSQL keeps it.
    pub(crate) fn version_column(&self) -> i32 {
        i32::try_from(self.version).unwrap_or(i32::MAX)
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}_v{}", self.name, self.version)
    }
}

/// What does what no other engine is named for, as operators call it.
pub(crate) const POSTGRES: &str = "PostgreSQL";

/// Which of two copies of a model is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The one that is read.
    Live,
    /// The one that a rebuild fills beside it.
    Shadow,
}

/// Why a projector could not apply events.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// A part of the platform is not there just now; trying again helps.
    #[error("a part that the model needs did not do its work: {0}")]
    Transient(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Something about an event; trying again does not help.
    #[error("the event can't be applied: {0}")]
    Poison(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ApplyError {
    /// An event that this model can't take, told in words.
    pub fn poison(reason: impl Into<String>) -> Self {
        Self::Poison(reason.into().into())
    }
}

impl From<sqlx::Error> for ApplyError {
    fn from(error: sqlx::Error) -> Self {
        if is_transient(&error) {
            Self::Transient(error.into())
        } else {
            Self::Poison(error.into())
        }
    }
}

/// Whether the database may well do the same work later.
pub(crate) fn is_transient(error: &sqlx::Error) -> bool {
    // SQLSTATE classes: connection, rollback by contention, resources, operator, system, internal.
    const CLASSES: [&str; 6] = ["08", "40", "53", "57", "58", "XX"];
    match error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            CLASSES.iter().any(|class| code.starts_with(class)) || code == "55P03"
        }),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// The SQLSTATE of a server that does not have the database.
const NO_DATABASE: &str = "3D000";

/// Whether the database did not answer, is just going down or coming up, or is not there: nobody's
/// work is at fault, and the same may be asked again.
pub fn is_unreachable(error: &sqlx::Error) -> bool {
    match error.as_database_error() {
        Some(said) => {
            said.code().is_some_and(|code| code.starts_with("57P") || code == NO_DATABASE)
        }
        None => matches!(
            error,
            sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed
        ),
    }
}

/// One model: which events it takes, its tables, and how events change them.
#[async_trait]
pub trait Projection: Send + Sync + 'static {
    /// Which model it fills.
    fn id(&self) -> ModelId;

    /// The categories of the streams it takes events of.
    fn categories(&self) -> &'static [&'static str];

    /// Statements that make its tables in a schema that is first in the search path: a new, empty
    /// one, and at each start the live one, where they make what is not there yet and change
    /// nothing else.
    fn tables(&self) -> &'static [&'static str];

    /// Applies events in their order, in the transaction that also moves the checkpoint. The
    /// target's schema is first in the search path, so tables are named without one.
    async fn apply(
        &self,
        target: Target,
        connection: &mut PgConnection,
        events: &[Envelope],
    ) -> Result<(), ApplyError>;

    /// What must stay in order, and is parked together when one event of it can't be applied.
    fn key(&self, event: &RecordedEvent) -> String {
        event.stream.as_str().to_owned()
    }

    /// Whether a batch that may have been applied must be tried again with the same ends: for
    /// sinks outside PostgreSQL that recognise a batch, not an event.
    fn pins_batches(&self) -> bool {
        false
    }

    /// Whether the live copy in a sink outside PostgreSQL is there. One that was lost, or another
    /// server that is empty, is filled from the whole log before anything is added to it: it is
    /// asked for before every batch.
    async fn has_live(&self) -> Result<bool, ApplyError> {
        Ok(true)
    }

    /// Makes an empty shadow in a sink outside PostgreSQL.
    async fn begin_shadow(&self) -> Result<(), ApplyError> {
        Ok(())
    }

    /// Puts the shadow in the place of the live copy in a sink outside PostgreSQL. May be called
    /// again for the same shadow.
    async fn swap_shadow(&self) -> Result<(), ApplyError> {
        Ok(())
    }

    /// The filter that keeps the events it takes.
    fn filter(&self) -> Filter {
        Filter::stream_prefixes(self.categories().iter().map(|category| format!("{category}-")))
    }
}
