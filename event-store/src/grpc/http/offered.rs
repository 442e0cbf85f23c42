//! The events that the body of a request offers.

use ::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::asked::named;
use super::refusal::Refusal;
use crate::event::{ContentType, EventId, EventType, NewEvent};
use crate::limits::APPEND_EVENTS_MAX;

/// How a body holds events.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// It is the data of one, whose type and id headers say.
    One(ContentType),
    /// It is a list of events with all that belongs to them.
    List,
}

/// How the body of a request holds events, as its headers say.
pub(super) fn form(headers: &HeaderMap) -> Result<Form, Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    match kind.to_ascii_lowercase().as_str() {
        "application/json" => Ok(Form::One(ContentType::Json)),
        "application/octet-stream" => Ok(Form::One(ContentType::Binary)),
        "application/vnd.eventstore.events+json" | "application/vnd.kurrent.events+json" => {
            Ok(Form::List)
        }
        _ => Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "events are taken as application/json, application/octet-stream or \
             application/vnd.eventstore.events+json",
        )),
    }
}

/// The type that headers say, if they do.
pub(super) fn event_type(headers: &HeaderMap) -> Result<Option<EventType>, Refusal> {
    named(headers, "eventtype")?.map(checked).transpose()
}

fn checked(name: &str) -> Result<EventType, Refusal> {
    EventType::new(name).map_err(|error| Refusal::bad(format!("event type: {error}")))
}

/// The id that headers say, if they do.
pub(super) fn event_id(headers: &HeaderMap) -> Result<Option<EventId>, Refusal> {
    let read = |text: &str| {
        let id = Uuid::parse_str(text).ok().filter(|id| !id.is_nil());
        id.map(EventId).ok_or_else(|| Refusal::bad(format!("'{text}' is no id of an event")))
    };
    named(headers, "eventid")?.map(read).transpose()
}

/// One event whose data is the body. What is said to be JSON need not be, as with EventStoreDB.
pub(super) fn one(
    id: EventId,
    event_type: EventType,
    content_type: ContentType,
    body: Vec<u8>,
) -> Result<NewEvent, Refusal> {
    if content_type == ContentType::Json && std::str::from_utf8(&body).is_err() {
        return Err(Refusal::bad("the body is not UTF-8"));
    }
    Ok(NewEvent { id, event_type, content_type, data: body.into(), metadata: Vec::new().into() })
}

/// An event as a list has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    event_id: Uuid,
    event_type: String,
    #[serde(default)]
    data: Option<Box<RawValue>>,
    #[serde(default)]
    metadata: Option<Box<RawValue>>,
}

/// The events that the body lists.
pub(super) fn list(body: &[u8]) -> Result<Vec<NewEvent>, Refusal> {
    let bad =
        |error: serde_json::Error| Refusal::bad(format!("the body is no list of events: {error}"));
    let listed: Vec<Listed> = serde_json::from_slice(body).map_err(bad)?;
    if listed.is_empty() {
        return Err(Refusal::bad("the body lists no events"));
    }
    if listed.len() > APPEND_EVENTS_MAX {
        let reason = format!("the body lists more than {APPEND_EVENTS_MAX} events");
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, reason));
    }
    listed.into_iter().map(event).collect()
}

fn event(listed: Listed) -> Result<NewEvent, Refusal> {
    if listed.event_id.is_nil() {
        return Err(Refusal::bad("an event has no id"));
    }
    let (data, data_is_json) = payload(listed.data);
    let (metadata, metadata_is_json) = payload(listed.metadata);
    let is_json = data_is_json || metadata_is_json;
    Ok(NewEvent {
        id: EventId(listed.event_id),
        event_type: checked(&listed.event_type)?,
        content_type: if is_json { ContentType::Json } else { ContentType::Binary },
        data: data.into(),
        metadata: metadata.into(),
    })
}

/// The bytes of a value, and whether they are JSON: of a text what it says, so that what is no JSON
/// can be said too, and of all else the value as it is written.
fn payload(value: Option<Box<RawValue>>) -> (Vec<u8>, bool) {
    let Some(value) = value.filter(|value| value.get() != "null") else {
        return (Vec::new(), false);
    };
    let Ok(text) = serde_json::from_str::<String>(value.get()) else {
        return (value.get().as_bytes().to_vec(), true);
    };
    let is_json = text.trim_start().starts_with(['{', '['])
        && serde_json::from_str::<&RawValue>(&text).is_ok();
    (text.into_bytes(), is_json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_data_as_it_is_written() {
        let body = br#"[
            {"eventId": "00000000-0000-0000-0000-000000000001", "eventType": "A",
             "data": {"n":  1.10}, "metadata": {"by": "me"}},
            {"eventId": "00000000-0000-0000-0000-000000000002", "eventType": "B",
             "data": "plain"},
            {"eventId": "00000000-0000-0000-0000-000000000003", "eventType": "C",
             "data": "{\"a\": 1}", "metadata": null}
        ]"#;
        let events = list(body).unwrap();
        assert_eq!(events[0].data, r#"{"n":  1.10}"#);
        assert_eq!(events[0].metadata, r#"{"by": "me"}"#);
        assert_eq!(events[1].data, "plain");
        assert_eq!(events[2].data, r#"{"a": 1}"#);
        let kinds: Vec<_> = events.iter().map(|event| event.content_type).collect();
        assert_eq!(kinds, [ContentType::Json, ContentType::Binary, ContentType::Json]);
    }

    #[test]
    fn what_is_no_list_of_events_is_refused() {
        for body in [
            "",
            "{}",
            "[]",
            "[1]",
            "[{}]",
            "[{\"eventId\": \"x\", \"eventType\": \"A\"}]",
            "[{\"eventId\": \"00000000-0000-0000-0000-000000000000\", \"eventType\": \"A\"}]",
            "[{\"eventId\": \"00000000-0000-0000-0000-000000000001\", \"eventType\": \"\"}]",
            "[{\"eventId\": \"00000000-0000-0000-0000-000000000001\"}]",
            "****",
        ] {
            assert!(list(body.as_bytes()).is_err(), "{body}");
        }
    }
}
