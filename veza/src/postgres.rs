//! The private PostgreSQL: a server of Veza's own, in its data folder, for whoever configured none.
//!
//! It listens on a socket inside its folder only, so whoever may enter the folder may use it. It
//! runs in a process group of its own: Ctrl-C reaches Veza alone, which stops it last. One that a
//! killed Veza left behind is adopted, and one that dies while Veza lives is started again.
//!
//! - `account`: as whom it runs (PostgreSQL refuses root)
//! - `binaries`: which of the installed versions runs
//! - `server`: one run of it, from `initdb` to its end
//! - `supervisor`: starting it again

mod account;
mod binaries;
mod error;
mod server;
mod supervisor;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::account::Account;
use self::server::Server;
use crate::taking_over::when_free;
pub use error::PostgresError;

/// The database that holds the read models and identities.
const DATABASE: &str = "veza";
/// The only role, a superuser.
const ROLE: &str = "veza";
/// Names the socket; nothing listens on a port.
const PORT: u16 = 5432;
/// The file that says that the platform is on another database; nothing is ever in it.
const LEFT: &str = "left";
/// What a socket's path may have on Linux, less PostgreSQL's own name for it and its lock file.
const FOLDER_BYTES_MAX: usize = 107 - "/.s.PGSQL.5432.lock".len();

/// A running private PostgreSQL. Dropped without [`stop`](Self::stop), it is told to end but not
/// waited for.
#[derive(Debug)]
pub struct PrivatePostgres {
    folder: PathBuf,
    pid: watch::Receiver<u32>,
    stopping: CancellationToken,
    supervisor: Option<JoinHandle<Result<(), PostgresError>>>,
}

impl PrivatePostgres {
    /// Starts the server in `folder`, made when missing, and returns when it takes connections;
    /// or adopts the one already running there. Any crash recovery is waited for.
    ///
    /// # Errors
    /// Whatever keeps it from running, in one line for the operator.
    pub async fn start(folder: &Path) -> Result<PrivatePostgres, PostgresError> {
        let folder = std::path::absolute(folder).map_err(|e| PostgresError::at(folder, e))?;
        if folder.as_os_str().len() > FOLDER_BYTES_MAX {
            return Err(PostgresError::PathTooLong { folder, bytes_max: FOLDER_BYTES_MAX });
        }
        let data = folder.join("data");
        let account = Account::for_data(&data)?;
        account.make_folder(&folder)?;
        let lock = lock(&folder)?;
        let server = Server::start(&folder, &account).await?;
        if let Err(error) = create_database(&options(&folder)).await {
            server.stop().await?;
            return Err(error);
        }

        let (pid_sender, pid) = watch::channel(server.pid());
        let stopping = CancellationToken::new();
        let supervising = supervisor::supervise(supervisor::Charge {
            folder: folder.clone(),
            account,
            server,
            pid: pid_sender,
            stopping: stopping.clone(),
        });
        let supervisor = Some(tokio::spawn(async move {
            let ended = supervising.await;
            drop(lock);
            ended
        }));
        Ok(PrivatePostgres { folder, pid, stopping, supervisor })
    }

    /// The platform's server in `folder`: as [`start`](Self::start), also right after the Veza that
    /// had it was killed.
    ///
    /// # Errors
    /// Whatever keeps it from running, in one line for the operator.
    pub async fn start_when_free(folder: &Path) -> Result<PrivatePostgres, PostgresError> {
        let start = async || Self::start(folder).await;
        let server = when_free(start, |error| matches!(error, PostgresError::InUse { .. })).await?;
        match fs::remove_file(folder.join(LEFT)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                server.stop().await?;
                Err(PostgresError::at(&folder.join(LEFT), error))
            }
            _ => Ok(server),
        }
    }

    /// How to connect to Veza's database in the server that another process runs in `folder`.
    ///
    /// # Errors
    /// When the folder's path can't be made absolute.
    pub fn run_by_another(folder: &Path) -> Result<PgConnectOptions, PostgresError> {
        let folder = std::path::absolute(folder).map_err(|e| PostgresError::at(folder, e))?;
        Ok(options(&folder).database(DATABASE))
    }

    /// How to connect to the platform's database in `folder`, for a command beside it: in the
    /// server that another process runs, or in one that is started for as long as it is held. None
    /// is made, for a new one would not be the platform's.
    ///
    /// # Errors
    /// When there is none, or the platform has [left](Self::leave) it, or it can't be started.
    pub async fn beside(
        folder: &Path,
    ) -> Result<(PgConnectOptions, Option<PrivatePostgres>), PostgresError> {
        if !folder.join("data").is_dir() {
            return Err(PostgresError::Missing { folder: folder.to_owned() });
        }
        if folder.join(LEFT).exists() {
            return Err(PostgresError::Left { folder: folder.to_owned() });
        }
        match Self::start(folder).await {
            Ok(server) => Ok((server.connect_options(), Some(server))),
            Err(PostgresError::InUse { .. }) => Ok((Self::run_by_another(folder)?, None)),
            Err(error) => Err(error),
        }
    }

    /// Notes, where there is one in `folder`, that the platform is on another database by now.
    ///
    /// # Errors
    /// When that can't be written.
    pub fn leave(folder: &Path) -> Result<(), PostgresError> {
        let note = folder.join(LEFT);
        if !folder.join("data").is_dir() || note.exists() {
            return Ok(());
        }
        File::create(&note).map(drop).map_err(|error| PostgresError::at(&note, error))
    }

    /// How to connect to Veza's database in it.
    #[must_use]
    pub fn connect_options(&self) -> PgConnectOptions {
        options(&self.folder).database(DATABASE)
    }

    /// The same as [`connect_options`](Self::connect_options), as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        let path = self.folder.as_os_str().as_encoded_bytes();
        let host: String = path.iter().map(|byte| percent_encoded(*byte)).collect();
        format!("postgres://{ROLE}@{host}:{PORT}/{DATABASE}?sslmode=disable")
    }

    /// The process id of the server; another one after each start.
    #[must_use]
    pub fn pid(&self) -> u32 {
        *self.pid.borrow()
    }

    /// Ends the server: it rolls back what is open, checkpoints, and is gone on return.
    ///
    /// # Errors
    /// When it outlives even an immediate shutdown.
    pub async fn stop(mut self) -> Result<(), PostgresError> {
        self.stopping.cancel();
        let supervisor = self.supervisor.take().expect("only this takes it, and consumes self");
        supervisor.await.expect("the supervisor does not panic")
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        self.stopping.cancel();
        if self.supervisor.is_some() {
            // The supervisor may not live to do it: its runtime ends with the process.
            server::tell_to_end(self.pid(), &self.folder.join("data"));
        }
    }
}

fn percent_encoded(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

fn options(folder: &Path) -> PgConnectOptions {
    // Every word of its own: the environment's `PG…` are about other servers.
    PgConnectOptions::new_without_pgpass()
        .socket(folder)
        .port(PORT)
        .username(ROLE)
        .database("postgres")
        .ssl_mode(PgSslMode::Disable)
}

/// Holds the folder for this process: a second Veza would otherwise adopt the server of the first.
fn lock(folder: &Path) -> Result<File, PostgresError> {
    let path = folder.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|e| PostgresError::at(&path, e))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(
        |errno| match errno {
            rustix::io::Errno::WOULDBLOCK => PostgresError::InUse { folder: folder.to_owned() },
            other => PostgresError::at(&path, other.into()),
        },
    )?;
    Ok(file)
}

async fn create_database(options: &PgConnectOptions) -> Result<(), PostgresError> {
    use sqlx::{ConnectOptions, Connection};
    let mut connection = options.connect().await?;
    let there: Option<i32> = sqlx::query_scalar("SELECT 1 FROM pg_database WHERE datname = $1")
        .bind(DATABASE)
        .fetch_optional(&mut connection)
        .await?;
    if there.is_none() {
        sqlx::query(&format!("CREATE DATABASE {DATABASE}")).execute(&mut connection).await?;
    }
    connection.close().await?;
    Ok(())
}
