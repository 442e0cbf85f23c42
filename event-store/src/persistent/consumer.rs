//! A consumer: what it is given, and how it answers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use tokio::sync::mpsc;

use super::error::PersistentError;
use super::group::GroupId;
use super::machine::ConsumerId;
use super::mailbox::Mailbox;
use super::message::Message;
use super::runner::Command;
use super::settings::NackAction;
use crate::event::EventId;
use crate::limits::{ACK_IDS_MAX, NACK_REASON_BYTES_MAX};

/// A consumer of a group: its two halves may be used apart, by two tasks.
pub struct Consumer {
    /// What it is given.
    pub deliveries: Deliveries,
    /// How it answers.
    pub acknowledger: Acknowledger,
}

/// A message given to a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The message.
    pub message: Message,
    /// How often it was tried before.
    pub retry_count: u32,
}

/// The messages of a consumer, without end; after an error there is nothing more.
///
/// As long as nothing is acknowledged there are never more of them than the consumer's buffer.
/// Dropping it ends the consumer, and what it did not acknowledge goes to others at once.
pub struct Deliveries {
    mailbox: Arc<Mailbox>,
}

impl Deliveries {
    pub(super) fn new(mailbox: Arc<Mailbox>) -> Self {
        Self { mailbox }
    }
}

impl Stream for Deliveries {
    type Item = Result<Delivered, PersistentError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.mailbox.poll(context)
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        self.mailbox.abandon();
    }
}

/// Answers for the messages of one consumer. Ids that it has not in flight are ignored: their time
/// was over, and they are somebody else's by now.
#[derive(Clone)]
pub struct Acknowledger {
    group: GroupId,
    consumer: ConsumerId,
    commands: mpsc::Sender<Command>,
}

impl Acknowledger {
    pub(super) fn new(
        group: GroupId,
        consumer: ConsumerId,
        commands: mpsc::Sender<Command>,
    ) -> Self {
        Self { group, consumer, commands }
    }

    /// These messages, by [`Message::id`], were processed. Returns when the group was told; waits
    /// while it is told more than it takes.
    pub async fn ack(&self, ids: Vec<EventId>) -> Result<(), PersistentError> {
        check(&ids)?;
        self.tell(Command::Ack { consumer: self.consumer, ids }).await
    }

    /// These messages were not processed; `action` says what is to become of them, and `reason` is
    /// kept with what is parked, its first [`NACK_REASON_BYTES_MAX`] bytes.
    pub async fn nack(
        &self,
        action: NackAction,
        ids: Vec<EventId>,
        reason: impl Into<String>,
    ) -> Result<(), PersistentError> {
        check(&ids)?;
        let mut reason = reason.into();
        reason.truncate(reason.floor_char_boundary(NACK_REASON_BYTES_MAX));
        self.tell(Command::Nack { consumer: self.consumer, ids, action, reason }).await
    }

    async fn tell(&self, command: Command) -> Result<(), PersistentError> {
        let sent = self.commands.send(command).await;
        sent.map_err(|_| PersistentError::Dropped(self.group.clone()))
    }
}

fn check(ids: &[EventId]) -> Result<(), PersistentError> {
    let (count, max) = (ids.len(), ACK_IDS_MAX);
    if count > max { Err(PersistentError::TooManyIds { count, max }) } else { Ok(()) }
}
