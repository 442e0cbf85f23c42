//! What is kept of a command beside what it changed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::family::event_family;

event_family! {
    /// What happens to a command whose sender chose its identity; streams `command-<id>`.
    CommandEvent in "command":
        CommandClaimed v 1,
        CommandWithdrawn v 1,
}

/// A command was given its identity, before it changed anything: for good, unless it is withdrawn.
/// What was asked is told by the digest in the metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommandClaimed {
    /// Which command.
    pub command_id: Uuid,
    /// The stream that it is carried out on.
    pub stream: String,
    /// Where that stream ended, when nothing followed because what was asked for was so already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unchanged_at: Option<u64>,
}

/// A command that was claimed changed nothing after all, as it was refused: its identity is free
/// again, also for another request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommandWithdrawn {
    /// Which command.
    pub command_id: Uuid,
}
