//! What can go wrong with projections.

use thiserror::Error;

use crate::error::{AppendError, MultiAppendError, ReadError, StoreError, SubscribeError};

/// Why something asked of projections was refused.
#[derive(Clone, Debug, Error)]
pub enum ProjectionError {
    /// There is no projection of that name.
    #[error("projection {0} is not there")]
    NotFound(String),
    /// There is one of that name already.
    #[error("projection {0} is there already")]
    Exists(String),
    /// The projection can't be as asked, or not now.
    #[error("{0}")]
    Refused(String),
    /// Emitted streams are to be tracked, and nothing may be emitted.
    #[error("streams that nothing is emitted to can't be tracked")]
    TracksNothing,
    /// There are as many projections as there may be.
    #[error("there are {max} projections, and no more are taken")]
    TooMany {
        /// How many may be.
        max: usize,
    },
    /// The projection has no state, and did not get one while that was waited for.
    #[error("projection {0} has no state: it could not begin")]
    NoState(String),
    /// Another process has changed the projections; restarting them reads them again.
    #[error("the projections were changed by somebody else")]
    ChangedElsewhere,
    /// What is kept in a stream of the projections can't be read.
    #[error("stream {stream} does not hold what it should: {reason}")]
    Corrupt {
        /// Which stream.
        stream: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store can't.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store refuses what is to be kept.
    #[error("the projections can't be kept: {0}")]
    Append(AppendError),
}

impl From<AppendError> for ProjectionError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Store(error) => Self::Store(error),
            AppendError::WrongExpectedRevision { .. } => Self::ChangedElsewhere,
            error => Self::Append(error),
        }
    }
}

impl From<ReadError> for ProjectionError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(error) => Self::Store(error),
            error => Self::Refused(error.to_string()),
        }
    }
}

/// Why a projection stops by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It has read all that it was to read.
    Completed,
    /// It can't go on, for this reason.
    Faulted(String),
    /// The store was closed.
    Closed,
}

impl Ended {
    pub(super) fn fault(reason: impl ToString) -> Self {
        Self::Faulted(reason.to_string())
    }
}

/// What becomes of a failure of the store: it passes, or it ends the projection.
pub(super) enum Failure {
    /// Trying again may help.
    Passing(StoreError),
    Final(Ended),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Closed => Self::Final(Ended::Closed),
            error @ (StoreError::Unavailable { .. }
            | StoreError::StorageFull
            | StoreError::Io(_)
            | StoreError::Poisoned { .. }) => Self::Passing(error),
            error => Self::Final(Ended::fault(error)),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(error) => error.into(),
            error => Self::Final(Ended::fault(error)),
        }
    }
}

impl From<SubscribeError> for Failure {
    fn from(error: SubscribeError) -> Self {
        match error {
            SubscribeError::Store(error) => error.into(),
            error => Self::Final(Ended::fault(error)),
        }
    }
}

impl From<MultiAppendError> for Failure {
    fn from(error: MultiAppendError) -> Self {
        match error {
            MultiAppendError::Store(error) => error.into(),
            error => Self::Final(Ended::fault(error)),
        }
    }
}
