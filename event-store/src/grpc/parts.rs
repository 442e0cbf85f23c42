//! How many parts a message has, before it is taken apart: each takes many times its bytes then.

use bytes::Buf as _;
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::proto::event_store::client::streams::{AppendReq, BatchAppendReq};
use crate::limits::APPEND_EVENTS_MAX;

/// Most parts of a message: as many events as an append may have, each with the two properties that
/// it must have, and one to spare.
pub(super) const PARTS_MAX: usize = 4 * APPEND_EVENTS_MAX;

/// A message of which parts can be many.
pub(super) trait ManyParts {
    /// The fields that can be, each within the one before.
    const FIELDS: &'static [u32];
}

/// An event, and its properties.
impl ManyParts for AppendReq {
    const FIELDS: &'static [u32] = &[2, 2];
}

/// Events, and the properties of each.
impl ManyParts for BatchAppendReq {
    const FIELDS: &'static [u32] = &[3, 2];
}

/// Counts the parts of these fields, and those within them; bytes that are no message have none.
pub(super) fn count<M: ManyParts>(message: &[u8]) -> usize {
    let mut count = 0;
    // Whoever takes the message apart tells what is wrong with it.
    let _ = add(message, M::FIELDS, &mut count);
    count
}

fn add(mut message: &[u8], fields: &[u32], count: &mut usize) -> Result<(), DecodeError> {
    let Some((&field, within)) = fields.split_first() else { return Ok(()) };
    while message.has_remaining() {
        let (number, kind) = decode_key(&mut message)?;
        if number != field || kind != WireType::LengthDelimited {
            skip_field(kind, number, &mut message, DecodeContext::default())?;
            continue;
        }
        *count += 1;
        let length = usize::try_from(decode_varint(&mut message)?).unwrap_or(usize::MAX);
        let (part, rest) = message.split_at(length.min(message.len()));
        add(part, within, count)?;
        message = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use prost::Message as _;

    use super::super::proto::event_store::client::streams::batch_append_req::ProposedMessage;
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
}
