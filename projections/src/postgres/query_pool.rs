//! The connections that queries go through: so many and no more, and no statement on them without
//! an end. Whatever is asked, projectors, sagas and log-ins have connections of their own.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

/// Most connections that queries of one process have.
const CONNECTIONS_MAX: u32 = 12;

/// How long a query waits for one of them.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(4);

/// How long a statement of a query may take in PostgreSQL, which goes on with it when whoever asked
/// has gone: shorter than any query may take, so that it is told what became of it.
const STATEMENT_TIME_MAX: Duration = Duration::from_secs(10);

/// Connections for queries over the models, to the database of another pool. None is opened before
/// it is needed. What takes too long there is [`crate::QueryError::TookTooLong`].
pub fn query_pool(database: &PgPool) -> PgPool {
    let limit_ms = STATEMENT_TIME_MAX.as_millis().to_string();
    let options = (*database.connect_options()).clone().options([("statement_timeout", limit_ms)]);
    PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(CONNECTION_TIME_MAX)
        .connect_lazy_with(options)
}
