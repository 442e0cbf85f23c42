//! States by stream, so that a hot aggregate is folded once and then only carried on.
//!
//! A slot is also where the commands on one stream wait for each other.

use std::any::{Any, TypeId};
use std::sync::Arc;

use async_lock::Mutex;
use event_store::{Revision, StreamName};
use moka::sync::Cache;

use crate::decider::Decider;
use crate::fold::Folded;

/// How many folded events the cached states may stand for, all together.
pub const CACHED_EVENTS_MAX: u64 = 1_000_000;

/// The state of one stream.
pub(super) type Slot<A> = Arc<Mutex<Folded<A>>>;

#[derive(Clone)]
struct Entry {
    slot: Arc<dyn Any + Send + Sync>,
    /// What it weighs: how many events are folded in it, and a few for itself.
    events: u32,
}

/// What the entry itself weighs, in events.
const ENTRY_EVENTS: u32 = 4;

/// States by stream.
pub(super) struct StateCache {
    entries: Cache<(TypeId, StreamName), Entry>,
}

impl Default for StateCache {
    fn default() -> Self {
        let entries = Cache::builder()
            .max_capacity(CACHED_EVENTS_MAX)
            .weigher(|_, entry: &Entry| entry.events)
            .build();
        Self { entries }
    }
}

impl StateCache {
    /// The slot of a stream; a new one knows of no event yet.
    pub(super) fn slot<A: Decider>(&self, stream: &StreamName) -> Slot<A> {
        let entry = self.entries.get_with((TypeId::of::<A>(), stream.clone()), || Entry {
            slot: Arc::new(Mutex::new(Folded::<A>::default())),
            events: ENTRY_EVENTS,
        });
        entry.slot.downcast().expect("the key holds the type of the state")
    }

    /// Forgets all states.
    pub(super) fn clear(&self) {
        self.entries.invalidate_all();
    }

    /// Weighs a slot anew, now that the stream has come to this revision; one that was forgotten
    /// meanwhile stays so.
    pub(super) fn grown<A: Decider>(&self, stream: &StreamName, slot: &Slot<A>, last: Revision) {
        let key = (TypeId::of::<A>(), stream.clone());
        let is_kept =
            |entry: &Entry| std::ptr::addr_eq(Arc::as_ptr(&entry.slot), Arc::as_ptr(slot));
        if !self.entries.get(&key).is_some_and(|entry| is_kept(&entry)) {
            return;
        }
        let events = u32::try_from(last.get()).unwrap_or(u32::MAX).saturating_add(ENTRY_EVENTS);
        let entry = Entry { slot: slot.clone(), events };
        self.entries.insert(key, entry);
    }
}
