//! The client's events and ours, one into the other.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use eventstore::{EventData, ResolvedEvent};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::error::StoreError;
use crate::event::{ContentType, EventId, EventType, NewEvent, RecordedEvent};
use crate::position::Position;
use crate::stream::{Revision, StreamName};

/// The protocol counts time in 100 ns.
const TICKS_PER_MICROSECOND: i64 = 10;

/// The event as it is sent.
///
/// The client marks as JSON only what it is given as a value, so JSON goes through it as raw text,
/// byte for byte but for blanks around it; what claims to be JSON and is not is sent as bytes.
pub(super) fn offered(event: &NewEvent) -> EventData {
    let kind = event.event_type.as_str();
    let raw = match event.content_type {
        ContentType::Json => serde_json::from_slice::<&RawValue>(&event.data).ok(),
        ContentType::Binary => None,
    };
    let data = raw
        .and_then(|raw| EventData::json(kind, &raw).ok())
        .unwrap_or_else(|| EventData::binary(kind, event.data.clone()));
    let data = data.id(event.id.0);
    if event.metadata.is_empty() {
        return data;
    }
    data.metadata(event.metadata.clone())
}

/// The event as it was received. Links are not resolved, so there is one event in it.
pub(super) fn received(resolved: ResolvedEvent) -> Result<RecordedEvent, StoreError> {
    let event =
        resolved.event.or(resolved.link).ok_or_else(|| corrupt("a reply", "it has no event"))?;
    let bad_name = |error: crate::error::InvalidName| corrupt(&event.stream_id, &error.to_string());
    let stream = StreamName::recorded(&event.stream_id);
    let event_type = EventType::new(&event.event_type).map_err(bad_name)?;
    let content_type = match event.is_json {
        true => ContentType::Json,
        false => ContentType::Binary,
    };
    Ok(RecordedEvent {
        id: EventId(event.id),
        stream,
        revision: Revision::new(event.revision),
        position: Position::new(event.position.commit),
        event_type,
        content_type,
        recorded_at: recorded_at(event.metadata.get("created"), event.created),
        data: event.data,
        metadata: event.custom_metadata,
    })
}

/// The client keeps whole seconds only; the property beside it has the rest.
fn recorded_at(ticks: Option<&String>, seconds: DateTime<Utc>) -> DateTime<Utc> {
    ticks
        .and_then(|ticks| ticks.parse::<i64>().ok())
        .and_then(|ticks| DateTime::from_timestamp_micros(ticks / TICKS_PER_MICROSECOND))
        .unwrap_or(seconds)
}

fn corrupt(place: &str, reason: &str) -> StoreError {
    StoreError::Corrupt { place: Arc::from(place), reason: Arc::from(reason) }
}

/// An id that no append names: where an error must name one and the server did not.
pub(super) const NO_EVENT: EventId = EventId(Uuid::nil());
