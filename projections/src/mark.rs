//! Marks: an event by which a log is known again. Positions say nothing across logs, as each counts
//! its own.

use event_store::{EventId, EventStore, Position, ReadAll, ReadError, RecordedEvent, has_event};
use futures::StreamExt as _;
use thiserror::Error;

/// An event that was in the log, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) position: Position,
    pub(crate) id: EventId,
}

/// Why a log is not taken for the one that was followed, or can't be looked at.
#[derive(Debug, Error)]
pub(crate) enum LogError {
    /// It ends before what was taken from it.
    #[error("the log ends at {head}, before {reached}, up to which it was taken in")]
    Behind { head: Position, reached: Position },
    /// Another event is where the mark was.
    #[error("the event at {0} is another one than was taken in there")]
    Another(Position),
    #[error("the log can't be read")]
    Read(#[from] ReadError),
}

impl LogError {
    /// Whether it is another log; else it can't be told just now.
    pub(crate) fn is_of_the_log(&self) -> bool {
        matches!(self, Self::Behind { .. } | Self::Another(_))
    }
}

impl Mark {
    /// This event.
    pub(crate) fn of(event: &RecordedEvent) -> Self {
        Self { position: event.position, id: event.id }
    }

    /// The event at this position; `None` when it is gone, or there never was one.
    pub(crate) async fn at(
        store: &dyn EventStore,
        position: Position,
    ) -> Result<Option<Self>, ReadError> {
        let found = first_from(store, position).await?;
        Ok(found.filter(|mark| mark.position == position))
    }

    /// The log's last event; `None` when it has none.
    pub(crate) async fn last(store: &dyn EventStore) -> Result<Option<Self>, ReadError> {
        let read = ReadAll::backward().limit(1);
        let found = store.read_all(read).await?.next().await.transpose()?;
        Ok(found.as_ref().map(Self::of))
    }

    /// Whether the log has this event, or had it before it was deleted.
    pub(crate) async fn is_in(&self, store: &dyn EventStore) -> Result<bool, ReadError> {
        has_event(store, self.position, self.id).await
    }
}

/// Whether a log that was taken in up to `reached`, and had the mark there or before, is this one.
pub(crate) async fn check(
    store: &dyn EventStore,
    reached: Position,
    mark: Option<Mark>,
) -> Result<(), LogError> {
    let head = store.head().await.map_err(ReadError::from)?;
    if head < reached {
        return Err(LogError::Behind { head, reached });
    }
    match mark {
        Some(mark) if !mark.is_in(store).await? => Err(LogError::Another(mark.position)),
        _ => Ok(()),
    }
}

async fn first_from(store: &dyn EventStore, position: Position) -> Result<Option<Mark>, ReadError> {
    let read = ReadAll::forward().from(position).limit(1);
    let found = store.read_all(read).await?.next().await.transpose()?;
    Ok(found.as_ref().map(Mark::of))
}
