//! What can be asked of a read.

use chrono::{DateTime, Utc};
use futures::stream::BoxStream;

use crate::error::ReadError;
use crate::event::RecordedEvent;
use crate::filter::Filter;
use crate::position::Position;
use crate::stream::{Revision, StreamName};

/// Events in the order asked for; it ends with the last one, or with the first error.
pub type EventReader = BoxStream<'static, Result<RecordedEvent, ReadError>>;

/// Which way to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From old to new.
    Forward,
    /// From new to old.
    Backward,
}

/// A moment of the log's past: what came after it is as if it had not happened.
///
/// What was reclaimed since is gone from the past as well: a read of the whole log passes over it,
/// and a read of a stream of which something is gone that was seen then is refused as
/// [`ReadError::Reclaimed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsOf {
    /// After the event at this position, that event included.
    Position(Position),
    /// After every event recorded up to this instant.
    Time(DateTime<Utc>),
}

/// Where a read of a stream begins; inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamStart {
    /// At its first event.
    Start,
    /// At its last event.
    End,
    /// At this revision.
    Revision(Revision),
    /// Forward at the first event that was recorded at this time or later, backward at the last
    /// one recorded until then.
    Time(DateTime<Utc>),
}

/// Where a read of the whole log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllStart {
    /// At the first event.
    Start,
    /// Behind the last event.
    End,
    /// At this position: forward includes the event there, backward begins before it.
    Position(Position),
    /// Forward at the first event that was recorded at this time or later, backward at the last
    /// one recorded until then.
    Time(DateTime<Utc>),
}

/// A read of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadStream {
    /// Which stream.
    pub stream: StreamName,
    /// Which way.
    pub direction: Direction,
    /// From where, inclusive.
    pub start: StreamStart,
    /// At most this many events.
    pub limit: Option<u64>,
    /// As the stream was at this moment; `None` is now.
    pub as_of: Option<AsOf>,
}

impl ReadStream {
    /// The whole stream, from old to new.
    pub fn forward(stream: StreamName) -> Self {
        let (direction, start) = (Direction::Forward, StreamStart::Start);
        Self { stream, direction, start, limit: None, as_of: None }
    }

    /// The whole stream, from new to old.
    pub fn backward(stream: StreamName) -> Self {
        let (direction, start) = (Direction::Backward, StreamStart::End);
        Self { stream, direction, start, limit: None, as_of: None }
    }

    /// The same, from this revision on.
    #[must_use]
    pub fn from(self, revision: Revision) -> Self {
        Self { start: StreamStart::Revision(revision), ..self }
    }

    /// The same, from this time on.
    #[must_use]
    pub fn from_time(self, time: DateTime<Utc>) -> Self {
        Self { start: StreamStart::Time(time), ..self }
    }

    /// The same, at most this many events.
    #[must_use]
    pub fn limit(self, events: u64) -> Self {
        Self { limit: Some(events), ..self }
    }

    /// The same, as of a moment of the past.
    #[must_use]
    pub fn as_of(self, moment: AsOf) -> Self {
        Self { as_of: Some(moment), ..self }
    }
}

/// A read of the whole log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadAll {
    /// Which way.
    pub direction: Direction,
    /// From where.
    pub start: AllStart,
    /// At most this many events, counted after the filter.
    pub limit: Option<u64>,
    /// Only these events; `None` is all.
    pub filter: Option<Filter>,
    /// At most this many events are looked at, those counted that the filter leaves out and those
    /// that were reclaimed. A read that would go on ends as [`ReadError::ScanEnded`], which says
    /// from where.
    pub scan: Option<u64>,
    /// As the log was at this moment; `None` is now.
    pub as_of: Option<AsOf>,
}

impl ReadAll {
    /// Everything, from old to new.
    pub fn forward() -> Self {
        let (direction, start) = (Direction::Forward, AllStart::Start);
        Self { direction, start, limit: None, filter: None, scan: None, as_of: None }
    }

    /// Everything, from new to old.
    pub fn backward() -> Self {
        let (direction, start) = (Direction::Backward, AllStart::End);
        Self { direction, start, limit: None, filter: None, scan: None, as_of: None }
    }

    /// The same, from this position on.
    #[must_use]
    pub fn from(self, position: Position) -> Self {
        Self { start: AllStart::Position(position), ..self }
    }

    /// The same, from this time on.
    #[must_use]
    pub fn from_time(self, time: DateTime<Utc>) -> Self {
        Self { start: AllStart::Time(time), ..self }
    }

    /// The same, at most this many events.
    #[must_use]
    pub fn limit(self, events: u64) -> Self {
        Self { limit: Some(events), ..self }
    }

    /// The same, only the events that the filter keeps.
    #[must_use]
    pub fn filter(self, filter: Filter) -> Self {
        Self { filter: Some(filter), ..self }
    }

    /// The same, looking at no more than this many events.
    #[must_use]
    pub fn scan(self, events: u64) -> Self {
        Self { scan: Some(events), ..self }
    }

    /// The same, as of a moment of the past.
    #[must_use]
    pub fn as_of(self, moment: AsOf) -> Self {
        Self { as_of: Some(moment), ..self }
    }
}
