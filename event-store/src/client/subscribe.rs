//! Subscriptions that go on where they broke off, without gap or duplicate.
//!
//! Each has a connection of its own. What a subscriber has not read yet stays in the window of its
//! connection, which is one for all that goes over it: a few who are busy would leave no room for
//! the answers that they and others wait for, and nobody would ever come further.

use std::time::{Duration, Instant};

use eventstore::{
    Error, StreamPosition, SubscribeToAllOptions, SubscribeToStreamOptions, SubscriptionEvent,
    SubscriptionFilter,
};
use futures::stream::StreamExt;

use super::anchor::Anchor;
use super::connection::Connection;
use super::event::received;
use super::{failure, read};
use crate::error::{ReadError, StoreError, SubscribeError};
use crate::filter::{Filter, FilterSubject, Pattern};
use crate::position::Position;
use crate::stream::{Revision, StreamName};
use crate::subscription::{Delivery, SubscribeFrom, Subscription};

/// How long a server may be away before its subscribers are told.
const RESUME_SECONDS_MAX: u64 = 60;

/// The pause before the first attempt to resume, and the longest between two.
const RESUME_PAUSE_MILLIS: u64 = 50;
const RESUME_PAUSE_MILLIS_MAX: u64 = 2_000;

/// After how many events a filtering server tells how far it has come, while it reads the past.
/// Live it is to tell after each: somebody may wait for a model to have come so far.
const PAST_WINDOW_EVENTS: u32 = 512;
const LIVE_WINDOW_EVENTS: u32 = 1;

/// What is followed, and where to go on.
#[derive(Clone)]
enum Followed {
    Stream(StreamName, SubscribeFrom<Revision>),
    All(SubscribeFrom<Position>, Option<Filter>),
}

/// Follows one stream.
pub(super) async fn to_stream(
    connection: &Connection,
    stream: &StreamName,
    from: SubscribeFrom<Revision>,
) -> Result<Subscription, SubscribeError> {
    let from = match from {
        // Its end is found now, so that what follows is known if the connection breaks at once.
        SubscribeFrom::End => match read::last_of_stream(connection, stream).await {
            Ok(Some(last)) => SubscribeFrom::After(last.revision),
            Ok(None) => SubscribeFrom::Start,
            Err(ReadError::Store(error)) => return Err(error.into()),
            Err(_) => return Err(SubscribeError::StreamDeleted(stream.clone())),
        },
        from => from,
    };
    follow(connection, Followed::Stream(stream.clone(), from)).await
}

/// Follows the log.
pub(super) async fn to_all(
    connection: &Connection,
    from: SubscribeFrom<Position>,
    filter: Option<Filter>,
) -> Result<Subscription, SubscribeError> {
    let from = match from {
        SubscribeFrom::End => match read::head(connection).await? {
            Position::START => SubscribeFrom::Start,
            head => SubscribeFrom::After(head),
        },
        from => from,
    };
    follow(connection, Followed::All(from, filter)).await
}

async fn follow(
    connection: &Connection,
    mut followed: Followed,
) -> Result<Subscription, SubscribeError> {
    let failed = |error: Error, followed: &Followed| failure::subscribe(&error, followed.stream());
    let connection = connection.another().map_err(|error| failed(error, &followed))?;
    let mut open = match followed.open(&connection, PAST_WINDOW_EVENTS).await {
        Ok(open) => open,
        Err(error) => return Err(failed(error, &followed)),
    };
    let mut anchor = followed.anchor(&connection).await?;
    Ok(async_stream::try_stream! {
        let mut is_live = false;
        let mut window = PAST_WINDOW_EVENTS;
        loop {
            let error = match open.next_subscription_event().await {
                Ok(event) => {
                    let Some(delivery) = followed.deliver(event)? else {
                        continue;
                    };
                    if let Delivery::Event(event) = &delivery {
                        anchor = Some(Anchor::of(event));
                    }
                    let caught_up = delivery == Delivery::CaughtUp;
                    if !(caught_up && is_live) {
                        is_live = caught_up || (is_live && delivery != Delivery::FellBehind);
                        yield delivery;
                    }
                    if !caught_up || window == LIVE_WINDOW_EVENTS || !followed.tells() {
                        continue;
                    }
                    window = LIVE_WINDOW_EVENTS;
                    match followed.open(&connection, window).await {
                        Ok(again) => {
                            check(anchor, &connection).await?;
                            open = again;
                            continue;
                        }
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            window = PAST_WINDOW_EVENTS;
            if is_live {
                is_live = false;
                yield Delivery::FellBehind;
            }
            open = match resume(&connection, &followed, error).await {
                Ok(open) => open,
                Err(error) => Err(failed(error, &followed))?,
            };
            check(anchor, &connection).await?;
        }
    }
    .boxed())
}

/// That a subscription which was opened again is to the log that was followed.
async fn check(anchor: Option<Anchor>, connection: &Connection) -> Result<(), StoreError> {
    match anchor {
        Some(anchor) => anchor.check(connection).await,
        None => Ok(()),
    }
}

/// Opens the subscription again where it broke off, until the server is back or given up.
async fn resume(
    connection: &Connection,
    followed: &Followed,
    mut error: Error,
) -> eventstore::Result<eventstore::Subscription> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(RESUME_PAUSE_MILLIS);
    tracing::info!(reason = %failure::store(&error), "a subscription broke off and is resumed");
    while failure::passes(&error) && begun.elapsed().as_secs() < RESUME_SECONDS_MAX {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(RESUME_PAUSE_MILLIS_MAX));
        error = match followed.open(connection, PAST_WINDOW_EVENTS).await {
            Ok(open) => return Ok(open),
            Err(error) => error,
        };
    }
    Err(error)
}

impl Followed {
    fn stream(&self) -> Option<&StreamName> {
        match self {
            Self::Stream(stream, _) => Some(stream),
            Self::All(..) => None,
        }
    }

    /// What the log is known again by before anything of it was seen.
    async fn anchor(&self, connection: &Connection) -> Result<Option<Anchor>, StoreError> {
        match self {
            Self::All(SubscribeFrom::After(position), _) => Anchor::at(connection, *position).await,
            Self::Stream(stream, SubscribeFrom::After(revision)) => {
                Anchor::in_stream(connection, stream, *revision).await
            }
            _ => Ok(None),
        }
    }

    /// Whether it is told how far it has come, at intervals that are the adapter's to choose.
    fn tells(&self) -> bool {
        matches!(self, Self::All(_, Some(Filter { checkpoint_events: None, .. })))
    }

    /// Subscribes, and waits until the server has confirmed it.
    async fn open(
        &self,
        connection: &Connection,
        window: u32,
    ) -> eventstore::Result<eventstore::Subscription> {
        connection
            .ask(|client| async move {
                let mut open = match self {
                    Self::Stream(stream, from) => {
                        let options = SubscribeToStreamOptions::default()
                            .start_from(place(*from, Revision::get));
                        client.subscribe_to_stream(stream.as_str(), &options).await
                    }
                    Self::All(from, filter) => {
                        let from = place(*from, |position| eventstore::Position {
                            commit: position.get(),
                            prepare: position.get(),
                        });
                        let options = SubscribeToAllOptions::default().position(from);
                        let options = match filter {
                            Some(filter) => options.filter(sent(filter, window)),
                            None => options,
                        };
                        client.subscribe_to_all(&options).await
                    }
                };
                match open.next_subscription_event().await? {
                    SubscriptionEvent::Confirmed(_) => Ok(open),
                    _ => Err(Error::IllegalStateError(
                        "the subscription was not confirmed".to_owned(),
                    )),
                }
            })
            .await
    }

    /// What a message of the server is to the subscriber; where to resume moves with it.
    fn deliver(&mut self, event: SubscriptionEvent) -> Result<Option<Delivery>, SubscribeError> {
        Ok(match event {
            SubscriptionEvent::EventAppeared(event) => {
                let event = received(event)?;
                match self {
                    Self::Stream(_, from) => *from = SubscribeFrom::After(event.revision),
                    Self::All(from, _) => *from = SubscribeFrom::After(event.position),
                }
                Some(Delivery::Event(event))
            }
            SubscriptionEvent::Checkpoint(position) => {
                let position = Position::new(position.commit);
                if let Self::All(from, _) = self {
                    *from = SubscribeFrom::After(position);
                }
                Some(Delivery::Checkpoint(position))
            }
            SubscriptionEvent::CaughtUp => Some(Delivery::CaughtUp),
            SubscriptionEvent::FellBehind => Some(Delivery::FellBehind),
            _ => None,
        })
    }
}

fn place<T, U>(from: SubscribeFrom<T>, place: impl FnOnce(T) -> U) -> StreamPosition<U> {
    match from {
        SubscribeFrom::Start => StreamPosition::Start,
        SubscribeFrom::After(at) => StreamPosition::Position(place(at)),
        SubscribeFrom::End => StreamPosition::End,
    }
}

fn sent(filter: &Filter, window: u32) -> SubscriptionFilter {
    let sent = match filter.subject {
        FilterSubject::StreamName => SubscriptionFilter::on_stream_name(),
        FilterSubject::EventType => SubscriptionFilter::on_event_type(),
    };
    let asked = filter.checkpoint_events.map(|events| u32::try_from(events.get()));
    let sent = sent.max(asked.map_or(window, |events| events.unwrap_or(u32::MAX)));
    match &filter.pattern {
        Pattern::Prefixes(prefixes) => prefixes.iter().fold(sent, SubscriptionFilter::add_prefix),
        Pattern::Regex(regex) => sent.regex(regex),
    }
}
