//! How a process is told to stop: gently by the first signal, at once by the second.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Both ways to be told.
#[derive(Clone, Debug, Default)]
pub struct Stopping {
    /// End what is under way, and take on nothing new.
    pub gently: CancellationToken,
    /// Leave everything as it is.
    pub at_once: CancellationToken,
}

impl Stopping {
    /// Told by SIGTERM and SIGINT.
    ///
    /// # Errors
    /// When the system does not let this process hear them.
    pub fn by_signals() -> anyhow::Result<Self> {
        let stopping = Self::default();
        for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
            let mut signals = signal(kind).context("signals can't be heard")?;
            let stopping = stopping.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    stopping.tell();
                }
            });
        }
        Ok(stopping)
    }

    /// Tells to stop, or, once that was told, to stop at once.
    pub fn tell(&self) {
        if self.gently.is_cancelled() {
            self.at_once.cancel();
        }
        self.gently.cancel();
    }
}
