//! Reserving a handle and an address for somebody who signs up.

use aggregates::user::{User, UserCommand, UserRejection};
use aggregates::{CommandHandler, Decider as _, LoadError};
use chrono::{DateTime, TimeDelta, Utc};
use thiserror::Error;

use super::accounts::{AccountError, Accounts, Kept, NewAccount};
use super::known_people::{KnownPeople, NotKnown};

/// How long a sign-up may take before its handle and address can be taken by another.
const SIGN_UP_TIME: TimeDelta = TimeDelta::minutes(1);

/// Why an account could not be reserved.
#[derive(Debug, Error)]
pub enum ReserveError {
    /// The person can't be registered so.
    #[error(transparent)]
    Rejected(#[from] UserRejection),
    /// It is taken, or the accounts can't be asked.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// Whether an earlier sign-up was finished can't be seen.
    #[error("an earlier sign-up can't be looked at")]
    Load(#[from] LoadError),
    /// Whether the log knows somebody by the handle can't be told.
    #[error(transparent)]
    NotKnown(#[from] NotKnown),
}

impl ReserveError {
    /// Whether another handle might do.
    pub fn is_handle_taken(&self) -> bool {
        matches!(self, Self::Account(AccountError::HandleTaken))
    }
}

/// Keeps the account's handle and address for whoever will be registered by this command. A
/// sign-up that was never finished gives them back, and so does one that was never confirmed once
/// it can't be. Whoever has a handle for good keeps it, also when their account was lost.
pub async fn reserve(
    accounts: &Accounts,
    people: &dyn KnownPeople,
    handler: &CommandHandler,
    account: &NewAccount,
    register: &UserCommand,
    now: DateTime<Utc>,
) -> Result<Kept, ReserveError> {
    // What will be refused must not hold a name that others want.
    User::default().decide(register.clone())?;
    let user_id = account.user_id;
    // Whom the log has proved is not proved again by repeating what they once signed up with.
    if people.is_anothers(&account.handle, user_id).await?
        || handler.inspect(user_id, |user: &User| user.email_confirmed).await?
            && !accounts.lacking(&[user_id], now).await?.is_empty()
    {
        return Err(AccountError::HandleTaken.into());
    }
    let first = accounts.keep(account, now).await;
    let Err(AccountError::HandleTaken | AccountError::EmailTaken) = first else {
        return first.map_err(Into::into);
    };
    let mut freed = accounts.drop_lapsed(account, now).await?;
    let moment = now - SIGN_UP_TIME;
    for holder in accounts.holders_before(account, moment).await? {
        let began = |user: &User| user.user_id.is_some();
        if !handler.inspect(holder, began).await? {
            freed |= accounts.forget(holder, moment).await?;
        }
    }
    let outcome = if freed { accounts.keep(account, now).await } else { first };
    outcome.map_err(Into::into)
}
