//! The PostgreSQL schemas of a model: the live one, and what a rebuild makes beside it.

use sqlx::{Connection, Executor, PgConnection};
use tracing::info;

use crate::projection::{ModelId, Target};
use crate::runner::lease;

/// Makes the model's empty shadow schema anew; what an interrupted rebuild left is dropped.
pub(crate) async fn create_shadow(
    connection: &mut PgConnection,
    id: ModelId,
    tables: &[&str],
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    forget_shadow(&mut transaction, id).await?;
    let create = format!("CREATE SCHEMA {}", id.schema(Target::Shadow));
    run_script(&mut transaction, &create).await?;
    make_tables(&mut transaction, id, Target::Shadow, tables).await?;
    transaction.commit().await
}

/// Makes what the live tables lack of their version, such as an index that a later release brought.
/// Where nothing is lacking it changes nothing. Whoever asks has the lease to run the projection:
/// nobody writes meanwhile.
pub(crate) async fn complete_live(
    connection: &mut PgConnection,
    id: ModelId,
    tables: &[&str],
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    if exists(&mut transaction, &id.schema(Target::Live)).await? {
        // Each table that is there already would be worth a notice; an index takes its time.
        let settings = "SET LOCAL client_min_messages = warning; SET LOCAL statement_timeout = 0";
        run_script(&mut transaction, settings).await?;
        make_tables(&mut transaction, id, Target::Live, tables).await?;
    }
    transaction.commit().await
}

/// Whether all live tables are there that these scripts make: others may have dropped some.
pub(crate) async fn are_live(
    connection: &mut PgConnection,
    id: ModelId,
    tables: &[&str],
) -> Result<bool, sqlx::Error> {
    let made: usize = tables.iter().map(|script| script.matches("CREATE TABLE").count()).sum();
    let there: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE schemaname = $1")
        .bind(id.schema(Target::Live))
        .fetch_one(connection)
        .await?;
    Ok(usize::try_from(there).unwrap_or_default() >= made)
}

/// Drops what a rebuild left behind that was cut off: what it had built, or the tables of the old
/// model. Where one is under way, nothing is done.
pub(crate) async fn drop_leftovers(
    connection: &mut PgConnection,
    id: ModelId,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    if lease::try_take_for_now(&mut transaction, id, lease::Work::Rebuild).await? {
        if exists(&mut transaction, &id.schema(Target::Shadow)).await? {
            info!(projection = %id, "what a rebuild had built that was cut off is dropped");
            forget_shadow(&mut transaction, id).await?;
        }
        drop_old(&mut transaction, id).await?;
    }
    transaction.commit().await
}

/// Drops the tables that a rebuild took the place of.
pub(crate) async fn drop_old(
    connection: &mut PgConnection,
    id: ModelId,
) -> Result<(), sqlx::Error> {
    let old = old_schema(id);
    if exists(connection, &old).await? {
        run_script(connection, &format!("DROP SCHEMA IF EXISTS {old} CASCADE")).await?;
    }
    Ok(())
}

/// The schema of the tables that a rebuild took the place of, until they are dropped.
pub(crate) fn old_schema(id: ModelId) -> String {
    format!("{}_old", id.schema(Target::Live))
}

async fn exists(connection: &mut PgConnection, schema: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT to_regnamespace($1) IS NOT NULL")
        .bind(schema)
        .fetch_one(connection)
        .await
}

async fn make_tables(
    transaction: &mut PgConnection,
    id: ModelId,
    target: Target,
    tables: &[&str],
) -> Result<(), sqlx::Error> {
    search_in(transaction, id, target).await?;
    for table in tables {
        run_script(transaction, table).await?;
    }
    Ok(())
}

/// Drops the model's shadow, whose rebuild is given up.
pub(crate) async fn drop_shadow(
    connection: &mut PgConnection,
    id: ModelId,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    forget_shadow(&mut transaction, id).await?;
    transaction.commit().await
}

async fn forget_shadow(connection: &mut PgConnection, id: ModelId) -> Result<(), sqlx::Error> {
    let drop = format!("DROP SCHEMA IF EXISTS {} CASCADE", id.schema(Target::Shadow));
    run_script(connection, &drop).await?;
    sqlx::query("DELETE FROM projection.parked WHERE name = $1 AND version = $2 AND shadow")
        .bind(id.name)
        .bind(id.version_column())
        .execute(connection)
        .await?;
    Ok(())
}

/// Until the transaction ends, tables without a schema are the target's.
pub(crate) async fn search_in(
    connection: &mut PgConnection,
    id: ModelId,
    target: Target,
) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT set_config('search_path', $1, true)")
        .bind(format!("{}, public", id.schema(target)))
        .execute(connection)
        .await?;
    Ok(())
}

/// Runs one or more statements without parameters.
pub(crate) async fn run_script(
    connection: &mut PgConnection,
    statements: &str,
) -> Result<(), sqlx::Error> {
    connection.execute(statements).await?;
    Ok(())
}
