//! A record's value and headers.
//!
//! The value is a JSON object:
//!
//! | field | what it is |
//! | --- | --- |
//! | `id` | the event's UUID, the same for good |
//! | `type` | its type's name, as `TrackPublished` |
//! | `version` | the version of its schema; the schemas are in `event-schemas/schemas/` |
//! | `stream`, `category`, `revision` | its stream, that stream's category, its number in it |
//! | `position` | its place among all events: an opaque string of digits that grows |
//! | `recorded_at` | when it was recorded, RFC 3339 |
//! | `metadata` | who made it happen, when and why |
//! | `data` | what happened |
//! | `omitted` | why `data` is null, where it is left to the event store: `not_json`, `too_large` |
//!
//! Headers: `type`, `id`, `position`, `schema_version`, `content-type`. Fields may be added.

use chrono::SecondsFormat;
use event_store::RecordedEvent;
use rdkafka::message::{Header, OwnedHeaders};
use serde::Serialize;
use serde_json::Value;

/// The header that says how far a partition has come.
pub(crate) const POSITION: &str = "position";

/// The header that says which event a record is.
pub(crate) const ID: &str = "id";

/// What of the metadata stays here: it serves the platform alone, to recognise repeated commands.
const INTERNAL: &str = "command";

/// Largest value; what is left to Kafka's own limit is for key and headers.
const VALUE_BYTES_MAX: usize = 900_000;

/// A record without its place.
pub(crate) struct Record {
    pub(crate) value: Vec<u8>,
    pub(crate) headers: OwnedHeaders,
}

#[derive(Serialize)]
struct Envelope<'a> {
    id: String,
    r#type: &'a str,
    version: Option<u64>,
    stream: &'a str,
    category: &'a str,
    revision: u64,
    position: String,
    recorded_at: String,
    metadata: Option<Value>,
    data: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    omitted: Option<&'static str>,
}

impl Record {
    /// The record of any event, also of one that this release can't read: whoever reads the topic
    /// may know it.
    pub(crate) fn of(event: &RecordedEvent) -> Self {
        let mut metadata: Option<Value> = serde_json::from_slice(&event.metadata).ok();
        if let Some(fields) = metadata.as_mut().and_then(Value::as_object_mut) {
            fields.remove(INTERNAL);
        }
        let data: Option<Value> = serde_json::from_slice(&event.data).ok();
        let version = metadata.as_ref().and_then(|all| all.get("schema_version")?.as_u64());
        let omitted = data.is_none().then_some("not_json");
        let mut envelope = Envelope {
            id: event.id.0.to_string(),
            r#type: event.event_type.as_str(),
            version,
            stream: event.stream.as_str(),
            category: event.stream.category(),
            revision: event.revision.get(),
            position: event.position.get().to_string(),
            recorded_at: event.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true),
            metadata,
            data,
            omitted,
        };
        let mut value = json(&envelope);
        if value.len() > VALUE_BYTES_MAX {
            (envelope.data, envelope.omitted) = (None, Some("too_large"));
            value = json(&envelope);
        }
        if value.len() > VALUE_BYTES_MAX {
            envelope.metadata = None;
            value = json(&envelope);
        }
        let version = version.map(|version| version.to_string()).unwrap_or_default();
        let headers = [
            ("type", envelope.r#type),
            (ID, &envelope.id),
            (POSITION, &envelope.position),
            ("schema_version", &version),
            ("content-type", "application/json"),
        ];
        let headers = headers.into_iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
        Self { value, headers }
    }
}

fn json(envelope: &Envelope<'_>) -> Vec<u8> {
    serde_json::to_vec(envelope).expect("an envelope is plain data with string keys")
}
