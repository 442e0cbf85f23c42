//! Whether an append may happen, or has happened already; as EventStoreDB decides it.

use super::staging::{Found, Staging};
use super::window::TRUNCATE_ALL;
use crate::error::AppendError;
use crate::event::EventId;
use crate::index::Tail;
use crate::port::Appended;
use crate::position::Position;
use crate::stream::{ExpectedRevision, Revision, StreamName};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Append, beginning with this revision.
    Append(u64),
    /// Nothing: it is a retry, and this is the answer of the first time.
    Done(Appended),
}

/// A stream that is appended to, and what its writer expects.
pub(crate) struct Decision<'a> {
    staging: &'a Staging<'a>,
    stream: &'a StreamName,
    expected: ExpectedRevision,
    tail: Tail,
    has_metadata: bool,
    deleted: bool,
}

impl<'a> Decision<'a> {
    /// Looks at the stream; a tombstone ends it here.
    pub(crate) fn about(
        staging: &'a Staging<'a>,
        stream: &'a StreamName,
        expected: ExpectedRevision,
    ) -> Result<Self, AppendError> {
        let tail = staging.tail(stream)?;
        let subject_gone = match stream.metadata_subject() {
            Some(subject) => staging.tail(&subject)?.tombstoned,
            None => false,
        };
        if tail.tombstoned || subject_gone {
            return Err(AppendError::StreamDeleted(stream.clone()));
        }
        let metadata = staging.metadata(stream)?;
        let truncated = metadata.as_ref().and_then(|metadata| metadata.truncate_before);
        Ok(Self {
            staging,
            stream,
            expected,
            tail,
            has_metadata: metadata.is_some(),
            deleted: truncated.is_some_and(|before| before >= TRUNCATE_ALL),
        })
    }

    /// The last revision of the stream.
    pub(crate) fn last(&self) -> Option<u64> {
        self.tail.last
    }

    /// Whether the stream was deleted and not written to again.
    pub(crate) fn deleted(&self) -> bool {
        self.deleted
    }

    /// Whether there was ever an event or metadata.
    pub(crate) fn exists(&self) -> bool {
        self.tail.last.is_some() || self.has_metadata
    }

    /// The error that says what the stream is like.
    pub(crate) fn wrong(&self) -> AppendError {
        AppendError::WrongExpectedRevision {
            stream: self.stream.clone(),
            expected: self.expected,
            actual: self.tail.last.map(Revision::new),
        }
    }

    /// Decides about events with these ids.
    pub(crate) fn verdict(&self, ids: &[EventId]) -> Result<Verdict, AppendError> {
        let behind = self.tail.last.map_or(0, |last| last + 1);
        let expected_behind = match self.expected {
            ExpectedRevision::StreamExists if self.deleted => {
                return Err(AppendError::StreamDeleted(self.stream.clone()));
            }
            ExpectedRevision::StreamExists if !self.exists() => return Err(self.wrong()),
            ExpectedRevision::Any | ExpectedRevision::StreamExists => {
                return self.among_recent(ids, behind);
            }
            ExpectedRevision::NoStream => 0,
            ExpectedRevision::Exactly(revision) => revision.get().saturating_add(1),
        };
        match expected_behind.cmp(&behind) {
            std::cmp::Ordering::Equal => Ok(Verdict::Append(behind)),
            std::cmp::Ordering::Greater => Err(self.wrong()),
            std::cmp::Ordering::Less => self.in_place(ids, expected_behind, behind),
        }
    }

    /// A retry if exactly these events stand where they would have gone.
    fn in_place(&self, ids: &[EventId], from: u64, behind: u64) -> Result<Verdict, AppendError> {
        let reopens = self.deleted && self.expected == ExpectedRevision::NoStream;
        let mut last: Option<Found> = None;
        for (revision, id) in (from..).zip(ids) {
            match self.staging.event_at(self.stream, revision)? {
                Some((known, found)) if known == *id => last = Some(found),
                _ if reopens && last.is_none() => return Ok(Verdict::Append(behind)),
                _ => return Err(self.wrong()),
            }
        }
        match last {
            Some(found) => Ok(Verdict::Done(answer(found))),
            None if reopens => Ok(Verdict::Append(behind)),
            None => Err(self.wrong()),
        }
    }

    /// A retry if all of these events are among the last of the stream.
    fn among_recent(&self, ids: &[EventId], behind: u64) -> Result<Verdict, AppendError> {
        let found: Vec<Found> =
            ids.iter().map_while(|&id| self.staging.recent(self.stream, id)).collect();
        match found.last() {
            None => Ok(Verdict::Append(behind)),
            Some(&last) if found.len() == ids.len() => Ok(Verdict::Done(answer(last))),
            Some(_) => Err(self.wrong()),
        }
    }
}

fn answer(found: Found) -> Appended {
    Appended {
        last_revision: Some(Revision::new(found.revision)),
        position: Some(Position::new(found.position)),
    }
}
