//! The events of one call: read from the store, let go while the client does not read, and read
//! again from where it was.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::stream::{BoxStream, StreamExt};
use tonic::Status;

use super::problem::{of_read, of_store, of_subscribe};
use super::sending::{Call, Room, Sending, Share};
use crate::error::ReadError;
use crate::event::RecordedEvent;
use crate::filter::Filter;
use crate::port::EventStore;
use crate::position::Position;
use crate::read::{AllStart, Direction, ReadAll, ReadStream, StreamStart};
use crate::stream::{Revision, StreamName};
use crate::subscription::{Delivery, SubscribeFrom};

/// What is read or followed, from where on.
#[derive(Clone)]
pub(super) enum Asked {
    Stream(ReadStream),
    All(ReadAll),
    FollowStream(StreamName, SubscribeFrom<Revision>),
    FollowAll(SubscribeFrom<Position>, Option<Filter>),
}

/// Why nothing can be read.
pub(super) enum NotOpened {
    StreamNotFound(StreamName),
    Other(Status),
}

type Deliveries = BoxStream<'static, Result<Delivery, Status>>;

/// The events of one call.
pub(super) struct Source {
    store: Arc<dyn EventStore>,
    asked: Asked,
    /// Where a forward read ends that is opened again: about where the log ended as it began. The
    /// store itself ends what is not; this is no earlier.
    until: Option<Position>,
    /// The last event that was handed on.
    passed: Option<Position>,
    ended: bool,
    slot: Arc<Slot>,
    sending: Sending,
    room: Room,
    _call: Call,
}

impl Source {
    /// Begins; whether there is anything to read is known then.
    pub(super) async fn begin(
        store: Arc<dyn EventStore>,
        asked: Asked,
        sending: Sending,
        room: Room,
    ) -> Result<Self, NotOpened> {
        let slot = Arc::new(Slot::default());
        let call = sending.call(Arc::clone(&slot))?;
        let is_forward = match &asked {
            Asked::Stream(read) => read.direction == Direction::Forward,
            Asked::All(read) => read.direction == Direction::Forward,
            Asked::FollowStream(..) | Asked::FollowAll(..) => false,
        };
        let (until, passed, ended) = (None, None, false);
        let mut source =
            Self { store, asked, until, passed, ended, slot, sending, room, _call: call };
        source.open().await?;
        if is_forward {
            source.until = Some(source.store.head().await.map_err(|e| of_store(&e))?);
        }
        Ok(source)
    }

    async fn open(&mut self) -> Result<(), NotOpened> {
        let page = self.sending.page().await;
        let events = self.asked.open(&*self.store).await?;
        self.slot.fill(events, page);
        Ok(())
    }

    /// What comes next; nothing after the end of a read.
    pub(super) async fn next(&mut self) -> Result<Option<Delivery>, Status> {
        if self.ended {
            return Ok(None);
        }
        let next = self.look().await;
        self.ended = !matches!(next, Ok(Some(_)));
        if self.ended {
            self.slot.empty();
        }
        next
    }

    async fn look(&mut self) -> Result<Option<Delivery>, Status> {
        let mut waited = None;
        loop {
            let next = std::future::poll_fn(|context| self.slot.poll(context, &self.sending)).await;
            let delivery = match next {
                Next::Delivery(delivery) => delivery?,
                Next::End => return Ok(None),
                Next::LetGo if self.asked.is_over(self.passed) => return Ok(None),
                Next::LetGo => match self.open().await {
                    Ok(()) => continue,
                    Err(NotOpened::Other(status)) => return Err(status),
                    Err(NotOpened::StreamNotFound(stream)) => {
                        return Err(of_read(&ReadError::StreamNotFound(stream)));
                    }
                },
            };
            if let Delivery::Event(event) = &delivery {
                if self.until.is_some_and(|until| event.position > until) {
                    return Ok(None);
                }
                // A tombstone is delivered to whoever follows from behind it.
                if self.asked.follows() && self.passed.is_some_and(|last| event.position <= last) {
                    continue;
                }
                let bytes = payload_bytes(event);
                if !self.room.admits(bytes, &mut waited) {
                    drop(delivery);
                    self.slot.empty();
                    waited = Some(self.room.wait(bytes).await?);
                    continue;
                }
                self.passed = Some(event.position);
            }
            self.asked.pass(&delivery);
            return Ok(Some(delivery));
        }
    }

    /// The next event of a read.
    pub(super) async fn event(&mut self) -> Result<Option<RecordedEvent>, Status> {
        while let Some(delivery) = self.next().await? {
            if let Delivery::Event(event) = delivery {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }
}

/// How large the event is, but for its names.
pub(super) fn payload_bytes(event: &RecordedEvent) -> usize {
    event.data.len() + event.metadata.len()
}

impl From<Status> for NotOpened {
    fn from(status: Status) -> Self {
        Self::Other(status)
    }
}

impl Asked {
    async fn open(&self, store: &dyn EventStore) -> Result<Deliveries, NotOpened> {
        let not_read = |error| match error {
            ReadError::StreamNotFound(stream) => NotOpened::StreamNotFound(stream),
            error => NotOpened::Other(of_read(&error)),
        };
        let read = |event: Result<_, ReadError>| {
            event.map(Delivery::Event).map_err(|error| of_read(&error))
        };
        Ok(match self.clone() {
            Self::Stream(asked) => {
                store.read_stream(asked).await.map_err(not_read)?.map(read).boxed()
            }
            Self::All(asked) => store.read_all(asked).await.map_err(not_read)?.map(read).boxed(),
            Self::FollowStream(stream, from) => {
                let followed = store.subscribe_stream(&stream, from).await;
                let followed = followed.map_err(|error| of_subscribe(&error))?;
                followed.map(|next| next.map_err(|error| of_subscribe(&error))).boxed()
            }
            Self::FollowAll(from, filter) => {
                let followed = store.subscribe_all(from, filter).await;
                let followed = followed.map_err(|error| of_subscribe(&error))?;
                followed.map(|next| next.map_err(|error| of_subscribe(&error))).boxed()
            }
        })
    }

    /// Goes on behind what was handed on.
    fn pass(&mut self, delivery: &Delivery) {
        match (self, delivery) {
            (Self::Stream(read), Delivery::Event(event)) => {
                let revision = event.revision.get();
                read.limit = read.limit.map(|limit| limit.saturating_sub(1));
                match (read.direction, revision.checked_sub(1)) {
                    (Direction::Forward, _) => {
                        read.start = StreamStart::Revision(Revision::new(revision + 1));
                    }
                    (Direction::Backward, Some(before)) => {
                        read.start = StreamStart::Revision(Revision::new(before));
                    }
                    (Direction::Backward, None) => read.limit = Some(0),
                }
            }
            (Self::All(read), Delivery::Event(event)) => {
                let next = match read.direction {
                    Direction::Forward => Position::new(event.position.get() + 1),
                    // A backward read begins before its start.
                    Direction::Backward => event.position,
                };
                read.start = AllStart::Position(next);
                read.limit = read.limit.map(|limit| limit.saturating_sub(1));
            }
            (Self::FollowStream(_, from), Delivery::Event(event)) => {
                *from = SubscribeFrom::After(event.revision);
            }
            (Self::FollowAll(from, _), Delivery::Event(event)) => {
                *from = SubscribeFrom::After(event.position);
            }
            (Self::FollowAll(from, _), Delivery::Checkpoint(position)) => {
                *from = SubscribeFrom::After(*position);
            }
            (_, Delivery::Checkpoint(_) | Delivery::CaughtUp | Delivery::FellBehind) => {}
        }
    }

    /// Whether it is a subscription.
    pub(super) fn follows(&self) -> bool {
        matches!(self, Self::FollowStream(..) | Self::FollowAll(..))
    }

    /// Whether a read that handed something on has all that it asked for.
    fn is_over(&self, passed: Option<Position>) -> bool {
        let limit = match self {
            Self::Stream(read) => read.limit,
            Self::All(read) => read.limit,
            Self::FollowStream(..) | Self::FollowAll(..) => None,
        };
        passed.is_some() && limit == Some(0)
    }
}

/// Where a call keeps what it has open, so that others can let it go.
#[derive(Default)]
pub(super) struct Slot(Mutex<Option<Open>>);

struct Open {
    events: Deliveries,
    /// Not there while it waits for what is appended next: it holds no page then.
    page: Option<Share>,
    live: bool,
    since: Instant,
    /// Since when nobody asked for more; `None` while the store is waited for.
    rests_since: Option<Instant>,
}

enum Next {
    Delivery(Result<Delivery, Status>),
    End,
    LetGo,
}

impl Slot {
    fn fill(&self, events: Deliveries, page: Share) {
        let (page, since) = (Some(page), Instant::now());
        *self.lock() = Some(Open { events, page, live: false, since, rests_since: Some(since) });
    }

    fn empty(&self) {
        let open = self.lock().take();
        drop(open);
    }

    /// Lets the page of a call go that rested so long, or is open so long and not just waiting.
    pub(super) fn let_go(&self, rested: Duration, opened: Duration) {
        let mut open = match self.0.try_lock() {
            Ok(open) => open,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // It is being asked for more.
            Err(TryLockError::WouldBlock) => return,
        };
        let due = |open: &Open| match open.rests_since {
            Some(since) => since.elapsed() >= rested || open.since.elapsed() >= opened,
            None => false,
        };
        let gone = if open.as_ref().is_some_and(due) { open.take() } else { None };
        drop(open);
        drop(gone);
    }

    fn poll(&self, context: &mut Context<'_>, sending: &Sending) -> Poll<Next> {
        let mut slot = self.lock();
        let Some(open) = slot.as_mut() else {
            return Poll::Ready(Next::LetGo);
        };
        let Poll::Ready(next) = open.events.poll_next_unpin(context) else {
            open.rests_since = None;
            if open.live {
                open.page = None;
            }
            return Poll::Pending;
        };
        let next = match next {
            Some(Ok(delivery)) => delivery,
            Some(Err(status)) => {
                *slot = None;
                return Poll::Ready(Next::Delivery(Err(status)));
            }
            None => {
                *slot = None;
                return Poll::Ready(Next::End);
            }
        };
        match &next {
            Delivery::CaughtUp => open.live = true,
            Delivery::FellBehind => open.live = false,
            Delivery::Event(_) | Delivery::Checkpoint(_) => {}
        }
        if open.page.is_none() {
            open.page = sending.free_page();
        }
        if open.page.is_none() {
            *slot = None;
            return Poll::Ready(Next::LetGo);
        }
        open.rests_since = Some(Instant::now());
        Poll::Ready(Next::Delivery(Ok(next)))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
