//! Events: as they are offered to the store, and as the store has recorded them.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::InvalidName;
use crate::limits::EVENT_TYPE_BYTES_MAX;
use crate::position::Position;
use crate::stream::{Revision, StreamName};

/// The identity of an event, chosen by whoever appends it; appending it again appends nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub Uuid);

impl fmt::Display for EventId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The name of an event's type, 1 to [`EVENT_TYPE_BYTES_MAX`] bytes. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType(Arc<str>);

impl EventType {
    /// Checks and wraps a type's name.
    pub fn new(name: impl AsRef<str>) -> Result<Self, InvalidName> {
        let name = name.as_ref();
        match name.len() {
            0 => Err(InvalidName::Empty),
            length if length > EVENT_TYPE_BYTES_MAX => {
                Err(InvalidName::TooLong { length, max: EVENT_TYPE_BYTES_MAX })
            }
            _ => Ok(Self(name.into())),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What the bytes of an event's data are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentType {
    /// A JSON document.
    Json,
    /// Anything else.
    Binary,
}

/// An event that is to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Its identity, for idempotency.
    pub id: EventId,
    /// The name of its type.
    pub event_type: EventType,
    /// What `data` is.
    pub content_type: ContentType,
    /// The event itself.
    pub data: Bytes,
    /// What is known about it: JSON by convention, empty when there is nothing.
    pub metadata: Bytes,
}

impl NewEvent {
    /// An event of the store's own, with a name of its own for its type.
    pub(crate) fn system(
        id: EventId,
        event_type: &str,
        content_type: ContentType,
        data: impl Into<Bytes>,
    ) -> Self {
        let event_type = EventType::new(event_type).expect("the names of system events are short");
        Self { id, event_type, content_type, data: data.into(), metadata: Bytes::new() }
    }

    /// The same, with what is known about it.
    pub(crate) fn with_metadata(self, metadata: impl Into<Bytes>) -> Self {
        Self { metadata: metadata.into(), ..self }
    }

    /// The size that limits count, in bytes: data, metadata and twice the type's name.
    pub fn size(&self) -> usize {
        self.data.len() + self.metadata.len() + 2 * self.event_type.as_str().len()
    }
}

/// An event as the store holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Its identity.
    pub id: EventId,
    /// The stream it was appended to.
    pub stream: StreamName,
    /// Its place in that stream; gapless from zero.
    pub revision: Revision,
    /// Its place among all events.
    pub position: Position,
    /// The name of its type.
    pub event_type: EventType,
    /// What `data` is.
    pub content_type: ContentType,
    /// The event itself.
    pub data: Bytes,
    /// What is known about it.
    pub metadata: Bytes,
    /// When the store recorded it, in UTC to the microsecond; never runs backwards along positions.
    pub recorded_at: DateTime<Utc>,
}

impl RecordedEvent {
    /// The same, with bytes of its own: an event that was read shares those of what was read with
    /// it, which would be kept with one that waits.
    pub(crate) fn with_own_bytes(self) -> Self {
        let [data, metadata] = [&self.data, &self.metadata].map(|it| Bytes::copy_from_slice(it));
        Self { data, metadata, ..self }
    }
}
