//! The lease: one process at a time runs a projection, or rebuilds it.
//!
//! It is an advisory lock of the session, and every batch is committed on that same connection: a
//! process that has lost the lock has lost the way to write, too. Nothing has to expire.

use std::io;
use std::time::Duration;

use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::timeout;

use crate::projection::ModelId;

/// How long PostgreSQL may take to answer what waits for nobody, before the connection to it counts
/// as lost.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// What is leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Following the log.
    Run,
    /// Filling a shadow.
    Rebuild,
}

/// What PostgreSQL answers in time to something that waits for nobody.
pub(crate) async fn answered<T>(
    asked: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    timeout(ANSWER_TIME_MAX, asked).await.unwrap_or_else(|_| {
        let silence = format!("PostgreSQL has not answered for {} s", ANSWER_TIME_MAX.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, silence).into())
    })
}

/// Opens a connection of its own, with the pool's settings.
pub(crate) async fn connect(pool: &PgPool) -> Result<PgConnection, sqlx::Error> {
    PgConnection::connect_with(&pool.connect_options()).await
}

/// Takes the lease on this connection until it closes; `false` when somebody else has it.
pub(crate) async fn try_take(
    connection: &mut PgConnection,
    id: ModelId,
    work: Work,
) -> Result<bool, sqlx::Error> {
    let what = match work {
        Work::Run => format!("veza projection run {id}"),
        Work::Rebuild => format!("veza projection rebuild {id}"),
    };
    sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended($1, 0))")
        .bind(what)
        .fetch_one(connection)
        .await
}
