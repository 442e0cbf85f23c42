//! What a subscription delivers.

use futures::stream::BoxStream;

use crate::error::SubscribeError;
use crate::event::RecordedEvent;
use crate::position::Position;

/// Deliveries without end: each event once, in order, first the past and then live.
///
/// It holds no writer up: a subscriber that does not read falls behind and catches up from the log.
/// Dropping it ends the subscription.
pub type Subscription = BoxStream<'static, Result<Delivery, SubscribeError>>;

/// Where a subscription begins; `T` is a [`Position`], a [`crate::Revision`] or a
/// [`crate::Ordinal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscribeFrom<T> {
    /// With the first event.
    Start,
    /// With the first event after this place, the place itself excluded.
    After(T),
    /// With what is appended from now on.
    End,
}

/// One delivery of a subscription; of an index with the event's place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery<E = RecordedEvent> {
    /// The next event that was asked for.
    Event(E),
    /// Everything up to here has been looked at, and what was asked for delivered: a filtered
    /// subscriber can resume after it. Sent at the intervals that the filter asks for.
    Checkpoint(Position),
    /// What follows is live.
    CaughtUp,
    /// The subscriber was too slow for live delivery; what follows is read from the log.
    FellBehind,
}
