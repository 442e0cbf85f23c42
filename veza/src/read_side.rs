//! The read side that the settings ask for: the projections that the platform runs and
//! `veza-replay` rebuilds, the engines that answer, and the bus that events go to.

use std::sync::Arc;

use axum::http::Uri;
use projections::analytics::PlayStatistics;
use projections::clickhouse::{ClickHouse, ClickHousePlays, ClickHousePlaysProjection, InvalidUrl};
use projections::kafka::{self, EventBus, TOPIC_PREFIX};
use projections::outages::Told;
use projections::search::postgres::{self as postgres_search, PostgresSearch};
use projections::search::{
    MeilisearchIndex, SearchFeed, SearchIndex, meilisearch as meilisearch_search,
};
use projections::{ApplyError, ModelId, Projection, postgres};
use sqlx::PgPool;
use thiserror::Error;

use crate::config::Config;
use crate::console::say;
use crate::engine_watch::Engine;

/// The index in Meilisearch. A platform that shares its server needs one of its own there.
const SEARCH_INDEX: &str = "veza";

/// Where that is done which no other engine was named for.
const ON_POSTGRES: &str = "PostgreSQL";

/// What the settings ask for. Nothing of it is connected before it is needed, so a server that is
/// away stops no start.
pub struct ReadSide {
    /// What fills the models.
    pub projections: Vec<Arc<dyn Projection>>,
    /// The models that engines outside PostgreSQL hold; the platform serves without them, too.
    pub outside: Vec<ModelId>,
    /// What answers.
    pub engines: Engines,
    /// The engines outside PostgreSQL, to be watched.
    pub watched: Vec<Engine>,
    /// Where events are published; none: nowhere.
    pub bus: Option<EventBus>,
    lines: Vec<String>,
}

/// What answers, where PostgreSQL need not.
#[derive(Clone)]
pub struct Engines {
    /// What searches.
    pub search: Arc<dyn SearchIndex>,
    /// The model that is searched.
    pub search_model: ModelId,
    /// What counts listenings.
    pub statistics: Arc<dyn PlayStatistics>,
}

/// A setting that its part can't use.
#[derive(Debug, Error)]
pub enum ReadSideError {
    /// That of ClickHouse.
    #[error("VEZA_CLICKHOUSE_URL: {0}")]
    ClickHouse(#[from] InvalidUrl),
    /// That of Meilisearch.
    #[error("VEZA_MEILISEARCH_KEY: {0}")]
    Meilisearch(#[source] ApplyError),
}

impl ReadSide {
    /// The read side of these settings, over this database.
    ///
    /// # Errors
    /// When a setting can't be used.
    pub fn of(config: &Config, pool: &PgPool) -> Result<Self, ReadSideError> {
        let mut lines = Vec::new();
        let mut watched = Vec::new();
        let (search_model, search) = search(config, pool, &mut lines, &mut watched)?;
        let mut projections = postgres::projections();
        projections.push(Arc::new(SearchFeed::new(search_model, Arc::clone(&search))));
        let mut outside = Vec::from_iter(config.meilisearch_url.as_ref().map(|_| search_model));
        // PostgreSQL goes on counting, so that ClickHouse can be left again at once.
        let mut statistics: Arc<dyn PlayStatistics> = Arc::new(postgres::Plays::new(pool.clone()));
        let mut counting = ON_POSTGRES.to_owned();
        if let Some(url) = &config.clickhouse_url {
            let server = ClickHouse::open(url)?;
            counting = format!("ClickHouse at {}", server.address());
            let plays = Arc::new(ClickHousePlaysProjection::new(server.clone()));
            outside.push(plays.id());
            projections.push(plays);
            watched.push(Engine::ClickHouse(Box::new(server.clone())));
            statistics = Arc::new(ClickHousePlays::new(server));
        }
        lines.push(format!("statistics   {counting}"));
        let brokers = &config.kafka_brokers;
        let bus = (!brokers.is_empty()).then(|| EventBus::new(brokers));
        watched.extend(bus.clone().map(Engine::Kafka));
        if bus.is_some() {
            let brokers = brokers.join(", ");
            lines.push(format!("event bus    Kafka at {brokers}, topics {TOPIC_PREFIX}<category>"));
        }
        let search: Arc<dyn SearchIndex> = Arc::new(Told::new(search));
        let statistics: Arc<dyn PlayStatistics> = Arc::new(Told::new(statistics));
        let engines = Engines { search, search_model, statistics };
        Ok(Self { projections, outside, engines, watched, bus, lines })
    }

    /// The models that engines outside PostgreSQL hold, and those in it.
    pub fn models(&self) -> (Vec<ModelId>, Vec<ModelId>) {
        let models = self.projections.iter().map(|projection| projection.id());
        models.partition(|id| self.outside.contains(id))
    }

    /// All that has a checkpoint by these settings: the models, and what is published.
    pub fn followers(&self) -> Vec<ModelId> {
        let models = self.projections.iter().map(|projection| projection.id());
        models.chain(self.bus.as_ref().map(|_| kafka::MODEL)).collect()
    }

    /// Says what serves, a line a part.
    pub fn tell(&self) {
        let (all, outside) = (self.projections.len(), self.outside.len());
        match outside {
            0 => say(format_args!("read models  {all} in PostgreSQL")),
            _ => say(format_args!("read models  {all}, {} of them in PostgreSQL", all - outside)),
        }
        for line in &self.lines {
            say(format_args!("{line}"));
        }
    }
}

/// What searches, and the model that it searches.
fn search(
    config: &Config,
    pool: &PgPool,
    lines: &mut Vec<String>,
    watched: &mut Vec<Engine>,
) -> Result<(ModelId, Arc<dyn SearchIndex>), ReadSideError> {
    let Some(url) = &config.meilisearch_url else {
        lines.push(format!("search       {ON_POSTGRES}"));
        return Ok((postgres_search::MODEL, Arc::new(PostgresSearch::new(pool.clone()))));
    };
    let key = config.meilisearch_key.as_deref();
    let index = MeilisearchIndex::open(url, key, SEARCH_INDEX);
    let index = Arc::new(index.map_err(ReadSideError::Meilisearch)?);
    watched.push(Engine::Meilisearch(Arc::clone(&index)));
    // Without user and password.
    let address = url.parse::<Uri>().ok().as_ref().map(address).unwrap_or_default();
    lines.push(format!("search       Meilisearch at {address}"));
    Ok((meilisearch_search::MODEL, index))
}

/// Where a server is, without its user and password.
fn address(url: &Uri) -> String {
    let host = url.host().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}", url.scheme_str().unwrap_or("http"))
}
