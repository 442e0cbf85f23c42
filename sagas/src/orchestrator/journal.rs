//! Runs in the event store: loaded from their streams, recorded at the expected revision.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use event_schemas::saga::{SagaEvent, SagaSignalled, SagaStarted};
use event_schemas::{Actor, DecodeError, EventFamily, Metadata};
use event_store::{
    AppendError, ContentType, EventId, EventStore, EventType, ExpectedRevision, NewEvent,
    ReadError, ReadStream, RecordedEvent, Revision, StreamName,
};
use futures::TryStreamExt;
use thiserror::Error;
use uuid::Uuid;

use crate::orchestrator::definition::{SagaDefinition, Signal, Start};
use crate::orchestrator::state::SagaState;

/// What keeps the ids of the orchestrator's events apart from all other ids derived by name.
const EVENT_NAMESPACE: Uuid = Uuid::from_u128(0x11d0_7c55_8f3b_4d02_a6c4_90be_27f1_5e3a);

/// Where runs are kept.
#[derive(Clone)]
pub struct Journal {
    store: Arc<dyn EventStore>,
}

/// One run, as its stream had it when it was loaded.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its stream.
    pub stream: StreamName,
    /// The revision of the last event that is folded in.
    pub revision: Revision,
    /// Where it stands.
    pub state: SagaState,
    /// What everything that follows from the first request has in common.
    pub correlation_id: Uuid,
    /// The last event that is folded in.
    pub last_event_id: Uuid,
    /// The W3C trace context of the first request, when there was one.
    pub traceparent: Option<String>,
}

/// Why a run could not be loaded or recorded.
#[derive(Debug, Error)]
pub enum JournalError {
    /// Somebody else recorded something first; load again.
    #[error("stream {0} has grown meanwhile")]
    Conflict(StreamName),
    /// The stream does not begin with the start of a saga.
    #[error("stream {0} is no saga's")]
    NotASaga(StreamName),
    /// An event is not what its type says.
    #[error("event {revision} of stream {stream} is not readable")]
    Undecodable {
        /// Which stream.
        stream: StreamName,
        /// Which of its events.
        revision: Revision,
        /// What is wrong.
        source: DecodeError,
    },
    /// What is known about an event is not readable.
    #[error("the metadata of event {revision} of stream {stream} is not readable")]
    BadMetadata {
        /// Which stream.
        stream: StreamName,
        /// Which of its events.
        revision: Revision,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The stream could not be read.
    #[error("reading failed")]
    Read(#[source] ReadError),
    /// The event could not be appended.
    #[error("appending failed")]
    Append(#[source] AppendError),
}

impl JournalError {
    /// Whether the fault is in this one stream: another time would end the same, and other streams
    /// are none the worse.
    pub fn is_of_the_stream(&self) -> bool {
        match self {
            Self::NotASaga(_) | Self::Undecodable { .. } | Self::BadMetadata { .. } => true,
            Self::Read(error) => matches!(error, ReadError::StreamDeleted(_)),
            Self::Append(error) => {
                matches!(error, AppendError::StreamDeleted(_) | AppendError::TooLarge(_))
            }
            Self::Conflict(_) => false,
        }
    }
}

/// Reads an event of a family, and what is known about it.
pub fn decode<E: EventFamily>(event: &RecordedEvent) -> Result<(E, Metadata), JournalError> {
    let metadata: Metadata = serde_json::from_slice(&event.metadata).map_err(|source| {
        JournalError::BadMetadata { stream: event.stream.clone(), revision: event.revision, source }
    })?;
    // What is no JSON is read as null, which no event is.
    let data = serde_json::from_slice(&event.data).unwrap_or_default();
    let decoded = E::decode(event.event_type.as_str(), metadata.schema_version, data);
    let decoded = decoded.map_err(|source| JournalError::Undecodable {
        stream: event.stream.clone(),
        revision: event.revision,
        source,
    })?;
    Ok((decoded, metadata))
}

/// The stream of the run of a kind of saga about a subject.
pub fn stream_of(kind: &str, subject: Uuid) -> StreamName {
    StreamName::new(format!("{}-{kind}-{subject}", SagaEvent::CATEGORY))
        .expect("a kind is a short literal")
}

/// Whether a run begins so: in the stream that is named by what the event tells.
pub(crate) fn begins_a_run(event: &RecordedEvent) -> bool {
    let Ok((SagaEvent::SagaStarted(started), _)) = decode(event) else {
        return false;
    };
    let name = format!("{}-{}-{}", SagaEvent::CATEGORY, started.kind, started.subject);
    event.stream.as_str() == name
}

impl Journal {
    /// Runs in this store.
    pub fn new(store: Arc<dyn EventStore>) -> Self {
        Self { store }
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.store
    }

    /// A run as it stands; `None` when it was never started.
    pub async fn load(&self, stream: &StreamName) -> Result<Option<Run>, JournalError> {
        let read = self.store.read_stream(ReadStream::forward(stream.clone()));
        let events = match read.await {
            Err(ReadError::StreamNotFound(_)) => return Ok(None),
            reader => reader.map_err(JournalError::Read)?,
        };
        let events: Vec<_> = events.try_collect().await.map_err(JournalError::Read)?;
        let (Some(first), Some(last)) = (events.first(), events.last()) else {
            return Ok(None);
        };
        let (_, metadata) = decode::<SagaEvent>(first)?;
        let (revision, last_event_id) = (last.revision, last.id.0);
        let decoded: Result<Vec<SagaEvent>, _> =
            events.iter().map(|event| decode(event).map(|(event, _)| event)).collect();
        let state = SagaState::fold(decoded?);
        Ok(Some(Run {
            stream: stream.clone(),
            revision,
            state: state.ok_or_else(|| JournalError::NotASaga(stream.clone()))?,
            correlation_id: metadata.correlation_id,
            last_event_id,
            traceparent: metadata.traceparent,
        }))
    }

    /// Whether the stream is a run's, of whatever kind: it begins as one does.
    pub(crate) async fn is_of_a_run(&self, stream: &StreamName) -> Result<bool, ReadError> {
        let read = ReadStream::forward(stream.clone()).limit(1);
        match self.store.read_stream(read).await {
            Err(ReadError::StreamNotFound(_) | ReadError::StreamDeleted(_)) => Ok(false),
            events => Ok(events?.try_next().await?.is_some_and(|event| begins_a_run(&event))),
        }
    }

    /// Starts a run, unless it was started before.
    pub async fn start(
        &self,
        saga: &SagaDefinition,
        start: Start,
        trigger: &RecordedEvent,
        now: DateTime<Utc>,
    ) -> Result<(), JournalError> {
        let stream = stream_of(saga.kind, start.subject);
        let event = SagaStarted {
            kind: saga.kind.to_owned(),
            version: saga.version,
            subject: start.subject.to_string(),
            input: start.input,
        };
        // A trigger without readable metadata still starts its run, as a story of its own.
        let origin: Option<Metadata> = serde_json::from_slice(&trigger.metadata).ok();
        let origin = origin.map(|origin| (origin.correlation_id, origin.traceparent));
        let (correlation_id, traceparent) = origin.unwrap_or((trigger.id.0, None));
        let cause = Cause {
            kind: saga.kind,
            correlation_id,
            causation_id: trigger.id.0,
            traceparent: traceparent.as_deref(),
        };
        let id = event_id(&stream, "start", b"");
        let event = new_event(id, &event.into(), &cause, now);
        let appended = self.append(&stream, ExpectedRevision::NoStream, event);
        match appended.await {
            Ok(_) | Err(JournalError::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Records a signal, unless the run is over, was never started, or has it already.
    pub async fn signal(
        &self,
        saga: &SagaDefinition,
        signal: Signal,
        now: DateTime<Utc>,
    ) -> Result<(), JournalError> {
        let stream = stream_of(saga.kind, signal.subject);
        loop {
            let Some(mut run) = self.load(&stream).await? else {
                return Ok(());
            };
            let state = &run.state;
            let waits = state.end.is_none() && state.output(signal.step).is_none();
            if !waits || state.signals.contains_key(signal.step) {
                return Ok(());
            }
            let event =
                SagaSignalled { step: signal.step.to_owned(), signal: signal.payload.clone() };
            match self.record(&mut run, event.into(), now).await {
                // The run moved on meanwhile, which it does only so many times.
                Err(JournalError::Conflict(_)) => {}
                recorded => return recorded,
            }
        }
    }

    /// Records what happened to a run, and folds it in.
    pub async fn record(
        &self,
        run: &mut Run,
        event: SagaEvent,
        now: DateTime<Utc>,
    ) -> Result<(), JournalError> {
        let encoded = event.encode().data.to_string();
        let place = format!("{}/{}", run.revision.next(), event.encode().event_type);
        let id = event_id(&run.stream, &place, encoded.as_bytes());
        let kind = run.state.kind.clone();
        let cause = Cause {
            kind: &kind,
            correlation_id: run.correlation_id,
            causation_id: run.last_event_id,
            traceparent: run.traceparent.as_deref(),
        };
        let new = new_event(id, &event, &cause, now);
        let expected = ExpectedRevision::Exactly(run.revision);
        self.append(&run.stream, expected, new).await?;
        run.revision = run.revision.next();
        run.last_event_id = id.0;
        run.state.apply(event);
        Ok(())
    }

    async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        event: NewEvent,
    ) -> Result<(), JournalError> {
        match self.store.append(stream, expected, vec![event]).await {
            Ok(_) => Ok(()),
            Err(AppendError::WrongExpectedRevision { stream, .. }) => {
                Err(JournalError::Conflict(stream))
            }
            Err(error) => Err(JournalError::Append(error)),
        }
    }
}

/// What an event of a run follows from.
struct Cause<'a> {
    kind: &'a str,
    correlation_id: Uuid,
    causation_id: Uuid,
    traceparent: Option<&'a str>,
}

// The same event at the same place has the same id, so an append of unknown outcome can be
// repeated; another event there has another, so it is a conflict.
fn event_id(stream: &StreamName, place: &str, data: &[u8]) -> EventId {
    let name = [stream.as_str().as_bytes(), b"/", place.as_bytes(), b"/", data].concat();
    EventId(Uuid::new_v5(&EVENT_NAMESPACE, &name))
}

fn new_event(id: EventId, event: &SagaEvent, cause: &Cause<'_>, now: DateTime<Utc>) -> NewEvent {
    let encoded = event.encode();
    let metadata = Metadata {
        schema_version: encoded.version,
        correlation_id: cause.correlation_id,
        causation_id: cause.causation_id,
        actor: Actor::Saga(cause.kind.to_owned()),
        occurred_at: now,
        traceparent: cause.traceparent.map(str::to_owned),
        command: None,
    };
    let metadata = serde_json::to_vec(&metadata).expect("metadata is plain data");
    NewEvent {
        id,
        event_type: EventType::new(encoded.event_type).expect("types are short literals"),
        content_type: ContentType::Json,
        data: Bytes::from(encoded.data.to_string()),
        metadata: metadata.into(),
    }
}
