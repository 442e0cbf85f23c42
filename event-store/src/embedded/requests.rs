//! What is asked of the writer, and how each request changes what is staged.

use bytes::Bytes;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use uuid::Uuid;

use super::decide::{Decision, Verdict};
use super::staging::Staging;
use super::window::TRUNCATE_ALL;
use crate::error::AppendError;
use crate::event::{ContentType, EventId, EventType, NewEvent};
use crate::index::TOMBSTONE_REVISION;
use crate::port::Appended;
use crate::stream::{ExpectedRevision, Revision, StreamMetadata, StreamName};

/// A request on its way to the writer.
pub(crate) struct Request {
    pub(crate) stream: StreamName,
    pub(crate) expected: ExpectedRevision,
    pub(crate) change: Change,
    pub(crate) reply: oneshot::Sender<Result<Appended, AppendError>>,
    /// Its share of the bytes that may wait.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// What is to become of the stream.
pub(crate) enum Change {
    Append(Vec<NewEvent>),
    Delete,
    Tombstone,
}

/// Stages what a request asks for, or nothing at all.
pub(crate) fn stage(
    staging: &mut Staging<'_>,
    stream: &StreamName,
    expected: ExpectedRevision,
    change: Change,
) -> Result<Appended, AppendError> {
    match change {
        Change::Append(events) => append(staging, stream, expected, events),
        Change::Delete => delete(staging, stream, expected),
        Change::Tombstone => tombstone(staging, stream, expected),
    }
}

fn append(
    staging: &mut Staging<'_>,
    stream: &StreamName,
    expected: ExpectedRevision,
    events: Vec<NewEvent>,
) -> Result<Appended, AppendError> {
    let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
    let decision = Decision::about(staging, stream, expected)?;
    let first = match decision.verdict(&ids)? {
        Verdict::Done(appended) => return Ok(appended),
        Verdict::Append(first) => first,
    };
    let (last, deleted) = (decision.last(), decision.deleted());
    if events.is_empty() {
        return Ok(Appended { last_revision: last.map(Revision::new), position: None });
    }
    let reopened_subject = match stream.metadata_subject() {
        Some(subject) if Decision::about(staging, &subject, expected)?.deleted() => Some(subject),
        _ => None,
    };
    if deleted {
        reopen(staging, stream)?;
    }
    let mut appended = Appended { last_revision: None, position: None };
    for (revision, event) in (first..).zip(events) {
        appended.last_revision = Some(Revision::new(revision));
        appended.position = Some(staging.add(stream, revision, event));
    }
    if let Some(subject) = reopened_subject
        && staging.metadata(&subject)?.is_none_or(|metadata| metadata.truncate_before.is_none())
    {
        return reopen(staging, &subject);
    }
    Ok(appended)
}

fn delete(
    staging: &mut Staging<'_>,
    stream: &StreamName,
    expected: ExpectedRevision,
) -> Result<Appended, AppendError> {
    let decision = Decision::about(staging, stream, expected)?;
    decision.verdict(&[EventId(Uuid::new_v4())])?;
    if !decision.exists() {
        return Err(decision.wrong());
    }
    let last_revision = decision.last().map(Revision::new);
    let data = json!({ "$tb": TRUNCATE_ALL }).to_string();
    let appended = add_metadata(staging, stream, data.into())?;
    Ok(Appended { last_revision, ..appended })
}

fn tombstone(
    staging: &mut Staging<'_>,
    stream: &StreamName,
    expected: ExpectedRevision,
) -> Result<Appended, AppendError> {
    Decision::about(staging, stream, expected)?.verdict(&[EventId(Uuid::new_v4())])?;
    let event = system_event("$streamDeleted", Bytes::new(), ContentType::Binary);
    let position = staging.add(stream, TOMBSTONE_REVISION, event);
    Ok(Appended {
        last_revision: Some(Revision::new(TOMBSTONE_REVISION)),
        position: Some(position),
    })
}

/// Lets a deleted stream be read again, from the event that is appended next.
fn reopen(staging: &mut Staging<'_>, stream: &StreamName) -> Result<Appended, AppendError> {
    let behind = staging.tail(stream)?.last.map_or(0, |last| last + 1);
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
) -> Result<Appended, AppendError> {
    let holder = stream.metadata_stream();
    let revision = staging.tail(&holder)?.last.map_or(0, |last| last + 1);
    let event = system_event("$metadata", data, ContentType::Json);
    let position = staging.add(&holder, revision, event);
    Ok(Appended { last_revision: Some(Revision::new(revision)), position: Some(position) })
}

/// The event that sets the metadata of a stream.
pub(crate) fn metadata_event(metadata: &StreamMetadata) -> NewEvent {
    system_event("$metadata", metadata_json(metadata), ContentType::Json)
}

fn metadata_json(metadata: &StreamMetadata) -> Bytes {
    serde_json::to_vec(metadata).expect("maps with text keys are always JSON").into()
}

fn system_event(event_type: &str, data: Bytes, content_type: ContentType) -> NewEvent {
    NewEvent {
        id: EventId(Uuid::new_v4()),
        event_type: EventType::new(event_type).expect("the names of system events are short"),
        content_type,
        data,
        metadata: Bytes::new(),
    }
}
