//! The parts that hold what must be kept (events, PostgreSQL, objects), opened by the settings.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use event_store::grpc::{self, ServeOptions, Serving};
use event_store::maintenance::Scavenges;
use event_store::{ClientStore, EmbeddedOptions, EmbeddedStore, EventStore, OpenError, StoreError};
use media::{FileStorage, ObjectStorage};
use projections::postgres::query_pool;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::beside::{self, Beside};
use crate::config::{Config, EventStore as StoreSetting, Role};
use crate::console::say;
use crate::postgres::PrivatePostgres;
use crate::scavenging::scavenge_every;
use crate::scrubbing::scrub_every;
use crate::taking_over::{listen, when_free};
use crate::{cryptography, data_folder, open_files, personal};

/// Most connections to PostgreSQL that one process opens, but for those of queries and leases.
const DATABASE_CONNECTIONS_MAX: u32 = 16;
/// How long whoever asks PostgreSQL waits for one of them, which answers a first small question.
const CONNECTION_SECONDS_MAX: u64 = 4;
/// How long an event store elsewhere may take to come up before this process gives up.
const STORE_SECONDS_MAX: u64 = 60;
/// The same for a PostgreSQL elsewhere.
const DATABASE_SECONDS_MAX: u64 = 15;
/// How long one question may go without an answer while a part is waited for.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(200);

/// The store of events, and what was started to have it.
pub struct Events {
    engine: Engine,
    store: Arc<dyn EventStore>,
    people: Option<personal::Watch>,
}

/// What keeps the events.
enum Engine {
    /// In this process.
    Embedded {
        /// The engine.
        store: Arc<EmbeddedStore>,
        /// Its gRPC server, where it has one.
        serving: Option<Serving>,
    },
    /// On the other side of a connection.
    Elsewhere(Arc<ClientStore>),
}

/// Opens the store of a folder, also right after the process that had it open was killed.
///
/// # Errors
/// What keeps it shut.
pub async fn open_when_free(
    folder: &Path,
    options: &EmbeddedOptions,
) -> anyhow::Result<EmbeddedStore> {
    let open = async || EmbeddedStore::open(options.clone()).await;
    when_free(open, |error| matches!(error, OpenError::Locked { .. })).await.map_err(|error| {
        match error {
            OpenError::Store(StoreError::Corrupt { .. }) => anyhow!(
                "{error}; the folder {} is served only when it is whole: put the file back from a \
                 backup, or make another folder of one (`veza-replay restore`); \
                 `veza-replay inspect` tells what is damaged",
                folder.display()
            ),
            error => error.into(),
        }
    })
}

impl Events {
    /// Opens the store that the settings name, for a process that serves, and the port of its HTTP
    /// door, which is shown to `bound` at once, for the store may take its time; the embedded store
    /// serves others over gRPC until `closing`.
    ///
    /// # Errors
    /// When its folder is in use and stays so, a port is, or it can't be reached for a minute.
    pub async fn open(
        config: &Config,
        closing: CancellationToken,
        bound: impl FnOnce(&TcpListener) -> anyhow::Result<()>,
    ) -> anyhow::Result<(Self, TcpListener)> {
        if let StoreSetting::Cluster(connection_string) = &config.event_store {
            let store = ClientStore::new(connection_string).context("the setting event_store")?;
            let http = bind(config.http, "http").await?;
            bound(&http)?;
            reached(&store).await?;
            say("event store  the one of the setting event_store");
            let events = Self::of(Engine::Elsewhere(Arc::new(store)), config).await?;
            return Ok((events, http));
        }
        let folder = config.data.join("events");
        let binding = async {
            let (http, listener) = bind_all(config).await?;
            bound(&http)?;
            anyhow::Ok((http, listener))
        };
        let opening = async {
            let options = config.encryption.options(&folder)?;
            anyhow::Ok(Arc::new(open_when_free(&folder, &options).await?))
        };
        // Where the folder is another process's, that is why its ports are in use; they are waited
        // for together. But nothing is made in a folder that is new.
        let (ports, store) = if folder.is_dir() {
            tokio::join!(binding, opening)
        } else {
            (Ok(binding.await?), opening.await)
        };
        let store = store?;
        let (http, listener) = match ports {
            Ok(ports) => ports,
            Err(error) => {
                store.close().await?;
                return Err(error);
            }
        };
        config.encryption.rotate_by_signal(&store, personal::folder(config))?;
        scavenge_every(&store, config.event_store_scavenge_every, &closing);
        scrub_every(&store, config.event_store_scrub_every, &closing);
        let connections_max = open_files::event_store_connections();
        let scavenges = Scavenges::new(Arc::clone(&store), listener.local_addr()?.to_string());
        let options =
            ServeOptions { connections_max, scavenges: Some(scavenges), ..ServeOptions::default() };
        let serving = grpc::serve(listener, Arc::clone(&store) as _, options, closing)?;
        say(format_args!("event store  {}, gRPC on {}", folder.display(), serving.local_addr()));
        let engine = Engine::Embedded { store, serving: Some(serving) };
        Ok((Self::of(engine, config).await?, http))
    }

    /// Opens the store for a command beside the platform: the running platform's over gRPC, or
    /// the folder itself when nothing runs on it.
    ///
    /// # Errors
    /// When neither works.
    pub async fn beside(config: &Config) -> anyhow::Result<Self> {
        if let StoreSetting::Cluster(connection_string) = &config.event_store {
            let store = ClientStore::new(connection_string).context("the setting event_store")?;
            return Self::of(Engine::Elsewhere(Arc::new(store)), config).await;
        }
        let folder = config.data.join("events");
        // A new one would not be the platform's.
        if !folder.is_dir() {
            let folder = folder.display();
            bail!("there is no event store in {folder}: name the platform's folder (setting data)");
        }
        let engine = match beside::open(&config.data, &config.encryption.options(&folder)?).await? {
            Beside::AtRest(store) => Engine::Embedded { store: Arc::new(store), serving: None },
            Beside::Running(listening) => {
                let credentials = config.event_store_credentials.as_deref();
                let connection = listening.connection(&config.data, credentials)?;
                let store = ClientStore::new(&connection)?;
                Engine::Elsewhere(Arc::new(store))
            }
        };
        Self::of(engine, config).await
    }

    /// Over the engine, with its personal fields open where the process has to do with people.
    async fn of(engine: Engine, config: &Config) -> anyhow::Result<Self> {
        let store = engine.sealed();
        if !needs_database(config) {
            return Ok(Self { engine, store, people: None });
        }
        match personal::over(store, config).await {
            Ok((store, watch)) => Ok(Self { engine, store, people: Some(watch) }),
            Err(error) => {
                engine.give_up().await;
                Err(error)
            }
        }
    }

    /// The store, with its personal fields open.
    #[must_use]
    pub fn store(&self) -> Arc<dyn EventStore> {
        Arc::clone(&self.store)
    }

    /// What is told of the keys of people, where the process has to do with them.
    #[must_use]
    pub fn people(&self) -> Option<personal::Watch> {
        self.people.clone()
    }

    /// The store as it is kept, for what leaves the platform.
    #[must_use]
    pub fn sealed(&self) -> Arc<dyn EventStore> {
        self.engine.sealed()
    }

    /// The same, where it is in this process.
    #[must_use]
    pub fn embedded(&self) -> Option<Arc<EmbeddedStore>> {
        match &self.engine {
            Engine::Embedded { store, .. } => Some(Arc::clone(store)),
            Engine::Elsewhere(_) => None,
        }
    }

    /// Where its gRPC server listens, where it has one.
    #[must_use]
    pub fn listens_on(&self) -> Option<SocketAddr> {
        match &self.engine {
            Engine::Embedded { serving, .. } => serving.as_ref().map(Serving::local_addr),
            Engine::Elsewhere(_) => None,
        }
    }

    /// Closes it; its gRPC server was told to end before.
    ///
    /// # Errors
    /// When what was appended last can't be made whole on disk.
    pub async fn close(self) -> anyhow::Result<()> {
        if let Engine::Embedded { store, serving } = self.engine {
            if let Some(serving) = serving {
                serving.finished().await;
            }
            store.close().await?;
        }
        Ok(())
    }
}

impl Engine {
    fn sealed(&self) -> Arc<dyn EventStore> {
        match self {
            Self::Embedded { store, .. } => Arc::clone(store) as _,
            Self::Elsewhere(store) => Arc::clone(store) as _,
        }
    }

    /// Ends it; why there is no store is told already.
    async fn give_up(self) {
        if let Self::Embedded { store, .. } = self {
            store.close().await.ok();
        }
    }
}

/// PostgreSQL, and the private server where there is one of this process.
pub struct Database {
    /// Connections to it.
    pub pool: PgPool,
    /// Connections for queries over the models alone, so that slow ones hold up nobody else.
    pub queries: PgPool,
    private: Option<PrivatePostgres>,
}

impl Database {
    /// The one of the settings, or else the private one, started for as long as this process.
    ///
    /// # Errors
    /// When it can't be reached or started.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        let folder = config.data.join("postgres");
        if let Some(url) = &config.database_url {
            let pool = connect(url.parse().context("the setting database_url")?).await?;
            say("PostgreSQL   the one of the setting database_url");
            if let Err(error) = PrivatePostgres::leave(&folder) {
                tracing::warn!(%error, "commands may take the private PostgreSQL for it");
            }
            return Ok(Self::connected(pool, None));
        }
        let private = PrivatePostgres::start_when_free(&folder).await?;
        say(format_args!("PostgreSQL   private, in {}", folder.display()));
        Self::of(private).await
    }

    /// The same for a command beside the platform, whose private server serves it too.
    ///
    /// # Errors
    /// When it can't be reached or started, or there is none.
    pub async fn beside(config: &Config) -> anyhow::Result<Self> {
        if let Some(url) = &config.database_url {
            let pool = connect(url.parse().context("the setting database_url")?).await?;
            return Ok(Self::connected(pool, None));
        }
        let (options, private) = PrivatePostgres::beside(&config.data.join("postgres")).await?;
        match private {
            Some(private) => Self::of(private).await,
            None => Ok(Self::connected(connect(options).await?, None)),
        }
    }

    fn connected(pool: PgPool, private: Option<PrivatePostgres>) -> Self {
        let queries = query_pool(&pool);
        Self { pool, queries, private }
    }

    async fn of(private: PrivatePostgres) -> anyhow::Result<Self> {
        match connect(private.connect_options()).await {
            Ok(pool) => Ok(Self::connected(pool, Some(private))),
            Err(error) => {
                private.stop().await?;
                Err(error)
            }
        }
    }

    /// Closes the connections, and ends the private server.
    ///
    /// # Errors
    /// When the server does not end.
    pub async fn close(&mut self) -> anyhow::Result<()> {
        self.queries.close().await;
        self.pool.close().await;
        if let Some(private) = self.private.take() {
            private.stop().await?;
        }
        Ok(())
    }
}

/// The objects, in their folder.
///
/// # Errors
/// When the folder can't be made or written.
pub fn open_objects(config: &Config) -> anyhow::Result<Arc<dyn ObjectStorage>> {
    let folder = &config.objects;
    let about = || format!("can't use the folder {} (setting objects)", folder.display());
    let storage = FileStorage::open(folder).with_context(about)?;
    if config.does(Role::CommandApi) || config.does(Role::Saga) {
        data_folder::check_writable(folder).with_context(about)?;
    }
    Ok(Arc::new(storage))
}

/// Listens for a process that has the event store: for its HTTP door, and for gRPC.
async fn bind_all(config: &Config) -> anyhow::Result<(TcpListener, TcpListener)> {
    let http = bind(config.http, "http");
    tokio::try_join!(http, bind(config.event_store_listen, "event_store_listen"))
}

/// Listens on the address of a setting.
async fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    let listener = listen(address).await;
    listener.with_context(|| format!("can't listen on {address} (setting {setting})"))
}

/// Whether the process keeps what needs PostgreSQL.
#[must_use]
pub fn needs_database(config: &Config) -> bool {
    config.roles.iter().any(|role| *role != Role::EventStore)
}

/// Waits for a store that is not up yet.
async fn reached(store: &ClientStore) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs(STORE_SECONDS_MAX);
    let mut told = false;
    loop {
        let error = match timeout(ANSWER_TIME_MAX, store.head()).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => anyhow::Error::from(error),
            Err(_) => anyhow::anyhow!("no answer"),
        };
        if Instant::now() > until {
            return Err(error.context("the event store can't be reached (setting event_store)"));
        }
        if !std::mem::replace(&mut told, true) {
            say(format_args!("event store  waiting for it, at most {STORE_SECONDS_MAX} s"));
        }
        sleep(POLL).await;
    }
}

/// Waits for a PostgreSQL that is not up yet, and opens a pool.
async fn connect(options: PgConnectOptions) -> anyhow::Result<PgPool> {
    cryptography::chosen_for(&options).await;
    let until = Instant::now() + Duration::from_secs(DATABASE_SECONDS_MAX);
    let mut told = false;
    loop {
        // The pool would only say that it was in vain; a connection says why.
        let error = match timeout(ANSWER_TIME_MAX, options.connect()).await {
            Ok(Ok(connection)) => {
                connection.close().await.ok();
                break;
            }
            Ok(Err(error)) => anyhow::Error::from(error),
            Err(_) => anyhow::anyhow!("no answer"),
        };
        if !comes_up(&error, &options) || Instant::now() > until {
            let place = options.get_socket().map_or_else(
                || format!("{}:{}", options.get_host(), options.get_port()),
                |folder| folder.display().to_string(),
            );
            let what = match error.downcast_ref() {
                Some(sqlx::Error::Database(_)) => "takes no connections",
                Some(error) if wants_file(error, &options) => {
                    "can't be reached without the certificates and keys that its URL or PGSSL… name"
                }
                _ => "can't be reached",
            };
            return Err(
                error.context(format!("PostgreSQL at {place} {what} (setting database_url)"))
            );
        }
        if !std::mem::replace(&mut told, true) {
            say(format_args!("PostgreSQL   waiting for it, at most {DATABASE_SECONDS_MAX} s"));
        }
        sleep(POLL).await;
    }
    let pool = PgPoolOptions::new()
        .max_connections(DATABASE_CONNECTIONS_MAX)
        .acquire_timeout(Duration::from_secs(CONNECTION_SECONDS_MAX));
    pool.connect_with(options).await.context("PostgreSQL can't be reached")
}

/// Whether waiting helps: a server that answers and refuses will refuse again, unless it starts.
fn comes_up(error: &anyhow::Error, options: &PgConnectOptions) -> bool {
    const CANNOT_CONNECT_NOW: &str = "57P03";
    match error.downcast_ref::<sqlx::Error>() {
        Some(sqlx::Error::Database(error)) => error.code().as_deref() == Some(CANNOT_CONNECT_NOW),
        // A certificate that is not believed, or not there, is no better in a while.
        Some(error) if wants_file(error, options) => false,
        Some(sqlx::Error::Io(error)) => error.kind() != io::ErrorKind::InvalidData,
        None => true,
        Some(_) => false,
    }
}

/// Whether a file that TLS is to begin with can't be read. A socket that is not there is told by
/// the same words.
fn wants_file(error: &sqlx::Error, options: &PgConnectOptions) -> bool {
    let is_unreadable =
        |kind| matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied);
    let is_network = options.get_socket().is_none();
    is_network && matches!(error, sqlx::Error::Io(error) if is_unreadable(error.kind()))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Given a server that asks for TLS, as PostgreSQL does, then it is begun.
    #[tokio::test]
    async fn postgresql_is_reached_by_tls() {
        const TLS_HANDSHAKE: u8 = 0x16;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("postgres://veza@{address}/veza?sslmode=require");
        let connecting = tokio::spawn(connect(url.parse().unwrap()));
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut asked = [0; 8];
        socket.read_exact(&mut asked).await.unwrap();
        socket.write_all(b"S").await.unwrap();
        assert_eq!(socket.read_u8().await.unwrap(), TLS_HANDSHAKE);
        connecting.abort();
    }
    /// Given a certificate that is named and not there, then that is told at once.
    #[tokio::test]
    async fn a_certificate_of_postgresql_that_is_missing_is_told_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.write_all(b"S").await.unwrap();
            drop(listener);
            std::future::pending::<()>().await;
        });
        let missing = "sslmode=verify-full&sslrootcert=/nowhere/ca.pem";
        let url = format!("postgres://veza@{address}/veza?{missing}");
        let told = connect(url.parse().unwrap()).await.unwrap_err();
        assert!(told.to_string().contains("without the certificates"), "{told:#}");
        server.abort();
    }
}
