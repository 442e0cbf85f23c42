//! A record as an event: what is known about it becomes the event's metadata, as JSON, as the
//! official server tells it to clients of the first version.

use std::collections::BTreeMap;
use std::io;
use std::sync::LazyLock;

use fancy_regex::Regex;
use prost_types::Value;
use prost_types::value::Kind;
use serde::ser::{Error, SerializeMap as _};
use serde::{Serialize, Serializer};
use tonic::Status;
use unicode_normalization::is_nfc;
use uuid::Uuid;

use super::super::proto::kurrentdb::protocol::v2::streams::{
    AppendRecord, SchemaFormat, SchemaInfo,
};
use super::refusal;
use crate::event::{ContentType, EventId, EventType, NewEvent};
use crate::limits::EVENT_BYTES_MAX;

/// What a schema may be called.
static SCHEMA_NAME: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^[\p{L}\p{N}_.$:\-]+\z").expect("a regular expression"));

/// The greatest number up to which all whole ones can be told.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// The event; refuses a record that lacks something or has what is none.
pub(super) fn event(record: AppendRecord) -> Result<NewEvent, Status> {
    let schema = record.schema.unwrap_or_default();
    let format = match schema.format() {
        SchemaFormat::Unspecified => {
            return Err(refusal::bad("records.schema.format", "the format is missing or unknown"));
        }
        format => format,
    };
    let id = match &record.record_id {
        None => Uuid::new_v4(),
        Some(id) => uuid("records.record_id", id)?,
    };
    if let Some(id) = &schema.id {
        uuid("records.schema.id", id)?;
    }
    let bad_name = |reason: &str| refusal::bad("records.schema.name", reason);
    let event_type = EventType::new(&schema.name).map_err(|error| bad_name(&error.to_string()))?;
    if !SCHEMA_NAME.is_match(&schema.name).unwrap_or(false) {
        return Err(bad_name("a name has letters, digits and `_.$:-`, and nothing else"));
    }
    if !is_nfc(&schema.name) {
        return Err(bad_name("a name is normalised (NFC)"));
    }
    let metadata = metadata(&record.properties.iter().collect(), &schema, format)
        .map_err(|error| refusal::bad("records.properties", &error.to_string()))?;
    Ok(NewEvent {
        id: EventId(id),
        event_type,
        content_type: match format {
            SchemaFormat::Json => ContentType::Json,
            _ => ContentType::Binary,
        },
        data: record.data.into(),
        metadata: metadata.into(),
    })
}

fn uuid(field: &str, text: &str) -> Result<Uuid, Status> {
    let id = Uuid::parse_str(text).ok().filter(|id| !id.is_nil());
    id.ok_or_else(|| refusal::bad(field, "it is not a UUID"))
}

/// The properties and what is said of the schema, which takes the place of properties called so.
fn metadata(
    properties: &BTreeMap<&String, &Value>,
    schema: &SchemaInfo,
    format: SchemaFormat,
) -> serde_json::Result<Vec<u8>> {
    let format = match format {
        SchemaFormat::Unspecified => "Unspecified",
        SchemaFormat::Json => "Json",
        SchemaFormat::Protobuf => "Protobuf",
        SchemaFormat::Avro => "Avro",
        SchemaFormat::Bytes => "Bytes",
    };
    let own = [
        ("$schema.name", Some(schema.name.as_str())),
        ("$schema.format", Some(format)),
        ("$schema.id", schema.id.as_deref()),
    ];
    let mut bytes = Bounded(Vec::new());
    let mut json = serde_json::Serializer::new(&mut bytes);
    let mut map = json.serialize_map(None)?;
    for (name, value) in properties {
        let taken = own.iter().any(|(own, value)| own == name && value.is_some());
        if !taken {
            map.serialize_entry(name, &Json(value))?;
        }
    }
    for (name, value) in own {
        if let Some(value) = value {
            map.serialize_entry(name, value)?;
        }
    }
    map.end()?;
    Ok(bytes.0)
}

/// A value of a property as it stands in JSON.
struct Json<'a>(&'a Value);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0.kind {
            None | Some(Kind::NullValue(_)) => serializer.serialize_unit(),
            Some(Kind::BoolValue(value)) => serializer.serialize_bool(*value),
            Some(Kind::StringValue(value)) => serializer.serialize_str(value),
            Some(Kind::NumberValue(value)) if !value.is_finite() => {
                Err(S::Error::custom("a number is none"))
            }
            #[expect(clippy::cast_possible_truncation, reason = "it is whole, and small enough")]
            Some(Kind::NumberValue(value)) if value.fract() == 0.0 && value.abs() <= WHOLE_MAX => {
                serializer.serialize_i64(*value as i64)
            }
            Some(Kind::NumberValue(value)) => serializer.serialize_f64(*value),
            Some(Kind::ListValue(list)) => serializer.collect_seq(list.values.iter().map(Json)),
            Some(Kind::StructValue(fields)) => {
                serializer.collect_map(fields.fields.iter().map(|(name, it)| (name, Json(it))))
            }
        }
    }
}

/// Bytes, of which there may be twice those of an event: some characters take six times their bytes
/// in JSON.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > 2 * EVENT_BYTES_MAX {
            return Err(io::Error::other("they are too large"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
