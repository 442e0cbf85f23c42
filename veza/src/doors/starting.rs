//! The door while the process starts, which may take as long as a part is waited for: whoever
//! comes is told what that is, and to come again.

use std::os::fd::AsFd as _;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Door;
use crate::config::Config;
use crate::disk_reserve::DiskReserve;
use crate::probes;

/// How long whoever was told so may take to go before the real door opens.
const LEAVE_TIME: Duration = Duration::from_millis(500);

/// The door of a process that starts, on the socket of the one that it will have.
#[derive(Debug)]
pub struct StartingDoor {
    door: Door,
    waits_for: watch::Sender<&'static str>,
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
        let waits_for = watch::Sender::new("the event store");
        let routes = probes::of_starting(waits_for.subscribe());
        let door = Door::open(socket, routes, config, (reserve, None), draining)?;
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
