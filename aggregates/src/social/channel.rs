//! A channel: who may talk in it. What is said has streams of its own.

use std::collections::BTreeSet;

use event_schemas::social::{ChannelCreated, ChannelEvent, ChannelMemberJoined, ChannelMemberLeft};
use event_schemas::{ChannelId, UserId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::decider::{Decider, aggregate};
use crate::text::{self, TextError};

/// Longest name, in characters.
pub const NAME_CHARS_MAX: usize = 100;

/// Most members of a channel.
pub const MEMBERS_MAX: usize = 100_000;

/// What can be asked of a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ChannelCommand {
    /// Open it.
    Create {
        /// Which channel.
        channel_id: ChannelId,
        /// Its name.
        name: String,
        /// Whose it is; the first member.
        owner_id: UserId,
    },
    /// Become a member.
    Join {
        /// Who.
        user_id: UserId,
    },
    /// Be a member no longer.
    Leave {
        /// Who.
        user_id: UserId,
    },
}

/// Why a channel refuses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChannelRejection {
    /// No channel was opened under this id.
    #[error("the channel is not there")]
    NotCreated,
    /// Another channel was opened under this id.
    #[error("the channel is already there")]
    AlreadyCreated,
    /// Its name can't be taken.
    #[error(transparent)]
    Name(#[from] TextError),
    /// It takes nobody else.
    #[error("the channel has {MEMBERS_MAX} members and takes no more")]
    Full,
    /// Somebody has to be answerable for it.
    #[error("the last owner can't leave the channel")]
    LastOwner,
}

/// A channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    /// What it was opened as; `None` before it is.
    pub created: Option<ChannelCreated>,
    /// Who may talk in it, the owner among them.
    pub members: BTreeSet<UserId>,
}

aggregate!(Channel: ChannelCommand => ChannelEvent, ChannelRejection);

impl Decider for Channel {
    type Id = ChannelId;

    fn decide(&self, command: ChannelCommand) -> Result<Vec<ChannelEvent>, ChannelRejection> {
        match command {
            ChannelCommand::Create { channel_id, name, owner_id } => {
                let name = text::line("name", &name, NAME_CHARS_MAX)?;
                let created = ChannelCreated { channel_id, name, owner_id };
                match &self.created {
                    Some(known) if *known == created => Ok(vec![]),
                    Some(_) => Err(ChannelRejection::AlreadyCreated),
                    None => Ok(vec![created.into()]),
                }
            }
            ChannelCommand::Join { user_id } => {
                let channel_id = self.created()?.channel_id;
                if self.has_member(user_id) {
                    return Ok(vec![]);
                }
                if self.members.len() >= MEMBERS_MAX {
                    return Err(ChannelRejection::Full);
                }
                Ok(vec![ChannelMemberJoined { channel_id, user_id }.into()])
            }
            ChannelCommand::Leave { user_id } => {
                let created = self.created()?;
                if user_id == created.owner_id {
                    return Err(ChannelRejection::LastOwner);
                }
                if !self.has_member(user_id) {
                    return Ok(vec![]);
                }
                let channel_id = created.channel_id;
                Ok(vec![ChannelMemberLeft { channel_id, user_id }.into()])
            }
        }
    }

    fn evolve(&mut self, event: ChannelEvent) {
        match event {
            ChannelEvent::ChannelCreated(created) => {
                self.members.insert(created.owner_id);
                self.created = Some(created);
            }
            ChannelEvent::ChannelMemberJoined(joined) => {
                self.members.insert(joined.user_id);
            }
            ChannelEvent::ChannelMemberLeft(left) => {
                self.members.remove(&left.user_id);
            }
        }
    }
}

impl Channel {
    /// Whether somebody may talk in it.
    pub fn has_member(&self, user_id: UserId) -> bool {
        self.members.contains(&user_id)
    }

    fn created(&self) -> Result<&ChannelCreated, ChannelRejection> {
        self.created.as_ref().ok_or(ChannelRejection::NotCreated)
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::{AggregateTestExecutor, TestFramework};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const CHANNEL: ChannelId = ChannelId(Uuid::from_u128(1));
    const OWNER: UserId = UserId(Uuid::from_u128(10));

    fn user(number: u128) -> UserId {
        UserId(Uuid::from_u128(10 + number))
    }

    fn create(name: &str) -> ChannelCommand {
        ChannelCommand::Create { channel_id: CHANNEL, name: name.to_owned(), owner_id: OWNER }
    }

    fn created() -> ChannelEvent {
        ChannelCreated { channel_id: CHANNEL, name: "Tides".to_owned(), owner_id: OWNER }.into()
    }

    fn joined(number: u128) -> ChannelEvent {
        ChannelMemberJoined { channel_id: CHANNEL, user_id: user(number) }.into()
    }

    fn left(number: u128) -> ChannelEvent {
        ChannelMemberLeft { channel_id: CHANNEL, user_id: user(number) }.into()
    }

    fn given(events: Vec<ChannelEvent>) -> AggregateTestExecutor<Channel> {
        TestFramework::with(()).given(events)
    }

    #[test]
    fn a_channel_is_opened_once_with_a_name() {
        given(vec![]).when(create(" Tides ")).then_expect_events(vec![created()]);
        given(vec![created()]).when(create("Tides")).then_expect_events(vec![]);
        given(vec![created()])
            .when(create("Other"))
            .then_expect_error(ChannelRejection::AlreadyCreated);
        given(vec![]).when(create("")).then_expect_error(TextError::Empty { field: "name" }.into());
    }

    #[test]
    fn people_come_and_go() {
        let join = |number| ChannelCommand::Join { user_id: user(number) };
        let leave = |number| ChannelCommand::Leave { user_id: user(number) };
        given(vec![]).when(join(1)).then_expect_error(ChannelRejection::NotCreated);
        given(vec![created()]).when(join(1)).then_expect_events(vec![joined(1)]);
        given(vec![created(), joined(1)]).when(join(1)).then_expect_events(vec![]);
        given(vec![created(), joined(1)]).when(leave(1)).then_expect_events(vec![left(1)]);
        given(vec![created(), joined(1), left(1)]).when(leave(1)).then_expect_events(vec![]);
        given(vec![created(), joined(1), left(1)])
            .when(join(1))
            .then_expect_events(vec![joined(1)]);
        given(vec![created(), joined(1)])
            .when(leave(0))
            .then_expect_error(ChannelRejection::LastOwner);
    }

    #[test]
    fn a_full_channel_takes_nobody_else() {
        let mut channel = Channel::default();
        channel.evolve(created());
        for number in 1..MEMBERS_MAX as u128 {
            channel.evolve(joined(number));
        }
        let join = |number| ChannelCommand::Join { user_id: user(number) };
        assert_eq!(channel.decide(join(MEMBERS_MAX as u128)), Err(ChannelRejection::Full));
        assert_eq!(channel.decide(join(1)), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn the_owner_is_always_a_member(
            moves in prop::collection::vec((any::<bool>(), 0..4_u128), 1..40),
        ) {
            let mut channel = Channel::default();
            channel.evolve(created());
            for (joins, number) in moves {
                let user_id = user(number);
                let command = if joins {
                    ChannelCommand::Join { user_id }
                } else {
                    ChannelCommand::Leave { user_id }
                };
                let events = channel.decide(command).unwrap_or_default();
                prop_assert!(events.len() <= 1);
                for event in events {
                    channel.evolve(event);
                    prop_assert_eq!(channel.has_member(user_id), joins);
                }
                prop_assert!(channel.has_member(OWNER));
            }
        }
    }
}
