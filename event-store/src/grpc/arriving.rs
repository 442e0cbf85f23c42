//! Appends that are still arriving: how much of them the server holds, and for how long.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;
use super::wire::Proposed;
use crate::error::AppendError;
use crate::event::NewEvent;
use crate::limits::{APPEND_BYTES_MAX, APPEND_EVENTS_MAX};
use crate::size::at_most;

/// What all calls share: how much may be held at once, and how long an append may be on its way.
#[derive(Clone)]
pub(super) struct Reception {
    bytes: Arc<Semaphore>,
    /// From its first message to its last.
    pub(super) time_max: Duration,
}

impl Reception {
    pub(super) fn new(bytes_max: usize, time_max: Duration) -> Self {
        Self { bytes: Arc::new(Semaphore::new(bytes_max.min(Semaphore::MAX_PERMITS))), time_max }
    }

    /// An append of which nothing has come yet.
    pub(super) fn begin(&self) -> Arriving {
        Arriving { free: Arc::clone(&self.bytes), held: None, events: Vec::new(), bytes: 0 }
    }
}

/// The events of an append that is still arriving, within the limits from the first byte on.
pub(super) struct Arriving {
    free: Arc<Semaphore>,
    held: Option<Held>,
    events: Vec<NewEvent>,
    bytes: usize,
}

/// A share of what may be held; given back when it is dropped.
pub(super) type Held = OwnedSemaphorePermit;

impl Arriving {
    /// Takes one more event, unless the append would become too large or the server is full.
    pub(super) fn push(&mut self, proposed: Proposed) -> Result<(), Problem> {
        let event = NewEvent::try_from(proposed)?;
        let cost = event.size() + size_of::<NewEvent>();
        self.bytes += event.size();
        self.events.push(event);
        at_most(self.bytes, APPEND_BYTES_MAX, "bytes").map_err(AppendError::from)?;
        at_most(self.events.len(), APPEND_EVENTS_MAX, "events").map_err(AppendError::from)?;
        self.hold(cost)
    }

    fn hold(&mut self, bytes: usize) -> Result<(), Problem> {
        let share = u32::try_from(bytes).unwrap_or(u32::MAX);
        // Not waited for: whoever holds a part of the rest may be waiting for the same.
        let more =
            Arc::clone(&self.free).try_acquire_many_owned(share).map_err(|_| Problem::Full)?;
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Ok(())
    }

    /// How much is held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The events, and what they hold, to be kept until the store has answered.
    pub(super) fn into_events(self) -> (Vec<NewEvent>, Option<Held>) {
        (self.events, self.held)
    }
}
