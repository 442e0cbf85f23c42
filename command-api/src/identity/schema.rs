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

/// What there is of the schema's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tables {
    /// None: accounts were never kept there.
    None,
    /// Not all: somebody dropped the others.
    Some,
    /// All.
    All,
}

/// Looks which tables there are.
pub(super) async fn tables(pool: &PgPool) -> Result<Tables, AccountError> {
    let look = "SELECT to_regclass('identity.accounts') IS NOT NULL,
                       to_regclass('identity.confirmations') IS NOT NULL";
    Ok(match sqlx::query_as(look).fetch_one(pool).await? {
        (false, false) => Tables::None,
        (true, true) => Tables::All,
        _ => Tables::Some,
    })
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
    match tables(pool).await? {
        Tables::All => Ok(()),
        Tables::None | Tables::Some => Err(AccountError::Incomplete),
    }
}
