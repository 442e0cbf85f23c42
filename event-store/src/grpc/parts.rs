//! How many parts a message has, before it is taken apart: each takes many times its bytes then.

use bytes::Buf as _;
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use tonic::Status;

use super::proto::event_store::client::streams::{AppendReq, BatchAppendReq};
use super::proto::kurrentdb::protocol::v2::streams::{AppendRecordsRequest, AppendRequest};
use super::route::MESSAGE_BYTES_MAX;
use super::several::refusal;
use crate::error::TooLarge;
use crate::limits::{APPEND_BYTES_MAX, APPEND_EVENTS_MAX};

/// Most parts of a message: as many events as an append may have, each with the two properties that
/// it must have, and one to spare.
pub(super) const PARTS_MAX: usize = 4 * APPEND_EVENTS_MAX;

/// How deep parts are within others at most, as far as `prost` takes them apart.
const DEPTH_MAX: usize = 100;

/// A message of which parts can be many, and large.
pub(super) trait ManyParts {
    /// The largest that is taken, in bytes.
    const BYTES_MAX: usize = MESSAGE_BYTES_MAX;

    /// The fields of which there can be many, and those on the way to them.
    fn fields() -> &'static Fields;

    /// Why one of so many bytes is not taken; clients know it by these words.
    fn too_large(_bytes: usize) -> Status {
        Status::resource_exhausted("Received message exceeds the maximum configured message size.")
    }
}

/// One message has all records of a stream, or of several.
const APPEND_MESSAGE_BYTES_MAX: usize = APPEND_BYTES_MAX + 1024 * 1024;

fn append_too_large(bytes: usize) -> Status {
    let (size, max) = (bytes, APPEND_BYTES_MAX);
    refusal::of_size("", &TooLarge::Append { size, max, unit: "bytes" })
}

/// Fields of a message.
pub(super) struct Fields(&'static [Field]);

struct Field {
    number: u32,
    /// Whether there can be many, beside each other.
    many: bool,
    within: &'static Fields,
}

const fn many(number: u32, within: &'static Fields) -> Field {
    Field { number, many: true, within }
}

const fn one(number: u32, within: &'static Fields) -> Field {
    Field { number, many: false, within }
}

static NONE: Fields = Fields(&[]);
static EVENT: Fields = Fields(&[many(2, &NONE)]);
static RECORD: Fields = Fields(&[many(2, &PROPERTY)]);
static PROPERTY: Fields = Fields(&[one(2, &VALUE)]);
/// A structure, or a list; each may be within the other.
static VALUE: Fields = Fields(&[one(5, &STRUCTURE), one(6, &LIST)]);
static STRUCTURE: Fields = Fields(&[many(1, &PROPERTY)]);
static LIST: Fields = Fields(&[many(1, &VALUE)]);

/// An event, and its properties.
impl ManyParts for AppendReq {
    fn fields() -> &'static Fields {
        static FIELDS: Fields = Fields(&[many(2, &EVENT)]);
        &FIELDS
    }
}

/// Events, and the properties of each.
impl ManyParts for BatchAppendReq {
    fn fields() -> &'static Fields {
        static FIELDS: Fields = Fields(&[many(3, &EVENT)]);
        &FIELDS
    }
}

/// Records, and the properties of each.
impl ManyParts for AppendRequest {
    const BYTES_MAX: usize = APPEND_MESSAGE_BYTES_MAX;

    fn fields() -> &'static Fields {
        static FIELDS: Fields = Fields(&[many(2, &RECORD)]);
        &FIELDS
    }

    fn too_large(bytes: usize) -> Status {
        append_too_large(bytes)
    }
}

/// The same, and checks.
impl ManyParts for AppendRecordsRequest {
    const BYTES_MAX: usize = APPEND_MESSAGE_BYTES_MAX;

    fn fields() -> &'static Fields {
        static FIELDS: Fields = Fields(&[many(1, &RECORD), many(2, &NONE)]);
        &FIELDS
    }

    fn too_large(bytes: usize) -> Status {
        append_too_large(bytes)
    }
}

/// Counts the parts of these fields, and those within them; bytes that are no message have none.
pub(super) fn count<M: ManyParts>(message: &[u8]) -> usize {
    let mut count = 0;
    // Whoever takes the message apart tells what is wrong with it.
    let _ = add(message, M::fields(), 0, &mut count);
    count
}

fn add(
    mut message: &[u8],
    Fields(fields): &Fields,
    depth: usize,
    count: &mut usize,
) -> Result<(), DecodeError> {
    if fields.is_empty() || depth > DEPTH_MAX {
        return Ok(());
    }
    while message.has_remaining() {
        let (number, kind) = decode_key(&mut message)?;
        let field = fields.iter().find(|field| field.number == number);
        let Some(field) = field.filter(|_| kind == WireType::LengthDelimited) else {
            skip_field(kind, number, &mut message, DecodeContext::default())?;
            continue;
        };
        *count += usize::from(field.many);
        let length = usize::try_from(decode_varint(&mut message)?).unwrap_or(usize::MAX);
        let (part, rest) = message.split_at(length.min(message.len()));
        add(part, field.within, depth + 1, count)?;
        message = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use prost::Message as _;
    use prost_types::value::Kind;
    use prost_types::{ListValue, Struct, Value};

    use super::super::proto::event_store::client::streams::batch_append_req::ProposedMessage;
    use super::super::proto::kurrentdb::protocol::v2::streams::{AppendRecord, ConsistencyCheck};
    use super::*;

    #[test]
    fn events_and_their_properties_are_counted() {
        let property = |number: u32| (format!("p{number}"), "x".to_owned());
        let events = [0, 1, 5].map(|properties| ProposedMessage {
            metadata: HashMap::from_iter((0..properties).map(property)),
            data: vec![3; 300],
            ..ProposedMessage::default()
        });
        let batch = BatchAppendReq {
            proposed_messages: events.to_vec(),
            is_final: true,
            ..BatchAppendReq::default()
        };
        let bytes = batch.encode_to_vec();
        assert_eq!(count::<BatchAppendReq>(&bytes), 3 + 6);
        // Cut off or not, no more are counted than there are.
        for end in 0..bytes.len() {
            assert!(count::<BatchAppendReq>(&bytes[..end]) <= 3 + 6);
        }
        assert_eq!(count::<BatchAppendReq>(&[0x1a, 0].repeat(1000)), 1000);
        assert_eq!(count::<BatchAppendReq>(&[0xff; 40]), 0);
    }

    fn text(text: &str) -> Value {
        Value { kind: Some(Kind::StringValue(text.to_owned())) }
    }

    fn record(properties: impl IntoIterator<Item = (&'static str, Value)>) -> AppendRecord {
        let properties =
            properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        AppendRecord { properties, data: vec![3; 300], ..AppendRecord::default() }
    }

    #[test]
    fn records_and_what_is_within_their_properties_are_counted() {
        let list = |values| Value { kind: Some(Kind::ListValue(ListValue { values })) };
        let structure = |value| {
            let fields = [("within".to_owned(), value)].into();
            Value { kind: Some(Kind::StructValue(Struct { fields })) }
        };
        let nested = structure(list(vec![text("a"), list(vec![text("b"), text("c")])]));
        let records = vec![record([]), record([("a", text("x")), ("b", nested)])];
        let check = ConsistencyCheck::default();
        let request = AppendRecordsRequest { records, checks: vec![check; 3] };
        // Two records, three checks, two properties, one within, two and two values of lists.
        assert_eq!(count::<AppendRecordsRequest>(&request.encode_to_vec()), 2 + 3 + 2 + 1 + 4);
        let session = AppendRequest { records: request.records, ..AppendRequest::default() };
        assert_eq!(count::<AppendRequest>(&session.encode_to_vec()), 2 + 2 + 1 + 4);
    }

    /// Given lists in lists, deeper than any message may be, then they are not followed to where
    /// the stack ends.
    #[test]
    fn what_is_too_deep_is_not_followed() {
        // Each says that it is longer than all that follows.
        let begun = |number: u8| [number << 3 | 2, 0xff, 0xff, 0xff, 0x7f];
        let to_value = [begun(2), begun(2), begun(2)].concat();
        let nested = [to_value, [begun(6), begun(1)].concat().repeat(100_000)].concat();
        assert!(count::<AppendRequest>(&nested) <= DEPTH_MAX);
    }
}
