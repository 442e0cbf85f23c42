//! An event by which a log is known again: a server may come back with another one, and to it a
//! subscription must not be resumed.

use futures::stream::TryStreamExt;

use super::connection::Connection;
use super::read;
use crate::error::{ReadError, StoreError};
use crate::event::{EventId, RecordedEvent};
use crate::position::Position;
use crate::read::{ReadAll, ReadStream};
use crate::stream::{Revision, StreamName};

/// What is said of another log in the place of the one that was followed.
const EXCHANGED: &str = "another log is in the place of the one that was followed";

/// The last event that was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchor {
    position: Position,
    id: EventId,
}

impl Anchor {
    /// This event.
    pub(super) fn of(event: &RecordedEvent) -> Self {
        Self { position: event.position, id: event.id }
    }

    /// The event at this position; `None` when it is gone.
    pub(super) async fn at(
        connection: &Connection,
        position: Position,
    ) -> Result<Option<Self>, StoreError> {
        let found = first_from(connection, position).await?;
        Ok(found.filter(|anchor| anchor.position == position))
    }

    /// The event of a stream at this revision; `None` when it is gone.
    pub(super) async fn in_stream(
        connection: &Connection,
        stream: &StreamName,
        revision: Revision,
    ) -> Result<Option<Self>, StoreError> {
        let one = ReadStream::forward(stream.clone()).from(revision).limit(1);
        let found = match read::stream_now(connection, one).await {
            Ok(mut events) => events.try_next().await,
            Err(error) => Err(error),
        };
        match found {
            Ok(event) => {
                Ok(event.filter(|event| event.revision == revision).as_ref().map(Self::of))
            }
            Err(ReadError::Store(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// That the log has this event, or had it before it was deleted.
    pub(super) async fn check(self, connection: &Connection) -> Result<(), StoreError> {
        let is_there = match first_from(connection, self.position).await? {
            Some(found) if found.position == self.position => found.id == self.id,
            Some(_) => true,
            None => read::head(connection).await? >= self.position,
        };
        is_there.then_some(()).ok_or_else(|| StoreError::Unavailable { reason: EXCHANGED.into() })
    }
}

async fn first_from(
    connection: &Connection,
    position: Position,
) -> Result<Option<Anchor>, StoreError> {
    let one = ReadAll::forward().from(position).limit(1);
    let found = match read::all(connection, one).await {
        Ok(mut events) => events.try_next().await,
        Err(error) => Err(error),
    };
    match found {
        Ok(event) => Ok(event.as_ref().map(Anchor::of)),
        Err(ReadError::Store(error)) => Err(error),
        Err(other) => Err(StoreError::Unavailable { reason: other.to_string().into() }),
    }
}
