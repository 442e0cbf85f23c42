//! What consumers get: an event, the link that led to it, or both.

use std::sync::Arc;

use futures::TryStreamExt;
use serde::Deserialize;

use super::settings::Strategy;
use crate::error::{ReadError, StoreError};
use crate::event::{EventId, RecordedEvent};
use crate::log::name_hash;
use crate::port::EventStore;
use crate::read::ReadStream;
use crate::stream::{Revision, StreamName};

/// The type of an event that points to another, and the sign between the two parts of its data.
pub(crate) const LINK_TYPE: &str = "$>";
const LINK_SEPARATOR: char = '@';

/// What holding a message costs beside its bytes, about.
const OVERHEAD_BYTES: usize = 512;

/// An event of a group's source, or what a link among them points to. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message(Arc<Kind>);

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Event(RecordedEvent),
    Link { link: RecordedEvent, target: Option<RecordedEvent> },
}

impl Message {
    /// An event as it stands in the source.
    pub(crate) fn event(event: RecordedEvent) -> Self {
        Self(Arc::new(Kind::Event(event.with_own_bytes())))
    }

    /// A link, and what it points to where that can be read.
    pub(super) fn link(link: RecordedEvent, target: Option<RecordedEvent>) -> Self {
        let target = target.map(RecordedEvent::with_own_bytes);
        Self(Arc::new(Kind::Link { link: link.with_own_bytes(), target }))
    }

    /// The event; `None` when a link led to what can't be read.
    pub fn content(&self) -> Option<&RecordedEvent> {
        match &*self.0 {
            Kind::Event(event) => Some(event),
            Kind::Link { target, .. } => target.as_ref(),
        }
    }

    /// The link that led to the event, where one was resolved.
    pub fn resolved_link(&self) -> Option<&RecordedEvent> {
        match &*self.0 {
            Kind::Event(_) => None,
            Kind::Link { link, .. } => Some(link),
        }
    }

    /// The event that stands in the source: the link, or else the event.
    pub fn original(&self) -> &RecordedEvent {
        match &*self.0 {
            Kind::Event(event) => event,
            Kind::Link { link, .. } => link,
        }
    }

    /// What consumers call it when they acknowledge it: the id of the original.
    pub fn id(&self) -> EventId {
        self.original().id
    }

    /// What holding it costs, in bytes.
    pub(super) fn size(&self) -> usize {
        let of = |event: &RecordedEvent| {
            event.data.len() + event.metadata.len() + event.stream.as_str().len() + OVERHEAD_BYTES
        };
        self.content().map_or(0, of) + self.resolved_link().map_or(0, of)
    }

    /// The data of a link that points to the event: through another link when that can't be read.
    pub(super) fn link_data(&self) -> String {
        match (self.content(), self.resolved_link()) {
            (Some(event), _) => format!("{}{LINK_SEPARATOR}{}", event.revision, event.stream),
            (None, Some(link)) => String::from_utf8_lossy(&link.data).into_owned(),
            (None, None) => String::new(),
        }
    }

    /// What pins it: messages with the same affinity are not to be with two consumers at once.
    pub(super) fn affinity(&self, strategy: Strategy) -> u64 {
        if strategy == Strategy::PinnedByCorrelation
            && let Some(id) = self.content().and_then(correlation_id)
        {
            return name_hash(&id);
        }
        let event = self.content().unwrap_or_else(|| self.original());
        match target_of(event) {
            Some((_, stream)) => name_hash(stream.as_str()),
            None => name_hash(event.stream.as_str()),
        }
    }
}

/// What a link points to, if this is one: `<revision>@<stream>`.
fn target_of(event: &RecordedEvent) -> Option<(Revision, StreamName)> {
    if event.event_type.as_str() != LINK_TYPE {
        return None;
    }
    let (revision, stream) = std::str::from_utf8(&event.data).ok()?.split_once(LINK_SEPARATOR)?;
    // Metadata of a stream may have a longer name than is taken from callers.
    let stream = (!stream.is_empty()).then(|| StreamName::recorded(stream))?;
    Some((Revision::new(revision.parse().ok()?), stream))
}

/// `$correlationId` in the metadata of an event, by convention a text.
fn correlation_id(event: &RecordedEvent) -> Option<String> {
    #[derive(Deserialize)]
    struct Correlated {
        #[serde(rename = "$correlationId")]
        id: String,
    }
    serde_json::from_slice(&event.metadata).ok().map(|Correlated { id }| id)
}

/// The message that this event makes when links are followed.
pub(crate) async fn resolve(
    store: &dyn EventStore,
    event: RecordedEvent,
) -> Result<Message, StoreError> {
    if event.event_type.as_str() != LINK_TYPE {
        return Ok(Message::event(event));
    }
    let Some((revision, stream)) = target_of(&event) else {
        return Ok(Message::link(event, None));
    };
    let read = ReadStream::forward(stream).from(revision).limit(1);
    let found = match store.read_stream(read).await {
        Ok(mut reader) => reader.try_next().await,
        Err(error) => Err(error),
    };
    match found {
        Ok(target) => Ok(Message::link(event, target.filter(|it| it.revision == revision))),
        Err(ReadError::Store(error)) => Err(error),
        Err(_) => Ok(Message::link(event, None)),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;
    use crate::event::{ContentType, EventType};
    use crate::position::Position;

    /// Given events that are small parts of much that was read at once, when they wait in a group,
    /// then nothing else of it is kept.
    #[test]
    fn a_message_keeps_nothing_of_what_was_read_with_it() {
        let read = Bytes::from(vec![b'1'; 1 << 20]);
        let event = |at| RecordedEvent {
            id: EventId(Uuid::nil()),
            stream: StreamName::new("track-1").unwrap(),
            revision: Revision::FIRST,
            position: Position::new(1),
            event_type: EventType::new("Numbered").unwrap(),
            content_type: ContentType::Json,
            data: read.slice(at..at + 1),
            metadata: read.slice(at + 1..at + 3),
            recorded_at: DateTime::UNIX_EPOCH,
        };
        let waiting = [Message::event(event(0)), Message::link(event(4), Some(event(8)))];
        assert!(read.is_unique(), "the messages keep it: {waiting:?}");
    }
}
