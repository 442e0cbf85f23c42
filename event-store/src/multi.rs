//! Appends to several streams at once: what is asked, what is answered, and what any store does of
//! it that can append to one stream only.
//!
//! The meaning is that of `AppendRecords` in KurrentDB's second protocol: records name their
//! streams and may interleave, checks are of any stream, and all that fail are told.

use std::collections::HashMap;
use std::fmt;

use crate::error::{AppendError, MultiAppendError, ReadError, StoreError};
use crate::event::{EventId, NewEvent};
use crate::limits::{APPEND_EVENTS_MAX, APPEND_STREAMS_MAX};
use crate::port::{Appended, EventStore};
use crate::position::Position;
use crate::size::at_most;
use crate::stream::{ExpectedRevision, Revision, StreamName};

/// Events for several streams that are appended all or none.
///
/// A stream that is written and has no check may be as it likes, unless it is tombstoned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MultiAppend {
    /// The events in the order that they get in the log, each with its stream; at least one.
    pub events: Vec<(StreamName, NewEvent)>,
    /// What must hold of streams, written or not; at most one check a stream.
    pub checks: Vec<StreamCheck>,
}

/// What must hold of a stream for an append to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamCheck {
    /// Which stream.
    pub stream: StreamName,
    /// What it must be like.
    pub expected: ExpectedState,
}

/// What a check expects of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExpectedState {
    /// That it has no events, or only deleted ones. A tombstoned stream is so too, but takes none.
    NoStream,
    /// That it has events or metadata, and is not deleted.
    StreamExists,
    /// That it was deleted and not written to again.
    SoftDeleted,
    /// That it was deleted for good; only of a stream that is not written.
    Tombstoned,
    /// That its last event has this revision, deleted or not, and it is not tombstoned.
    Exactly(Revision),
}

/// What a stream was found to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamState {
    /// It has no events; it may have metadata.
    NoEvents,
    /// Its last event has this revision.
    At(Revision),
    /// It was deleted and not written to again.
    SoftDeleted {
        /// The revision of its last event; `None` when it had none.
        last: Option<Revision>,
    },
    /// It was deleted for good.
    Tombstoned,
}

/// A stream that is not as it must be for an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which stream.
    pub stream: StreamName,
    /// The place among the checks of the one that failed; `None` of a tombstoned stream that was
    /// to be written without a check.
    pub check: Option<usize>,
    /// What that check expects.
    pub expected: Option<ExpectedState>,
    /// What the stream is like.
    pub actual: StreamState,
}

/// The acknowledgement of an append to several streams; for a retry, that of the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiAppended {
    /// Each stream that was written and its last revision after it, in the order of their first
    /// events.
    pub revisions: Vec<(StreamName, Revision)>,
    /// The position of its last event.
    pub position: Position,
}

impl MultiAppend {
    /// The same, with these events of a stream behind the others.
    #[must_use]
    pub fn events(
        mut self,
        stream: &StreamName,
        events: impl IntoIterator<Item = NewEvent>,
    ) -> Self {
        self.events.extend(events.into_iter().map(|event| (stream.clone(), event)));
        self
    }

    /// The same, with another check.
    #[must_use]
    pub fn check(mut self, stream: &StreamName, expected: ExpectedState) -> Self {
        self.checks.push(StreamCheck { stream: stream.clone(), expected });
        self
    }

    /// Sorts it out by streams; refuses what makes no sense or names too much.
    pub(crate) fn plan(self) -> Result<Plan, MultiAppendError> {
        let Self { events: offered, checks } = self;
        if offered.is_empty() {
            return Err(MultiAppendError::NoEvents);
        }
        at_most(offered.len(), APPEND_EVENTS_MAX, "events")?;
        at_most(checks.len(), APPEND_STREAMS_MAX, "streams")?;
        let mut checked = HashMap::new();
        for (at, check) in checks.iter().enumerate() {
            if checked.insert(&check.stream, at).is_some() {
                return Err(MultiAppendError::CheckedTwice(check.stream.clone()));
            }
        }
        let mut places = HashMap::new();
        let mut written = Vec::new();
        let mut events = Vec::with_capacity(offered.len());
        for (stream, event) in offered {
            let at = *places.entry(stream).or_insert_with_key(|stream| {
                let check = checked.remove(stream);
                written.push(Written { stream: stream.clone(), check, ids: Vec::new() });
                written.len() - 1
            });
            written[at].ids.push(event.id);
            events.push((at, event));
        }
        let mut unwritten: Vec<usize> = checked.into_values().collect();
        unwritten.sort_unstable();
        at_most(written.len() + unwritten.len(), APPEND_STREAMS_MAX, "streams")?;
        let tombstoned = |written: &&Written| {
            written.check.is_some_and(|at| checks[at].expected == ExpectedState::Tombstoned)
        };
        if let Some(Written { stream, .. }) = written.iter().find(tombstoned) {
            return Err(MultiAppendError::TombstonedWritten(stream.clone()));
        }
        Ok(Plan { written, unwritten, events, checks })
    }
}

/// An append to several streams, sorted out.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The streams that are written, in the order of their first events.
    pub(crate) written: Vec<Written>,
    /// The places of the checks whose streams are not written, in order.
    pub(crate) unwritten: Vec<usize>,
    /// The events in order, each with the place of its stream among those that are written.
    pub(crate) events: Vec<(usize, NewEvent)>,
    pub(crate) checks: Vec<StreamCheck>,
}

/// A stream that is written.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) stream: StreamName,
    /// The place of its check.
    pub(crate) check: Option<usize>,
    /// The ids of its events, in order.
    pub(crate) ids: Vec<EventId>,
}

impl Plan {
    /// What the check at this place expects.
    pub(crate) fn expected(&self, check: Option<usize>) -> Option<ExpectedState> {
        check.map(|at| self.checks[at].expected)
    }
}

/// Hands an append on that is of one stream, to a store that knows no other; refuses all others.
pub(crate) async fn append_to_one<S: EventStore + ?Sized>(
    store: &S,
    append: MultiAppend,
) -> Result<MultiAppended, MultiAppendError> {
    let plan = append.plan()?;
    let [Written { stream, check, .. }] = &plan.written[..] else {
        return Err(MultiAppendError::Unsupported);
    };
    let wanted = plan.expected(*check);
    let expected = match wanted {
        _ if !plan.unwritten.is_empty() => return Err(MultiAppendError::Unsupported),
        Some(ExpectedState::SoftDeleted | ExpectedState::Tombstoned) => {
            return Err(MultiAppendError::Unsupported);
        }
        None => ExpectedRevision::Any,
        Some(ExpectedState::NoStream) => ExpectedRevision::NoStream,
        Some(ExpectedState::StreamExists) => ExpectedRevision::StreamExists,
        Some(ExpectedState::Exactly(revision)) => ExpectedRevision::Exactly(revision),
    };
    let (stream, check) = (stream.clone(), *check);
    let violation = |actual| {
        let (stream, expected) = (stream.clone(), wanted);
        MultiAppendError::Violated(vec![Violation { stream, check, expected, actual }])
    };
    let events = plan.events.into_iter().map(|(_, event)| event).collect();
    match store.append(&stream, expected, events).await {
        Ok(Appended { last_revision: Some(revision), position: Some(position) }) => {
            Ok(MultiAppended { revisions: vec![(stream, revision)], position })
        }
        Ok(_) => {
            let reason = "it told no revision or no position of what was appended".into();
            Err(StoreError::Unavailable { reason }.into())
        }
        Err(AppendError::WrongExpectedRevision { actual, .. }) => match (expected, actual) {
            // These refuse a stream that has events for one reason only.
            (ExpectedRevision::Any, _) | (ExpectedRevision::StreamExists, Some(_)) => {
                Err(MultiAppendError::HalfKnown)
            }
            (_, actual) => Err(violation(actual.map_or(StreamState::NoEvents, StreamState::At))),
        },
        Err(AppendError::StreamDeleted(_)) => {
            // An existing stream is refused so when it is deleted in either way.
            let gone = store.stream_metadata(&stream).await;
            let soft = expected == ExpectedRevision::StreamExists
                && !matches!(gone, Err(ReadError::StreamDeleted(_)));
            Err(violation(if soft {
                StreamState::SoftDeleted { last: None }
            } else {
                StreamState::Tombstoned
            }))
        }
        Err(AppendError::TooLarge(error)) => Err(error.into()),
        Err(AppendError::Store(error)) => Err(error.into()),
    }
}

impl ExpectedState {
    /// What a writer to one stream expects, as a check of it; `None` where that is nothing.
    pub(crate) fn of(expected: ExpectedRevision) -> Option<Self> {
        match expected {
            ExpectedRevision::Any => None,
            ExpectedRevision::NoStream => Some(Self::NoStream),
            ExpectedRevision::StreamExists => Some(Self::StreamExists),
            ExpectedRevision::Exactly(revision) => Some(Self::Exactly(revision)),
        }
    }
}

impl fmt::Display for ExpectedState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStream => formatter.write_str("no stream"),
            Self::StreamExists => formatter.write_str("an existing stream"),
            Self::SoftDeleted => formatter.write_str("a deleted stream"),
            Self::Tombstoned => formatter.write_str("a stream that is deleted for good"),
            Self::Exactly(revision) => write!(formatter, "revision {revision}"),
        }
    }
}

impl fmt::Display for StreamState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEvents => formatter.write_str("no events"),
            Self::At(revision) => write!(formatter, "revision {revision}"),
            Self::SoftDeleted { .. } => formatter.write_str("a deleted stream"),
            Self::Tombstoned => formatter.write_str("a stream that is deleted for good"),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("expected ")?;
        match self.expected {
            Some(expected) => expected.fmt(formatter)?,
            None => formatter.write_str("any state but deletion for good")?,
        }
        write!(formatter, " of stream {}, found {}", self.stream, self.actual)
    }
}
