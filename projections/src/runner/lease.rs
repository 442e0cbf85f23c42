//! The lease: one process at a time runs a projection, or rebuilds it, or does other named work.
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
//!
//! Work that commits elsewhere has a [`Lease`]: it is given up as soon as the connection is known
//! to be lost, which is asked every second. Until then two may be at it, so it must bear that.

use std::io;
use std::pin::pin;
use std::time::Duration;

use futures::FutureExt as _;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::{sleep, timeout};

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

/// The same where the work commits elsewhere: so long it goes on at most when the lease is lost.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// How often a process without the lease tries to take it.
pub(crate) const LEASE_INTERVAL: Duration = Duration::from_millis(200);

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
    asking_every(PING_INTERVAL, connection, work).await
}

async fn asking_every<T, E: From<sqlx::Error>>(
    interval: Duration,
    connection: &mut PgConnection,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let mut work = pin!(work);
    loop {
        match timeout(interval, &mut work).await {
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
    try_take_named(connection, &named(id, work)).await
}

async fn try_take_named(connection: &mut PgConnection, name: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended($1, 0))")
        .bind(name)
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

/// The lease of work that commits elsewhere than in PostgreSQL; it is free again when this is
/// dropped.
#[derive(Debug)]
pub struct Lease(PgConnection);

impl Lease {
    /// Waits for the lease of this name; tells `is_taken` once when another process has it.
    ///
    /// # Errors
    /// When PostgreSQL can't be asked.
    pub async fn take(
        pool: &PgPool,
        name: &str,
        is_taken: impl FnOnce(),
    ) -> Result<Self, sqlx::Error> {
        let mut connection = answered(connect(pool, Work::Run)).await?;
        let mut is_taken = Some(is_taken);
        while !answered(try_take_named(&mut connection, name)).await? {
            if let Some(is_taken) = is_taken.take() {
                is_taken();
            }
            sleep(LEASE_INTERVAL).await;
        }
        Ok(Self(connection))
    }

    /// What comes of the work, which is dropped where it is when the lease is lost.
    ///
    /// # Errors
    /// When the lease is lost.
    pub async fn kept<T>(&mut self, work: impl Future<Output = T>) -> Result<T, sqlx::Error> {
        asking_every(WATCH_INTERVAL, &mut self.0, work.map(Ok)).await
    }

    /// Lets others have it at once.
    ///
    /// # Errors
    /// When it was lost before.
    pub async fn end(self) -> Result<(), sqlx::Error> {
        answered(self.0.close()).await
    }
}
