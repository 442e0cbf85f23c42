//! Events to what the store keeps of them, and back: data, metadata and identity.

use bytes::Bytes;
use event_schemas::{CommandRecord, DecodeError, EventFamily, Metadata};
use event_store::{
    ContentType, EventId, EventType, NewEvent, Position, RecordedEvent, Revision, StreamName,
};
use thiserror::Error;
use uuid::Uuid;

use crate::context::CommandContext;

/// An event of a family, as it was recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded<E> {
    /// The event, at the latest version of its schema.
    pub event: E,
    /// What is known about it.
    pub metadata: Metadata,
    /// Its place in its stream.
    pub revision: Revision,
    /// Its place among all events.
    pub position: Position,
}

/// Why a recorded event is not read. None of them is skipped: a decision on half a past is worse
/// than none.
#[derive(Debug, Error)]
pub enum UnreadableEvent {
    /// No type of the family has this name; a later release may have written it.
    #[error("event {revision} of stream {stream} has the unknown type {event_type}")]
    UnknownType {
        /// In which stream.
        stream: StreamName,
        /// Where in it.
        revision: Revision,
        /// The name of its type.
        event_type: EventType,
    },
    /// Its metadata is not ours.
    #[error("the metadata of event {revision} of stream {stream} is not readable")]
    Metadata {
        /// In which stream.
        stream: StreamName,
        /// Where in it.
        revision: Revision,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Its data is no JSON.
    #[error("the data of event {revision} of stream {stream} is no JSON")]
    NotJson {
        /// In which stream.
        stream: StreamName,
        /// Where in it.
        revision: Revision,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Its data is not of its type and version.
    #[error("event {revision} of stream {stream} is not of its type")]
    Data {
        /// In which stream.
        stream: StreamName,
        /// Where in it.
        revision: Revision,
        /// What is wrong.
        source: DecodeError,
    },
}

/// The events of one command as they are appended; the first carries the command's record.
///
/// Their ids follow from the command's identity and the place among its events. Stream and digest
/// are hashed in too: the store takes an id it knows for a retry, and another request under the
/// same identity is no retry.
pub fn encode<E: EventFamily>(
    stream: &StreamName,
    events: &[E],
    context: &CommandContext,
) -> Vec<NewEvent> {
    let count = u32::try_from(events.len()).expect("a command decides few events");
    let record = |index| {
        (index == 0).then(|| CommandRecord {
            id: context.command_id,
            digest: context.digest.clone(),
            events: count,
        })
    };
    events
        .iter()
        .enumerate()
        .map(|(index, event)| encode_one(stream, event, context, index, record(index)))
        .collect()
}

fn encode_one<E: EventFamily>(
    stream: &StreamName,
    event: &E,
    context: &CommandContext,
    index: usize,
    command: Option<CommandRecord>,
) -> NewEvent {
    let encoded = event.encode();
    let metadata = Metadata {
        schema_version: encoded.version,
        correlation_id: context.correlation_id,
        causation_id: context.causation_id,
        actor: context.actor.clone(),
        occurred_at: context.now,
        traceparent: context.traceparent.clone(),
        command,
    };
    let name = format!("{index} {stream} {}", context.digest);
    NewEvent {
        id: EventId(Uuid::new_v5(&context.command_id, name.as_bytes())),
        event_type: EventType::new(encoded.event_type).expect("types of families are short names"),
        content_type: ContentType::Json,
        data: Bytes::from(encoded.data.to_string()),
        metadata: serde_json::to_vec(&metadata)
            .expect("metadata is plain data with string keys")
            .into(),
    }
}

/// The event that was recorded.
pub fn decode<E: EventFamily>(recorded: &RecordedEvent) -> Result<Decoded<E>, UnreadableEvent> {
    let place = || (recorded.stream.clone(), recorded.revision);
    if !E::has(recorded.event_type.as_str()) {
        let (stream, revision) = place();
        let event_type = recorded.event_type.clone();
        return Err(UnreadableEvent::UnknownType { stream, revision, event_type });
    }
    let metadata: Metadata = serde_json::from_slice(&recorded.metadata).map_err(|source| {
        let (stream, revision) = place();
        UnreadableEvent::Metadata { stream, revision, source }
    })?;
    let data = serde_json::from_slice(&recorded.data).map_err(|source| {
        let (stream, revision) = place();
        UnreadableEvent::NotJson { stream, revision, source }
    })?;
    let event = E::decode(recorded.event_type.as_str(), metadata.schema_version, data).map_err(
        |source| {
            let (stream, revision) = place();
            UnreadableEvent::Data { stream, revision, source }
        },
    )?;
    let (revision, position) = (recorded.revision, recorded.position);
    Ok(Decoded { event, metadata, revision, position })
}
