//! An index of search that answers as a test says, and keeps nothing.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use projections::search::{SearchChange, SearchIndex, SearchQuery, Subject};
use projections::{ApplyError, QueryError, Target};

/// What a search gives.
pub type Found = Result<Vec<Subject>, QueryError>;

type Answer = dyn Fn(SearchQuery) -> BoxFuture<'static, Found> + Send + Sync;

struct Index(Box<Answer>);

/// An index whose searches are answered so.
pub fn answering<F>(
    answer: impl Fn(SearchQuery) -> F + Send + Sync + 'static,
) -> Arc<dyn SearchIndex>
where
    F: Future<Output = Found> + Send + 'static,
{
    Arc::new(Index(Box::new(move |query| answer(query).boxed())))
}

#[async_trait::async_trait]
impl SearchIndex for Index {
    async fn write(
        &self,
        _: Target,
        _: &mut sqlx::PgConnection,
        _: &[SearchChange],
    ) -> Result<(), ApplyError> {
        Ok(())
    }

    async fn search(&self, query: &SearchQuery) -> Found {
        (self.0)(query.clone()).await
    }
}
