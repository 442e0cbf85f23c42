//! The events of a group, read on and on over failures of the store.

use std::num::NonZeroU64;
use std::sync::Arc;

use async_stream::stream;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};

use super::error::PersistentError;
use super::group::{EventSource, is_kept_by_groups_of_all};
use super::message::{Message, resolve};
use super::retry::{Closed, Failures, Pauses, until_done};
use crate::error::StoreError;
use crate::event::RecordedEvent;
use crate::filter::Filter;
use crate::port::EventStore;
use crate::position::Position;
use crate::read::ReadAll;
use crate::stream::Revision;
use crate::subscription::{Delivery, SubscribeFrom, Subscription};

/// What fails when the source can't be read.
const READ: &str = "read its events";

/// After how many events that a filter drops a group is told how far it has come. More than one,
/// or its own checkpoints would make it write more of them.
const PASSED_EVENTS: NonZeroU64 = NonZeroU64::new(1024).expect("it is not zero");

/// What the source says.
pub(super) enum Read {
    /// The next message, at this place.
    Message(u64, Message),
    /// There is nothing more up to this place.
    Passed(u64),
    /// What follows is live.
    CaughtUp,
    /// What follows is of the past.
    FellBehind,
    /// The store was closed; nothing follows.
    Closed,
}

/// Where a source begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// With the first event.
    Start,
    /// With the event at this place.
    At(u64),
    /// Behind this place.
    After(u64),
}

/// What is read.
#[derive(Clone)]
pub(super) struct Source {
    pub store: Arc<dyn EventStore>,
    pub source: EventSource,
    pub filter: Option<Filter>,
    pub resolve_links: bool,
}

impl Source {
    /// Reads from there on, without end; each message once, in order.
    pub(super) fn read(self, mut begin: Begin, failures: Failures) -> BoxStream<'static, Read> {
        stream! {
            let mut pauses = Pauses::new();
            loop {
                let error = match self.open(begin).await {
                    Err(error) => error,
                    Ok(mut open) => loop {
                        let event = match open.next().await {
                            None => break StoreError::Closed.into(),
                            Some(Err(error)) => break error.into(),
                            Some(Ok(Delivery::CaughtUp)) => {
                                failures.clear(READ);
                                yield Read::CaughtUp;
                                continue;
                            }
                            Some(Ok(Delivery::FellBehind)) => {
                                yield Read::FellBehind;
                                continue;
                            }
                            Some(Ok(Delivery::Checkpoint(position))) => {
                                begin = Begin::After(position.get());
                                yield Read::Passed(position.get());
                                continue;
                            }
                            Some(Ok(Delivery::Event(event))) => event,
                        };
                        failures.clear(READ);
                        pauses = Pauses::new();
                        let place = self.place(&event);
                        if !self.hides(&event) {
                            match self.message(event, &failures).await {
                                Ok(message) => yield Read::Message(place, message),
                                Err(Closed) => break StoreError::Closed.into(),
                            }
                        }
                        begin = Begin::After(place);
                    },
                };
                match &error {
                    PersistentError::Store(StoreError::Closed) => {
                        yield Read::Closed;
                        return;
                    }
                    error => failures.set(READ, error),
                }
                if let PersistentError::StreamDeleted(_) = error {
                    // Nothing ever comes again; what was read before is still to be finished.
                    std::future::pending::<()>().await;
                }
                yield Read::FellBehind;
                pauses.next().await;
            }
        }
        .boxed()
    }

    async fn open(&self, begin: Begin) -> Result<Subscription, PersistentError> {
        match &self.source {
            EventSource::Stream(stream) => {
                let from = match begin {
                    Begin::Start | Begin::At(0) => SubscribeFrom::Start,
                    Begin::At(number) => SubscribeFrom::After(Revision::new(number - 1)),
                    Begin::After(number) => SubscribeFrom::After(Revision::new(number)),
                };
                Ok(self.store.subscribe_stream(stream, from).await?)
            }
            EventSource::All => {
                let from = match begin {
                    Begin::Start | Begin::At(0) => SubscribeFrom::Start,
                    Begin::At(number) | Begin::After(number) => {
                        SubscribeFrom::After(Position::new(number))
                    }
                };
                let mut filter = self.filter.clone();
                if let Some(filter) = &mut filter {
                    filter.checkpoint_events = Some(PASSED_EVENTS);
                }
                let rest = self.store.subscribe_all(from, filter).await?;
                Ok(match begin {
                    Begin::At(number) => {
                        let first = self.event_at(Position::new(number)).await?;
                        let first = first.map(|event| Ok(Delivery::Event(event)));
                        futures::stream::iter(first).chain(rest).boxed()
                    }
                    Begin::Start | Begin::After(_) => rest,
                })
            }
        }
    }

    /// The event at this very position, if the filter keeps it: positions are not to be counted by,
    /// so what follows the one before can't be asked for.
    async fn event_at(&self, position: Position) -> Result<Option<RecordedEvent>, PersistentError> {
        let mut read = ReadAll::forward().from(position).limit(1);
        read.filter = self.filter.clone();
        let event = self.store.read_all(read).await?.try_next().await?;
        Ok(event.filter(|event| event.position == position))
    }

    fn place(&self, event: &RecordedEvent) -> u64 {
        match self.source {
            EventSource::Stream(_) => event.revision.get(),
            EventSource::All => event.position.get(),
        }
    }

    fn hides(&self, event: &RecordedEvent) -> bool {
        self.source == EventSource::All && is_kept_by_groups_of_all(&event.stream)
    }

    async fn message(&self, event: RecordedEvent, failures: &Failures) -> Result<Message, Closed> {
        if !self.resolve_links {
            return Ok(Message::event(event));
        }
        let attempt = || async { Ok(resolve(&*self.store, event.clone()).await?) };
        until_done(failures, "resolve a link", attempt).await
    }
}
