//! The read models as rows, to be compared.

use std::collections::BTreeMap;

use sqlx::postgres::{PgPool, PgPoolOptions};
use veza::postgres::PrivatePostgres;

use super::replay;
use crate::platform::{Platform, eventually};

/// Every row of every table of every live model, as JSON, in order.
#[derive(Debug, PartialEq)]
pub struct Dump(BTreeMap<(String, String), Vec<String>>);

impl Dump {
    pub async fn of(platform: &Platform) -> Self {
        let pool = pool(platform).await;
        let tables: Vec<(String, String)> = sqlx::query_as(
            "SELECT table_schema::text, table_name::text FROM information_schema.tables
             WHERE table_schema ~ '_v[0-9]+$'",
        )
        .fetch_all(&pool)
        .await
        .unwrap();
        let mut dump = BTreeMap::new();
        for (schema, table) in tables {
            let sql = format!("SELECT to_jsonb(t)::text AS row FROM {schema}.{table} t ORDER BY 1");
            let rows = sqlx::query_scalar(&sql).fetch_all(&pool).await.unwrap();
            dump.insert((schema, table), rows);
        }
        pool.close().await;
        Self(dump)
    }

    pub fn rows(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// Their names, without version.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        let mut names: Vec<_> =
            self.0.keys().map(|(schema, _)| schema.rsplit_once("_v").unwrap().0).collect();
        names.dedup();
        names.into_iter()
    }
}

pub async fn pool(platform: &Platform) -> PgPool {
    let folder = platform.data().join("postgres");
    let options = PrivatePostgres::run_by_another(&folder).unwrap();
    PgPoolOptions::new().max_connections(3).connect_with(options).await.unwrap()
}

/// How many shadows there are.
pub async fn shadows(pool: &PgPool) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM information_schema.schemata WHERE schema_name LIKE '%\\_build'",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

/// Waits until no saga acts and every model has every event.
pub async fn at_rest(platform: &Platform) {
    let quiet = async || {
        let running = replay(platform, &["sagas", "--status", "running"]).await.documents();
        let undoing = replay(platform, &["sagas", "--status", "compensating"]).await.documents();
        let busy = running.iter().filter(|run| run["waiting_for"].is_null()).count();
        let retried = running.iter().filter(|run| {
            run["waiting_for"].as_str().is_some_and(|what| what.starts_with("retry"))
        });
        let models = replay(platform, &["projections"]).await.documents();
        busy + retried.count() + undoing.len() == 0
            && models.iter().all(|model| model["lag_events"] == 0)
    };
    eventually("nothing is under way", quiet).await;
}
