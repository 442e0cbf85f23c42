//! What a command has beside itself: who asks, when, why, and under which identity.

use chrono::{DateTime, Utc};
use event_schemas::Actor;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Who asks for something, when and why. It ends up in the metadata of what follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandContext {
    /// The command's identity: carried out once on a stream, however often it is asked.
    pub command_id: Uuid,
    /// A digest of what is asked, in hexadecimal; the same identity with another is refused.
    pub digest: String,
    /// Whether the sender chose the identity, and may choose it again for something else.
    #[serde(default)]
    pub keyed: bool,
    /// What everything that follows from one request has in common.
    pub correlation_id: Uuid,
    /// The command or event that this command follows from; its own identity where there is none.
    pub causation_id: Uuid,
    /// Who asks.
    pub actor: Actor,
    /// When.
    pub now: DateTime<Utc>,
    /// The W3C trace context of the request, when there is one.
    pub traceparent: Option<String>,
}

impl CommandContext {
    /// The context of a command that nothing came before.
    pub fn first(
        command_id: Uuid,
        digest: impl Into<String>,
        actor: Actor,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            command_id,
            digest: digest.into(),
            keyed: false,
            correlation_id: command_id,
            causation_id: command_id,
            actor,
            now,
            traceparent: None,
        }
    }
}
