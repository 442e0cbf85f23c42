//! How a process is told to stop: gently by the first signal, at once by the second.

use std::{fs, io};

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
    /// Told by SIGTERM and SIGINT, and by SIGHUP, which comes when the terminal is closed.
    ///
    /// # Errors
    /// When the system does not let this process hear them.
    pub fn by_signals() -> io::Result<Self> {
        let stopping = Self::default();
        let mut kinds = vec![SignalKind::terminate(), SignalKind::interrupt()];
        if !is_ignored(SignalKind::hangup()) {
            kinds.push(SignalKind::hangup());
        }
        for kind in kinds {
            let mut signals = signal(kind)?;
            let stopping = stopping.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    stopping.tell();
                }
            });
        }
        // By this one whoever keeps the events changes their keys. It may be sent to all processes
        // of a platform, and must not end the others; heard once, it never does.
        drop(signal(SignalKind::user_defined1())?);
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

/// Whether this process was started so that it ignores the signal, as `nohup` does with SIGHUP;
/// to listen for it would undo that.
fn is_ignored(kind: SignalKind) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask >> (kind.as_raw_value() - 1) & 1 == 1)
}
