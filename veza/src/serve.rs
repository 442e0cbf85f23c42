//! `veza serve`: the parts of the platform put together, started in order and stopped in reverse.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use access::token::Clock;
use access::{KeyRing, RateGate, RateLimits, TokenIssuer, TokenScope, TokenVerifier};
use aggregates::CommandHandler;
use anyhow::{Context as _, bail};
use chrono::Utc;
use command_api::identity::{Accounts, PasswordHasher};
use command_api::{CommandApi, CommandApiParts};
use event_store::grpc::{self, ServeOptions, Serving};
use event_store::{ClientStore, EmbeddedOptions, EmbeddedStore};
use media::{FileStorage, ObjectStorage, Uploads};
use metrics_exporter_prometheus::PrometheusHandle;
use projections::Watermarks;
use projections::postgres::Models;
use projections::search::postgres::{self as postgres_search, PostgresSearch};
use query_api::{QueryApi, QueryApiParts};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::background::Background;
use crate::config::{Config, EventStore, Role};
use crate::outbox::Outbox;
use crate::postgres::PrivatePostgres;
use crate::probes;
use crate::run_file::RunFile;

/// Most connections to PostgreSQL that one process opens.
const DATABASE_CONNECTIONS_MAX: u32 = 16;

/// How long sockets may take to be closed.
const SOCKETS_DRAIN_TIME: Duration = Duration::from_secs(5);

/// The store of events, and what was started to have it.
enum Events {
    Embedded { store: Arc<EmbeddedStore>, serving: Serving },
    Cluster(Arc<ClientStore>),
}

impl Events {
    fn store(&self) -> Arc<dyn event_store::EventStore> {
        match self {
            Self::Embedded { store, .. } => Arc::clone(store) as _,
            Self::Cluster(store) => Arc::clone(store) as _,
        }
    }
}

/// Serves until `stop`, then drains: requests under way end, and every part is closed.
pub async fn serve(
    config: Config,
    metrics: PrometheusHandle,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    if config.roles.len() != Role::ALL.len() {
        bail!("the roles run together so far: leave --role out");
    }
    std::fs::create_dir_all(&config.data)
        .with_context(|| format!("can't use the data folder {}", config.data.display()))?;
    let listener = TcpListener::bind(config.http)
        .await
        .with_context(|| format!("can't listen on {} (setting http)", config.http))?;
    let address = listener.local_addr()?;

    let closing = CancellationToken::new();
    let events = open_events(&config, closing.clone()).await?;
    let (private, pool) = open_database(&config).await?;
    let store = events.store();
    let handler = Arc::new(CommandHandler::new(Arc::clone(&store)));
    let objects = open_objects(&config.objects)?;
    let (working, storage) = (Arc::clone(&handler), Arc::clone(&objects));
    let following = Arc::clone(&store);
    let background = Background::start(&config, store, working, storage, pool.clone()).await?;
    let watermarks = background.watermarks();
    let streamed = Arc::clone(&objects);
    let queries =
        query_api(&config, address, following, streamed, &pool, watermarks, stop.clone())?;
    let api = command_api(&config, address, handler, objects, pool.clone()).await?;
    let (api, document) = api.router();
    let router = api
        .merge(queries.router())
        .merge(probes::router(document, metrics, &config))
        .into_make_service_with_connect_info::<SocketAddr>();
    println!("commands     http://{address}/api/v1, described by http://{address}/openapi.json");
    println!("queries      http://{address}/graphql, by POST and by graphql-transport-ws");

    let event_store = match &events {
        Events::Embedded { serving, .. } => Some(serving.local_addr()),
        Events::Cluster(_) => None,
    };
    let run_file = RunFile::write(&config.data, address, event_store)?;
    println!("ready. Try:  curl http://{address}/readyz");
    axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .context("HTTP could not be served")?;

    println!("stopping");
    drop(run_file);
    if !queries.drain(SOCKETS_DRAIN_TIME).await {
        tracing::warn!("some sockets did not close in time");
    }
    background.drain().await;
    pool.close().await;
    if let Some(private) = private {
        private.stop().await?;
    }
    closing.cancel();
    if let Events::Embedded { store, serving } = events {
        serving.finished().await;
        store.close().await?;
    }
    Ok(())
}

async fn open_events(config: &Config, closing: CancellationToken) -> anyhow::Result<Events> {
    match &config.event_store {
        EventStore::Embedded => {
            let folder = config.data.join("events");
            let listen = config.event_store_listen;
            let listener = TcpListener::bind(listen).await.with_context(|| {
                format!("can't listen on {listen} (setting event_store_listen)")
            })?;
            let store = Arc::new(EmbeddedStore::open(EmbeddedOptions::folder(&folder)).await?);
            let options = ServeOptions::default();
            let serving = grpc::serve(listener, Arc::clone(&store) as _, options, closing)?;
            let address = serving.local_addr();
            println!("event store  {}, gRPC on {address}", folder.display());
            Ok(Events::Embedded { store, serving })
        }
        EventStore::Cluster(connection_string) => {
            let store = ClientStore::new(connection_string)?;
            println!("event store  the cluster of the setting event_store");
            Ok(Events::Cluster(Arc::new(store)))
        }
    }
}

async fn open_database(config: &Config) -> anyhow::Result<(Option<PrivatePostgres>, PgPool)> {
    let (private, options) = match &config.database_url {
        Some(url) => {
            println!("PostgreSQL   the one of the setting database_url");
            (None, url.parse::<PgConnectOptions>().context("the setting database_url")?)
        }
        None => {
            let folder = config.data.join("postgres");
            let private = PrivatePostgres::start(&folder).await?;
            println!("PostgreSQL   private, in {}", folder.display());
            let options = private.connect_options();
            (Some(private), options)
        }
    };
    let pool = PgPoolOptions::new().max_connections(DATABASE_CONNECTIONS_MAX);
    let pool = pool.connect_with(options).await.context("PostgreSQL can't be reached")?;
    Ok((private, pool))
}

async fn command_api(
    config: &Config,
    address: SocketAddr,
    handler: Arc<CommandHandler>,
    objects: Arc<dyn ObjectStorage>,
    pool: PgPool,
) -> anyhow::Result<CommandApi> {
    let clock: Clock = Arc::new(Utc::now);
    let public_url = config.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
    let ring = Arc::new(KeyRing::load_or_create(&config.keys, Utc::now())?);
    let scope = TokenScope { issuer: public_url.clone(), audience: public_url.clone() };
    let verifier = Arc::new(TokenVerifier::new(Arc::clone(&ring), &scope, Arc::clone(&clock)));
    let limits = config.rate_limits.then(RateLimits::default);
    println!("objects      {}", config.objects.display());
    let proxies = config.trusted_proxies.clone();
    Ok(CommandApi::new(CommandApiParts {
        handler,
        accounts: Accounts::open(pool).await?,
        passwords: PasswordHasher::new(thread::available_parallelism()?.get()),
        issuer: TokenIssuer::new(ring, scope),
        verifier: Arc::clone(&verifier),
        uploads: Uploads::new(Arc::clone(&objects)),
        objects,
        mailer: Arc::new(Outbox::new(config.data.join("outbox"), public_url)),
        rates: RateGate::new(limits, verifier, proxies, Arc::new(Instant::now)),
        clock,
    }))
}

/// The query side's doors; `stop` closes their sockets.
fn query_api(
    config: &Config,
    address: SocketAddr,
    store: Arc<dyn event_store::EventStore>,
    objects: Arc<dyn ObjectStorage>,
    pool: &PgPool,
    watermarks: Watermarks,
    stop: CancellationToken,
) -> anyhow::Result<QueryApi> {
    let clock: Clock = Arc::new(Utc::now);
    let public_url = config.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
    let ring = Arc::new(KeyRing::load_or_create(&config.keys, Utc::now())?);
    let scope = TokenScope { issuer: public_url.clone(), audience: public_url };
    let verifier = Arc::new(TokenVerifier::new(ring, &scope, Arc::clone(&clock)));
    let limits = config.rate_limits.then(RateLimits::default);
    let proxies = config.trusted_proxies.clone();
    let models = Models::new(pool);
    Ok(QueryApi::new(QueryApiParts {
        statistics: Arc::new(models.plays.clone()),
        models,
        search: Arc::new(PostgresSearch::new(pool.clone())),
        search_model: postgres_search::MODEL,
        watermarks,
        store,
        objects,
        verifier: Arc::clone(&verifier),
        rates: RateGate::new(limits, verifier, proxies, Arc::new(Instant::now)),
        clock,
        introspection: config.introspection,
        origins: config.cors_origins.clone(),
        stop,
    }))
}

fn open_objects(folder: &Path) -> anyhow::Result<Arc<dyn ObjectStorage>> {
    let storage = FileStorage::open(folder)
        .with_context(|| format!("can't use the folder {} (setting objects)", folder.display()))?;
    Ok(Arc::new(storage))
}
