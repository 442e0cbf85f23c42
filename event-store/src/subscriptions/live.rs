//! The newest events in memory, and the bells that ring when there are more.

use std::collections::VecDeque;
use std::sync::{PoisonError, RwLock};

use tokio::sync::watch;

use crate::event::RecordedEvent;
use crate::index::stream_hash;
use crate::limits::{LIVE_BYTES_MAX, LIVE_EVENTS_MAX};

/// Followers of single streams share this many bells, by the hash of the stream's name.
const BELLS: u64 = 256;

/// What a bell says when nothing will ever come again.
const CLOSED: u64 = u64::MAX;

/// What followers of the log share.
pub(crate) struct Live {
    ring: RwLock<Ring>,
    all: watch::Sender<u64>,
    streams: Vec<watch::Sender<u64>>,
}

#[derive(Default)]
struct Ring {
    events: VecDeque<RecordedEvent>,
    bytes: usize,
}

/// Rings when there are more events.
pub(crate) struct Bell(watch::Receiver<u64>);

impl Live {
    /// An empty ring, behind this position.
    pub(crate) fn new(head: u64) -> Self {
        Self {
            ring: RwLock::default(),
            all: watch::Sender::new(head),
            streams: (0..BELLS).map(|_| watch::Sender::new(head)).collect(),
        }
    }

    /// Tells of events that can be read by now.
    pub(crate) fn publish(&self, events: &[RecordedEvent]) {
        let Some(last) = events.last() else { return };
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            ring.bytes += size(event);
            ring.events.push_back(event.clone());
        }
        while ring.events.len() > LIVE_EVENTS_MAX || ring.bytes > LIVE_BYTES_MAX {
            let Some(oldest) = ring.events.pop_front() else {
                break;
            };
            ring.bytes -= size(&oldest);
        }
        drop(ring);
        let head = last.position.get();
        self.all.send_replace(head);
        for event in events {
            self.stream_bell(event.stream.as_str()).send_replace(head);
        }
    }

    /// Ends all followers.
    pub(crate) fn close(&self) {
        self.all.send_replace(CLOSED);
        for bell in &self.streams {
            bell.send_replace(CLOSED);
        }
    }

    /// The events from this position on, at most so many; `None` when the ring does not reach back.
    pub(crate) fn from(&self, position: u64, count: usize) -> Option<Vec<RecordedEvent>> {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        let first = ring.events.front()?.position.get();
        #[cfg(veza_canary = "handover-gap")]
        let position = position.max(first);
        let skip = usize::try_from(position.checked_sub(first)?).ok()?;
        if skip >= ring.events.len() {
            return None;
        }
        Some(ring.events.range(skip..).take(count).cloned().collect())
    }

    /// The bell for the whole log.
    pub(crate) fn bell_of_all(&self) -> Bell {
        Bell(self.all.subscribe())
    }

    /// The bell for one stream; it may ring for others too.
    pub(crate) fn bell_of(&self, stream: &str) -> Bell {
        Bell(self.stream_bell(stream).subscribe())
    }

    fn stream_bell(&self, stream: &str) -> &watch::Sender<u64> {
        let number = stream_hash(stream) % BELLS;
        &self.streams[usize::try_from(number).unwrap_or_default()]
    }
}

impl Bell {
    /// Marks everything up to now as heard; to be called before looking for events.
    pub(crate) fn hear(&mut self) -> bool {
        *self.0.borrow_and_update() != CLOSED
    }

    /// Waits until there may be more; false when nothing will come again.
    pub(crate) async fn rings(&mut self) -> bool {
        self.0.changed().await.is_ok() && *self.0.borrow() != CLOSED
    }
}

fn size(event: &RecordedEvent) -> usize {
    event.data.len() + event.metadata.len() + event.stream.as_str().len() + 256
}
