//! The accounts: who has which address, handle and password.

use std::borrow::Cow;

use chrono::{DateTime, TimeDelta, Utc};
use event_schemas::UserId;
use sqlx::migrate::MigrateError;
use sqlx::{PgExecutor, PgPool};
use thiserror::Error;

use super::confirmation::{CONFIRMATION_LIFETIME, ConfirmationToken};
use super::names::{Email, Handle};
use super::password::PasswordHash;
use super::schema::{self, Tables};

/// SQLSTATE of a full disk.
const DISK_FULL: &str = "53100";
/// SQLSTATEs, or their beginnings, of a server that is out of reach: connections that failed or
/// are too many, a server on its way up or down, and no such database; and of tables that are gone,
/// which whoever watches the accounts makes again.
const AWAY: [&str; 5] = ["08", "53300", "57P0", "3D000", "42P01"];

/// How long after the sign-up further tokens are mailed. It ends, so that nobody keeps an address
/// that is not theirs from its owner for good.
const FURTHER_TOKENS_FOR: TimeDelta = TimeDelta::days(7);
/// How many good tokens an account may have before none is mailed on request: a mailbox is not
/// flooded by strangers.
const GOOD_TOKENS_MAX: i64 = 5;

/// The accounts' secrets.
#[derive(Clone, Debug)]
pub struct Accounts {
    pub(super) pool: PgPool,
}

/// An account that is to be kept.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// Who.
    pub user_id: UserId,
    /// Their unique name.
    pub handle: Handle,
    /// Their address.
    pub email: Email,
    /// What is kept of their password.
    pub password: PasswordHash,
}

/// Whether an account is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is.
    New,
    /// It was kept before, by the same sign-up.
    Before,
}

/// An account, as far as logging in needs it.
#[derive(Clone, Debug)]
pub struct Account {
    /// Who.
    pub user_id: UserId,
    /// What is kept of their password.
    pub password: PasswordHash,
    /// Whether the address was proved to be theirs.
    pub confirmed: bool,
}

/// Why the accounts can't do what was asked.
#[derive(Debug, Error)]
pub enum AccountError {
    /// Somebody has the handle.
    #[error("the handle is taken")]
    HandleTaken,
    /// Somebody has the address.
    #[error("the address is taken")]
    EmailTaken,
    /// Another account was kept under the id.
    #[error("the sign-up was begun with another handle or address")]
    AnotherSignUp,
    /// The token is wrong, used or too old.
    #[error("the confirmation token is not valid")]
    InvalidToken,
    /// The schema could not be brought up to date.
    #[error("the identity schema could not be migrated")]
    Migrate(#[from] MigrateError),
    /// Somebody has dropped tables of it.
    #[error(
        "the schema identity lacks tables that were made in it: put a backup of it back, or drop \
         what is left of it (DROP SCHEMA identity CASCADE), and accounts begin anew"
    )]
    Incomplete,
    /// The database's disk is full.
    #[error("the identity database has no storage left")]
    StorageFull,
    /// The database is out of reach, or on its way up or down.
    #[error("the identity database is out of reach")]
    Unavailable(#[source] sqlx::Error),
    /// The database can't.
    #[error("the identity database failed")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for AccountError {
    fn from(error: sqlx::Error) -> Self {
        let constraint = error.as_database_error().and_then(|error| error.constraint());
        match constraint {
            Some("accounts_handle_folded_key") => Self::HandleTaken,
            Some("accounts_email_folded_key") => Self::EmailTaken,
            _ if is_away(&error) => Self::Unavailable(error),
            _ if code_of(&error).is_some_and(|code| code.starts_with(DISK_FULL)) => {
                Self::StorageFull
            }
            _ => Self::Database(error),
        }
    }
}

fn code_of(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error()?.code()
}

/// Whether the same may work in a while, without anybody's doing at this end.
fn is_away(error: &sqlx::Error) -> bool {
    let code = code_of(error);
    let says_so = code.is_some_and(|code| AWAY.iter().any(|class| code.starts_with(class)));
    let is_cut =
        matches!(error, sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed);
    says_so || is_cut
}

impl Accounts {
    /// Opens the accounts and brings their schema up to date.
    pub async fn open(pool: PgPool) -> Result<Self, AccountError> {
        schema::bring_up_to_date(&pool).await?;
        Ok(Self { pool })
    }

    /// Whether there are any accounts to open in this database.
    pub async fn are_in(pool: &PgPool) -> Result<bool, AccountError> {
        Ok(schema::tables(pool).await? != Tables::None)
    }

    /// Makes their schema anew where it is gone, as with a database that was dropped and made
    /// again; whether it was.
    pub async fn made_anew(&self) -> Result<bool, AccountError> {
        match schema::tables(&self.pool).await? {
            Tables::All => Ok(false),
            Tables::Some => Err(AccountError::Incomplete),
            Tables::None => schema::bring_up_to_date(&self.pool).await.map(|()| true),
        }
    }

    /// Keeps a new account. Kept again under the same id it stays as it was, so that a sign-up
    /// can be repeated; with another handle or address it is refused.
    pub async fn keep(
        &self,
        account: &NewAccount,
        now: DateTime<Utc>,
    ) -> Result<Kept, AccountError> {
        let kept: Option<(bool,)> = sqlx::query_as(
            "INSERT INTO identity.accounts AS known
                 (user_id, handle_folded, email, email_folded, password_hash, created_at,
                  reserved_at)
             VALUES ($1, $2, $3, $4, $5, $6, $6)
             ON CONFLICT (user_id) DO UPDATE SET reserved_at = excluded.reserved_at
             WHERE known.handle_folded = excluded.handle_folded
               AND known.email_folded = excluded.email_folded
             RETURNING xmax = 0",
        )
        .bind(account.user_id.0)
        .bind(account.handle.as_str())
        .bind(account.email.as_str())
        .bind(account.email.folded())
        .bind(account.password.as_str())
        .bind(now)
        .fetch_optional(&self.pool)
        .await?;
        match kept {
            // No transaction has ended the life of a row that was just made.
            Some((true,)) => Ok(Kept::New),
            Some((false,)) => Ok(Kept::Before),
            None => Err(AccountError::AnotherSignUp),
        }
    }

    /// Who has held the handle or the address since before that moment.
    ///
    /// A sign-up that was cut short holds them too, until [`Accounts::forget`] is called for it.
    pub async fn holders_before(
        &self,
        account: &NewAccount,
        moment: DateTime<Utc>,
    ) -> Result<Vec<UserId>, AccountError> {
        let holders: Vec<(uuid::Uuid,)> = sqlx::query_as(
            "SELECT user_id FROM identity.accounts
             WHERE (handle_folded = $1 OR email_folded = $2) AND reserved_at < $3",
        )
        .bind(account.handle.as_str())
        .bind(account.email.folded())
        .bind(moment)
        .fetch_all(&self.pool)
        .await?;
        Ok(holders.into_iter().map(|(user_id,)| UserId(user_id)).collect())
    }

    /// Drops the accounts that hold the handle or the address and were never confirmed, and can't
    /// be any more: none of their tokens is good. Whether there were any.
    pub async fn drop_lapsed(
        &self,
        account: &NewAccount,
        now: DateTime<Utc>,
    ) -> Result<bool, AccountError> {
        let dropped = sqlx::query(
            "DELETE FROM identity.accounts lapsed
             WHERE (handle_folded = $1 OR email_folded = $2)
               AND confirmed_at IS NULL AND created_at <= $3
               AND NOT EXISTS (SELECT FROM identity.confirmations token
                   WHERE token.user_id = lapsed.user_id AND token.expires_at > $4)",
        )
        .bind(account.handle.as_str())
        .bind(account.email.folded())
        .bind(now - CONFIRMATION_LIFETIME)
        .bind(now)
        .execute(&self.pool)
        .await?;
        Ok(dropped.rows_affected() > 0)
    }

    /// Drops an account whose sign-up was not begun again since that moment, so that its handle and
    /// address are free; whether it did. One that was confirmed is nobody's to drop: it was
    /// finished, whatever the log says that is there.
    pub async fn forget(
        &self,
        user_id: UserId,
        moment: DateTime<Utc>,
    ) -> Result<bool, AccountError> {
        let statement = "DELETE FROM identity.accounts
             WHERE user_id = $1 AND reserved_at < $2 AND confirmed_at IS NULL";
        let dropped =
            sqlx::query(statement).bind(user_id.0).bind(moment).execute(&self.pool).await?;
        Ok(dropped.rows_affected() > 0)
    }

    /// The account with this address.
    pub async fn by_email(&self, email: &Email) -> Result<Option<Account>, AccountError> {
        let row: Option<(uuid::Uuid, String, bool)> = sqlx::query_as(
            "SELECT user_id, password_hash, confirmed_at IS NOT NULL
             FROM identity.accounts WHERE email_folded = $1",
        )
        .bind(email.folded())
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|(user_id, hash, confirmed)| Account {
            user_id: UserId(user_id),
            password: PasswordHash::new(hash),
            confirmed,
        }))
    }

    /// The address of an account that is still to be confirmed; `None` when it is, or while a
    /// token that was mailed there is good.
    pub async fn unasked(
        &self,
        user_id: UserId,
        now: DateTime<Utc>,
    ) -> Result<Option<Email>, AccountError> {
        let row: Option<(String, String)> = sqlx::query_as(
            "SELECT email, email_folded FROM identity.accounts account
             WHERE user_id = $1 AND confirmed_at IS NULL
               AND NOT EXISTS (SELECT FROM identity.confirmations token
                   WHERE token.user_id = $1 AND mailed_at IS NOT NULL AND expires_at > $2
                     AND token.email_folded = account.email_folded)",
        )
        .bind(user_id.0)
        .bind(now)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|(given, folded)| Email::stored(given, folded)))
    }

    /// A further token that will prove an address, whose account that is, and the address as it was
    /// given; `None` when that is no account's, is confirmed, or no further token is to be mailed
    /// there, however many ask at once.
    pub async fn issue_further_confirmation(
        &self,
        email: &Email,
        now: DateTime<Utc>,
    ) -> Result<Option<(UserId, Email, ConfirmationToken)>, AccountError> {
        let mut transaction = self.pool.begin().await?;
        let account: Option<(uuid::Uuid, String, String)> = sqlx::query_as(
            "SELECT user_id, email, email_folded FROM identity.accounts
             WHERE email_folded = $1 AND confirmed_at IS NULL AND created_at > $2
             FOR UPDATE",
        )
        .bind(email.folded())
        .bind(now - FURTHER_TOKENS_FOR)
        .fetch_optional(&mut *transaction)
        .await?;
        let Some((user_id, given, folded)) = account else { return Ok(None) };
        // A statement of its own: it sees what those issued who had the account before.
        let (good,): (i64,) = sqlx::query_as(
            "SELECT count(*) FROM identity.confirmations WHERE user_id = $1 AND expires_at > $2",
        )
        .bind(user_id)
        .bind(now)
        .fetch_one(&mut *transaction)
        .await?;
        if good >= GOOD_TOKENS_MAX {
            return Ok(None);
        }
        let token = issue(&mut *transaction, UserId(user_id), now).await?;
        transaction.commit().await?;
        Ok(Some((UserId(user_id), Email::stored(given, folded), token)))
    }

    /// Notes that a token was mailed.
    pub async fn mailed(
        &self,
        token: &ConfirmationToken,
        now: DateTime<Utc>,
    ) -> Result<(), AccountError> {
        let statement = "UPDATE identity.confirmations SET mailed_at = $2 WHERE token_sha256 = $1";
        let digest = token.digest();
        sqlx::query(statement).bind(digest.as_slice()).bind(now).execute(&self.pool).await?;
        Ok(())
    }

    /// A token that will prove the account's address; earlier ones stay good until they expire.
    pub async fn issue_confirmation(
        &self,
        user_id: UserId,
        now: DateTime<Utc>,
    ) -> Result<ConfirmationToken, AccountError> {
        issue(&self.pool, user_id, now).await
    }

    /// Whose address the token proves, and their handle: for who looks before it is confirmed.
    pub async fn proved_by(
        &self,
        token: &ConfirmationToken,
        now: DateTime<Utc>,
    ) -> Result<(UserId, Handle), AccountError> {
        let proved: Option<(uuid::Uuid, String)> = sqlx::query_as(
            "SELECT account.user_id, handle_folded
             FROM identity.confirmations token JOIN identity.accounts account
               ON account.user_id = token.user_id AND account.email_folded = token.email_folded
             WHERE token_sha256 = $1 AND expires_at > $2",
        )
        .bind(token.digest().as_slice())
        .bind(now)
        .fetch_optional(&self.pool)
        .await?;
        let (user_id, handle) = proved.ok_or(AccountError::InvalidToken)?;
        Ok((UserId(user_id), Handle::stored(handle)))
    }

    /// Whose address the token proves, now and whenever it is sent again while it is good.
    pub async fn confirm(
        &self,
        token: &ConfirmationToken,
        now: DateTime<Utc>,
    ) -> Result<UserId, AccountError> {
        let confirmed: Option<(uuid::Uuid,)> = sqlx::query_as(
            "UPDATE identity.accounts account
             SET confirmed_at = coalesce(account.confirmed_at, $2)
             FROM identity.confirmations token
             WHERE token.token_sha256 = $1 AND token.expires_at > $2
               AND account.user_id = token.user_id
               AND account.email_folded = token.email_folded
             RETURNING account.user_id",
        )
        .bind(token.digest().as_slice())
        .bind(now)
        .fetch_optional(&self.pool)
        .await?;
        confirmed.map(|(user_id,)| UserId(user_id)).ok_or(AccountError::InvalidToken)
    }
}

/// Keeps a new token for the account's address.
async fn issue(
    executor: impl PgExecutor<'_>,
    user_id: UserId,
    now: DateTime<Utc>,
) -> Result<ConfirmationToken, AccountError> {
    let token = ConfirmationToken::fresh();
    sqlx::query(
        "INSERT INTO identity.confirmations (token_sha256, user_id, email_folded, expires_at)
         SELECT $1, user_id, email_folded, $3 FROM identity.accounts WHERE user_id = $2",
    )
    .bind(token.digest().as_slice())
    .bind(user_id.0)
    .bind(now + CONFIRMATION_LIFETIME)
    .execute(executor)
    .await?;
    Ok(token)
}
