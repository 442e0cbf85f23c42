//! Whether an append may happen, or has happened already; as EventStoreDB decides it.

use std::cmp::Ordering;

use super::staging::{Found, Staging};
use crate::error::StoreError;
use crate::event::EventId;
use crate::index::Tail;
use crate::multi::{ExpectedState, StreamState};
use crate::stream::{Revision, StreamName, Visibility};

/// What is to be done with events for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Append them.
    Append,
    /// Nothing: they were appended before, and this is the last of them.
    Done(Found),
    /// Refuse them: the stream is not as expected.
    Wrong,
    /// Refuse them: the stream is deleted.
    Deleted,
    /// Refuse them: the first of them were appended before, the others not.
    HalfKnown,
}

/// A stream that is appended to or checked, as it is now.
pub(crate) struct Decision<'a> {
    staging: &'a Staging<'a>,
    stream: &'a StreamName,
    tail: Tail,
    has_metadata: bool,
    deleted: bool,
}

impl<'a> Decision<'a> {
    /// Looks at the stream. One of metadata can be written after its subject was deleted for good,
    /// as with EventStoreDB, though nobody reads it any more.
    pub(crate) fn about(
        staging: &'a Staging<'a>,
        stream: &'a StreamName,
    ) -> Result<Self, StoreError> {
        let tail = staging.tail(stream)?;
        let metadata = staging.visibility(stream)?;
        let hidden = metadata.as_ref().is_some_and(Visibility::is_of_deleted);
        Ok(Self {
            staging,
            stream,
            tail,
            has_metadata: metadata.is_some(),
            deleted: hidden && !tail.tombstoned,
        })
    }

    /// The last revision of the stream.
    pub(crate) fn last(&self) -> Option<Revision> {
        self.tail.last.map(Revision::new)
    }

    /// Whether the stream was deleted and not written to again.
    pub(crate) fn deleted(&self) -> bool {
        self.deleted
    }

    /// Whether there was ever an event or metadata.
    pub(crate) fn exists(&self) -> bool {
        self.tail.last.is_some() || self.has_metadata
    }

    /// What the stream is like.
    pub(crate) fn state(&self) -> StreamState {
        match self.last() {
            _ if self.tail.tombstoned => StreamState::Tombstoned,
            last if self.deleted => StreamState::SoftDeleted { last },
            Some(last) => StreamState::At(last),
            None => StreamState::NoEvents,
        }
    }

    /// Whether a check of the stream holds, when it is not written.
    pub(crate) fn holds(&self, expected: ExpectedState) -> Result<bool, StoreError> {
        match expected {
            ExpectedState::Tombstoned => Ok(self.tail.tombstoned),
            ExpectedState::NoStream if self.tail.tombstoned => Ok(true),
            expected => Ok(self.verdict(Some(expected), &[])? == Verdict::Append),
        }
    }

    /// Decides about events with these ids; nothing may be expected of the stream.
    pub(crate) fn verdict(
        &self,
        expected: Option<ExpectedState>,
        ids: &[EventId],
    ) -> Result<Verdict, StoreError> {
        if self.tail.tombstoned {
            return Ok(Verdict::Deleted);
        }
        let expected = expected.filter(|_| !cfg!(veza_canary = "ignore-expected-revision"));
        let behind = self.tail.last.map_or(0, |last| last + 1);
        let expected_behind = match expected {
            Some(ExpectedState::StreamExists) if self.deleted => return Ok(Verdict::Deleted),
            Some(ExpectedState::StreamExists) if !self.exists() => return Ok(Verdict::Wrong),
            None | Some(ExpectedState::StreamExists) => return self.among_recent(ids),
            // The append that is tried again has opened the stream.
            Some(ExpectedState::SoftDeleted) => {
                return Ok(match self.among_recent(ids)? {
                    Verdict::Append if !self.deleted => Verdict::Wrong,
                    verdict => verdict,
                });
            }
            Some(ExpectedState::Tombstoned) => return Ok(Verdict::Wrong),
            Some(ExpectedState::NoStream) => 0,
            Some(ExpectedState::Exactly(revision)) => revision.get().saturating_add(1),
        };
        match expected_behind.cmp(&behind) {
            Ordering::Equal => Ok(Verdict::Append),
            Ordering::Greater => Ok(Verdict::Wrong),
            Ordering::Less => {
                let reopens = self.deleted && expected == Some(ExpectedState::NoStream);
                self.in_place(ids, expected_behind, reopens)
            }
        }
    }

    /// A retry if exactly these events stand where they would have gone.
    fn in_place(&self, ids: &[EventId], from: u64, reopens: bool) -> Result<Verdict, StoreError> {
        Ok(match self.staging.in_place(self.stream, from, ids)? {
            (_, None) if reopens => Verdict::Append,
            (known, Some(last)) if known == ids.len() => Verdict::Done(last),
            _ => Verdict::Wrong,
        })
    }

    /// A retry if all of these events are among the last of the log, in this stream.
    fn among_recent(&self, ids: &[EventId]) -> Result<Verdict, StoreError> {
        let ids = if cfg!(veza_canary = "drop-idempotency") { &[] } else { ids };
        let Some((&first, others)) = ids.split_first() else { return Ok(Verdict::Append) };
        let Some(mut last) = self.staging.recent(self.stream, first)? else {
            return Ok(Verdict::Append);
        };
        // What was appended together stands together: so it is found in one go.
        if !others.is_empty()
            && let (known, Some(end)) = self.staging.in_place(self.stream, last.revision, ids)?
            && known == ids.len()
        {
            return Ok(Verdict::Done(end));
        }
        for &id in others {
            match self.staging.recent(self.stream, id)? {
                Some(found) => last = found,
                None => return Ok(Verdict::HalfKnown),
            }
        }
        Ok(Verdict::Done(last))
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::json;

    use super::*;
    use crate::embedded::recent::RecentIds;
    use crate::embedded::staging::tests::{catalog, event, id};
    use crate::index::TOMBSTONE_REVISION;
    use crate::log::SystemEntropy;
    use crate::stream::TRUNCATE_ALL;

    /// A stream with the events 0, 1 and 2, or with none; with this `$tb`; tombstoned or not.
    fn decide(
        events: u64,
        truncate_before: Option<u64>,
        tombstoned: bool,
        check: impl Fn(Decision<'_>),
    ) {
        let (catalog, recent) = (catalog(), RecentIds::new(16));
        let mut staging = Staging::new(&catalog, &recent, &SystemEntropy, DateTime::UNIX_EPOCH);
        let stream = StreamName::new("track-1").unwrap();
        for number in 0..events {
            staging.add(&stream, number, event(number.into(), "{}".to_owned()));
        }
        if let Some(before) = truncate_before {
            let data = json!({ "$tb": before }).to_string();
            staging.add(&stream.metadata_stream(), 0, event(100, data));
        }
        if tombstoned {
            staging.add(&stream, TOMBSTONE_REVISION, event(101, String::new()));
        }
        check(Decision::about(&staging, &stream).unwrap());
    }

    const AT_2: ExpectedState = ExpectedState::Exactly(Revision::new(2));

    #[test]
    fn new_events_are_judged_by_what_is_expected() {
        use ExpectedState::{NoStream, SoftDeleted, StreamExists};
        use Verdict::{Append, Deleted, Wrong};
        for (expected, missing, there, deleted) in [
            (None, Append, Append, Append),
            (Some(NoStream), Append, Wrong, Append),
            (Some(StreamExists), Wrong, Append, Deleted),
            (Some(SoftDeleted), Wrong, Wrong, Append),
            (Some(AT_2), Wrong, Append, Append),
            (Some(ExpectedState::Exactly(Revision::new(1))), Wrong, Wrong, Wrong),
            (Some(ExpectedState::Tombstoned), Wrong, Wrong, Wrong),
        ] {
            let is = |told| {
                move |decision: Decision<'_>| {
                    assert_eq!(decision.verdict(expected, &[id(9)]).unwrap(), told, "{expected:?}");
                }
            };
            decide(0, None, false, is(missing));
            decide(3, None, false, is(there));
            decide(3, Some(TRUNCATE_ALL), false, is(deleted));
            decide(3, None, true, is(Deleted));
        }
    }

    #[test]
    fn known_events_are_recognised_where_they_would_stand() {
        let known = |position| Verdict::Done(Found { revision: position - 1, position });
        decide(3, None, false, |decision| {
            let told = |expected, ids: &[u128]| {
                let ids: Vec<EventId> = ids.iter().map(|&number| id(number)).collect();
                decision.verdict(expected, &ids).unwrap()
            };
            let at = |revision| Some(ExpectedState::Exactly(Revision::new(revision)));
            assert_eq!(told(Some(ExpectedState::NoStream), &[0, 1]), known(2));
            assert_eq!(told(Some(ExpectedState::NoStream), &[1, 2]), Verdict::Wrong);
            assert_eq!(told(at(0), &[1, 2]), known(3));
            assert_eq!(told(at(0), &[1, 9]), Verdict::Wrong);
            assert_eq!(told(at(0), &[1, 2, 9]), Verdict::Wrong);
            for free in [None, Some(ExpectedState::StreamExists), Some(ExpectedState::SoftDeleted)]
            {
                assert_eq!(told(free, &[1, 2]), known(3), "{free:?}");
                assert_eq!(told(free, &[2, 9]), Verdict::HalfKnown, "{free:?}");
            }
        });
    }

    #[test]
    fn checks_hold_of_what_is_so() {
        use ExpectedState::{NoStream, SoftDeleted, StreamExists, Tombstoned};
        let all = [NoStream, StreamExists, SoftDeleted, Tombstoned, AT_2];
        let (cut, last) = (Some(TRUNCATE_ALL), Some(Revision::new(2)));
        for (events, truncate_before, tombstoned, state, holding) in [
            (0, None, false, StreamState::NoEvents, &[NoStream][..]),
            (0, Some(5), false, StreamState::NoEvents, &[NoStream, StreamExists]),
            (3, None, false, StreamState::At(Revision::new(2)), &[StreamExists, AT_2]),
            (3, cut, false, StreamState::SoftDeleted { last }, &[NoStream, SoftDeleted, AT_2]),
            (3, cut, true, StreamState::Tombstoned, &[NoStream, Tombstoned]),
            (0, None, true, StreamState::Tombstoned, &[NoStream, Tombstoned]),
        ] {
            decide(events, truncate_before, tombstoned, |decision| {
                assert_eq!(decision.state(), state);
                let holds = |expected: &ExpectedState| decision.holds(*expected).unwrap();
                let held: Vec<ExpectedState> = all.into_iter().filter(holds).collect();
                assert_eq!(held, holding, "{state}");
            });
        }
    }
}
