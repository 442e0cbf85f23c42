//! The lease: one process at a time runs a projection, or rebuilds it.
//!
//! It is an advisory lock of the session, and every batch is committed on that same connection: a
//! process that has lost the lock has lost the way to write, too. Nothing has to expire, and who
//! has a lease and does nothing with it loses it:
//!
//! | what hangs | what ends it |
//! | --- | --- |
//! | the process, between two batches | `idle_session_timeout`, [`SILENCE_TIME_MAX`] |
//! | the process, in a batch | `idle_in_transaction_session_timeout`, [`WORK_TIME_MAX`] |
//! | a statement, whoever still waits for it | `statement_timeout`, [`WORK_TIME_MAX`] |
//! | the way between them | the process after a batch's time, the server by [`KEEPALIVE`] |
//! | the server's backend itself | nothing but an operator: it is told as `silent` |

use std::io;
use std::pin::pin;
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

/// How long who runs a projection may ask nothing on its connection.
const SILENCE_TIME_MAX: Duration = Duration::from_secs(30);

/// How often something is asked on it while other work takes its time.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// How long a batch may take; an engine outside PostgreSQL may need minutes for it.
pub(crate) const BATCH_TIME_MAX: Duration = Duration::from_secs(10 * 60);

/// How long a statement, or a transaction that waits for its process, may take before PostgreSQL
/// ends it: longer than a process that is well leaves it alone.
pub(crate) const WORK_TIME_MAX: Duration = Duration::from_secs(11 * 60);

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

/// What comes of work that may take its time and asks nothing on the lease's connection, for as
/// long as that one answers.
pub(crate) async fn kept<T, E: From<sqlx::Error>>(
    connection: &mut PgConnection,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let mut work = pin!(work);
    loop {
        match timeout(PING_INTERVAL, &mut work).await {
            Ok(done) => return done,
            Err(_) => answered(connection.ping()).await?,
        }
    }
}

/// Opens a connection of its own for this work, with the pool's settings and those that bound it.
pub(crate) async fn connect(pool: &PgPool, work: Work) -> Result<PgConnection, sqlx::Error> {
    let ms = |limit: Duration| limit.as_millis().to_string();
    let mut options = (*pool.connect_options()).clone().options(KEEPALIVE).options([
        ("statement_timeout", ms(WORK_TIME_MAX)),
        ("idle_in_transaction_session_timeout", ms(WORK_TIME_MAX)),
    ]);
    if work == Work::Run {
        options = options.options([("idle_session_timeout", ms(SILENCE_TIME_MAX))]);
    }
    PgConnection::connect_with(&options).await
}

/// Takes the lease on this connection until it closes; `false` when somebody else has it.
pub(crate) async fn try_take(
    connection: &mut PgConnection,
    id: ModelId,
    work: Work,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended($1, 0))")
        .bind(named(id, work))
        .fetch_one(connection)
        .await
}

/// The same until the transaction ends.
pub(crate) async fn try_take_for_now(
    transaction: &mut PgConnection,
    id: ModelId,
    work: Work,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(named(id, work))
        .fetch_one(transaction)
        .await
}

fn named(id: ModelId, work: Work) -> String {
    match work {
        Work::Run => format!("veza projection run {id}"),
        Work::Rebuild => format!("veza projection rebuild {id}"),
    }
}
