//! The parts the doors work with, and the router that offers them.

use std::sync::Arc;
use std::time::Duration;

use access::rate::limit_rate;
use access::token::Clock;
use access::{Problem, ProblemType, RateGate, RouteClass, TokenVerifier};
use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef};
use axum::middleware::from_fn_with_state;
use event_store::EventStore;
use media::ObjectStorage;
use projections::analytics::PlayStatistics;
use projections::postgres::Models;
use projections::search::SearchIndex;
use projections::{ModelId, Watermarks};
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::limits::BODY_BYTES_MAX;
use crate::live::Hub;
use crate::routes::routes;
use crate::socket::Sockets;

/// What the doors are made of; chosen by whoever wires them.
pub struct QueryApiParts {
    /// The models in PostgreSQL.
    pub models: Models,
    /// The index that is searched.
    pub search: Arc<dyn SearchIndex>,
    /// The model that the index is.
    pub search_model: ModelId,
    /// Counts of listenings.
    pub statistics: Arc<dyn PlayStatistics>,
    /// How far the models have come.
    pub watermarks: Watermarks,
    /// What is followed.
    pub store: Arc<dyn EventStore>,
    /// Keeps what is streamed.
    pub objects: Arc<dyn ObjectStorage>,
    /// Checks access tokens.
    pub verifier: Arc<TokenVerifier>,
    /// Counts requests.
    pub rates: RateGate,
    /// Tells the time.
    pub clock: Clock,
    /// Whether the schema may be asked for.
    pub introspection: bool,
    /// The origins whose pages may open sockets beside the platform's own; `*` for all.
    pub origins: Vec<String>,
    /// Closes sockets, so that the process can end.
    pub stop: CancellationToken,
}

/// The query side's doors. Cheap to clone.
#[derive(Clone)]
pub struct QueryApi {
    parts: Arc<QueryApiParts>,
    engine: Arc<Engine>,
    sockets: Sockets,
}

impl QueryApi {
    /// Doors made of these parts. Must be called within a runtime: it begins to follow the store.
    pub fn new(parts: QueryApiParts) -> Self {
        let parts = Arc::new(parts);
        let hub = Hub::start(Arc::clone(&parts.store), parts.stop.clone());
        let engine = Arc::new(Engine::new(Arc::clone(&parts), hub));
        Self { parts, engine, sockets: Sockets::default() }
    }

    /// The router with every door.
    pub fn router(&self) -> Router {
        let rate = from_fn_with_state(self.parts.rates.state(RouteClass::Read), limit_rate);
        routes()
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .layer(rate)
            .method_not_allowed_fallback(async || Problem::new(ProblemType::MethodNotAllowed))
            .with_state(self.clone())
    }

    /// Returns when every socket is closed, which they are once [`QueryApiParts::stop`] is
    /// cancelled, or when the time is up; tells which.
    pub async fn drain(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.sockets.closed()).await.is_ok()
    }

    /// The parts.
    pub(crate) fn parts(&self) -> &Arc<QueryApiParts> {
        &self.parts
    }

    /// Carries requests out.
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The sockets that are open.
    pub(crate) fn sockets(&self) -> &Sockets {
        &self.sockets
    }
}

impl FromRef<QueryApi> for Arc<TokenVerifier> {
    fn from_ref(api: &QueryApi) -> Self {
        Arc::clone(&api.parts.verifier)
    }
}
