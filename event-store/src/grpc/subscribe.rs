//! Subscriptions: a confirmation, the past, and then what comes.
//!
//! They end with an error always: a client of the Rust crate spins on one that ends well.

use std::sync::Arc;

use futures::stream::{self, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use uuid::Uuid;

use super::problem::{of_read, of_store};
use super::proto::event_store::client::streams::ReadResp;
use super::proto::event_store::client::streams::read_resp::{
    self, CaughtUp, Content, SubscriptionConfirmation,
};
use super::read::{Links, checkpoint, reply};
use super::sending::{Room, Sending};
use super::source::{Asked, Followed, NotOpened, Source};
use super::streams::Replies;
use super::wire::now;
use crate::error::ReadError;
use crate::port::EventStore;
use crate::position::Position;
use crate::stream::Revision;
use crate::subscription::{Delivery, SubscribeFrom};
use crate::subscriptions::Checkpoints;

/// How far a subscriber has come: where it may resume.
#[derive(Clone, Copy)]
enum Reached {
    Stream(Option<Revision>),
    All(Option<Position>),
}

/// Follows a stream or the log.
pub(super) async fn answer(
    store: Arc<dyn EventStore>,
    followed: Followed,
    links: Links,
    sending: Sending,
    room: Room,
    shutdown: CancellationToken,
) -> Result<Replies, Status> {
    // Told before anything is delivered, so it must not be after the subscription's true beginning.
    let (followed, reached, checkpoints) = match followed {
        Followed::Stream(stream, from) => {
            let reached = match from {
                SubscribeFrom::Start => None,
                SubscribeFrom::After(revision) => Some(revision),
                SubscribeFrom::End => match store.last_event(&stream).await {
                    Ok(last) => last.map(|event| event.revision),
                    Err(ReadError::StreamNotFound(_)) => None,
                    Err(error) => return Err(of_read(&error)),
                },
            };
            (Followed::Stream(stream, after(reached)), Reached::Stream(reached), None)
        }
        Followed::All(from, filter) => {
            let reached = match from {
                SubscribeFrom::Start => None,
                SubscribeFrom::After(position) => Some(position),
                SubscribeFrom::End => {
                    let head = store.head().await.map_err(|error| of_store(&error))?;
                    (head != Position::START).then_some(head)
                }
            };
            // Only a filtered subscriber needs to be told how far it has come in silence.
            let checkpoints = filter.as_ref().map(|filter| Checkpoints::of(Some(filter)));
            (Followed::All(after(reached), filter), Reached::All(reached), checkpoints)
        }
    };
    match Source::begin(store, Asked::Follow(followed), sending, room).await {
        Ok(source) => Ok(replies(source, links, reached, checkpoints, shutdown)),
        Err(NotOpened::Other(status)) => Err(status),
        Err(NotOpened::StreamNotFound(stream)) => Err(of_read(&ReadError::StreamNotFound(stream))),
    }
}

/// The end as a place of its own: whoever goes on from there later misses nothing.
fn after<T>(reached: Option<T>) -> SubscribeFrom<T> {
    reached.map_or(SubscribeFrom::Start, SubscribeFrom::After)
}

fn replies(
    source: Source,
    links: Links,
    mut reached: Reached,
    mut checkpoints: Option<Checkpoints>,
    shutdown: CancellationToken,
) -> Replies {
    let confirmation = reply(Content::Confirmation(SubscriptionConfirmation {
        subscription_id: Uuid::new_v4().to_string(),
    }));
    let events = async_stream::try_stream! {
        let mut source = source;
        let mut told = None;
        while let Some(delivery) = source.next().await? {
            match delivery {
                Delivery::Event(event) => {
                    reached = match reached {
                        Reached::Stream(_) => Reached::Stream(Some(event.revision)),
                        Reached::All(_) => Reached::All(Some(event.position)),
                    };
                    let position = event.position;
                    yield links.shared_reply(event).await?;
                    if checkpoints.as_mut().is_some_and(|it| it.due_after(true)) {
                        told = Some(position);
                        yield checkpoint(position);
                    }
                }
                Delivery::Checkpoint(position) => {
                    if checkpoints.as_mut().is_some_and(|it| it.due_after(false)) {
                        reached = Reached::All(Some(position));
                        told = Some(position);
                        yield checkpoint(position);
                    }
                }
                Delivery::CaughtUp => {
                    // One is due on reaching live, though the last event said as much; as with
                    // EventStoreDB it goes no further than what was sent before.
                    if let Reached::All(Some(position)) = reached
                        && checkpoints.is_some()
                        && told < Some(position)
                    {
                        told = Some(position);
                        yield checkpoint(position);
                    }
                    yield caught_up(reached);
                }
                // Clients of the protocol are never told; they see when it has caught up again.
                Delivery::FellBehind => {}
            }
        }
    };
    let stopped = async { Err(Status::unavailable("Server Is Not Ready")) };
    stream::once(async { Ok(confirmation) })
        .chain(events.take_until(shutdown.cancelled_owned()))
        .chain(stream::once(stopped))
        .boxed()
}

fn caught_up(reached: Reached) -> ReadResp {
    let mut caught_up = CaughtUp { timestamp: now(), ..CaughtUp::default() };
    match reached {
        Reached::Stream(revision) => {
            caught_up.stream_revision = revision.map(|revision| revision.get().cast_signed());
        }
        Reached::All(position) => {
            caught_up.position = position.map(|position| read_resp::Position {
                commit_position: position.get(),
                prepare_position: position.get(),
            });
        }
    }
    reply(Content::CaughtUp(caught_up))
}
