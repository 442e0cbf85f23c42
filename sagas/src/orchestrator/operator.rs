//! What an operator can do about a run that waits for one.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use event_schemas::saga::SagaResumed;
use event_store::{EventStore, StreamName};
use thiserror::Error;

use crate::orchestrator::journal::{Journal, JournalError};

/// Why a run was not let go on.
#[derive(Debug, Error)]
pub enum ResumeError {
    /// There is no such run.
    #[error("saga {0} is not there")]
    NotThere(StreamName),
    /// It does not wait for an operator.
    #[error("saga {0} is not paused")]
    NotPaused(StreamName),
    /// The store can't.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Lets a paused run go on: the step it paused at is tried again, as often as the first time.
///
/// It goes on wherever the runtime is; this only records that it may.
///
/// # Errors
/// When there is no such run, when it is not paused, and as the store fails.
pub async fn resume(
    store: Arc<dyn EventStore>,
    stream: &StreamName,
    now: DateTime<Utc>,
) -> Result<(), ResumeError> {
    let journal = Journal::new(store);
    loop {
        let run = journal.load(stream).await?;
        let mut run = run.ok_or_else(|| ResumeError::NotThere(stream.clone()))?;
        let Some(pause) = run.state.pause.clone() else {
            return Err(ResumeError::NotPaused(stream.clone()));
        };
        let resumed = SagaResumed { step: pause.step };
        match journal.record(&mut run, resumed.into(), now).await {
            // Somebody else was first: perhaps it is no longer paused.
            Err(JournalError::Conflict(_)) => {}
            recorded => return Ok(recorded?),
        }
    }
}
