//! The private PostgreSQL, as the platform has it: under the platform, and as its own baseline.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use veza::postgres::PrivatePostgres;

/// As many connections as a process of the platform opens at most.
const CONNECTIONS: u32 = 16;

/// The settings that decide how fast it is.
const SETTINGS: [&str; 10] = [
    "server_version",
    "shared_buffers",
    "max_wal_size",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_sync_method",
    "data_checksums",
    "jit",
    "autovacuum",
];

/// The process ids of all that were started.
static STARTED: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// A running private PostgreSQL; told to end when it is dropped.
pub struct Database {
    postgres: PrivatePostgres,
    pub pool: PgPool,
}

impl Database {
    /// Starts one in this folder.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let postgres = PrivatePostgres::start(&folder.join("postgres")).await?;
        STARTED.lock().unwrap_or_else(PoisonError::into_inner).push(postgres.pid());
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS);
        let pool = pool.connect_with(postgres.connect_options()).await?;
        let database = Self { postgres, pool };
        println!("  {}", database.settings().await?);
        Ok(database)
    }

    pub fn url(&self) -> String {
        self.postgres.url()
    }

    pub fn options(&self) -> PgConnectOptions {
        self.postgres.connect_options()
    }

    async fn settings(&self) -> sqlx::Result<String> {
        let sql = "SELECT name || ' ' || current_setting(name) FROM unnest($1::text[]) name";
        let shown: Vec<String> =
            sqlx::query_scalar(sql).bind(SETTINGS).fetch_all(&self.pool).await?;
        Ok(format!("PostgreSQL, for the platform and the baselines: {}", shown.join(", ")))
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        self.pool.close().await;
        Ok(self.postgres.stop().await?)
    }
}

/// Returns when none of them runs any more, or does not end.
pub async fn all_stopped() {
    let started = STARTED.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let runs = |pid: &u32| Path::new(&format!("/proc/{pid}")).exists();
    for _ in 0..150 {
        if !started.iter().any(runs) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await; // poll
    }
}
