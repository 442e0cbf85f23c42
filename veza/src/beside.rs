//! The event store of a data folder, for a command beside the platform: that of the process which
//! has it open, or the folder itself where nothing runs on it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use event_store::{EmbeddedOptions, EmbeddedStore, OpenError};
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::run_file::{self, Running};

/// How long a store may take to be back that others on its folder count on. Who opened the folder
/// meanwhile would lock it out.
const BACK_TIME_MAX: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// Where the store is.
pub enum Beside {
    /// In this process, which has opened the folder.
    AtRest(EmbeddedStore),
    /// Behind this address.
    Running(SocketAddr),
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
            Err(error @ (BesideError::Hidden { .. } | BesideError::Away { .. })) => error,
            found => return found,
        };
        if Instant::now() > until {
            return Err(error);
        }
        sleep(POLL).await;
    }
}

async fn attempt(data: &Path, options: &EmbeddedOptions) -> Result<Beside, BesideError> {
    let running = run_file::running(data);
    let address = run_file::event_store(data);
    match address {
        Ok(address) => Ok(Beside::Running(address)),
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
