//! What can go wrong with persistent subscriptions.

use thiserror::Error;

use super::group::GroupId;
use crate::error::{AppendError, InvalidName, ReadError, StoreError, SubscribeError};

/// Why something asked of persistent subscriptions was refused, or why a consumer's deliveries
/// ended. The names in brackets are those of the protocol (trailer `exception`).
#[derive(Clone, Debug, Error)]
pub enum PersistentError {
    /// The group, or one whose streams would have the same names, is there already
    /// (`persistent-subscription-exists`).
    #[error("group {0} exists already")]
    Exists(GroupId),
    /// There is no such group, or it was deleted (`persistent-subscription-does-not-exist`).
    #[error("group {0} does not exist")]
    DoesNotExist(GroupId),
    /// The group takes no further consumer (`maximum-subscribers-reached`).
    #[error("group {group} has {max} consumers, and takes no more")]
    MaximumSubscribersReached {
        /// Which group.
        group: GroupId,
        /// How many it takes.
        max: usize,
    },
    /// A setting or the start makes no sense (`persistent-subscription-failed`).
    #[error("group {group} can't be as asked: {reason}")]
    Failed {
        /// Which group.
        group: GroupId,
        /// What makes no sense.
        reason: String,
    },
    /// The group was updated or restarted and let its consumers go; they may connect again
    /// (`persistent-subscription-dropped`).
    #[error("the consumer was dropped by group {0}")]
    Dropped(GroupId),
    /// The consumer asks for something impossible.
    #[error("the consumer can't be taken: {0}")]
    BadConsumer(String),
    /// One acknowledgement names too many messages.
    #[error("{count} ids in one acknowledgement, more than {max}")]
    TooManyIds {
        /// How many.
        count: usize,
        /// The most that are taken.
        max: usize,
    },
    /// There are as many groups as there may be.
    #[error("there are {max} groups, and no more are taken")]
    TooManyGroups {
        /// How many may be.
        max: usize,
    },
    /// Another process has changed the groups; restarting the subscriptions reads them again.
    #[error("the groups were changed by somebody else")]
    ChangedElsewhere,
    /// What is kept in a stream of the subscriptions can't be read.
    #[error("stream {stream} does not hold what it should: {reason}")]
    Corrupt {
        /// Which stream.
        stream: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A stream that is needed was tombstoned.
    #[error("stream {0} is deleted")]
    StreamDeleted(String),
    /// The name of a group or of its streams can't be.
    #[error("the group can't be named so: {0}")]
    InvalidName(#[from] InvalidName),
    /// The store can't.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store refuses what is to be kept.
    #[error("the subscriptions can't be kept: {0}")]
    Append(AppendError),
    /// The filter can't be used.
    #[error("the filter is not usable: {0}")]
    BadFilter(String),
}

impl From<AppendError> for PersistentError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Store(error) => Self::Store(error),
            AppendError::StreamDeleted(stream) => Self::StreamDeleted(stream.to_string()),
            error => Self::Append(error),
        }
    }
}

impl From<ReadError> for PersistentError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(error) => Self::Store(error),
            ReadError::BadFilter(reason) => Self::BadFilter(reason.to_string()),
            ReadError::ScanEnded { .. } => {
                Self::Store(StoreError::Unavailable { reason: error.to_string().into() })
            }
            ReadError::StreamDeleted(stream)
            | ReadError::StreamNotFound(stream)
            | ReadError::Reclaimed(stream) => Self::StreamDeleted(stream.to_string()),
        }
    }
}

impl From<SubscribeError> for PersistentError {
    fn from(error: SubscribeError) -> Self {
        match error {
            SubscribeError::Store(error) => Self::Store(error),
            SubscribeError::BadFilter(reason) => Self::BadFilter(reason.to_string()),
            SubscribeError::StreamDeleted(stream) => Self::StreamDeleted(stream.to_string()),
        }
    }
}
