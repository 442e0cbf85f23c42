//! How far the log was followed, and which runs were not over there.
//!
//! Kept as the last event of a stream of its own. A start reads this one event and follows the log
//! from there: neither the log nor the streams of runs that are over are read again.
//!
//! The event names every run that is not over, about 60 bytes each, so the largest event that the
//! store takes has room for some 200,000. Beyond that it is not saved any more, which is logged:
//! nothing is lost, but starts read ever more of the log.

use std::collections::BTreeSet;

use bytes::Bytes;
use event_store::{
    AppendError, ContentType, EventId, EventStore, EventType, ExpectedRevision, NewEvent, Position,
    ReadError, StreamMetadata, StreamName,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

/// The type of the event that holds a checkpoint; a matter of the orchestrator, not of the domain.
const CHECKPOINT_TYPE: &str = "SagaCheckpointStored";

/// How many checkpoints are kept.
const CHECKPOINTS_KEPT: u64 = 1;

/// How far the log was followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Everything up to here was taken in.
    pub position: Position,
    /// The streams of the runs that had started by then, and were not over.
    pub unfinished: BTreeSet<String>,
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
        let last = match store.last_event(stream).await {
            Err(ReadError::StreamNotFound(_)) => None,
            last => last.map_err(CheckpointError::Read)?,
        };
        let Some(last) = last else {
            return Ok(Self::START);
        };
        serde_json::from_slice(&last.data)
            .map_err(|source| CheckpointError::Undecodable { stream: stream.clone(), source })
    }

    /// Saves it, in place of the last.
    pub async fn save(
        &self,
        store: &dyn EventStore,
        stream: &StreamName,
    ) -> Result<(), CheckpointError> {
        let data = serde_json::to_vec(self).expect("a checkpoint is plain data");
        let event = NewEvent {
            id: EventId(Uuid::now_v7()),
            event_type: EventType::new(CHECKPOINT_TYPE).expect("a short literal"),
            content_type: ContentType::Json,
            data: data.into(),
            metadata: Bytes::new(),
        };
        let appended = store.append(stream, ExpectedRevision::Any, vec![event]);
        let appended = appended.await.map_err(CheckpointError::Append)?;
        if appended.last_revision == Some(event_store::Revision::FIRST) {
            let metadata =
                StreamMetadata { max_count: Some(CHECKPOINTS_KEPT), ..StreamMetadata::default() };
            let kept = store.set_stream_metadata(stream, ExpectedRevision::Any, metadata);
            kept.await.map_err(CheckpointError::Append)?;
        }
        Ok(())
    }
}
