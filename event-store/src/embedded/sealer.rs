//! The thread that writes the indexes of full segments, so that the writer does not wait for them,
//! and those that a reader found damaged and made again.
//!
//! Until its index is written a segment is found through the one in memory; after a crash before
//! that, the next opening makes it from the segment.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::store::Shared;
use crate::index::Sealed;
use crate::limits::UNSEALED_MAX;

/// Writes indexes. Dropping it waits until all are written.
pub(crate) struct Sealer {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

/// What is to be written.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// Of each of these the last, behind the others.
    full: VecDeque<Arc<Vec<Arc<Sealed>>>>,
    /// The first positions of segments whose index was made again.
    remade: BTreeSet<u64>,
    closed: bool,
}

impl Sealer {
    /// Starts the thread, which begins with what could not be written at the opening.
    pub(crate) fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let told = Arc::clone(&queue);
        shared.findings.tell_of_remade(move |first| told.remade(first));
        for sealed in shared.catalog.sealed().iter().filter(|sealed| !sealed.is_indexed()) {
            queue.remade(sealed.segment.first);
        }
        let todo = Arc::clone(&queue);
        let work = move || {
            while let Some((sealed, at)) = todo.next(&shared) {
                let (older, rest) = sealed.split_at(at);
                rest[0].write_index(&*shared.disk, older);
            }
        };
        let thread = thread::Builder::new().name("event-store-sealer".to_owned()).spawn(work)?;
        Ok(Self { queue, thread: Some(thread) })
    }

    /// Hands the last of these segments over; waits only when too many are not written yet.
    pub(crate) fn seal(&self, sealed: Arc<Vec<Arc<Sealed>>>) {
        let is_full = |waiting: &mut Waiting| waiting.full.len() >= UNSEALED_MAX && !waiting.closed;
        let waiting = self.queue.changed.wait_while(self.queue.lock(), is_full);
        waiting.unwrap_or_else(PoisonError::into_inner).full.push_back(sealed);
        self.queue.changed.notify_all();
    }
}

impl Queue {
    /// The index of this segment is in memory, in the place of a damaged one.
    fn remade(&self, first: u64) {
        self.lock().remade.insert(first);
        self.changed.notify_all();
    }

    /// Waits for what is to be written: the segment at this place, behind the others; `None` when
    /// nothing is, nor will be.
    fn next(&self, shared: &Shared) -> Option<(Arc<Vec<Arc<Sealed>>>, usize)> {
        let mut waiting = self.lock();
        loop {
            if let Some(sealed) = waiting.full.pop_front() {
                self.changed.notify_all();
                let last = sealed.len().checked_sub(1)?;
                return Some((sealed, last));
            }
            if let Some(first) = waiting.remade.pop_first() {
                let sealed = shared.catalog.sealed();
                let at = sealed.partition_point(|sealed| sealed.segment.first < first);
                if at < sealed.len() {
                    return Some((sealed, at));
                }
            } else if waiting.closed {
                return None;
            } else {
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sealer {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_all();
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the thread that writes indexes panicked");
        }
    }
}
