//! Streams to states: now, or as of a moment of the past.

use std::collections::HashMap;

use event_store::{
    AsOf, EventStore, Position, ReadError, ReadStream, Revision, StoreError, StreamName,
};
use futures::TryStreamExt;
use thiserror::Error;
use uuid::Uuid;

use crate::decider::Decider;
use crate::encoding::{Decoded, UnreadableEvent, decode};

/// Why a stream can't be folded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// An event can't be read.
    #[error(transparent)]
    Unreadable(#[from] UnreadableEvent),
    /// Events are missing between two that were read.
    #[error("stream {stream} goes on with revision {found}, not {expected}")]
    Gap {
        /// Which stream.
        stream: StreamName,
        /// The revision that should have followed.
        expected: Revision,
        /// The revision that did.
        found: Revision,
    },
    /// The stream was deleted for good.
    #[error("stream {0} is deleted")]
    Deleted(StreamName),
    /// Of what the stream was at that moment of the past, something has been reclaimed.
    #[error("what stream {0} was at that moment has been reclaimed in part")]
    Reclaimed(StreamName),
    /// The store can't.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ReadError> for LoadError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::StreamDeleted(stream) => Self::Deleted(stream),
            ReadError::Reclaimed(stream) => Self::Reclaimed(stream),
            // Asking for a whole stream sets no filter and no bound, and one that is not there
            // folds to nothing.
            ReadError::StreamNotFound(_)
            | ReadError::BadFilter(_)
            | ReadError::ScanEnded { .. } => {
                Self::Store(StoreError::Unavailable { reason: error.to_string().into() })
            }
            ReadError::Store(error) => Self::Store(error),
        }
    }
}

/// A stream, folded.
#[derive(Clone, Debug)]
pub struct Folded<A> {
    /// The state after the last event.
    pub state: A,
    /// The revision of the last event; `None` when there is none.
    pub revision: Option<Revision>,
    /// The position of the last event; [`Position::START`] when there is none.
    pub position: Position,
    /// Which commands were carried out, each with the revision of its first event.
    pub(crate) commands: HashMap<Uuid, Revision>,
}

impl<A: Decider> Default for Folded<A> {
    fn default() -> Self {
        Self {
            state: A::default(),
            revision: None,
            position: Position::START,
            commands: HashMap::new(),
        }
    }
}

impl<A: Decider> Folded<A> {
    /// The revision that the next event will have.
    pub fn next_revision(&self) -> Revision {
        self.revision.map_or(Revision::FIRST, Revision::next)
    }

    /// Folds what has come since; whether that was anything.
    ///
    /// After an error it is as it was, or further on: never between two events.
    pub(crate) async fn refresh(
        &mut self,
        store: &dyn EventStore,
        stream: &StreamName,
        as_of: Option<AsOf>,
    ) -> Result<bool, LoadError> {
        let next = self.next_revision();
        let mut read = ReadStream::forward(stream.clone()).from(next);
        read.as_of = as_of;
        let mut events = match store.read_stream(read).await {
            Ok(events) => events,
            Err(ReadError::StreamNotFound(_)) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        while let Some(recorded) = events.try_next().await? {
            let expected = self.next_revision();
            if recorded.revision != expected {
                let (stream, found) = (stream.clone(), recorded.revision);
                return Err(LoadError::Gap { stream, expected, found });
            }
            self.fold(decode(&recorded)?);
        }
        Ok(self.next_revision() != next)
    }

    fn fold(&mut self, decoded: Decoded<A::Event>) {
        if let Some(command) = decoded.metadata.command {
            self.commands.insert(command.id, decoded.revision);
        }
        self.state.evolve(decoded.event);
        self.revision = Some(decoded.revision);
        self.position = decoded.position;
    }

    /// Folds what a command has just appended.
    pub(crate) fn fold_appended(
        &mut self,
        command_id: Uuid,
        events: &[A::Event],
        position: Position,
    ) {
        self.commands.insert(command_id, self.next_revision());
        for event in events {
            self.state.evolve(event.clone());
            self.revision = Some(self.next_revision());
        }
        self.position = position;
    }
}

/// Folds a stream, whole or as of a moment of the past. One that is not there folds to nothing.
pub async fn load<A: Decider>(
    store: &dyn EventStore,
    stream: &StreamName,
    as_of: Option<AsOf>,
) -> Result<Folded<A>, LoadError> {
    let mut folded = Folded::default();
    folded.refresh(store, stream, as_of).await?;
    Ok(folded)
}
