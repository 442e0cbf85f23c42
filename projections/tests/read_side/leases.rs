//! One process at a time: a process that waits for the lease does no harm, and one that has lost
//! its way to PostgreSQL does not pass for one at work.

use std::sync::Arc;

use projections::postgres::profiles::{MODEL, ProfilesProjection};
use projections::checkpoints;
use sqlx::PgPool;

use crate::database;
use crate::memory_store::MemoryStore;
use crate::runner::{LIMIT, reached, register, start, until};

/// The backends that have an advisory lock, or else those that ask for one.
async fn backends(pool: &PgPool, holding: bool) -> Vec<i32> {
    let sql = "SELECT pid FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()
                 AND query LIKE '%pg_try_advisory_lock%' AND query NOT LIKE '%pg_stat_activity%'
                 AND $1 = pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted)
               UNION SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database
               WHERE $1 AND locktype = 'advisory' AND granted AND datname = current_database()";
    sqlx::query_scalar(sql).bind(holding).fetch_all(pool).await.expect("they are listed")
}

async fn status(pool: &PgPool) -> (String, Option<String>) {
    let rows = checkpoints(pool).await.expect("they are read");
    let row = rows.into_iter().find(|row| row.name == MODEL.name).expect("it was built");
    (row.status, row.reason)
}

#[tokio::test]
async fn a_standby_whose_connection_is_cut_says_nothing_of_the_model() {
    let (pool, store) = (database::fresh().await, MemoryStore::new());
    let first = start(&pool, &store, vec![Arc::new(ProfilesProjection)]);
    reached(&first, &[MODEL], register(&store, "one").1).await;
    let second = start(&pool, &store, vec![Arc::new(ProfilesProjection)]);
    until(|| async { !backends(&pool, false).await.is_empty() }).await;
    let waiting = backends(&pool, false).await;
    let holding = backends(&pool, true).await;
    assert!(waiting.iter().all(|pid| !holding.contains(pid)), "{waiting:?} {holding:?}");
    for pid in &waiting {
        let cut = sqlx::query("SELECT pg_terminate_backend($1)").bind(pid).execute(&pool).await;
        cut.expect("it is cut");
    }
    // By the time it waits again it has told of its failure.
    let again = || async { backends(&pool, false).await.iter().any(|pid| !waiting.contains(pid)) };
    until(again).await;
    assert_eq!(backends(&pool, true).await, holding, "the other one was to keep the lease");
    assert_eq!(status(&pool).await, ("running".to_owned(), None));
    assert!(second.drain(LIMIT).await);
    assert_eq!(status(&pool).await, ("running".to_owned(), None));
    assert!(first.drain(LIMIT).await);
    assert_eq!(status(&pool).await, ("stopped".to_owned(), None));
}
