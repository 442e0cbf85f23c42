//! Why a command was not carried out.

use event_store::{AppendError, StoreError, StreamName};
use thiserror::Error;

use crate::encoding::UnreadableEvent;
use crate::fold::LoadError;

/// Why a command was not carried out; `R` is how its aggregate refuses.
#[derive(Debug, Error)]
pub enum CommandError<R: std::error::Error + 'static> {
    /// The aggregate refused.
    #[error(transparent)]
    Rejected(R),
    /// A command of this identity was carried out, and asked something else.
    #[error("the command's identity belongs to another request")]
    DigestMismatch,
    /// Others were faster each time.
    #[error("the aggregate was changed by others during each of {attempts} attempts")]
    Conflict {
        /// How often it was decided.
        attempts: u32,
    },
    /// The aggregate's stream was deleted for good.
    #[error("stream {0} is deleted")]
    Deleted(StreamName),
    /// What the aggregate's stream holds can't be read.
    #[error(transparent)]
    Decode(#[from] UnreadableEvent),
    /// Events are missing in the aggregate's stream, or what followed is too large to append.
    #[error("the aggregate's stream can't be read or continued: {reason}")]
    Stream {
        /// What is wrong.
        reason: String,
    },
    /// The store can't; when it was unavailable, the outcome is unknown.
    #[error(transparent)]
    Store(StoreError),
}

impl<R: std::error::Error + 'static> From<LoadError> for CommandError<R> {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Unreadable(error) => Self::Decode(error),
            LoadError::Gap { .. } | LoadError::Reclaimed(_) => {
                Self::Stream { reason: error.to_string() }
            }
            LoadError::Deleted(stream) => Self::Deleted(stream),
            LoadError::Store(error) => Self::Store(error),
        }
    }
}

impl<R: std::error::Error + 'static> From<AppendError> for CommandError<R> {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::StreamDeleted(stream) => Self::Deleted(stream),
            AppendError::Store(error) => Self::Store(error),
            AppendError::WrongExpectedRevision { .. } | AppendError::TooLarge(_) => {
                Self::Stream { reason: error.to_string() }
            }
        }
    }
}
