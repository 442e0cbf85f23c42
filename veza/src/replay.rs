//! What `veza-replay` works on: the store and the database of a running platform, or of a data
//! folder at rest, which are then opened under the platform's own locks.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use event_store::{
    ClientStore, EmbeddedStore, EventStore, InvalidConnectionString, OpenError, PersonalStore,
    RecordedEvent, StoreError, SubjectKeys, SubjectKeysError,
};
use replay_tool::command::{FOUND_BAD, UNREACHABLE, USAGE};
use replay_tool::{LogFiles, Models};
use sagas::orchestrator::SagaState;
use sagas::orchestrator::journal::decode;
use serde_json::Value;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::beside::{self, Beside, BesideError};
use crate::config::{Config, ConfigError, EventStore as StoreSetting};
use crate::listening::NoCredentials;
use crate::postgres::{PostgresError, PrivatePostgres};
use crate::read_side::{self, ReadSideError};
use crate::{cryptography, personal};

/// A rebuild works on a connection of its own; the rest asks one thing after the other.
const DATABASE_CONNECTIONS_MAX: u32 = 4;

/// How long one address of a store may take to be dialled.
const DIAL_TIME_MAX: Duration = Duration::from_secs(5);

/// Why there is nothing to work on.
#[derive(Debug, Error)]
pub enum PartsError {
    /// A setting is wrong.
    #[error(transparent)]
    Setting(#[from] ConfigError),
    /// A setting of the read side can't be used.
    #[error(transparent)]
    ReadSide(#[from] ReadSideError),
    /// The connection string can't be used.
    #[error(transparent)]
    ConnectionString(#[from] InvalidConnectionString),
    /// The store asks who calls, and that is not set.
    #[error(transparent)]
    Credentials(#[from] NoCredentials),
    /// Nobody answers at any of the store's addresses.
    #[error("can't reach the event store at {address}: {why}")]
    Unreachable {
        /// The last that was tried.
        address: String,
        /// What the system said.
        why: String,
    },
    /// The database's URL can't be used. (It may hold a password, so it is not repeated.)
    #[error("--database-url is not a URL of PostgreSQL: postgres://…")]
    DatabaseUrl,
    /// There is no store in the data folder.
    #[error("there is no event store in {}", .0.display())]
    NoStore(PathBuf),
    /// The store in the data folder can't be opened where nothing can be written.
    #[error(
        "{} can't be written, which opening a store takes: `veza-replay inspect` checks every byte \
         of a log and writes nothing", .0.display()
    )]
    ReadOnly(PathBuf),
    /// Something runs on the folder, and its store is not to be found.
    #[error(transparent)]
    Beside(BesideError),
    /// The keys of people can't be opened.
    #[error(transparent)]
    SubjectKeys(#[from] SubjectKeysError),
    /// The store in the folder can't be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The private PostgreSQL can't be started or stopped.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The database can't be reached.
    #[error("the database can't be reached: {0}")]
    Database(#[source] sqlx::Error),
}

impl PartsError {
    /// What the process ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Setting(_)
            | Self::ReadSide(_)
            | Self::ConnectionString(_)
            | Self::NoStore(_)
            | Self::ReadOnly(_)
            | Self::Postgres(PostgresError::Missing { .. } | PostgresError::Left { .. })
            | Self::DatabaseUrl => USAGE,
            Self::Store(OpenError::Key(error))
            | Self::SubjectKeys(SubjectKeysError::Key(error))
                if error.is_for_want_of_keys() =>
            {
                UNREACHABLE
            }
            Self::SubjectKeys(SubjectKeysError::Wrapped { .. }) => UNREACHABLE,
            Self::Store(OpenError::Key(_) | OpenError::Unfit(_) | OpenError::Full { .. })
            | Self::Store(OpenError::Store(StoreError::Corrupt { .. }))
            | Self::SubjectKeys(
                SubjectKeysError::Lost
                | SubjectKeysError::Damaged { .. }
                | SubjectKeysError::Key(_),
            ) => FOUND_BAD,
            _ => UNREACHABLE,
        }
    }
}

/// What the system said, in its words for people where it has some.
fn plain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(_) => error.kind().to_string(),
        None => error.to_string(),
    }
}

/// An event store, and what is to be closed behind it.
pub struct Log {
    store: Arc<dyn EventStore>,
    embedded: Option<Arc<EmbeddedStore>>,
    /// The files of its log, when they are on this machine.
    files: Option<LogFiles>,
}

impl Log {
    /// Opens the store of this connection string; without one, that of the settings: a cluster, the
    /// store of the platform that runs on the data folder, or else the folder's own.
    ///
    /// # Errors
    /// When there is none, it can't be opened, or nobody answers where it should be; a store over
    /// the network is not asked anything yet.
    pub async fn open(connection: Option<&str>, config: &Config) -> Result<Self, PartsError> {
        match (connection, &config.event_store) {
            (Some(connection), _) => Self::over_network(connection).await,
            (None, StoreSetting::Cluster(connection)) => Self::over_network(connection).await,
            (None, StoreSetting::Embedded) => Self::of_folder(config).await,
        }
    }

    async fn of_folder(config: &Config) -> Result<Self, PartsError> {
        let data = &*config.data;
        let folder = data.join("events");
        if !folder.is_dir() {
            return Err(PartsError::NoStore(data.to_owned()));
        }
        let options = config.encryption.options(&folder)?;
        let files = Some(LogFiles { folder, keys: config.encryption.keys()? });
        match beside::open(data, &options).await {
            Ok(Beside::AtRest(store)) => {
                let store = Arc::new(store);
                Ok(Self { store: Arc::clone(&store) as _, embedded: Some(store), files })
            }
            Ok(Beside::Running(listening)) => {
                let credentials = config.event_store_credentials.as_deref();
                let connection = listening.connection(data, credentials)?;
                // The official client first waits as long as between two attempts to find a node,
                // by default half a second, which on this machine would be most of any command.
                let connection = format!("{connection}&discoveryInterval=20");
                let store = Arc::new(ClientStore::new(&connection)?);
                Ok(Self { store, embedded: None, files })
            }
            Err(BesideError::Open(OpenError::Folder { source, .. }))
                if source.kind() == io::ErrorKind::ReadOnlyFilesystem =>
            {
                Err(PartsError::ReadOnly(data.join("events")))
            }
            Err(BesideError::Open(error)) => Err(error.into()),
            Err(error) => Err(PartsError::Beside(error)),
        }
    }

    async fn over_network(connection: &str) -> Result<Self, PartsError> {
        let store = ClientStore::new(connection)?;
        someone_answers(&store).await?;
        Ok(Self { store: Arc::new(store), embedded: None, files: None })
    }

    /// The store itself, when it is that of a folder at rest.
    pub fn folder(&self) -> Option<&EmbeddedStore> {
        self.embedded.as_deref()
    }

    /// The files of its log, when they are on this machine.
    pub fn files(&self) -> Option<&LogFiles> {
        self.files.as_ref()
    }

    /// The store as it is kept.
    pub fn sealed(&self) -> Arc<dyn EventStore> {
        Arc::clone(&self.store)
    }

    /// The store with its personal fields open, but for those that no key opens.
    ///
    /// # Errors
    /// When there are keys of people, and they can't be used.
    pub fn opened(&self, config: &Config) -> Result<Arc<dyn EventStore>, PartsError> {
        Ok(Arc::new(self.personal(config)?))
    }

    /// The same to look at: `sealed` stands where a key is missing.
    ///
    /// # Errors
    /// When there are keys of people, and they can't be used.
    pub fn shown(&self, config: &Config) -> Result<Arc<dyn EventStore>, PartsError> {
        Ok(Arc::new(self.personal(config)?.showing_sealed()))
    }

    fn personal(&self, config: &Config) -> Result<PersonalStore, PartsError> {
        let folder = personal::folder(config);
        let keys = SubjectKeys::are_in(&folder).then(|| Self::keys(config)).transpose()?;
        Ok(self.with_keys(keys.as_ref()))
    }

    /// The store opened with these keys, or none.
    pub fn with_keys(&self, keys: Option<&SubjectKeys>) -> PersonalStore {
        match keys.cloned() {
            None => PersonalStore::without_keys(self.sealed(), personal::marks),
            Some(keys) => PersonalStore::over(self.sealed(), keys, personal::marks),
        }
    }

    /// The keys of people, or a new store of them.
    ///
    /// # Errors
    /// When they can't be used.
    pub fn keys(config: &Config) -> Result<SubjectKeys, PartsError> {
        let options = config.encryption.subject_keys(&personal::folder(config))?;
        Ok(SubjectKeys::open(options)?)
    }

    /// The same where all are to be given up that can't be opened: those of which the key is lost
    /// are moved aside. Where to, if they were.
    ///
    /// # Errors
    /// When they can't be moved or used.
    pub fn keys_anew(config: &Config) -> Result<(SubjectKeys, Option<PathBuf>), PartsError> {
        let options = config.encryption.subject_keys(&personal::folder(config))?;
        Ok(SubjectKeys::open_anew(options)?)
    }

    /// Closes what was opened here.
    pub async fn close(self) {
        if let Some(store) = self.embedded {
            // Nothing that was asked for depends on it: the next opening recovers.
            let _ = store.close().await;
        }
    }
}

/// That one of the store's addresses can be dialled: the official client would not say why not.
async fn someone_answers(store: &ClientStore) -> Result<(), PartsError> {
    let mut told = Ok(());
    for (host, port) in store.addresses() {
        let dialled = timeout(DIAL_TIME_MAX, TcpStream::connect((host.as_str(), port))).await;
        let dialled = dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match dialled {
            Ok(_) => return Ok(()),
            Err(error) => {
                let (address, why) = (format!("{host}:{port}"), plain(&error));
                told = Err(PartsError::Unreachable { address, why });
            }
        }
    }
    told
}

/// The read models, and the server that was started to have them.
pub struct ReadSide {
    models: Models,
    private: Option<PrivatePostgres>,
}

impl ReadSide {
    /// Opens the database of this URL; without one, that of the settings, or the private one of the
    /// data folder, which is started for as long as this lives when no platform runs it.
    ///
    /// # Errors
    /// When there is none, or it can't be reached.
    pub async fn open(url: Option<&str>, config: &Config) -> Result<Self, PartsError> {
        let (options, private) = match url.or(config.database_url.as_deref()) {
            Some(url) => (options(url)?, None),
            None => PrivatePostgres::beside(&config.data.join("postgres")).await?,
        };
        cryptography::chosen_for(&options).await;
        // A pool would try again for half a minute, and then not say why.
        if let Err(error) = options.connect().await {
            if let Some(private) = private {
                private.stop().await?;
            }
            return Err(PartsError::Database(error));
        }
        let pool = PgPoolOptions::new().max_connections(DATABASE_CONNECTIONS_MAX);
        let pool = pool.connect_lazy_with(options);
        let read_side::ReadSide { projections, bus, .. } = read_side::ReadSide::of(config, &pool)?;
        let publishes = bus.is_some();
        Ok(Self { models: Models { pool, projections, publishes }, private })
    }

    /// The models.
    pub fn models(&self) -> &Models {
        &self.models
    }

    /// Closes the connections, and stops the server if it was started here.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn close(self) -> Result<(), PartsError> {
        self.models.pool.close().await;
        match self.private {
            Some(private) => Ok(private.stop().await?),
            None => Ok(()),
        }
    }
}

fn options(url: &str) -> Result<PgConnectOptions, PartsError> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    if !matches!(scheme, Some("postgres" | "postgresql")) {
        return Err(PartsError::DatabaseUrl);
    }
    url.parse().map_err(|_| PartsError::DatabaseUrl)
}

/// The state of a saga's run, for `veza-replay state`.
pub fn fold_saga(events: &[RecordedEvent]) -> Result<Value, String> {
    let decoded: Result<Vec<_>, _> = events.iter().map(decode).collect();
    let decoded = decoded.map_err(|error| format!("{:#}", anyhow::Error::from(error)))?;
    let state = SagaState::fold(decoded.into_iter().map(|(event, _)| event));
    let state = state.ok_or("it does not begin with a start")?;
    serde_json::to_value(state).map_err(|error| error.to_string())
}
