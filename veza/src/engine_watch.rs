//! Whether the engines outside PostgreSQL answer, which nobody else notices while nothing happens:
//! each is asked every few seconds.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use metrics::gauge;
use projections::clickhouse::{self, ClickHouse};
use projections::kafka::EventBus;
use projections::search::MeilisearchIndex;
use projections::search::meilisearch;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::{Config, Role};

/// How often an engine is asked.
const INTERVAL: Duration = Duration::from_secs(2);

/// An engine that the settings name.
#[derive(Clone)]
pub enum Engine {
    /// Counts listenings.
    ClickHouse(Box<ClickHouse>),
    /// Searches.
    Meilisearch(Arc<MeilisearchIndex>),
    /// Gets the events.
    Kafka(EventBus),
}

impl Engine {
    /// Its name, as operators call it.
    fn name(&self) -> &'static str {
        match self {
            Self::ClickHouse(_) => clickhouse::NAME,
            Self::Meilisearch(_) => meilisearch::NAME,
            Self::Kafka(_) => "Kafka",
        }
    }

    /// The same in metrics.
    fn part(&self) -> &'static str {
        match self {
            Self::ClickHouse(_) => "clickhouse",
            Self::Meilisearch(_) => "meilisearch",
            Self::Kafka(_) => "kafka",
        }
    }

    /// Whether a process of these settings has to do with it. Queries ask nothing of Kafka.
    fn is_used(&self, config: &Config) -> bool {
        let asks = config.does(Role::QueryApi) && !matches!(self, Self::Kafka(_));
        asks || config.does(Role::Projector)
    }

    /// Whether it answers, in bounded time.
    fn answers(&self) -> BoxFuture<'_, bool> {
        match self {
            Self::ClickHouse(server) => Box::pin(async { server.ping().await.is_ok() }),
            Self::Meilisearch(index) => Box::pin(async { index.ping().await.is_ok() }),
            // Who publishes has a connection to it, and sees when that is lost; who waits for their
            // turn has none.
            Self::Kafka(bus) => Box::pin(async { !bus.is_away() }),
        }
    }
}

/// Which of the engines answer. Cheap to clone; they are asked until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct EngineWatch {
    seen: Vec<(&'static str, watch::Receiver<bool>)>,
    _asking: Arc<DropGuard>,
}

impl EngineWatch {
    /// Asks those of the engines from now on that a process of these settings has to do with.
    #[must_use]
    pub fn begin(engines: Vec<Engine>, config: &Config) -> Self {
        let stop = CancellationToken::new();
        let watched = engines.into_iter().filter(|engine| engine.is_used(config));
        let seen = watched.map(|engine| {
            // Nobody says that one is away before it was asked.
            let (told, seen) = watch::channel(true);
            let name = engine.name();
            tokio::spawn(stop.clone().run_until_cancelled_owned(ask(engine, told)));
            (name, seen)
        });
        Self { seen: seen.collect(), _asking: Arc::new(stop.drop_guard()) }
    }

    /// Which do not answer, in words.
    pub fn told(&self) -> impl Iterator<Item = String> {
        let away = self.seen.iter().filter(|(_, answers)| !*answers.borrow());
        away.map(|(name, _)| format!("{name} is out of reach"))
    }
}

async fn ask(engine: Engine, told: watch::Sender<bool>) {
    loop {
        let answers = engine.answers().await;
        gauge!("veza_part_up", "part" => engine.part()).set(if answers { 1.0 } else { 0.0 });
        let answered = told.send_replace(answers);
        let engine_name = engine.name();
        // What publishes to Kafka tells of it itself.
        match (answered, answers, &engine) {
            (_, _, Engine::Kafka(_)) => {}
            (true, false, _) => tracing::warn!(engine = engine_name, "an engine is out of reach"),
            (false, true, _) => tracing::info!(engine = engine_name, "an engine is there again"),
            _ => {}
        }
        sleep(INTERVAL).await;
    }
}
