//! The events of one call: read from the store, let go while the client does not read, and read
//! again from where it was.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures::stream::{BoxStream, StreamExt};
use tonic::Status;

use super::problem::{of_read, of_store, of_subscribe};
use super::sending::{Call, Room, Sending, Share};
use crate::error::ReadError;
use crate::event::RecordedEvent;
use crate::filter::{Filter, Matcher};
use crate::limits::READ_SILENCE_EVENTS_MAX;
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
    Follow(Followed),
}

/// What is followed.
#[derive(Clone)]
pub(super) enum Followed {
    Stream(StreamName, SubscribeFrom<Revision>),
    All(SubscribeFrom<Position>, Option<Filter>),
}

/// Why nothing can be read.
pub(super) enum NotOpened {
    StreamNotFound(StreamName),
    Other(Status),
}

/// What a client is told of a read.
pub(super) enum Told {
    Event(RecordedEvent),
    /// The filter has left out all up to there since it was told of something, be it that the read
    /// ends there or goes on.
    Reached(Position),
}

type Deliveries = BoxStream<'static, Result<Delivery, Status>>;

/// The events of one call.
pub(super) struct Source {
    store: Arc<dyn EventStore>,
    asked: Asked,
    /// The filter, which is asked here and not by the store: whoever lets go must know how far it
    /// came, though it found nothing.
    matcher: Option<Arc<Matcher>>,
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
    /// Begins; whether there is anything to read is known then. What a filter leaves out is told as
    /// a checkpoint.
    pub(super) async fn begin(
        store: Arc<dyn EventStore>,
        mut asked: Asked,
        sending: Sending,
        room: Room,
    ) -> Result<Self, NotOpened> {
        let matcher = asked.take_filter().map(Matcher::new).transpose();
        let matcher = matcher.map_err(|why| of_read(&ReadError::BadFilter(why)))?.map(Arc::new);
        let slot = Arc::new(Slot::default());
        let call = sending.call(Arc::clone(&slot))?;
        let is_forward = match &asked {
            Asked::Stream(read) => read.direction == Direction::Forward,
            Asked::All(read) => read.direction == Direction::Forward,
            Asked::Follow(_) => false,
        };
        let (until, passed, ended) = (None, None, false);
        let mut source =
            Self { store, asked, matcher, until, passed, ended, slot, sending, room, _call: call };
        source.open().await?;
        if is_forward {
            source.until = Some(source.store.head().await.map_err(|e| of_store(&e))?);
        }
        Ok(source)
    }

    async fn open(&mut self) -> Result<(), NotOpened> {
        let page = self.sending.page().await;
        let events = self.asked.open(&*self.store, self.matcher.clone()).await?;
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
            if self.asked.is_over() {
                return Ok(None);
            }
            // A filter takes its time: others are served meanwhile, and who leaves ends it.
            tokio::task::consume_budget().await;
            let next = std::future::poll_fn(|context| self.slot.poll(context, &self.sending)).await;
            let delivery = match next {
                Next::Delivery(delivery) => delivery?,
                Next::End => return Ok(None),
                Next::LetGo => match self.open().await {
                    Ok(()) => continue,
                    Err(NotOpened::Other(status)) => return Err(status),
                    Err(NotOpened::StreamNotFound(stream)) => {
                        return Err(of_read(&ReadError::StreamNotFound(stream)));
                    }
                },
            };
            if position(&delivery).zip(self.until).is_some_and(|(position, until)| position > until)
            {
                return Ok(None);
            }
            if let Delivery::Event(event) = &delivery {
                // A tombstone is delivered to whoever follows from behind it.
                if matches!(self.asked, Asked::Follow(_))
                    && self.passed.is_some_and(|last| event.position <= last)
                {
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

    /// What a client is told next of a read: it never looks through the log for long without a
    /// word, which goes no further than a client reads.
    pub(super) async fn told(&mut self) -> Result<Option<Told>, Status> {
        let (mut left_out, mut reached) = (0, None);
        while let Some(delivery) = self.next().await? {
            match delivery {
                Delivery::Event(event) => return Ok(Some(Told::Event(event))),
                Delivery::Checkpoint(position) => {
                    (left_out, reached) = (left_out + 1, Some(position));
                    if left_out >= READ_SILENCE_EVENTS_MAX {
                        break;
                    }
                }
                Delivery::CaughtUp | Delivery::FellBehind => {}
            }
        }
        Ok(reached.map(Told::Reached))
    }
}

fn position(delivery: &Delivery) -> Option<Position> {
    match delivery {
        Delivery::Event(RecordedEvent { position, .. }) | Delivery::Checkpoint(position) => {
            Some(*position)
        }
        Delivery::CaughtUp | Delivery::FellBehind => None,
    }
}

/// What the matcher keeps of the log; what it leaves out, as a checkpoint.
fn kept(deliveries: Deliveries, matcher: Option<Arc<Matcher>>) -> Deliveries {
    let Some(matcher) = matcher else {
        return deliveries;
    };
    let kept = move |delivery: Result<Delivery, Status>| match delivery? {
        Delivery::Event(event) => match matcher.keeps(&event) {
            Ok(true) => Ok(Delivery::Event(event)),
            Ok(false) => Ok(Delivery::Checkpoint(event.position)),
            Err(why) => Err(of_read(&ReadError::BadFilter(why))),
        },
        other => Ok(other),
    };
    deliveries.map(kept).boxed()
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
    /// Opens it, its filter apart.
    async fn open(
        &self,
        store: &dyn EventStore,
        matcher: Option<Arc<Matcher>>,
    ) -> Result<Deliveries, NotOpened> {
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
            Self::All(asked) => {
                // What is left out does not count.
                let limit = asked.limit.filter(|_| matcher.is_none());
                let events = store.read_all(ReadAll { limit, ..asked }).await.map_err(not_read)?;
                kept(events.map(read).boxed(), matcher)
            }
            Self::Follow(followed) => {
                let deliveries = match followed {
                    Followed::Stream(stream, from) => store.subscribe_stream(&stream, from).await,
                    Followed::All(from, filter) => store.subscribe_all(from, filter).await,
                };
                let deliveries = deliveries.map_err(|error| of_subscribe(&error))?;
                let told = |next: Result<_, _>| next.map_err(|error| of_subscribe(&error));
                kept(deliveries.map(told).boxed(), matcher)
            }
        })
    }

    fn take_filter(&mut self) -> Option<Filter> {
        match self {
            Self::All(read) => read.filter.take(),
            Self::Follow(Followed::All(_, filter)) => filter.take(),
            Self::Stream(_) | Self::Follow(Followed::Stream(..)) => None,
        }
    }

    /// Goes on behind what was handed on.
    fn pass(&mut self, delivery: &Delivery) {
        let Some(position) = position(delivery) else {
            return;
        };
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
            (Self::All(read), delivery) => {
                let next = match read.direction {
                    Direction::Forward => Position::new(position.get() + 1),
                    // A backward read begins before its start.
                    Direction::Backward => position,
                };
                read.start = AllStart::Position(next);
                if let Delivery::Event(_) = delivery {
                    read.limit = read.limit.map(|limit| limit.saturating_sub(1));
                }
            }
            (Self::Follow(Followed::Stream(_, from)), Delivery::Event(event)) => {
                *from = SubscribeFrom::After(event.revision);
            }
            (Self::Follow(Followed::All(from, _)), _) => *from = SubscribeFrom::After(position),
            (Self::Stream(_) | Self::Follow(Followed::Stream(..)), _) => {}
        }
    }

    /// Whether a read has all that it asked for.
    fn is_over(&self) -> bool {
        let limit = match self {
            Self::Stream(read) => read.limit,
            Self::All(read) => read.limit,
            Self::Follow(_) => None,
        };
        limit == Some(0)
    }
}

/// Where a call keeps what it has open, so that others can let it go.
#[derive(Default)]
pub(super) struct Slot(Mutex<Option<Open>>);

struct Open {
    events: Deliveries,
    /// Not there while it waits for what is appended next: it holds no page then.
    page: Option<Share>,
    /// Since when it has its page.
    since: Instant,
    live: bool,
    /// Whether it came further since it was opened: what is let go before that never would.
    moved: bool,
    /// Who waits for the store.
    waits: Option<Waker>,
}

impl Open {
    fn had_its(&self, turn: Duration) -> bool {
        let may_go = self.moved || self.waits.is_none();
        self.page.is_some() && may_go && self.since.elapsed() >= turn
    }
}

enum Next {
    Delivery(Result<Delivery, Status>),
    End,
    LetGo,
}

impl Slot {
    fn fill(&self, events: Deliveries, page: Share) {
        let (page, since) = (Some(page), Instant::now());
        let (live, moved, waits) = (false, false, None);
        *self.lock() = Some(Open { events, page, since, live, moved, waits });
    }

    fn empty(&self) {
        let open = self.lock().take();
        drop(open);
    }

    /// Lets the page of a call go that has had it for so long.
    pub(super) fn let_go(&self, turn: Duration) {
        let mut slot = match self.0.try_lock() {
            Ok(slot) => slot,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // It is being asked for more.
            Err(TryLockError::WouldBlock) => return,
        };
        let gone = slot.take_if(|open| open.had_its(turn));
        drop(slot);
        if let Some(Open { waits: Some(waits), .. }) = gone {
            waits.wake();
        }
    }

    fn poll(&self, context: &mut Context<'_>, sending: &Sending) -> Poll<Next> {
        let mut slot = self.lock();
        let Some(open) = slot.as_mut() else {
            return Poll::Ready(Next::LetGo);
        };
        let Poll::Ready(next) = open.events.poll_next_unpin(context) else {
            open.waits = Some(context.waker().clone());
            if open.live {
                open.page = None;
            }
            return Poll::Pending;
        };
        open.waits = None;
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
            Delivery::Event(_) | Delivery::Checkpoint(_) => open.moved = true,
        }
        // Where the store goes on at once, nothing is held of what is left out.
        if open.page.is_none() && !matches!(next, Delivery::Checkpoint(_)) {
            open.page = sending.free_page();
            open.since = Instant::now();
            if open.page.is_none() {
                *slot = None;
                return Poll::Ready(Next::LetGo);
            }
        }
        Poll::Ready(Next::Delivery(Ok(next)))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
