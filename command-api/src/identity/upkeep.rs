//! What is done with accounts by whoever keeps the platform: the database and the log may have been
//! put back as of different moments.

use chrono::{DateTime, Utc};
use event_schemas::UserId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::accounts::{AccountError, Accounts, NewAccount};
use super::names::{Email, Handle};
use super::password::PasswordHash;

impl Accounts {
    /// Drops the account of somebody else that has the address, or the handle if one is named, and
    /// was never confirmed: whoever keeps the platform answers for the address.
    pub async fn make_way(
        &self,
        account: &NewAccount,
        handle: Option<&Handle>,
    ) -> Result<(), AccountError> {
        let mut connection = self.pool.acquire().await?;
        make_way(&mut connection, account.user_id, handle, &account.email).await
    }

    /// Gives an account, confirmed, to somebody who has none, or one that was never confirmed. What
    /// unconfirmed accounts of others hold of it is theirs no more. Whether they had none.
    pub async fn adopt(
        &self,
        account: &NewAccount,
        now: DateTime<Utc>,
    ) -> Result<bool, AccountError> {
        let mut transaction = self.pool.begin().await?;
        let handle = Some(&account.handle);
        make_way(&mut transaction, account.user_id, handle, &account.email).await?;
        let adopted = sqlx::query(
            "INSERT INTO identity.accounts AS known
                 (user_id, handle_folded, email, email_folded, password_hash, created_at,
                  reserved_at, confirmed_at)
             VALUES ($1, $2, $3, $4, $5, $6, $6, $6)
             ON CONFLICT (user_id) DO UPDATE
             SET handle_folded = excluded.handle_folded, email = excluded.email,
                 email_folded = excluded.email_folded, password_hash = excluded.password_hash,
                 confirmed_at = excluded.confirmed_at
             WHERE known.confirmed_at IS NULL",
        )
        .bind(account.user_id.0)
        .bind(account.handle.as_str())
        .bind(account.email.as_str())
        .bind(account.email.folded())
        .bind(account.password.as_str())
        .bind(now)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(adopted.rows_affected() > 0)
    }

    /// Gives a confirmed account another address, another password, or both; whose it is, and
    /// `None` where there is none with this handle.
    pub async fn change(
        &self,
        handle: &Handle,
        email: Option<&Email>,
        password: Option<&PasswordHash>,
    ) -> Result<Option<UserId>, AccountError> {
        let mut transaction = self.pool.begin().await?;
        let whose: Option<(Uuid,)> = sqlx::query_as(
            "SELECT user_id FROM identity.accounts
             WHERE handle_folded = $1 AND confirmed_at IS NOT NULL FOR UPDATE",
        )
        .bind(handle.as_str())
        .fetch_optional(&mut *transaction)
        .await?;
        let Some((user_id,)) = whose else { return Ok(None) };
        if let Some(email) = email {
            make_way(&mut transaction, UserId(user_id), None, email).await?;
        }
        sqlx::query(
            "UPDATE identity.accounts
             SET email = coalesce($2, email), email_folded = coalesce($3, email_folded),
                 password_hash = coalesce($4, password_hash)
             WHERE user_id = $1",
        )
        .bind(user_id)
        .bind(email.map(Email::as_str))
        .bind(email.map(Email::folded))
        .bind(password.map(PasswordHash::as_str))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Some(UserId(user_id)))
    }

    /// Confirms those of these accounts that are there and were not confirmed: the log says that
    /// their addresses were proved. Who of these has no account then.
    pub async fn lacking(
        &self,
        people: &[UserId],
        now: DateTime<Utc>,
    ) -> Result<Vec<UserId>, AccountError> {
        let ids: Vec<Uuid> = people.iter().map(|user_id| user_id.0).collect();
        let lacking: Vec<(Uuid,)> = sqlx::query_as(
            "WITH confirmed AS (
                 UPDATE identity.accounts SET confirmed_at = $2
                 WHERE user_id = ANY ($1) AND confirmed_at IS NULL RETURNING user_id
             )
             SELECT person FROM unnest($1) person
             WHERE NOT EXISTS (SELECT FROM identity.accounts WHERE user_id = person)",
        )
        .bind(ids)
        .bind(now)
        .fetch_all(&self.pool)
        .await?;
        Ok(lacking.into_iter().map(|(user_id,)| UserId(user_id)).collect())
    }

    /// Confirmed accounts by their ids from this one on, so many at most, with their handles.
    pub async fn confirmed(
        &self,
        after: Option<UserId>,
        count: u32,
    ) -> Result<Vec<(UserId, Handle)>, AccountError> {
        let some: Vec<(Uuid, String)> = sqlx::query_as(
            "SELECT user_id, handle_folded FROM identity.accounts
             WHERE confirmed_at IS NOT NULL AND ($1 IS NULL OR user_id > $1)
             ORDER BY user_id LIMIT $2",
        )
        .bind(after.map(|after| after.0))
        .bind(i64::from(count))
        .fetch_all(&self.pool)
        .await?;
        Ok(some.into_iter().map(|(id, handle)| (UserId(id), Handle::stored(handle))).collect())
    }

    /// Drops an account, confirmed or not, so that its handle and address are free.
    pub async fn release(&self, user_id: UserId) -> Result<(), AccountError> {
        let statement = "DELETE FROM identity.accounts WHERE user_id = $1";
        sqlx::query(statement).bind(user_id.0).execute(&self.pool).await?;
        Ok(())
    }
}

async fn make_way(
    to: &mut PgConnection,
    user_id: UserId,
    handle: Option<&Handle>,
    email: &Email,
) -> Result<(), AccountError> {
    sqlx::query(
        "DELETE FROM identity.accounts WHERE user_id <> $1 AND confirmed_at IS NULL
           AND (handle_folded = $2 OR email_folded = $3)",
    )
    .bind(user_id.0)
    .bind(handle.map(Handle::as_str))
    .bind(email.folded())
    .execute(to)
    .await?;
    Ok(())
}
