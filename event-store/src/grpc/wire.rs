//! The protocol's types and the port's, one into the other.

use std::collections::HashMap;
use std::time::SystemTime;

use prost_types::Timestamp;
use uuid::Uuid;

use super::problem::Problem;
use super::proto::event_store::client as sent;
use super::proto::event_store::client::streams::read_req::options::{UuidOption, uuid_option};
use super::proto::event_store::client::streams::read_resp;
use super::proto::event_store::client::streams::{
    append_req, batch_append_req, delete_req, tombstone_req,
};
use crate::event::{ContentType, EventId, EventType, NewEvent, RecordedEvent};
use crate::stream::{ExpectedRevision, Revision, StreamName};

/// The properties that every offered event must name.
const TYPE: &str = "type";
const CONTENT_TYPE: &str = "content-type";
const CREATED: &str = "created";
const JSON: &str = "application/json";
const BINARY: &str = "application/octet-stream";

/// The protocol counts time in 100 ns.
const TICKS_PER_MICROSECOND: i64 = 10;

/// How a client wants identities written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum UuidForm {
    Text,
    Structured,
}

impl UuidForm {
    /// The form that a client asks for, which it must.
    pub(super) fn asked(option: Option<UuidOption>) -> Result<Self, Problem> {
        match option.and_then(|option| option.content) {
            Some(uuid_option::Content::String(_)) => Ok(Self::Text),
            Some(uuid_option::Content::Structured(_)) => Ok(Self::Structured),
            None => Err(Problem::BadRequest("the form of UUIDs is missing".to_owned())),
        }
    }
}

pub(super) fn uuid(id: Uuid, form: UuidForm) -> sent::Uuid {
    let value = match form {
        UuidForm::Text => sent::uuid::Value::String(id.to_string()),
        UuidForm::Structured => {
            let (most, least) = id.as_u64_pair();
            sent::uuid::Value::Structured(sent::uuid::Structured {
                most_significant_bits: most.cast_signed(),
                least_significant_bits: least.cast_signed(),
            })
        }
    };
    sent::Uuid { value: Some(value) }
}

/// Reads an identity in either form; absent or nil is none.
pub(super) fn identity(id: Option<sent::Uuid>) -> Result<Uuid, Problem> {
    let read = match id.and_then(|id| id.value) {
        Some(sent::uuid::Value::String(text)) => Uuid::parse_str(&text).ok(),
        Some(sent::uuid::Value::Structured(halves)) => Some(Uuid::from_u64_pair(
            halves.most_significant_bits.cast_unsigned(),
            halves.least_significant_bits.cast_unsigned(),
        )),
        None => None,
    };
    read.filter(|id| !id.is_nil())
        .ok_or_else(|| Problem::BadRequest("an id is missing or not a UUID".to_owned()))
}

pub(super) fn stream_name(name: Option<sent::StreamIdentifier>) -> Result<StreamName, Problem> {
    let name = name.ok_or_else(|| Problem::BadRequest("the stream is missing".to_owned()))?;
    let text = std::str::from_utf8(&name.stream_name)
        .map_err(|_| Problem::BadRequest("the stream's name is not UTF-8".to_owned()))?;
    let refused = |error| Problem::BadRequest(format!("stream: {error}"));
    match text.strip_prefix("$$") {
        // What is allowed as a name may have metadata, whose stream's name is longer by two.
        Some(subject) if !subject.is_empty() => {
            StreamName::new(subject).map_err(refused)?;
            Ok(StreamName::recorded(text))
        }
        _ => StreamName::new(text).map_err(refused),
    }
}

pub(super) fn stream_identifier(name: &StreamName) -> sent::StreamIdentifier {
    sent::StreamIdentifier { stream_name: name.as_str().into() }
}

/// An event as a client offers it, whichever call it came by.
pub(super) struct Proposed {
    pub id: Option<sent::Uuid>,
    pub metadata: HashMap<String, String>,
    pub custom_metadata: Vec<u8>,
    pub data: Vec<u8>,
}

impl From<append_req::ProposedMessage> for Proposed {
    fn from(message: append_req::ProposedMessage) -> Self {
        Self {
            id: message.id,
            metadata: message.metadata,
            custom_metadata: message.custom_metadata,
            data: message.data,
        }
    }
}

impl From<batch_append_req::ProposedMessage> for Proposed {
    fn from(message: batch_append_req::ProposedMessage) -> Self {
        Self {
            id: message.id,
            metadata: message.metadata,
            custom_metadata: message.custom_metadata,
            data: message.data,
        }
    }
}

impl TryFrom<Proposed> for NewEvent {
    type Error = Problem;

    fn try_from(proposed: Proposed) -> Result<Self, Problem> {
        let property = |name| proposed.metadata.get(name).ok_or(Problem::MissingMetadata);
        let event_type = EventType::new(property(TYPE)?)
            .map_err(|error| Problem::BadRequest(format!("event type: {error}")))?;
        let content_type = match property(CONTENT_TYPE)?.as_str() {
            JSON => ContentType::Json,
            _ => ContentType::Binary,
        };
        Ok(Self {
            id: EventId(identity(proposed.id)?),
            event_type,
            content_type,
            data: proposed.data.into(),
            metadata: proposed.custom_metadata.into(),
        })
    }
}

pub(super) fn recorded(
    event: RecordedEvent,
    form: UuidForm,
) -> read_resp::read_event::RecordedEvent {
    let content_type = match event.content_type {
        ContentType::Json => JSON,
        ContentType::Binary => BINARY,
    };
    let created = event.recorded_at.timestamp_micros() * TICKS_PER_MICROSECOND;
    let metadata = HashMap::from([
        (TYPE.to_owned(), event.event_type.as_str().to_owned()),
        (CONTENT_TYPE.to_owned(), content_type.to_owned()),
        (CREATED.to_owned(), created.to_string()),
    ]);
    read_resp::read_event::RecordedEvent {
        id: Some(uuid(event.id.0, form)),
        stream_identifier: Some(stream_identifier(&event.stream)),
        stream_revision: event.revision.get(),
        prepare_position: event.position.get(),
        commit_position: event.position.get(),
        metadata,
        custom_metadata: event.metadata,
        data: event.data,
    }
}

pub(super) fn now() -> Option<Timestamp> {
    Some(SystemTime::now().into())
}

/// What a writer expects is said with the same four words in every call, each with its own type.
macro_rules! expectation {
    ($($sent:ty => $revision:ident),+ $(,)?) => {$(
        impl From<$sent> for ExpectedRevision {
            fn from(expected: $sent) -> Self {
                type Sent = $sent;
                match expected {
                    Sent::$revision(number) => Self::Exactly(Revision::new(number)),
                    Sent::NoStream(_) => Self::NoStream,
                    Sent::Any(_) => Self::Any,
                    Sent::StreamExists(_) => Self::StreamExists,
                }
            }
        }
    )+};
}

expectation! {
    append_req::options::ExpectedStreamRevision => Revision,
    batch_append_req::options::ExpectedStreamPosition => StreamPosition,
    delete_req::options::ExpectedStreamRevision => Revision,
    tombstone_req::options::ExpectedStreamRevision => Revision,
}

/// An expectation that must be said.
pub(super) fn expected<T>(expected: Option<T>) -> Result<ExpectedRevision, Problem>
where
    ExpectedRevision: From<T>,
{
    expected
        .map(Into::into)
        .ok_or_else(|| Problem::BadRequest("the expected revision is missing".to_owned()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message as _;

    use super::super::proto::event_store::client::streams::BatchAppendReq;
    use super::*;

    /// Given a small event in a message that is much larger, as clients may send fields that are
    /// unknown here, then whoever keeps the event does not keep the message.
    #[test]
    fn an_event_holds_nothing_of_the_message_that_it_came_in() {
        let property = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let proposed = batch_append_req::ProposedMessage {
            id: Some(uuid(Uuid::from_u128(1), UuidForm::Text)),
            metadata: HashMap::from([property(TYPE, "Kept"), property(CONTENT_TYPE, JSON)]),
            custom_metadata: b"{}".to_vec(),
            data: b"{\"small\": true}".to_vec(),
        };
        let batch =
            BatchAppendReq { proposed_messages: vec![proposed], ..BatchAppendReq::default() };
        let mut sent = batch.encode_to_vec();
        let unknown_field = [0x7a, 0x80, 0x80, 0x40];
        sent.extend(unknown_field);
        sent.extend(vec![0; 1 << 20]);
        let message = Bytes::from(sent);
        let read = BatchAppendReq::decode(message.clone()).expect("a message");
        let event: Vec<_> = read.proposed_messages.into_iter().map(Proposed::from).collect();
        let event: Vec<_> = event.into_iter().map(NewEvent::try_from).collect();
        assert_eq!(event[0].as_ref().expect("an event").data, "{\"small\": true}");
        assert!(message.is_unique(), "the event keeps its message");
    }
}
