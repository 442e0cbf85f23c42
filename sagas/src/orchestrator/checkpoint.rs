//! How far the log was followed, and which runs were not over there.
//!
//! Kept in a stream of its own: one event that tells everything, then events that tell what has
//! changed since. When they tell as much as there is to tell, everything is told once more and the
//! stream is cut off before that: so a saving costs what has changed, however many runs wait, and
//! a start reads no more than twice what there is.
//!
//! The event that tells everything names every run that is not over, about 60 bytes each, so the
//! largest event that the store takes has room for some 200,000. Beyond that no more is saved,
//! which is logged: nothing is lost, but starts read ever more of the log.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use event_store::{
    AppendError, Appended, ContentType, EventId, EventStore, EventType, ExpectedRevision, NewEvent,
    Position, ReadError, ReadStream, RecordedEvent, Revision, StreamMetadata, StreamName,
};
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

/// The type of the event that tells everything; a matter of the orchestrator, not of the domain.
const WHOLE_TYPE: &str = "SagaCheckpointStored";

/// The type of the events that tell what has changed.
const CHANGE_TYPE: &str = "SagaCheckpointMoved";

/// As much is told in changes before everything is told again, however few runs there are.
const CHANGES_MIN: usize = 1_000;

/// So often the position may move past what is of no interest before that is worth saving. What is
/// saved moves the position too, and must not be what it is saved again for.
const MOVES_UNSAVED_MAX: usize = 100;

/// How far the log was followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Everything up to here was taken in.
    pub position: Position,
    /// The streams of the runs that had started by then, and were not over.
    pub unfinished: BTreeSet<String>,
}

/// What has changed since the event before.
#[derive(Debug, Serialize, Deserialize)]
struct Change {
    position: Position,
    started: Vec<String>,
    over: Vec<String>,
}

/// Why a checkpoint could not be loaded or saved.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// It is not readable.
    #[error("the checkpoint in {stream} is not readable")]
    Undecodable {
        /// Where it is kept.
        stream: StreamName,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// It tells of more than was in the log before it: it was written to another one. Runs are not
    /// begun by it, as what they have done outside would be done again, or be left out.
    #[error(
        "the checkpoint in {stream} was written to another log: it stands at {at} and tells of \
         {position}; when the log is the right one, delete that stream, and runs go on from its \
         beginning"
    )]
    AnotherLog {
        /// Where it is kept.
        stream: StreamName,
        /// Where the event is that tells it.
        at: Position,
        /// Up to where it says that the log was followed.
        position: Position,
    },
    /// The log does not have what was taken in of it: another one is in its place. Nothing of that
    /// was written there.
    #[error("the log is another one than was followed up to {position}")]
    LogExchanged {
        /// Up to where it was followed.
        position: Position,
    },
    /// It could not be read.
    #[error("reading the checkpoint failed")]
    Read(#[source] ReadError),
    /// It could not be appended.
    #[error("saving the checkpoint failed")]
    Append(#[source] AppendError),
}

impl Checkpoint {
    /// Before everything.
    pub const START: Self = Self { position: Position::START, unfinished: BTreeSet::new() };

    /// The last one that was saved.
    pub async fn load(
        store: &dyn EventStore,
        stream: &StreamName,
    ) -> Result<Self, CheckpointError> {
        let mut events = match store.read_stream(ReadStream::backward(stream.clone())).await {
            Err(ReadError::StreamNotFound(_)) => return Ok(Self::START),
            events => events.map_err(CheckpointError::Read)?,
        };
        let mut checkpoint = Self::START;
        let mut changes: Vec<Change> = Vec::new();
        while let Some(event) = events.try_next().await.map_err(CheckpointError::Read)? {
            let told = if event.event_type.as_str() == WHOLE_TYPE {
                checkpoint = read(&event)?;
                checkpoint.position
            } else {
                let change: Change = read(&event)?;
                let told = change.position;
                changes.push(change);
                told
            };
            // It is in the log that it is of, so it comes behind all that it tells of.
            if told >= event.position {
                let (stream, at) = (stream.clone(), event.position);
                return Err(CheckpointError::AnotherLog { stream, at, position: told });
            }
            if event.event_type.as_str() == WHOLE_TYPE {
                break;
            }
        }
        for change in changes.into_iter().rev() {
            checkpoint.position = change.position;
            checkpoint.unfinished.extend(change.started);
            checkpoint.unfinished.retain(|run| change.over.binary_search(run).is_err());
        }
        Ok(checkpoint)
    }

    /// Saves it whole, in place of what was there.
    pub async fn save(
        &self,
        store: &dyn EventStore,
        stream: &StreamName,
    ) -> Result<Option<Revision>, CheckpointError> {
        let data = serde_json::to_vec(self).expect("a checkpoint is plain data");
        let appended = append(store, stream, ExpectedRevision::Any, WHOLE_TYPE, data).await;
        let revision = appended.map_err(CheckpointError::Append)?.last_revision;
        let metadata = StreamMetadata {
            truncate_before: revision.map(Revision::get),
            ..StreamMetadata::default()
        };
        let cut = store.set_stream_metadata(stream, ExpectedRevision::Any, metadata).await;
        cut.map_err(CheckpointError::Append)?;
        Ok(revision)
    }
}

/// The checkpoint of a runtime, as the log has moved it, and how much of that is saved.
pub(crate) struct Keeper {
    stream: StreamName,
    checkpoint: Checkpoint,
    /// What is not saved: the runs that have started, and those that are over.
    changed: BTreeMap<String, bool>,
    /// Whether something that matters was taken in since it was saved.
    matters: bool,
    /// How often it has moved past what does not matter since it was saved.
    moves: usize,
    /// `None` until it was saved whole: what another process has left is not built upon.
    saved: Option<Saved>,
}

struct Saved {
    /// The last event of the stream, as far as it is known here.
    revision: Revision,
    /// How much was told in changes since everything was told.
    changes: usize,
}

impl Keeper {
    pub(crate) async fn load(
        store: &dyn EventStore,
        stream: StreamName,
    ) -> Result<Self, CheckpointError> {
        let checkpoint = Checkpoint::load(store, &stream).await?;
        let changed = BTreeMap::new();
        Ok(Self { stream, checkpoint, changed, matters: false, moves: 0, saved: None })
    }

    pub(crate) fn position(&self) -> Position {
        self.checkpoint.position
    }

    pub(crate) fn unfinished(&self) -> &BTreeSet<String> {
        &self.checkpoint.unfinished
    }

    /// An event was taken in.
    pub(crate) fn took(&mut self, position: Position) {
        self.checkpoint.position = position;
        self.matters = true;
    }

    /// Up to here there was nothing to take in.
    pub(crate) fn passed(&mut self, position: Position) {
        self.moves += usize::from(position > self.checkpoint.position);
        self.checkpoint.position = position;
    }

    pub(crate) fn started(&mut self, run: &str) {
        if self.checkpoint.unfinished.insert(run.to_owned()) {
            self.changed.insert(run.to_owned(), true);
        }
    }

    pub(crate) fn over(&mut self, run: &str) {
        if self.checkpoint.unfinished.remove(run) {
            self.changed.insert(run.to_owned(), false);
        }
    }

    /// It is no run, so it never was to be in the list.
    pub(crate) fn leave_out(&mut self, run: &str) {
        self.over(run);
        self.matters = true;
    }

    /// Saves what is worth it.
    pub(crate) async fn save(&mut self, store: &dyn EventStore) -> Result<(), CheckpointError> {
        if !self.matters && self.moves < MOVES_UNSAVED_MAX {
            return Ok(());
        }
        self.check_log(store).await?;
        if !self.save_changes(store).await? {
            // Unless that succeeds, what is there is not known well enough to build upon.
            self.saved = None;
            let revision = self.checkpoint.save(store, &self.stream).await?;
            self.saved = revision.map(|revision| Saved { revision, changes: 0 });
        }
        self.changed.clear();
        (self.matters, self.moves) = (false, 0);
        Ok(())
    }

    /// That the log has come as far as it was followed. Where it was exchanged under this process,
    /// a checkpoint there would tell of another one.
    async fn check_log(&self, store: &dyn EventStore) -> Result<(), CheckpointError> {
        let head = store.head().await.map_err(|error| CheckpointError::Read(error.into()))?;
        if head < self.checkpoint.position {
            return Err(CheckpointError::LogExchanged { position: self.checkpoint.position });
        }
        Ok(())
    }

    /// Saves what has changed; false when everything has to be saved instead.
    async fn save_changes(&mut self, store: &dyn EventStore) -> Result<bool, CheckpointError> {
        let changes_max = self.checkpoint.unfinished.len().max(CHANGES_MIN);
        let Some(saved) = &mut self.saved else {
            return Ok(false);
        };
        // The event itself counts too: many that say little are as long to read.
        let changes = saved.changes + self.changed.len() + 1;
        if changes > changes_max {
            return Ok(false);
        }
        let runs = |started: bool| {
            let runs = self.changed.iter().filter(move |(_, is)| **is == started);
            runs.map(|(run, _)| run.clone()).collect()
        };
        let position = self.checkpoint.position;
        let change = Change { position, started: runs(true), over: runs(false) };
        let data = serde_json::to_vec(&change).expect("a change is plain data");
        // Nobody else's change may come between: what they left out is not known here.
        let expected = ExpectedRevision::Exactly(saved.revision);
        match append(store, &self.stream, expected, CHANGE_TYPE, data).await {
            Ok(appended) => {
                let revision = appended.last_revision.unwrap_or(saved.revision.next());
                *saved = Saved { revision, changes };
                Ok(true)
            }
            Err(AppendError::WrongExpectedRevision { .. }) => Ok(false),
            Err(error) => Err(CheckpointError::Append(error)),
        }
    }
}

async fn append(
    store: &dyn EventStore,
    stream: &StreamName,
    expected: ExpectedRevision,
    event_type: &str,
    data: Vec<u8>,
) -> Result<Appended, AppendError> {
    let event = NewEvent {
        id: EventId(Uuid::now_v7()),
        event_type: EventType::new(event_type).expect("a short literal"),
        content_type: ContentType::Json,
        data: data.into(),
        metadata: Bytes::new(),
    };
    store.append(stream, expected, vec![event]).await
}

fn read<'a, T: Deserialize<'a>>(event: &'a RecordedEvent) -> Result<T, CheckpointError> {
    serde_json::from_slice(&event.data)
        .map_err(|source| CheckpointError::Undecodable { stream: event.stream.clone(), source })
}

#[cfg(test)]
mod tests;
