//! What is known about an event, kept beside its data.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::UserId;

/// What is known about an event: why it happened, through whom, and when.
///
/// The two ids have the names under which EventStoreDB's own projections look for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Metadata {
    /// Version of the schema that the data was written with.
    pub schema_version: u32,
    /// What everything that followed from one request has in common.
    #[serde(rename = "$correlationId")]
    pub correlation_id: Uuid,
    /// The command or event that this event follows from.
    #[serde(rename = "$causationId")]
    pub causation_id: Uuid,
    /// Who made it happen.
    pub actor: Actor,
    /// When it happened, by the clock of whoever decided it.
    pub occurred_at: DateTime<Utc>,
    /// The W3C trace context of the request, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The command whose first event this is; what a repeated command is answered from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandRecord>,
}

/// Who made an event happen.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// A person.
    User(UserId),
    /// A saga, on somebody's behalf.
    Saga(String),
    /// The platform itself.
    System,
}

/// A command that has been carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommandRecord {
    /// Its identity; from the idempotency key where the caller gave one.
    pub id: Uuid,
    /// A digest of what was asked, in hexadecimal: the same key with another request is refused.
    pub digest: String,
    /// How many events it appended.
    pub events: u32,
}
