//! A projection at work, as others see it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::Ended;
use super::partitions::Partitions;
use super::place::Place;
use crate::position::Position;

/// How far a projection is, and what it holds.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub partitions: Partitions,
    /// The state that all partitions share.
    pub shared: Option<Arc<str>>,
    pub place: Option<Place>,
    /// The position of that place in the log.
    pub position: Option<Position>,
    /// Up to where all is written.
    pub checkpoint: Option<Place>,
    /// How many events were handled since it was started.
    pub handled: u64,
    pub is_live: bool,
    /// How long handling them took.
    pub busy: Duration,
    /// Events that wait to be handled.
    pub buffered: usize,
    pub is_writing: bool,
    /// What keeps it from its work just now.
    pub trouble: Option<String>,
    /// Why it has stopped by itself.
    pub ended: Option<Ended>,
}

/// The same, shared between who works and who looks.
#[derive(Debug, Default)]
pub(super) struct Live(Mutex<Progress>);

impl Live {
    pub(super) fn now(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
