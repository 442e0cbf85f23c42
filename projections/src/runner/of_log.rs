//! Of which log a model is: positions say nothing of that, so the store is asked for an event that
//! the model remembers.

use std::time::Duration;

use event_store::{EventStore, ReadError};
use sqlx::{PgConnection, PgPool};
use tokio::time::timeout;

use crate::mark::{self, LogError, Mark};
use crate::projection::ModelId;
use crate::query_error::is_undefined;
use crate::runner::checkpoint::{self, Standing};

/// How long the store may take to be asked for an event.
const FIND_TIME_MAX: Duration = Duration::from_millis(500);

/// Of which log a model is, as who has looked saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OfLog {
    /// Of the one that is there.
    This,
    /// Of another one.
    Another,
}

/// Those of the models that are of another log than this store's, whatever their rows say of it:
/// who wrote there last may have had another. `None` when the store does not tell just now.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn models_of_another_log(
    pool: &PgPool,
    store: &dyn EventStore,
    models: &[ModelId],
) -> Result<Option<Vec<ModelId>>, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let (mut foreign, mut are_known) = (Vec::new(), true);
    for &model in models {
        match find(store, &mut connection, model).await {
            Ok(Some(OfLog::This)) => {}
            Ok(Some(OfLog::Another)) => foreign.push(model),
            Ok(None) => are_known = false,
            // No process has made the runner's tables yet.
            Err(error) if is_undefined(&error) => return Ok(Some(Vec::new())),
            Err(error) => return Err(error),
        }
    }
    Ok((are_known || !foreign.is_empty()).then_some(foreign))
}

/// Knows a log again by the event that was its last when it was looked at.
#[derive(Debug, Default)]
pub struct LogMemory {
    last: Option<Mark>,
}

impl LogMemory {
    /// Whether it is the log that was there before, gone on or not; its last event is then
    /// remembered. Of another one nothing is, until [`Self::forget`].
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn knows(&mut self, store: &dyn EventStore) -> Result<bool, ReadError> {
        let is_known = match self.last {
            None => true,
            Some(mark) => match mark::check(store, mark.position, Some(mark)).await {
                Ok(()) => true,
                Err(LogError::Read(error)) => return Err(error),
                Err(_) => false,
            },
        };
        if is_known {
            self.last = Mark::last(store).await?;
        }
        Ok(is_known)
    }

    /// Takes whatever log is there next for the right one.
    pub fn forget(&mut self) {
        self.last = None;
    }
}

/// Of which log the store has it that the model is; `None` when it does not say.
pub(crate) async fn find(
    store: &dyn EventStore,
    connection: &mut PgConnection,
    model: ModelId,
) -> Result<Option<OfLog>, sqlx::Error> {
    let Some(Standing { position, mark }) = checkpoint::load(connection, model).await? else {
        return Ok(Some(OfLog::This));
    };
    Ok(match timeout(FIND_TIME_MAX, mark::check(store, position, mark)).await {
        Ok(Ok(())) => Some(OfLog::This),
        Ok(Err(error)) if error.is_of_the_log() => Some(OfLog::Another),
        _ => None,
    })
}
