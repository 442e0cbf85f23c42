//! Appends that are still arriving: how much of them the server holds, and for how long.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::problem::Problem;
use super::server::ServeOptions;
use super::wire::Proposed;
use crate::error::AppendError;
use crate::event::NewEvent;
use crate::limits::{APPEND_BYTES_MAX, APPEND_EVENTS_MAX};
use crate::size::at_most;

/// What all calls share: how many may be arriving, how much of them may be held at once, and how
/// long an append may be on its way.
#[derive(Clone)]
pub(super) struct Reception {
    calls: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    /// From its first message to its last, and from the first byte of a message to its last.
    pub(super) time_max: Duration,
}

impl Reception {
    pub(super) fn new(options: &ServeOptions) -> Self {
        let semaphore = |max: usize| Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
        Self {
            calls: semaphore(options.arriving_calls_max),
            bytes: semaphore(options.held_bytes_max),
            time_max: options.arrival_time_max,
        }
    }

    /// A place for one more call whose request is arriving.
    pub(super) fn place(&self) -> Result<Held, TryAcquireError> {
        Arc::clone(&self.calls).try_acquire_owned()
    }

    /// An append of which nothing has come yet.
    pub(super) fn begin(&self) -> Arriving {
        Arriving { reception: self.clone(), held: None, events: Vec::new(), bytes: 0 }
    }

    /// Adds so many bytes to what is held, unless the server is full.
    pub(super) fn hold(&self, held: &mut Option<Held>, bytes: usize) -> Result<(), Problem> {
        let share = u32::try_from(bytes).unwrap_or(u32::MAX);
        // Not waited for: whoever holds a part of the rest may be waiting for the same.
        let more =
            Arc::clone(&self.bytes).try_acquire_many_owned(share).map_err(|_| Problem::Full)?;
        match held {
            Some(held) => held.merge(more),
            None => *held = Some(more),
        }
        Ok(())
    }
}

/// The events of an append that is still arriving, within the limits from the first byte on.
pub(super) struct Arriving {
    reception: Reception,
    held: Option<Held>,
    events: Vec<NewEvent>,
    bytes: usize,
}

/// A share of what may be held; given back when it is dropped.
pub(super) type Held = OwnedSemaphorePermit;

impl Arriving {
    /// Takes one more event, unless the append would become too large or the server is full.
    pub(super) fn push(&mut self, proposed: Proposed) -> Result<(), Problem> {
        self.add(NewEvent::try_from(proposed)?)
    }

    /// The same of one that is understood already.
    pub(super) fn add(&mut self, event: NewEvent) -> Result<(), Problem> {
        let cost = event.size() + size_of::<NewEvent>();
        self.bytes += event.size();
        self.events.push(event);
        at_most(self.bytes, APPEND_BYTES_MAX, "bytes").map_err(AppendError::from)?;
        at_most(self.events.len(), APPEND_EVENTS_MAX, "events").map_err(AppendError::from)?;
        self.hold(cost)
    }

    /// Accounts for so many bytes that the append needs besides.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), Problem> {
        self.reception.hold(&mut self.held, bytes)
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
