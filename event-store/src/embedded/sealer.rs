//! The thread that writes the indexes of full segments, so that the writer does not wait for them.
//!
//! Until its index is written a segment is found through the one in memory; after a crash before
//! that, the next opening makes it from the segment.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use crate::index::Sealed;
use crate::limits::UNSEALED_MAX;
use crate::log::Disk;

/// Writes indexes. Dropping it waits until all are written.
pub(crate) struct Sealer {
    queue: Option<SyncSender<Arc<Vec<Arc<Sealed>>>>>,
    thread: Option<JoinHandle<()>>,
}

impl Sealer {
    /// Starts the thread.
    pub(crate) fn start(disk: Arc<dyn Disk>) -> io::Result<Self> {
        let (queue, segments) = sync_channel::<Arc<Vec<Arc<Sealed>>>>(UNSEALED_MAX);
        let work = move || {
            for sealed in segments {
                if let Some((last, older)) = sealed.split_last() {
                    last.write_index(&*disk, older);
                }
            }
        };
        let thread = thread::Builder::new().name("event-store-sealer".to_owned()).spawn(work)?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Hands the last of these segments over; waits only when too many are not written yet.
    pub(crate) fn seal(&self, sealed: Arc<Vec<Arc<Sealed>>>) {
        if let Some(queue) = &self.queue
            && queue.send(sealed).is_err()
        {
            tracing::error!("the indexes of segments are not written any more");
        }
    }
}

impl Drop for Sealer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the thread that writes indexes panicked");
        }
    }
}
