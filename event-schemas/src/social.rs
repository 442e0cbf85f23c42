//! Events of the social domain.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::family::event_family;
use crate::ids::{ChannelId, MessageId, UserId};

event_family! {
    /// What happens to a channel, its messages apart; streams `channel-<id>`.
    ChannelEvent in "channel":
        ChannelCreated v 1,
        ChannelMemberJoined v 1,
        ChannelMemberLeft v 1,
}

event_family! {
    /// What happens to one message; streams `message-<id>`, so that a busy channel stays small.
    MessageEvent in "message":
        MessagePosted v 1 { text of author_id: text },
}

/// Somebody opened a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChannelCreated {
    /// Which channel.
    pub channel_id: ChannelId,
    /// Its name.
    pub name: String,
    /// Whose it is; the first member.
    pub owner_id: UserId,
}

/// Somebody joined the channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChannelMemberJoined {
    /// Which channel.
    pub channel_id: ChannelId,
    /// Who.
    pub user_id: UserId,
}

/// Somebody left the channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChannelMemberLeft {
    /// Which channel.
    pub channel_id: ChannelId,
    /// Who.
    pub user_id: UserId,
}

/// A member said something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessagePosted {
    /// Which message.
    pub message_id: MessageId,
    /// In which channel.
    pub channel_id: ChannelId,
    /// Who said it.
    pub author_id: UserId,
    /// What was said.
    pub text: String,
}
