//! What is asked of the writer, and how each request changes what is staged.

use std::iter;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::decide::{Decision, Verdict};
use super::staging::{Found, Staging};
use crate::error::{AppendError, MultiAppendError, StoreError};
use crate::event::{ContentType, EventId, NewEvent};
use crate::index::TOMBSTONE_REVISION;
use crate::multi::{ExpectedState, MultiAppended, Plan, Violation, Written};
use crate::port::Appended;
use crate::position::Position;
use crate::stream::{ExpectedRevision, Revision, StreamMetadata, StreamName, TRUNCATE_ALL};

/// A request on its way to the writer.
pub(crate) struct Request {
    pub(crate) asked: Asked,
    /// Its share of the bytes that may wait.
    pub(crate) permit: OwnedSemaphorePermit,
}

pub(crate) type Reply<T, E> = oneshot::Sender<Result<T, E>>;

/// What is asked, and who waits for the answer.
pub(crate) enum Asked {
    OfStream {
        stream: StreamName,
        expected: ExpectedRevision,
        change: Change,
        reply: Reply<Appended, AppendError>,
    },
    OfStreams {
        plan: Plan,
        reply: Reply<MultiAppended, MultiAppendError>,
    },
}

/// What is to become of a stream.
pub(crate) enum Change {
    Append(Vec<NewEvent>),
    Delete,
    Tombstone,
}

/// What will be answered if what is staged becomes durable.
pub(crate) enum Answer {
    OfStream(Reply<Appended, AppendError>, Result<Appended, AppendError>),
    OfStreams(Reply<MultiAppended, MultiAppendError>, Result<MultiAppended, MultiAppendError>),
}

impl Asked {
    /// Stages what is asked for, or nothing at all.
    pub(crate) fn stage(self, staging: &mut Staging<'_>) -> Answer {
        match self {
            Self::OfStream { stream, expected, change, reply } => {
                let stage = |staging: &mut Staging<'_>| match change {
                    Change::Append(events) => append(staging, &stream, expected, events),
                    Change::Delete => delete(staging, &stream, expected),
                    Change::Tombstone => tombstone(staging, &stream, expected),
                };
                Answer::OfStream(reply, staging.all_or_none(stage))
            }
            Self::OfStreams { plan, reply } => {
                let stage = |staging: &mut Staging<'_>| append_to_all(staging, plan);
                Answer::OfStreams(reply, staging.all_or_none(stage))
            }
        }
    }

    /// Answers that the store can't.
    pub(crate) fn refuse(self, error: StoreError) {
        match self {
            Self::OfStream { reply, .. } => give(reply, Err(error.into())),
            Self::OfStreams { reply, .. } => give(reply, Err(error.into())),
        }
    }
}

impl Answer {
    /// Gives the answer. Where nothing became durable a refusal does not count either: what it was
    /// judged against may never have been.
    pub(crate) fn give(self, committed: &Result<(), StoreError>) {
        let failed = committed.as_ref().err().cloned();
        match self {
            Self::OfStream(reply, outcome) => {
                give(reply, failed.map_or(outcome, |error| Err(error.into())));
            }
            Self::OfStreams(reply, outcome) => {
                give(reply, failed.map_or(outcome, |error| Err(error.into())));
            }
        }
    }
}

fn give<T, E>(reply: Reply<T, E>, outcome: Result<T, E>) {
    // Whoever asked may have gone; the append counts all the same.
    drop(reply.send(outcome));
}

fn append(
    staging: &mut Staging<'_>,
    stream: &StreamName,
    expected: ExpectedRevision,
    events: Vec<NewEvent>,
) -> Result<Appended, AppendError> {
    let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
    let decision = Decision::about(staging, stream)?;
    if let Some(done) = judge(&decision, stream, expected, &ids)? {
        return Ok(done.into());
    }
    let (last, deleted) = (decision.last(), decision.deleted());
    Ok(match write(staging, stream, last, deleted, events)? {
        Some(found) => found.into(),
        None => Appended { last_revision: last, position: None },
    })
}

/// Where the last of the events is, if they were appended before; `None` if they may be now.
fn judge(
    decision: &Decision<'_>,
    stream: &StreamName,
    expected: ExpectedRevision,
    ids: &[EventId],
) -> Result<Option<Found>, AppendError> {
    match decision.verdict(ExpectedState::of(expected), ids)? {
        Verdict::Append => Ok(None),
        Verdict::Done(found) => Ok(Some(found)),
        Verdict::Wrong | Verdict::HalfKnown => Err(wrong(decision, stream, expected)),
        Verdict::Deleted => Err(AppendError::StreamDeleted(stream.clone())),
    }
}

fn wrong(decision: &Decision<'_>, stream: &StreamName, expected: ExpectedRevision) -> AppendError {
    let (stream, actual) = (stream.clone(), decision.last());
    AppendError::WrongExpectedRevision { stream, expected, actual }
}

/// Writes events behind the last of a stream, which is opened again if it was deleted; returns
/// where the last of them is.
fn write(
    staging: &mut Staging<'_>,
    stream: &StreamName,
    last: Option<Revision>,
    deleted: bool,
    events: impl IntoIterator<Item = NewEvent>,
) -> Result<Option<Found>, StoreError> {
    let mut events = events.into_iter().peekable();
    if events.peek().is_none() {
        return Ok(None);
    }
    let reopened_subject = match stream.metadata_subject() {
        Some(subject) if Decision::about(staging, &subject)?.deleted() => {
            Some((staging.hidden_by_deletion(&subject)?, subject))
        }
        _ => None,
    };
    let first = last.map_or(0, |last| last.get() + 1);
    if deleted {
        reopen(staging, stream, first)?;
    }
    let mut found = staging.add_all(stream, first, events);
    if let Some((behind, subject)) = reopened_subject
        && staging.visibility(&subject)?.is_none_or(|metadata| metadata.opens_nowhere())
    {
        found = Some(reopen(staging, &subject, behind)?);
    }
    Ok(found)
}

/// Appends to several streams as if each event were appended after the other, once all that is
/// expected of the streams was found to be so.
fn append_to_all(staging: &mut Staging<'_>, plan: Plan) -> Result<MultiAppended, MultiAppendError> {
    if let Some(known) = judge_all(staging, &plan)? {
        return Ok(acknowledge(plan.written.into_iter().zip(known)));
    }
    let mut ends: Vec<Option<Found>> = vec![None; plan.written.len()];
    let mut events = plan.events.into_iter().peekable();
    while let Some(&(at, _)) = events.peek() {
        let stream = &plan.written[at].stream;
        // Events before may have been of its metadata, or of what it is the metadata of.
        let decision = Decision::about(staging, stream)?;
        let (last, deleted) = (decision.last(), decision.deleted());
        let run = iter::from_fn(|| events.next_if(|&(next, _)| next == at));
        ends[at] = write(staging, stream, last, deleted, run.map(|(_, event)| event))?;
    }
    Ok(acknowledge(plan.written.into_iter().zip(ends.into_iter().flatten())))
}

fn acknowledge(ends: impl Iterator<Item = (Written, Found)>) -> MultiAppended {
    let mut appended = MultiAppended { revisions: Vec::new(), position: Position::START };
    for (written, found) in ends {
        appended.revisions.push((written.stream, Revision::new(found.revision)));
        appended.position = appended.position.max(Position::new(found.position));
    }
    appended
}

/// Where the last event of each stream is, if all were appended before; `None` if they may be now.
fn judge_all(staging: &Staging<'_>, plan: &Plan) -> Result<Option<Vec<Found>>, MultiAppendError> {
    let mut known = Vec::new();
    let mut half_known = false;
    let mut violations = Vec::new();
    for Written { stream, check, ids } in &plan.written {
        let (decision, expected) = (Decision::about(staging, stream)?, plan.expected(*check));
        match decision.verdict(expected, ids)? {
            Verdict::Append => {}
            Verdict::Done(found) => known.push(found),
            Verdict::HalfKnown => half_known = true,
            Verdict::Wrong | Verdict::Deleted => {
                let (stream, check, actual) = (stream.clone(), *check, decision.state());
                violations.push(Violation { stream, check, expected, actual });
            }
        }
    }
    if known.len() == plan.written.len() {
        return Ok(Some(known));
    }
    for &at in &plan.unwritten {
        let (stream, expected) = (&plan.checks[at].stream, plan.checks[at].expected);
        let decision = Decision::about(staging, stream)?;
        if !decision.holds(expected)? {
            let (stream, actual) = (stream.clone(), decision.state());
            let (check, expected) = (Some(at), Some(expected));
            violations.push(Violation { stream, check, expected, actual });
        }
    }
    if !violations.is_empty() {
        violations.sort_by_key(|violation| violation.check.unwrap_or(usize::MAX));
        return Err(MultiAppendError::Violated(violations));
    }
    if half_known || !known.is_empty() {
        return Err(MultiAppendError::HalfKnown);
    }
    Ok(None)
}

fn delete(
    staging: &mut Staging<'_>,
    stream: &StreamName,
    expected: ExpectedRevision,
) -> Result<Appended, AppendError> {
    let decision = Decision::about(staging, stream)?;
    judge(&decision, stream, expected, &[staging.new_id()])?;
    if !decision.exists() {
        return Err(wrong(&decision, stream, expected));
    }
    let last_revision = decision.last();
    let data = json!({ "$tb": TRUNCATE_ALL }).to_string();
    let appended = add_metadata(staging, stream, data.into())?;
    Ok(Appended { last_revision, ..appended.into() })
}

fn tombstone(
    staging: &mut Staging<'_>,
    stream: &StreamName,
    expected: ExpectedRevision,
) -> Result<Appended, AppendError> {
    // Its subject could not be deleted nor begun again without it.
    if stream.metadata_subject().is_some() {
        return Err(StoreError::AccessDenied.into());
    }
    let decision = Decision::about(staging, stream)?;
    judge(&decision, stream, expected, &[staging.new_id()])?;
    let id = staging.new_id();
    let event = NewEvent::system(id, "$streamDeleted", ContentType::Binary, Bytes::new());
    Ok(staging.add(stream, TOMBSTONE_REVISION, event).into())
}

/// Lets a deleted stream be read again, from this revision on.
fn reopen(
    staging: &mut Staging<'_>,
    stream: &StreamName,
    behind: u64,
) -> Result<Found, StoreError> {
    let metadata = StreamMetadata {
        truncate_before: Some(behind),
        ..staging.metadata(stream)?.unwrap_or_default()
    };
    add_metadata(staging, stream, metadata_json(&metadata))
}

fn add_metadata(
    staging: &mut Staging<'_>,
    stream: &StreamName,
    data: Bytes,
) -> Result<Found, StoreError> {
    let holder = stream.metadata_stream();
    let tail = staging.tail(&holder)?;
    // Once it could be deleted for good.
    if tail.tombstoned {
        return Err(StoreError::AccessDenied);
    }
    let revision = tail.last.map_or(0, |last| last + 1);
    let event = NewEvent::system(staging.new_id(), "$metadata", ContentType::Json, data);
    Ok(staging.add(&holder, revision, event))
}

/// The event that sets the metadata of a stream.
pub(crate) fn metadata_event(id: EventId, metadata: &StreamMetadata) -> NewEvent {
    NewEvent::system(id, "$metadata", ContentType::Json, metadata_json(metadata))
}

fn metadata_json(metadata: &StreamMetadata) -> Bytes {
    serde_json::to_vec(metadata).expect("maps with text keys are always JSON").into()
}
