//! The schema `identity`, which is all that a backup of the accounts takes: what was migrated in it
//! is noted in it too.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};

use super::accounts::AccountError;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Makes the schema, and takes along the notes that were kept outside of it; one process at a time.
const PREPARE: &str = "
SELECT pg_advisory_xact_lock(hashtext('identity'));
CREATE SCHEMA IF NOT EXISTS identity;
DO $$ BEGIN
    IF to_regclass('identity._sqlx_migrations') IS NULL
       AND to_regclass('public._sqlx_migrations') IS NOT NULL
       AND to_regclass('identity.accounts') IS NOT NULL THEN
        ALTER TABLE public._sqlx_migrations SET SCHEMA identity;
    END IF;
END $$";

/// Whether accounts were ever kept there.
pub(super) async fn is_there(pool: &PgPool) -> Result<bool, AccountError> {
    let look = "SELECT to_regclass('identity.accounts') IS NOT NULL";
    Ok(sqlx::query_scalar(look).fetch_one(pool).await?)
}

/// Makes the schema, or brings it up to date.
pub(super) async fn bring_up_to_date(pool: &PgPool) -> Result<(), AccountError> {
    // A connection of its own: the notes are kept in whatever schema it looks into first.
    let mut connection = PgConnection::connect_with(&pool.connect_options()).await?;
    let mut preparing = connection.begin().await?;
    preparing.execute(PREPARE).await?;
    preparing.commit().await?;
    connection.execute("SET search_path = identity").await?;
    MIGRATIONS.run_direct(&mut connection).await.map_err(|error| match error {
        MigrateError::Execute(error) => AccountError::from(error),
        error => error.into(),
    })?;
    connection.close().await?;
    if is_there(pool).await? { Ok(()) } else { Err(AccountError::Incomplete) }
}
