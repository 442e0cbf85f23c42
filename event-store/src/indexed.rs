//! The indexes over all streams: the events of a category, or of a type, in the order of the log.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::error::IndexError;
use crate::event::{EventType, RecordedEvent};
use crate::read::{AsOf, Direction};
use crate::stream::StreamName;
use crate::subscription::Delivery;

/// Which events an index has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Index {
    /// Those of all streams of a category; see [`Index::category_of`].
    Category(Arc<str>),
    /// Those of a type.
    EventType(EventType),
}

/// The place of an event in an index, from zero. It is the event's for good: one that is
/// scavenged leaves a gap, and is counted for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ordinal(u64);

/// An event of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indexed {
    /// Its place in the index.
    pub ordinal: Ordinal,
    /// The event.
    pub event: RecordedEvent,
}

/// Events of an index in the order asked for; it ends with the last one, or with the first error.
pub type IndexReader = BoxStream<'static, Result<Indexed, IndexError>>;

/// Deliveries without end, as those of any [`crate::Subscription`]. There are no checkpoints: the
/// ordinal of the last event says as much.
pub type IndexSubscription = BoxStream<'static, Result<Delivery<Indexed>, IndexError>>;

/// Where a read of an index begins; inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexStart {
    /// At its first event.
    Start,
    /// At its last event.
    End,
    /// At this ordinal.
    Ordinal(Ordinal),
    /// Forward at the first event that was recorded at this time or later, backward at the last
    /// one recorded until then.
    Time(DateTime<Utc>),
}

/// A read of an index. What is not there is empty, not an error.
///
/// As in a read of the whole log, metadata of streams hide nothing: what is truncated or deleted is
/// read until it is scavenged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadIndex {
    /// Which index.
    pub index: Index,
    /// Which way.
    pub direction: Direction,
    /// From where, inclusive.
    pub start: IndexStart,
    /// At most this many events.
    pub limit: Option<u64>,
    /// As the log was at this moment; `None` is now.
    pub as_of: Option<AsOf>,
}

impl Index {
    /// The index of a category.
    pub fn category(name: impl Into<Arc<str>>) -> Self {
        Self::Category(name.into())
    }

    /// The category of a stream: what stands before the first `-` of its name. A stream without
    /// one, or with nothing before it, has none; nor has one of the system's (`$…`).
    ///
    /// This is EventStoreDB's; [`StreamName::category`] makes a category of any name.
    pub fn category_of(stream: &StreamName) -> Option<&str> {
        category_of(stream.as_str())
    }

    /// Whether it has the event.
    pub fn has(&self, event: &RecordedEvent) -> bool {
        match self {
            Self::Category(name) => Self::category_of(&event.stream) == Some(name),
            Self::EventType(name) => event.event_type == *name,
        }
    }
}

/// The category of a stream with this name.
pub(crate) fn category_of(stream: &str) -> Option<&str> {
    let (category, _) = stream.split_once('-')?;
    (!category.is_empty() && !category.starts_with('$')).then_some(category)
}

impl fmt::Display for Index {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Category(name) => write!(formatter, "category {name}"),
            Self::EventType(name) => write!(formatter, "event type {name}"),
        }
    }
}

impl Ordinal {
    /// The first event of an index.
    pub const FIRST: Self = Self(0);

    /// The ordinal with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Ordinal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl ReadIndex {
    /// All of it, from old to new.
    pub fn forward(index: Index) -> Self {
        let (direction, start) = (Direction::Forward, IndexStart::Start);
        Self { index, direction, start, limit: None, as_of: None }
    }

    /// All of it, from new to old.
    pub fn backward(index: Index) -> Self {
        let (direction, start) = (Direction::Backward, IndexStart::End);
        Self { index, direction, start, limit: None, as_of: None }
    }

    /// The same, from this ordinal on.
    #[must_use]
    pub fn from(self, ordinal: Ordinal) -> Self {
        Self { start: IndexStart::Ordinal(ordinal), ..self }
    }

    /// The same, from this time on.
    #[must_use]
    pub fn from_time(self, time: DateTime<Utc>) -> Self {
        Self { start: IndexStart::Time(time), ..self }
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

    /// The same events, read the other way where that is simpler: at the start backward, or at the
    /// end forward, there is one at most.
    pub(crate) fn turned(self) -> Self {
        let direction = match (self.start, self.direction) {
            (IndexStart::Start, Direction::Backward) => Direction::Forward,
            (IndexStart::End, Direction::Forward) => Direction::Backward,
            _ => return self,
        };
        Self { direction, limit: Some(self.limit.unwrap_or(1).min(1)), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_category_stands_before_the_first_dash() {
        for (stream, category) in [
            ("track-1", Some("track")),
            ("track-1-2", Some("track")),
            ("track-", Some("track")),
            ("track", None),
            ("-1", None),
            ("$$track-1", None),
            ("$projections-1", None),
            ("$", None),
        ] {
            assert_eq!(category_of(stream), category, "{stream}");
        }
    }
}
