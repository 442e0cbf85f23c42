//! The door while the process starts, which may take as long as a part is waited for: whoever
//! probes it is told what that is, and everybody else to come again.

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use access::{Problem, ProblemType};
use axum::Router;
use axum::extract::State;
use axum::routing::{any, get};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Door;
use crate::config::Config;
use crate::disk_reserve::DiskReserve;

/// When to ask again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long whoever was told so may take to go before the real door opens.
const LEAVE_TIME: Duration = Duration::from_millis(500);

/// The door of a process that starts, on the socket of the one that it will have.
#[derive(Debug)]
pub struct StartingDoor {
    door: Door,
    waits_for: Arc<watch::Sender<&'static str>>,
}

impl StartingDoor {
    /// Opens it on another handle of the listener's socket.
    ///
    /// # Errors
    /// When there is none to be had, or an origin in `cors_origins` is none.
    pub fn open(
        listener: &TcpListener,
        config: &Config,
        reserve: DiskReserve,
        draining: CancellationToken,
    ) -> anyhow::Result<Self> {
        let socket = listener.as_fd().try_clone_to_owned()?;
        let socket = TcpListener::from_std(socket.into())?;
        let waits_for = Arc::new(watch::Sender::new("the event store"));
        let routes = Router::new()
            .route("/healthz", get(async || "alive\n"))
            .route("/readyz", get(not_ready))
            .route("/", any(not_ready))
            .route("/{*path}", any(not_ready))
            .with_state(Arc::clone(&waits_for));
        let door = Door::open(socket, routes, config, reserve, draining)?;
        Ok(Self { door, waits_for })
    }

    /// Says what is waited for now.
    pub fn waits_for(&self, part: &'static str) {
        self.waits_for.send_replace(part);
    }

    /// Makes way for the door of a process that has started, or ends without one.
    pub async fn close(self) {
        // Who lingers is cut a little later; nobody new comes in here by then.
        let _ = tokio::time::timeout(LEAVE_TIME, self.door.close()).await;
    }
}

async fn not_ready(State(waits_for): State<Arc<watch::Sender<&'static str>>>) -> Problem {
    let part = *waits_for.borrow();
    let detail = format!("it is starting, and waits for {part}");
    let problem = Problem::new(ProblemType::Unavailable).with_detail(detail);
    problem.with("parts", json!({ "process": "starting" })).with_retry_after(RETRY_AFTER)
}
