//! The projections that the settings ask for: what the platform runs, and `veza-replay` rebuilds.

use std::sync::Arc;

use projections::search::SearchFeed;
use projections::search::postgres::{self as postgres_search, PostgresSearch};
use projections::{Projection, postgres};
use sqlx::PgPool;

/// Every projection, over this database.
pub fn projections(pool: &PgPool) -> Vec<Arc<dyn Projection>> {
    let search = Arc::new(PostgresSearch::new(pool.clone()));
    let mut projections = postgres::projections();
    projections.push(Arc::new(SearchFeed::new(postgres_search::MODEL, search)));
    projections
}
