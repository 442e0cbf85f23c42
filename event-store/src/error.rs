//! What can go wrong, one enum a question.

use std::io;
use std::sync::Arc;

use thiserror::Error;

use crate::event::EventId;
use crate::multi::Violation;
use crate::position::Position;
use crate::stream::{ExpectedRevision, Revision, StreamName};
use crate::subjects::PersonalError;

/// Why a name of a stream or an event type is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidName {
    /// It is empty.
    #[error("the name is empty")]
    Empty,
    /// It is too long.
    #[error("the name has {length} bytes, more than {max}")]
    TooLong {
        /// Its length, in bytes.
        length: usize,
        /// The longest that is taken, in bytes.
        max: usize,
    },
    /// It is `$$`, the metadata of nothing.
    #[error("`$$` names the metadata of no stream")]
    NoSubject,
}

/// Why the store as a whole can't do its work; common to all questions.
#[derive(Clone, Debug, Error)]
pub enum StoreError {
    /// It was closed, or is closing.
    #[error("the event store is closed")]
    Closed,
    /// A write or sync failed; nothing is acknowledged until it is opened again.
    #[error("the event store stopped writing after a failure: {reason}")]
    Poisoned {
        /// What failed first.
        reason: Arc<str>,
    },
    /// The disk is full; nothing of the append is kept, and a later one may succeed.
    #[error("the disk is full")]
    StorageFull,
    /// Bytes on disk are not what was written.
    #[error("corrupt data at {place}: {reason}")]
    Corrupt {
        /// File and offset.
        place: Arc<str>,
        /// What is wrong.
        reason: Arc<str>,
    },
    /// The operating system refused.
    #[error("input or output failed")]
    Io(#[source] Arc<io::Error>),
    /// The other side can't be reached, or does not answer in time; the outcome may be unknown.
    #[error("the event store can't be reached: {reason}")]
    Unavailable {
        /// What was seen.
        reason: Arc<str>,
    },
    /// The caller may not do that.
    #[error("access denied")]
    AccessDenied,
    /// Personal data can't be sealed or opened.
    #[error(transparent)]
    Personal(#[from] PersonalError),
}

/// Whether there is no room: none on the disk, or none that is left to this user.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        if is_full(&error) { Self::StorageFull } else { Self::Io(Arc::new(error)) }
    }
}

/// What of an append is larger than is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TooLarge {
    /// One event is too large.
    #[error("event {id} has {size} bytes, more than {max}")]
    Event {
        /// Which event.
        id: EventId,
        /// Its size as [`crate::NewEvent::size`] counts, in bytes.
        size: usize,
        /// The largest that is taken, in bytes.
        max: usize,
    },
    /// All events together are too large or too many, or the streams are too many.
    #[error("the append has {size} {unit}, more than {max}")]
    Append {
        /// Its size.
        size: usize,
        /// The largest that is taken.
        max: usize,
        /// What is counted: `bytes`, `events` or `streams`.
        unit: &'static str,
    },
}

/// Why an append was refused. Nothing of it was kept, unless the store was unavailable.
#[derive(Clone, Debug, Error)]
pub enum AppendError {
    /// The stream is not as the writer expected.
    #[error("expected {expected} of stream {stream}, found {}", found(*actual))]
    WrongExpectedRevision {
        /// Which stream.
        stream: StreamName,
        /// What the writer expected.
        expected: ExpectedRevision,
        /// Its last revision; `None` when it has no events.
        actual: Option<Revision>,
    },
    /// The stream was tombstoned, and takes no events ever again.
    #[error("stream {0} is deleted")]
    StreamDeleted(StreamName),
    /// It is too large, or one of its events is.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The store can't.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an append to several streams was refused. Nothing of it was kept, unless the store was
/// unavailable.
#[derive(Clone, Debug, Error)]
pub enum MultiAppendError {
    /// Streams are not as they must be: all of them, those with failed checks first, in the order
    /// of the checks; at least one.
    #[error("{} streams are not as they must be: {}", .0.len(), all(.0))]
    Violated(Vec<Violation>),
    /// Some of its events were appended before and others were not, so that it is no retry.
    #[error("some of the events were appended before, others were not")]
    HalfKnown,
    /// It has no events.
    #[error("there are no events to append")]
    NoEvents,
    /// Two checks are of the same stream.
    #[error("stream {0} has more than one check")]
    CheckedTwice(StreamName),
    /// A stream that is to be written is expected to take no events ever again.
    #[error("stream {0} can't be written when it is deleted for good")]
    TombstonedWritten(StreamName),
    /// It is too large, one of its events is, or it names too many streams.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// This store can't append to several streams at once, nor check streams that are not written.
    #[error("this event store appends to one stream at a time")]
    Unsupported,
    /// The store can't.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn all(violations: &[Violation]) -> String {
    violations.iter().map(Violation::to_string).collect::<Vec<_>>().join("; ")
}

fn found(actual: Option<Revision>) -> String {
    actual.map_or_else(|| "no events".to_owned(), |revision| format!("revision {revision}"))
}

/// Why a read failed.
#[derive(Clone, Debug, Error)]
pub enum ReadError {
    /// The stream has never had an event, or was deleted.
    #[error("stream {0} is not there")]
    StreamNotFound(StreamName),
    /// The stream was tombstoned.
    #[error("stream {0} is deleted")]
    StreamDeleted(StreamName),
    /// Of what the stream was at that moment of the past, something has been reclaimed.
    #[error("what stream {0} was at that moment has been reclaimed in part")]
    Reclaimed(StreamName),
    /// The filter can't be used.
    #[error("the filter is not usable: {0}")]
    BadFilter(Arc<str>),
    /// It has looked at as many events as it may ([`crate::ReadAll::scan`]), and handed on what it
    /// found. It goes on from this position, in the same direction.
    #[error("the read has looked at as many events as it may: it goes on from position {at}")]
    ScanEnded {
        /// Where the next read begins.
        at: Position,
    },
    /// The store can't.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a subscription ended or could not begin.
#[derive(Clone, Debug, Error)]
pub enum SubscribeError {
    /// The stream was tombstoned.
    #[error("stream {0} is deleted")]
    StreamDeleted(StreamName),
    /// The filter can't be used.
    #[error("the filter is not usable: {0}")]
    BadFilter(Arc<str>),
    /// The store can't.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an index of a category or a type can't be read or followed.
#[derive(Clone, Debug, Error)]
pub enum IndexError {
    /// This store has no such indexes, or its server does not serve them.
    #[error("this event store does not read by category or type")]
    Unsupported,
    /// The store can't.
    #[error(transparent)]
    Store(#[from] StoreError),
}
