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
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// So that a server sees within half a minute that who had the lease is gone without a word, and
/// gives it free (<https://www.postgresql.org/docs/current/runtime-config-connection.html>; without
/// effect on a socket of the same machine).
const KEEPALIVE: [(&str, &str); 4] = [
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "25000"),
];

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
    within(ANSWER_TIME_MAX, asked).await
}

/// What comes of work on a connection within the limit; after it the connection counts as lost.
pub(crate) async fn within<T, E: From<sqlx::Error>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    timeout(limit, work).await.unwrap_or_else(|_| {
        let silence = format!("nothing has come of it for {} s", limit.as_secs());
        Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, silence)).into())
    })
}

/// Opens a connection of its own, with the pool's settings.
pub(crate) async fn connect(pool: &PgPool) -> Result<PgConnection, sqlx::Error> {
    PgConnection::connect_with(&(*pool.connect_options()).clone().options(KEEPALIVE)).await
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
