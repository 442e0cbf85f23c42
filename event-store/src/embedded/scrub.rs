//! Scrubbing: sealed segments are read slowly, again and again, so that bytes which rot on the disk
//! are found while there is a backup that has them.
//!
//! What is damaged is named and remembered, as what reads meet is; everything else is served as
//! before. The indexes are not read: damage in them is met and mended by whoever reads there, or by
//! `verify`.

mod pass;

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use super::pace::Stop;
use super::store::EmbeddedStore;
use crate::error::StoreError;
use crate::limits::SCRUB_BYTES_PER_SECOND;
use crate::log::Rot;
use pass::Pass;

/// How to scrub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubOptions {
    bytes_per_second: u64,
}

impl Default for ScrubOptions {
    fn default() -> Self {
        Self { bytes_per_second: SCRUB_BYTES_PER_SECOND }
    }
}

impl ScrubOptions {
    /// The same, but reading no faster than this, in bytes a second. Zero counts as one.
    #[must_use]
    pub fn bytes_per_second(self, bytes_per_second: u64) -> Self {
        Self { bytes_per_second }
    }
}

/// What a scrub did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// How many segments it read.
    pub segments: u64,
    /// How many bytes.
    pub bytes: u64,
    /// How many of the segments are damaged.
    pub rotten: u64,
    /// Whether it came to the end of the log; else the store was closed, and the next goes on
    /// there.
    pub completed: bool,
}

/// Lets one scrub at a time be on its way.
#[derive(Default)]
pub(super) struct Scrubber {
    state: Mutex<State>,
    ended: Condvar,
    stop: Stop,
}

#[derive(Default)]
struct State {
    running: bool,
    closed: bool,
}

/// Sees to it that a scrub does not count as running when it is gone.
struct Running<'a>(&'a Scrubber);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.lock().running = false;
        self.0.ended.notify_all();
    }
}

impl Scrubber {
    /// Ends a scrub that is on its way, waits for that, and lets no other begin.
    pub(super) fn close(&self) {
        self.stop.set(true);
        let mut state = self.lock();
        state.closed = true;
        let running = |state: &mut State| state.running;
        drop(self.ended.wait_while(state, running).unwrap_or_else(PoisonError::into_inner));
    }

    /// Only one scrub is on its way at a time; none when the store is closed.
    fn begin(&self) -> Option<Running<'_>> {
        let mut state = self.lock();
        if state.running || state.closed {
            return None;
        }
        state.running = true;
        Some(Running(self))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EmbeddedStore {
    /// Reads every sealed segment once, those that were found damaged first, then from where the
    /// last scrub was when its store was closed, and checks every byte and the hash chain of each,
    /// while the store serves. What is damaged is told in the log and by [`rot`](Self::rot), and is
    /// no error. Does nothing when another scrub is on its way.
    ///
    /// # Errors
    /// When a file can't be read.
    pub async fn scrub(&self, options: ScrubOptions) -> Result<Scrubbed, StoreError> {
        let scrub = move |shared: &super::Shared| match shared.scrubber.begin() {
            None => Ok(Scrubbed::default()),
            Some(_running) => {
                Pass::new(shared, &shared.scrubber.stop, options.bytes_per_second).run()
            }
        };
        self.shared.blocking(scrub).await
    }

    /// Which segments scrubs and reads found damaged, before this opening too: each until a scrub
    /// or a verification finds it whole.
    pub fn rot(&self) -> Vec<Rot> {
        self.shared.findings.rot()
    }

    /// When the last scrub came to the end of a log that was whole; `None` when none did, one was
    /// begun since, or something was found damaged.
    pub fn last_scrub(&self) -> Option<DateTime<Utc>> {
        self.shared.findings.ended()
    }
}
