//! What can go wrong with users.

use thiserror::Error;

use super::login::{InvalidLogin, Login};
use crate::error::{AppendError, ReadError, StoreError};

/// Why something about users was refused.
#[derive(Clone, Debug, Error)]
pub enum UsersError {
    /// There is no such user.
    #[error("user {0} is not there")]
    NotFound(Login),
    /// There is another user of that name, or somebody else changed it at the same moment.
    #[error("user {0} is there already, or was changed by somebody else")]
    Conflict(Login),
    /// The password is not theirs.
    #[error("the password is wrong")]
    WrongPassword,
    /// The name can't be one.
    #[error(transparent)]
    InvalidLogin(#[from] InvalidLogin),
    /// A name, a group or a password is too long, or there are too many groups.
    #[error("the {what} is longer than {max} {unit}")]
    TooLong {
        /// What is.
        what: &'static str,
        /// The longest that is taken.
        max: usize,
        /// What is counted.
        unit: &'static str,
    },
    /// A password has no characters.
    #[error("the password is empty")]
    EmptyPassword,
    /// Too many passwords wait to be looked at.
    #[error("too many passwords are being checked")]
    Busy,
    /// What is kept of the user can't be understood.
    #[error("what is kept of user {0} can't be read")]
    Corrupt(Login),
    /// The store can't.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl UsersError {
    /// Why a stream of this user's could not be read.
    pub(super) fn of_read(error: ReadError, login: &Login) -> Self {
        match error {
            ReadError::StreamNotFound(_) | ReadError::StreamDeleted(_) => {
                Self::NotFound(login.clone())
            }
            ReadError::Store(error) => error.into(),
            other => StoreError::Unavailable { reason: other.to_string().into() }.into(),
        }
    }

    /// Why it could not be written.
    pub(super) fn of_append(error: AppendError, login: &Login) -> Self {
        match error {
            AppendError::WrongExpectedRevision { .. } | AppendError::StreamDeleted(_) => {
                Self::Conflict(login.clone())
            }
            AppendError::Store(error) => error.into(),
            AppendError::TooLarge(error) => {
                StoreError::Unavailable { reason: error.to_string().into() }.into()
            }
        }
    }
}
