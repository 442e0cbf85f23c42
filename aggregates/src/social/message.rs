//! One message. That its author is a member is checked by the caller against the channel, so that
//! a busy channel is not loaded and locked by everything that is said in it.

use event_schemas::social::{MessageEvent, MessagePosted};
use event_schemas::{ChannelId, MessageId, UserId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::decider::{Decider, aggregate};
use crate::text::{self, TextError};

/// Longest message, in characters.
pub const TEXT_CHARS_MAX: usize = 4000;

/// What can be asked of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MessageCommand {
    /// Say it.
    Post {
        /// Which message.
        message_id: MessageId,
        /// In which channel.
        channel_id: ChannelId,
        /// Who says it.
        author_id: UserId,
        /// What is said.
        text: String,
    },
}

/// Why a message refuses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MessageRejection {
    /// Something else was said under this id.
    #[error("the message is already there")]
    AlreadyPosted,
    /// That can't be said.
    #[error(transparent)]
    Text(#[from] TextError),
}

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// What was said; `None` before anything is.
    pub posted: Option<MessagePosted>,
}

aggregate!(Message: MessageCommand => MessageEvent, MessageRejection);

impl Decider for Message {
    type Id = MessageId;

    fn decide(&self, command: MessageCommand) -> Result<Vec<MessageEvent>, MessageRejection> {
        let MessageCommand::Post { message_id, channel_id, author_id, text } = command;
        let text = text::lines("text", &text, TEXT_CHARS_MAX)?;
        let posted = MessagePosted { message_id, channel_id, author_id, text };
        match &self.posted {
            Some(known) if *known == posted => Ok(vec![]),
            Some(_) => Err(MessageRejection::AlreadyPosted),
            None => Ok(vec![posted.into()]),
        }
    }

    fn evolve(&mut self, event: MessageEvent) {
        let MessageEvent::MessagePosted(posted) = event;
        self.posted = Some(posted);
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::{AggregateTestExecutor, TestFramework};
    use uuid::Uuid;

    use super::*;

    fn post(text: &str) -> MessageCommand {
        MessageCommand::Post {
            message_id: MessageId(Uuid::from_u128(1)),
            channel_id: ChannelId(Uuid::from_u128(2)),
            author_id: UserId(Uuid::from_u128(3)),
            text: text.to_owned(),
        }
    }

    fn posted(text: &str) -> MessageEvent {
        MessagePosted {
            message_id: MessageId(Uuid::from_u128(1)),
            channel_id: ChannelId(Uuid::from_u128(2)),
            author_id: UserId(Uuid::from_u128(3)),
            text: text.to_owned(),
        }
        .into()
    }

    fn given(events: Vec<MessageEvent>) -> AggregateTestExecutor<Message> {
        TestFramework::with(()).given(events)
    }

    #[test]
    fn something_is_said_once() {
        given(vec![]).when(post(" so\nlovely ")).then_expect_events(vec![posted("so\nlovely")]);
        given(vec![posted("so")]).when(post("so")).then_expect_events(vec![]);
        given(vec![posted("so")])
            .when(post("lovely"))
            .then_expect_error(MessageRejection::AlreadyPosted);
    }

    #[test]
    fn a_message_says_something_but_not_too_much() {
        let whole = "ß".repeat(TEXT_CHARS_MAX);
        given(vec![]).when(post(&whole)).then_expect_events(vec![posted(&whole)]);
        let too_long = TextError::TooLong { field: "text", max_chars: TEXT_CHARS_MAX };
        given(vec![]).when(post(&format!("{whole}!"))).then_expect_error(too_long.into());
        given(vec![])
            .when(post(" \n "))
            .then_expect_error(TextError::Empty { field: "text" }.into());
        given(vec![])
            .when(post("\u{1b}[2J"))
            .then_expect_error(TextError::ControlCharacter { field: "text" }.into());
    }
}
