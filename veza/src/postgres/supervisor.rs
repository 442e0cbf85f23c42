//! Keeps the server running for as long as Veza wants it.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::PostgresError;
use super::account::Account;
use super::server::Server;

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A running server and what is needed to start it again.
pub struct Charge {
    pub folder: PathBuf,
    pub account: Account,
    pub server: Server,
    pub pid: watch::Sender<u32>,
    pub stopping: CancellationToken,
}

/// Starts the server again whenever it ends, until told to stop; then stops it.
pub async fn supervise(mut charge: Charge) -> Result<(), PostgresError> {
    loop {
        tokio::select! {
            () = charge.stopping.cancelled() => return charge.server.stop().await,
            ended = charge.server.ended() => ended?,
        }
        let pid = charge.server.pid();
        tracing::warn!(pid, "private PostgreSQL ended; starting it again");
        let Some(server) = again(&charge).await else {
            return Ok(());
        };
        charge.server = server;
        charge.pid.send_replace(charge.server.pid());
        tracing::info!(pid = charge.server.pid(), "private PostgreSQL runs again");
    }
}

/// Tries until it runs; none when told to stop in a pause, while nothing runs.
async fn again(charge: &Charge) -> Option<Server> {
    let mut pause = PAUSE_MIN;
    loop {
        match Server::start(&charge.folder, &charge.account).await {
            Ok(server) => return Some(server),
            Err(error) => {
                tracing::error!(%error, retry_ms = pause.as_millis(), "private PostgreSQL is down");
            }
        }
        tokio::select! {
            () = charge.stopping.cancelled() => return None,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
        }
    }
}
