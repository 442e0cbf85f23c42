//! Whether a log has an event, by which it is known again: positions say nothing across logs, as
//! each counts its own.

use futures::TryStreamExt;

use crate::error::ReadError;
use crate::event::EventId;
use crate::port::EventStore;
use crate::position::Position;
use crate::read::ReadAll;

/// Whether the log has this event at this position, or had one there that was deleted since.
///
/// # Errors
/// When the log can't be read.
pub async fn has_event(
    store: &dyn EventStore,
    position: Position,
    id: EventId,
) -> Result<bool, ReadError> {
    let first = ReadAll::forward().from(position).limit(1);
    Ok(match store.read_all(first).await?.try_next().await? {
        Some(found) if found.position == position => found.id == id,
        Some(_) => true,
        None => store.head().await? >= position,
    })
}
