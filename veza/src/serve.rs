//! `veza serve`: the parts of the platform that the roles of this process need, put together,
//! started in order and stopped in reverse.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use access::token::Clock;
use access::{RateGate, RateLimits, TokenIssuer, TokenScope, TokenVerifier};
use aggregates::CommandHandler;
use anyhow::{Context as _, bail};
use axum::Router;
use chrono::Utc;
use command_api::identity::{Accounts, KnownPeople};
use command_api::{CommandApi, CommandApiParts};
use event_store::password_hash::PasswordHasher;
use media::{ObjectStorage, UploadLimits, Uploads};
use metrics_exporter_prometheus::PrometheusHandle;
use projections::postgres::Models;
use projections::{ModelId, Watermarks};
use query_api::{QueryApi, QueryApiParts};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::account_watch::AccountWatch;
use crate::background::{Background, Stores};
use crate::config::{Config, Role};
use crate::console::say;
use crate::disk_reserve::DiskReserve;
use crate::doors::{Door, StartingDoor};
use crate::engine_watch::EngineWatch;
use crate::keys::Keys;
use crate::known_people::ModelOfPeople;
use crate::listening::Listening;
use crate::log_guard::LogGuard;
use crate::outbox::Outbox;
use crate::parts::{self, Database, Events};
use crate::read_side::{Engines, ReadSide};
use crate::readiness::Readiness;
use crate::run_file::RunFile;
use crate::stopping::Stopping;
use crate::sweeping::Sweeper;
use crate::{data_folder, docs, open_files, probes, telemetry};

/// Who issues and takes tokens where no public address is set. Processes of one platform share
/// their keys, so those already tell one platform from another.
const TOKEN_SCOPE: &str = "urn:veza";

/// How long sockets may take to be closed.
const SOCKETS_DRAIN_TIME: Duration = Duration::from_secs(5);

/// Serves until told to stop, then drains: requests under way end, and every part is closed.
///
/// # Errors
/// Whatever keeps a part from starting, in one line; what was started before it is closed again.
pub async fn serve(
    config: Config,
    metrics: PrometheusHandle,
    stopping: Stopping,
) -> anyhow::Result<()> {
    let upkeep = tokio::spawn(telemetry::upkeep(metrics.clone()));
    let mut platform = Platform::default();
    let starting = platform.start(&config, metrics, &stopping.gently);
    let started = stopping.gently.run_until_cancelled(starting).await.unwrap_or(Ok(()));
    if started.is_ok() {
        stopping.gently.cancelled().await;
        say("stopping");
    }
    let closed = tokio::select! {
        closed = platform.close() => closed,
        () = stopping.at_once.cancelled() => bail!("stopped at once, in the midst of stopping"),
    };
    upkeep.abort();
    started.and(closed)
}

/// What was started so far, in the order in which it was. Dropped unclosed, it waits for nothing.
#[derive(Default)]
struct Platform {
    closing: CancellationToken,
    events: Option<Events>,
    database: Option<Database>,
    background: Option<Background>,
    queries: Option<QueryApi>,
    starting: Option<StartingDoor>,
    door: Option<Door>,
    run_file: Option<RunFile>,
}

impl Platform {
    async fn start(
        &mut self,
        config: &Config,
        metrics: PrometheusHandle,
        draining: &CancellationToken,
    ) -> anyhow::Result<()> {
        open_files::raise();
        data_folder::open(&config.data, &written(config))?;
        let reserve = DiskReserve::watch(config);
        let (events, listener) = self.open_events(config, reserve.clone(), draining).await?;
        let (store, sealed) = (events.store(), events.sealed());
        let (address, event_store) = (listener.local_addr()?, events.listens_on());

        let mut readiness = Readiness::new(Arc::clone(&store), reserve.clone(), draining.clone());
        (readiness.embedded, readiness.people) = (events.embedded(), events.people());
        let (mut routes, mut log) = (Router::new(), None);
        let keys = keys_for_callers(config, &*store).await?;
        if parts::needs_database(config) {
            let database = self.open_database(config).await?;
            let (pool, queries) = (database.pool.clone(), database.queries.clone());
            let handler = Arc::new(CommandHandler::new(Arc::clone(&store)));
            let objects = parts::open_objects(config)?;
            say(format_args!("objects      {}", config.objects.display()));
            let (working, storage) = (Arc::clone(&handler), Arc::clone(&objects));
            let following = Arc::clone(&store);
            let read_side = ReadSide::of(config, &queries)?;
            read_side.tell();
            let engines = read_side.engines.clone();
            let inside = look_at(&mut readiness, &read_side, config);
            let guard = log_guard(&readiness, &pool, &handler, &inside).await;
            let (stores, guard) = (Stores { open: store, sealed }, log.insert(guard).clone());
            let through = (pool.clone(), guard);
            let started = Background::start(config, stores, working, storage, through, read_side);
            let background = self.background.insert(started.await?);
            readiness.sagas = background.sagas();
            let mut sweeper = Sweeper::new(Arc::clone(&objects), background.scratch());
            let watermarks = watermarks(background, &queries, &following);
            if let (true, Some(keys)) = (config.does(Role::QueryApi), &keys) {
                readiness.watermarks = Some(watermarks.clone());
                let (models, store) = (Models::new(&queries), Arc::clone(&following));
                let (watermarks, objects) = (watermarks.clone(), Arc::clone(&objects));
                let sources = Sources { models, engines, watermarks, store, objects };
                let api = query_api(config, keys, sources, draining.clone());
                routes = routes.merge(self.queries.insert(api).router());
                say(format_args!("queries      http://{address}/graphql, by POST and WebSocket"));
            }
            let guard = log.clone().filter(|_| config.does(Role::CommandApi));
            if let (Some(guard), Some(keys)) = (&guard, keys) {
                let knowing = (watermarks, following);
                let who = who(&mut readiness, &pool, &handler, guard, knowing).await?;
                let api = command_api(config, keys, address, (handler, objects), who)?;
                sweeper.uploads = Some(api.clone());
                let (api, document) = api.router();
                routes = routes.merge(api).merge(docs::router(document));
                say(format_args!("commands     http://{address}/api/v1, described in /docs"));
            }
            tokio::spawn(draining.clone().run_until_cancelled_owned(sweeper.run()));
            (readiness.log, readiness.pool) = (guard, Some(pool));
        }
        let readiness = Arc::new(readiness);
        let token = config.metrics_token.clone();
        let routes = routes.merge(probes::router(Arc::clone(&readiness), metrics, token));
        self.leave_starting_door().await;
        self.door = Some(Door::open(listener, routes, config, (reserve, log), draining.clone())?);
        self.tell(config, readiness, (address, event_store));
        Ok(())
    }

    /// Opens the store of events, and whoever comes meanwhile is told so at the door.
    async fn open_events(
        &mut self,
        config: &Config,
        reserve: DiskReserve,
        draining: &CancellationToken,
    ) -> anyhow::Result<(&mut Events, TcpListener)> {
        let (starting, draining) = (&mut self.starting, draining.clone());
        let bound = |listener: &TcpListener| {
            *starting = Some(StartingDoor::open(listener, config, reserve, draining)?);
            Ok(())
        };
        let (events, listener) = Events::open(config, self.closing.clone(), bound).await?;
        Ok((self.events.insert(events), listener))
    }

    async fn open_database(&mut self, config: &Config) -> anyhow::Result<&mut Database> {
        let tell = |part| self.starting.iter().for_each(|door| door.waits_for(part));
        tell("PostgreSQL");
        let database = Database::open(config).await?;
        tell("the rest of it");
        Ok(self.database.insert(database))
    }

    async fn leave_starting_door(&mut self) {
        if let Some(door) = self.starting.take() {
            door.close().await;
        }
    }

    /// Tells tools where the doors are, also while models are being made, or can't be; and people
    /// once they may come.
    fn tell(
        &mut self,
        config: &Config,
        readiness: Arc<Readiness>,
        (address, event_store): (SocketAddr, Option<SocketAddr>),
    ) {
        let (data, roles) = (&config.data, &config.roles);
        self.run_file =
            Some(RunFile::write(data, roles, Some(address), event_store.map(Listening::open)));
        let next_step = next_step(config, address);
        let draining = readiness.draining.clone();
        let telling = async move { readiness.tell(&next_step).await };
        tokio::spawn(draining.run_until_cancelled_owned(telling));
    }

    /// Closes what was started, from last to first. The door goes on answering probes until all
    /// work is done, so that whoever routes to this process sees that it stops.
    async fn close(&mut self) -> anyhow::Result<()> {
        self.run_file = None;
        self.leave_starting_door().await;
        if let Some(door) = &self.door {
            door.drain().await;
        }
        if let Some(queries) = self.queries.take()
            && !queries.drain(SOCKETS_DRAIN_TIME).await
        {
            tracing::warn!("some sockets did not close in time");
        }
        if let Some(background) = self.background.take() {
            background.drain().await;
        }
        if let Some(door) = self.door.take() {
            door.close().await;
        }
        let mut closed = Ok(());
        if let Some(database) = &mut self.database {
            closed = database.close().await;
        }
        self.closing.cancel();
        if let Some(events) = self.events.take() {
            closed = closed.and(events.close().await);
        }
        closed
    }
}

/// What of the data folder these roles write when they have something to write.
fn written(config: &Config) -> Vec<&'static str> {
    let written = [
        (Role::Saga, "scratch"),
        (Role::CommandApi, Outbox::FOLDER),
        (Role::CommandApi, Outbox::MAILS),
    ];
    let written = written.into_iter().filter(|(role, _)| config.does(*role));
    written.map(|(_, folder)| folder).collect()
}

/// Looks from now on at what the process has of the read side; the models in PostgreSQL.
fn look_at(readiness: &mut Readiness, read_side: &ReadSide, config: &Config) -> Vec<ModelId> {
    let (outside, inside) = read_side.models();
    readiness.followers = read_side.followers();
    readiness.engines = Some(EngineWatch::begin(read_side.watched.clone(), config));
    if config.does(Role::QueryApi) {
        (readiness.outside, readiness.needed) = (outside, inside.clone());
    }
    inside
}

/// Who looks whether the log is that of these models.
async fn log_guard(
    readiness: &Readiness,
    pool: &PgPool,
    handler: &Arc<CommandHandler>,
    models: &[ModelId],
) -> LogGuard {
    let (handler, is_kept_here) = (Arc::clone(handler), readiness.embedded.is_some());
    LogGuard::watch(pool.clone(), handler, models.to_vec(), is_kept_here).await
}

/// Who people are, by their accounts and by the log; that the two fit is looked at.
async fn who(
    readiness: &mut Readiness,
    pool: &PgPool,
    handler: &Arc<CommandHandler>,
    log: &LogGuard,
    (watermarks, store): (Watermarks, Arc<dyn event_store::EventStore>),
) -> anyhow::Result<(Accounts, Arc<dyn KnownPeople>)> {
    let about = "accounts can't be kept in the database (setting database_url)";
    let accounts = Accounts::open(pool.clone()).await.context(about)?;
    let watch = AccountWatch::begin(pool, accounts.clone(), Arc::clone(handler), log.clone());
    readiness.accounts = Some(watch);
    Ok((accounts, Arc::new(ModelOfPeople::new(pool, watermarks, store))))
}

/// How far models are, by who fills them here or by what is kept of that.
fn watermarks(
    background: &Background,
    queries: &PgPool,
    store: &Arc<dyn event_store::EventStore>,
) -> Watermarks {
    let elsewhere = || Watermarks::remote(queries.clone()).looking_at(Arc::clone(store));
    background.watermarks().unwrap_or_else(elsewhere)
}

/// The keys, where the process has callers.
async fn keys_for_callers(
    config: &Config,
    store: &dyn event_store::EventStore,
) -> anyhow::Result<Option<Keys>> {
    if config.does(Role::QueryApi) || config.does(Role::CommandApi) {
        return Keys::load(&config.keys, store).await.map(Some);
    }
    Ok(None)
}

/// What one may try once it runs, in another terminal.
fn next_step(config: &Config, address: SocketAddr) -> String {
    let query = r#"{"query":"{ tracks(first: 3) { nodes { title } } }"}"#;
    let ask =
        format!("curl http://{address}/graphql -H 'content-type: application/json' -d '{query}'");
    match (config.does(Role::CommandApi), config.does(Role::QueryApi)) {
        (true, true) => {
            let told = format!("VEZA_URL=http://{address} VEZA_DATA={}", config.data.display());
            format!("Look at http://{address}/docs, or try:\n  {told} make demo\n  {ask}")
        }
        (true, false) => format!("Look at http://{address}/docs"),
        (false, true) => format!("Try:  {ask}"),
        (false, false) => format!("Probes:  curl http://{address}/readyz"),
    }
}

fn command_api(
    config: &Config,
    keys: Keys,
    address: SocketAddr,
    (handler, objects): (Arc<CommandHandler>, Arc<dyn ObjectStorage>),
    (accounts, people): (Accounts, Arc<dyn KnownPeople>),
) -> anyhow::Result<CommandApi> {
    let clock: Clock = Arc::new(Utc::now);
    let Keys { ring, digests } = keys;
    let scope = token_scope(config);
    let verifier = Arc::new(TokenVerifier::new(Arc::clone(&ring), &scope, Arc::clone(&clock)));
    let limits = config.rate_limits.then(RateLimits::default);
    let proxies = config.trusted_proxies.clone();
    let upload_limits =
        UploadLimits { reserve_bytes: config.disk_reserve.0, ..UploadLimits::default() };
    let public_url = config.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
    Ok(CommandApi::new(CommandApiParts {
        handler,
        accounts,
        people,
        passwords: PasswordHasher::new(thread::available_parallelism()?.get()),
        issuer: TokenIssuer::new(ring, scope),
        digests,
        verifier: Arc::clone(&verifier),
        uploads: Uploads::new(Arc::clone(&objects)).with_limits(upload_limits),
        objects,
        mailer: Arc::new(Outbox::new(config.data.join(Outbox::FOLDER), public_url)),
        rates: RateGate::new(limits, verifier, proxies, Arc::new(Instant::now)),
        clock,
    }))
}

/// Where queries are answered from.
struct Sources {
    models: Models,
    engines: Engines,
    watermarks: Watermarks,
    store: Arc<dyn event_store::EventStore>,
    objects: Arc<dyn ObjectStorage>,
}

/// The query side's doors; `stop` closes their sockets.
fn query_api(config: &Config, keys: &Keys, sources: Sources, stop: CancellationToken) -> QueryApi {
    let clock: Clock = Arc::new(Utc::now);
    let ring = Arc::clone(&keys.ring);
    let verifier = Arc::new(TokenVerifier::new(ring, &token_scope(config), Arc::clone(&clock)));
    let limits = config.rate_limits.then(RateLimits::default);
    let proxies = config.trusted_proxies.clone();
    let Sources { models, engines, watermarks, store, objects } = sources;
    let Engines { search, search_model, statistics } = engines;
    QueryApi::new(QueryApiParts {
        statistics,
        models,
        search,
        search_model,
        watermarks,
        store,
        objects,
        verifier: Arc::clone(&verifier),
        rates: RateGate::new(limits, verifier, proxies, Arc::new(Instant::now)),
        clock,
        introspection: config.introspection,
        origins: config.cors_origins.clone(),
        stop,
    })
}

/// Who issues tokens, and for whom; the same in every process of a platform, whatever its address.
fn token_scope(config: &Config) -> TokenScope {
    let issuer = config.public_url.clone().unwrap_or_else(|| TOKEN_SCOPE.to_owned());
    TokenScope { audience: issuer.clone(), issuer }
}
