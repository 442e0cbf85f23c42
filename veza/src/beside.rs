//! The event store of a data folder, for a command beside the platform: that of the process which
//! has it open, or the folder itself where nothing runs on it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use event_store::{EmbeddedOptions, EmbeddedStore, OpenError};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::listening::Listening;
use crate::run_file::{self, Running};

/// How long a store may take to be back that others on its folder count on. Who opened the folder
/// meanwhile would lock it out.
const BACK_TIME_MAX: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// How long the store of a running platform may take to be dialled, which is on this machine.
const DIAL_TIME_MAX: Duration = Duration::from_secs(5);

/// Where the store is.
pub enum Beside {
    /// In this process, which has opened the folder.
    AtRest(EmbeddedStore),
    /// Behind this address, where somebody has just answered.
    Running(Listening),
}

/// Why there is none.
#[derive(Debug, Error)]
pub enum BesideError {
    /// Somebody has the folder open, and does not say where the store is.
    #[error("{locked}, and run.json does not say where its event store is: {source}")]
    Hidden {
        /// Who has it, where that is known.
        locked: OpenError,
        /// What is wrong with the file.
        source: io::Error,
    },
    /// Others run on the folder, and its store does not.
    #[error(
        "on {} there run {}, and its event store does not: start it, or stop them",
        data.display(), named(running)
    )]
    Away {
        /// The data folder.
        data: PathBuf,
        /// Who runs.
        running: Vec<Running>,
    },
    /// Nobody answers where the folder's store is said to be: it may be going away, or coming back.
    #[error("can't reach the event store at {address}: {}", source.kind())]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The folder can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Finds it; a store that is not up, while somebody runs on its folder, is waited for.
///
/// # Errors
/// When it can't be opened, or is not up for ten seconds.
pub async fn open(data: &Path, options: &EmbeddedOptions) -> Result<Beside, BesideError> {
    let until = Instant::now() + BACK_TIME_MAX;
    loop {
        let error = match attempt(data, options).await {
            found @ (Ok(_) | Err(BesideError::Open(_))) => return found,
            Err(error) => error,
        };
        if Instant::now() > until {
            return Err(error);
        }
        sleep(POLL).await;
    }
}

async fn attempt(data: &Path, options: &EmbeddedOptions) -> Result<Beside, BesideError> {
    let running = run_file::running(data);
    match run_file::event_store(data) {
        Ok(listening) => {
            let address = listening.address;
            let dialled = timeout(DIAL_TIME_MAX, TcpStream::connect(address)).await;
            let dialled = dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            let unreachable = |source| BesideError::Unreachable { address, source };
            dialled.map(|_| Beside::Running(listening)).map_err(unreachable)
        }
        Err(_) if !running.is_empty() => Err(BesideError::Away { data: data.to_owned(), running }),
        Err(source) => match EmbeddedStore::open(options.clone()).await {
            Err(locked @ OpenError::Locked { .. }) => Err(BesideError::Hidden { locked, source }),
            opened => Ok(Beside::AtRest(opened?)),
        },
    }
}

fn named(running: &[Running]) -> String {
    running.iter().map(Running::to_string).collect::<Vec<_>>().join(", ")
}
