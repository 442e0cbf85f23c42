//! The ids of the events appended last, to recognise retries of writers that expect nothing.

use std::collections::{HashMap, VecDeque};

use crate::event::{EventId, RecordedEvent};
use crate::index::stream_hash;
use crate::limits::RECENT_IDS_MAX;

/// A bounded memory; the oldest are forgotten.
#[derive(Debug, Default)]
pub(crate) struct RecentIds {
    known: HashMap<EventId, Known>,
    order: VecDeque<(EventId, u64)>,
}

/// Where an event went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    stream_hash: u64,
    pub(crate) revision: u64,
    pub(crate) position: u64,
}

impl RecentIds {
    /// Remembers an event.
    pub(crate) fn add(&mut self, event: &RecordedEvent) {
        let position = event.position.get();
        let known = Known {
            stream_hash: stream_hash(event.stream.as_str()),
            revision: event.revision.get(),
            position,
        };
        self.known.insert(event.id, known);
        self.order.push_back((event.id, position));
        if self.order.len() > RECENT_IDS_MAX
            && let Some((id, position)) = self.order.pop_front()
            && self.known.get(&id).is_some_and(|known| known.position == position)
        {
            self.known.remove(&id);
        }
    }

    /// Where the event with this id went, if that was this stream.
    pub(crate) fn find(&self, id: EventId, stream: &str) -> Option<Known> {
        let known = self.known.get(&id)?;
        (known.stream_hash == stream_hash(stream)).then_some(*known)
    }
}
