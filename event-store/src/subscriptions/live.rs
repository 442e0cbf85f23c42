//! The newest events in memory, and the bells that ring when there are more.

use std::collections::VecDeque;
use std::sync::{PoisonError, RwLock};

use tokio::sync::watch;

use crate::embedded::Shared;
use crate::error::StoreError;
use crate::event::RecordedEvent;
use crate::index::{Hashes, IndexKey, NameKey, Page};
use crate::limits::{LIVE_BYTES_MAX, LIVE_EVENTS_MAX, PAGE_BYTES};

/// Followers of single streams share this many bells, by the hash of the stream's name; those of
/// categories and types have as many of their own, which ring more often.
const BELLS: usize = 256;

/// What a bell says when nothing will ever come again.
const CLOSED: u64 = u64::MAX;

/// What followers of the log share.
pub(crate) struct Live {
    ring: RwLock<Ring>,
    all: watch::Sender<u64>,
    streams: Bells,
    indexes: Bells,
    names: NameKey,
}

/// Bells that are shared by hash.
struct Bells(Vec<watch::Sender<u64>>);

#[derive(Default)]
struct Ring {
    events: VecDeque<RecordedEvent>,
    bytes: usize,
}

/// Rings when there are more events.
pub(crate) struct Bell(watch::Receiver<u64>);

impl Live {
    /// An empty ring, behind this position of a log with this key of names.
    pub(crate) fn new(head: u64, names: NameKey) -> Self {
        Self {
            ring: RwLock::default(),
            all: watch::Sender::new(head),
            streams: Bells::new(head),
            indexes: Bells::new(head),
            names,
        }
    }

    /// Keeps events that will be found as soon as this returns: who finds them then, and is live,
    /// has them from here.
    pub(crate) fn keep(&self, events: &[RecordedEvent]) {
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
    }

    /// Tells of events that can be found by now, with what each is found by.
    pub(crate) fn tell(&self, events: &[RecordedEvent], hashes: &[Hashes]) {
        let Some(last) = events.last() else { return };
        let head = last.position.get();
        ring_to(&self.all, head);
        self.streams.ring(hashes.iter().map(|hashes| hashes.stream), head);
        let keys = hashes.iter().flat_map(|hashes| hashes.keys());
        self.indexes.ring(keys.map(|key| key.hash), head);
    }

    /// Ends all followers. The writer may still publish its last group after that.
    pub(crate) fn close(&self) {
        self.all.send_replace(CLOSED);
        for bell in self.streams.0.iter().chain(&self.indexes.0) {
            bell.send_replace(CLOSED);
        }
    }

    /// The events from this position on, at most so many and no more when a page's bytes are full;
    /// `None` when the ring does not reach back.
    pub(crate) fn from(&self, position: u64, count: usize) -> Option<Vec<RecordedEvent>> {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        let first = ring.events.front()?.position.get();
        #[cfg(veza_canary = "handover-gap")]
        let position = position.max(first);
        let skip = usize::try_from(position.checked_sub(first)?).ok()?;
        if skip >= ring.events.len() {
            return None;
        }
        let mut bytes = 0;
        let fits = |event: &&RecordedEvent| {
            let is_first = bytes == 0;
            bytes += size(event) as u64;
            is_first || bytes <= PAGE_BYTES
        };
        Some(ring.events.range(skip..).take(count).take_while(fits).cloned().collect())
    }

    /// The events at these positions, which rise; `None` when one of them is not in the ring.
    pub(crate) fn at(&self, positions: &[u64]) -> Option<Vec<RecordedEvent>> {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        let first = ring.events.front()?.position.get();
        #[cfg(veza_canary = "handover-gap")]
        let first = first.min(*positions.first()?);
        let event = |position: &u64| {
            let at = usize::try_from(position.checked_sub(first)?).ok()?;
            ring.events.get(at).cloned()
        };
        positions.iter().map(event).collect()
    }

    /// The bell for the whole log.
    pub(crate) fn bell_of_all(&self) -> Bell {
        Bell(self.all.subscribe())
    }

    /// The bell for one stream; it may ring for others too.
    pub(crate) fn bell_of(&self, stream: &str) -> Bell {
        self.streams.of(self.names.of_stream(stream))
    }

    /// The bell for a category or a type; it may ring for others too.
    pub(crate) fn bell_of_index(&self, key: IndexKey) -> Bell {
        self.indexes.of(key.hash)
    }
}

impl Bells {
    fn new(head: u64) -> Self {
        Self((0..BELLS).map(|_| watch::Sender::new(head)).collect())
    }

    fn of(&self, hash: u64) -> Bell {
        Bell(self.0[Self::number(hash)].subscribe())
    }

    /// Rings the bells of these hashes, each once.
    fn ring(&self, hashes: impl Iterator<Item = u64>, head: u64) {
        let mut due = [false; BELLS];
        hashes.for_each(|hash| due[Self::number(hash)] = true);
        for (bell, _) in self.0.iter().zip(due).filter(|&(_, due)| due) {
            ring_to(bell, head);
        }
    }

    fn number(hash: u64) -> usize {
        usize::try_from(hash % BELLS as u64).unwrap_or_default()
    }
}

/// Tells of a new head, unless nothing more is to be told.
fn ring_to(bell: &watch::Sender<u64>, head: u64) {
    bell.send_if_modified(|told| {
        let open = *told != CLOSED;
        if open {
            *told = head;
        }
        open
    });
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

/// Ends a follower of what was closed.
pub(super) fn open(open: bool) -> Result<(), StoreError> {
    if open { Ok(()) } else { Err(StoreError::Closed) }
}

/// The events at these positions, which rise, as many as make a page; out of memory where all of
/// them are there, and else out of the log, which is told too.
pub(super) fn recorded_at(shared: &Shared, positions: &[u64]) -> Result<(Page, bool), StoreError> {
    Ok(match shared.live.at(positions) {
        Some(events) => (Page { events, looked_at: positions.len() as u64 }, false),
        None => (shared.catalog.events(positions)?, true),
    })
}

fn size(event: &RecordedEvent) -> usize {
    event.data.len() + event.metadata.len() + event.stream.as_str().len() + 256
}
