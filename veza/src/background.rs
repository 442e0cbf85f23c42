//! What works without being asked: the projectors that fill the models, and the sagas.

use std::sync::Arc;
use std::time::Duration;

use aggregates::CommandHandler;
use anyhow::Context as _;
use event_store::EventStore;
use media::{Ffmpeg, ObjectStorage, Scratch, TranscodeLimits, Transcoder};
use projections::search::SearchFeed;
use projections::search::postgres::{self as postgres_search, PostgresSearch};
use projections::{Runner, Watermarks, postgres};
use sagas::orchestrator::checkpoint::CheckpointError;
use sagas::{CheckoutSettings, MediaEncoder, SagaRuntime, SagaSettings, SandboxGateway};
use sagas::{checkout, transcode};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// How long projectors and sagas may take to end what they are at.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Projectors and sagas at work.
pub struct Background {
    projectors: Runner,
    sagas: JoinHandle<Result<(), CheckpointError>>,
    stop: CancellationToken,
}

impl Background {
    /// Starts them over these parts.
    ///
    /// # Errors
    /// When ffmpeg is missing, or the sandbox gateway's ledger can't be opened.
    pub async fn start(
        config: &Config,
        store: Arc<dyn EventStore>,
        handler: Arc<CommandHandler>,
        objects: Arc<dyn ObjectStorage>,
        pool: PgPool,
    ) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let ffmpeg = Ffmpeg::locate().await?;
        println!("transcoding  ffmpeg {}", ffmpeg.version());
        let scratch = Scratch::open(config.data.join("scratch"))
            .with_context(|| format!("can't use the folder {}", config.data.display()))?;
        let limits = TranscodeLimits::default();
        let transcoder = Transcoder::new(ffmpeg, Arc::clone(&objects), scratch, limits);
        let encoder = Arc::new(MediaEncoder::new(objects, transcoder));
        let ledger = config.data.join("sandbox-gateway").join("ledger.jsonl");
        std::fs::create_dir_all(config.data.join("sandbox-gateway"))?;
        let gateway = Arc::new(SandboxGateway::open(&ledger)?);
        println!("payments     sandbox gateway, its ledger in {}", ledger.display());
        let definitions = vec![
            checkout(Arc::clone(&handler), gateway, CheckoutSettings::default()),
            transcode(handler, encoder),
        ];
        let runtime = SagaRuntime::new(Arc::clone(&store), definitions, SagaSettings::default());
        let saga_stop = stop.clone();
        let sagas = tokio::spawn(async move { runtime.run(saga_stop).await });

        let search = Arc::new(PostgresSearch::new(pool.clone()));
        let mut models = postgres::projections();
        models.push(Arc::new(SearchFeed::new(postgres_search::MODEL, search)));
        println!("read models  {} in PostgreSQL, search among them", models.len());
        let projectors = Runner::start(pool, store, models, stop.clone());
        Ok(Self { projectors, sagas, stop })
    }

    /// How far the models have come.
    pub fn watermarks(&self) -> Watermarks {
        self.projectors.watermarks()
    }

    /// Lets them end what they are at; says in the log what did not end in time.
    pub async fn drain(self) {
        self.stop.cancel();
        if !self.projectors.drain(DRAIN_TIME).await {
            tracing::warn!("the projectors did not end in time");
        }
        match tokio::time::timeout(DRAIN_TIME, self.sagas).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::error!(%error, "the sagas ended with an error"),
            Ok(Err(error)) => tracing::error!(%error, "the sagas ended with a panic"),
            Err(_) => tracing::warn!("the sagas did not end in time"),
        }
    }
}
