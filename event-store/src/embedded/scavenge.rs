//! Scavenging: giving back the bytes of events that no reader can see any more, while the store
//! serves.
//!
//! A pass goes through the sealed segments from old to new. Of each it asks which events are hidden
//! (`hidden`), and writes it anew without them where that is worth it (`pass`). It has a thread of
//! its own (`running`), which works no faster than it may.

mod hidden;
mod mark;
mod pass;
mod running;

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use thiserror::Error;

use super::store::EmbeddedStore;
use crate::error::StoreError;
use crate::limits::{SCAVENGE_BYTES_PER_SECOND, SCAVENGE_PERCENT};

pub(super) use mark::ScavengeMark;

pub(super) use running::Scavenger;

/// How to scavenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScavengeOptions {
    least_percent: u8,
    bytes_per_second: u64,
    afresh: bool,
}

impl Default for ScavengeOptions {
    fn default() -> Self {
        let bytes_per_second = SCAVENGE_BYTES_PER_SECOND;
        Self { least_percent: SCAVENGE_PERCENT, bytes_per_second, afresh: false }
    }
}

impl ScavengeOptions {
    /// The same, but a segment is written anew only where that gives back so many percent of it at
    /// least; with zero, wherever an event can be reclaimed, so that none stays on the disk.
    #[must_use]
    pub fn least_percent(self, least_percent: u8) -> Self {
        Self { least_percent, ..self }
    }

    /// The same, but reading no faster than this, in bytes a second; it writes no more than it
    /// reads. Zero counts as one.
    #[must_use]
    pub fn bytes_per_second(self, bytes_per_second: u64) -> Self {
        Self { bytes_per_second, ..self }
    }

    /// The same, but from the first segment on, also where a pass that was stopped could go on.
    #[must_use]
    pub fn afresh(self) -> Self {
        Self { afresh: true, ..self }
    }
}

/// How far a pass has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScavengeProgress {
    /// How many sealed segments were looked at, those included that the stopped pass had done which
    /// this one goes on with.
    pub segments_done: u64,
    /// How many there are to look at.
    pub segments: u64,
    /// How many of them were written anew.
    pub segments_rewritten: u64,
    /// How many events were reclaimed.
    pub events_reclaimed: u64,
    /// By how much the segments have become smaller, in bytes.
    pub bytes_given_back: u64,
}

/// What scavenging does, or did last since the store was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScavengeStatus {
    /// It was never asked for.
    Idle,
    /// A pass is on its way.
    Running(ScavengeProgress),
    /// The last pass was stopped; the next goes on where it was.
    Stopped(ScavengeProgress),
    /// The last pass looked at all segments.
    Completed(ScavengeProgress),
    /// The last pass failed; the store is as good as before.
    Failed {
        /// How far it came.
        progress: ScavengeProgress,
        /// What went wrong.
        reason: Arc<str>,
    },
}

/// What a pass did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scavenged {
    /// How far it came.
    pub progress: ScavengeProgress,
    /// Whether it looked at all segments; else it was stopped.
    pub completed: bool,
}

/// Why scavenging failed. What was done of it stays done; nothing that can be seen is lost.
#[derive(Clone, Debug, Error)]
pub enum ScavengeError {
    /// Another pass is on its way.
    #[error("the event store is being scavenged already")]
    Running,
    /// The store can't; a full disk among others, for a segment is written anew beside the old one.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl EmbeddedStore {
    /// Reclaims the events of sealed segments that no reader can see any more, and gives their
    /// bytes back to the disk; returns when that is done or stopped. Meanwhile the store serves.
    /// Goes on with a pass that was stopped or killed.
    ///
    /// Hidden are, as of now: what `$maxCount`, `$maxAge` and `$tb` leave out, what was deleted,
    /// and all but the last of the metadata of a stream. The last event of a stream is kept, hidden
    /// or not, for its number: only of a stream that was deleted for good nothing but that is kept,
    /// and none of its metadata. Always the first events of a stream go.
    ///
    /// Afterwards a read of the whole log does not give them any more. A read of a stream as of a
    /// moment at which they were seen is refused as
    /// [`ReadError::Reclaimed`](crate::ReadError::Reclaimed). A retry of an append of reclaimed
    /// events is not recognised: with an exact revision it is refused.
    ///
    /// Dropping the future does not stop it: [`stop_scavenge`](Self::stop_scavenge) does.
    pub async fn scavenge(&self, options: ScavengeOptions) -> Result<Scavenged, ScavengeError> {
        self.begin_scavenge(options)?.await
    }

    /// The same in two steps: it is on its way when this returns, and has ended when what is
    /// returned has.
    pub(crate) fn begin_scavenge(
        &self,
        options: ScavengeOptions,
    ) -> Result<BoxFuture<'static, Result<Scavenged, ScavengeError>>, ScavengeError> {
        let outcome = running::start(&self.shared, options)?;
        let ended = async { outcome.await.unwrap_or_else(|_| Err(running::panicked().into())) };
        Ok(ended.boxed())
    }

    /// Lets a pass that is on its way end soon; returns whether there is one.
    pub fn stop_scavenge(&self) -> bool {
        self.shared.scavenger.stop()
    }

    /// How scavenging goes, or went.
    pub fn scavenge_status(&self) -> ScavengeStatus {
        self.shared.scavenger.status()
    }
}
