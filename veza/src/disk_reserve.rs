//! The disk's reserve: below it commands are refused, so that what must go on has room for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::{ByteCount, Config};

/// How often the disk is asked. What is written meanwhile is small beside any sensible reserve:
/// uploads, which are not, ask by themselves.
const INTERVAL: Duration = Duration::from_millis(500);

/// Whether every disk that a process writes to has more free than the reserve. Cheap to clone; the
/// disks are watched until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct DiskReserve {
    is_short: Arc<AtomicBool>,
    _watching: Arc<DropGuard>,
}

impl DiskReserve {
    /// Looks at the disks of the settings now, and goes on watching them.
    #[must_use]
    pub fn watch(config: &Config) -> Self {
        let stop = CancellationToken::new();
        let is_short = Arc::new(AtomicBool::new(false));
        let disks = Disks {
            folders: folders(config),
            reserve: config.disk_reserve,
            is_short: Arc::clone(&is_short),
        };
        disks.look();
        tokio::spawn(stop.clone().run_until_cancelled_owned(disks.go_on()));
        Self { is_short, _watching: Arc::new(stop.drop_guard()) }
    }

    /// Whether less is free than the reserve.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.is_short.load(Ordering::Relaxed)
    }
}

/// Where a process writes; several may be one disk.
fn folders(config: &Config) -> Vec<PathBuf> {
    let of_data = ["", "events", "postgres/data"].map(|part| config.data.join(part));
    of_data.into_iter().chain([config.objects.clone()]).collect()
}

struct Disks {
    folders: Vec<PathBuf>,
    reserve: ByteCount,
    is_short: Arc<AtomicBool>,
}

impl Disks {
    async fn go_on(self) {
        let disks = Arc::new(self);
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let disks = Arc::clone(&disks);
            // A disk far away may take its time to answer.
            match tokio::task::spawn_blocking(move || disks.look()).await {
                // The process ends.
                Err(error) if error.is_cancelled() => return,
                Err(error) => tracing::error!(%error, "the disk can't be watched"),
                Ok(()) => {}
            }
        }
    }

    fn look(&self) {
        let free = self.folders.iter().filter_map(|folder| Some((folder, free_bytes(folder)?)));
        let Some((folder, free)) = free.min_by_key(|(_, free)| *free) else {
            return;
        };
        metrics::gauge!("veza_disk_free_bytes").set(free as f64);
        let is_short = free < self.reserve.0;
        if self.is_short.swap(is_short, Ordering::Relaxed) == is_short {
            return;
        }
        let (folder, reserve) = (folder.display(), self.reserve.0);
        if is_short {
            tracing::error!(%folder, free, reserve, "the disk is below its reserve: no commands");
        } else {
            tracing::info!(%folder, free, reserve, "the disk has its reserve: commands again");
        }
    }
}

/// What an ordinary user could still write there, in bytes; none where there is no such folder.
fn free_bytes(folder: &Path) -> Option<u64> {
    let about = rustix::fs::statvfs(folder).ok()?;
    Some(about.f_bavail.saturating_mul(about.f_frsize))
}
