//! `cqrs_es::EventStore` over the port, for `CqrsFramework` and the tools built on it.
//!
//! The platform's own commands go through [`crate::handler`], which knows positions and repetition;
//! both read and write the same streams in the same encoding.

use std::collections::HashMap;
use std::sync::Arc;

use cqrs_es::{AggregateContext, AggregateError, EventEnvelope};
use event_schemas::EventFamily;
use event_store::{
    AppendError, EventStore, ExpectedRevision, ReadError, ReadStream, Revision, StreamName,
};
use futures::TryStreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::context::CommandContext;
use crate::decider::Decider;
use crate::encoding::{Decoded, decode, encode};
use crate::fold::{self, Folded, LoadError};

/// The port as `cqrs_es` wants it.
#[derive(Clone)]
pub struct PortStore {
    store: Arc<dyn EventStore>,
}

/// A loaded aggregate, and where its stream was then.
pub struct PortContext<A> {
    aggregate_id: String,
    stream: StreamName,
    folded: Folded<A>,
}

impl PortStore {
    /// Over this store.
    pub fn new(store: Arc<dyn EventStore>) -> Self {
        Self { store }
    }
}

impl<A: Decider> AggregateContext<A> for PortContext<A> {
    fn aggregate(&mut self) -> &mut A {
        &mut self.folded.state
    }
}

impl CommandContext {
    /// As `CqrsFramework::execute_with_metadata` takes it: each field as JSON, by its name.
    pub fn to_framework(&self) -> HashMap<String, String> {
        to_map(self)
    }
}

impl<A: Decider> cqrs_es::EventStore<A> for PortStore {
    type AC = PortContext<A>;

    async fn load_events(
        &self,
        aggregate_id: &str,
    ) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        let stream = stream_named::<A>(aggregate_id)?;
        let reader = match self.store.read_stream(ReadStream::forward(stream)).await {
            Ok(reader) => reader,
            Err(ReadError::StreamNotFound(_)) => return Ok(vec![]),
            Err(error) => return Err(framework_error(error.into())),
        };
        reader
            .map_err(LoadError::from)
            .and_then(async |recorded| {
                let decoded: Decoded<A::Event> = decode(&recorded)?;
                let metadata = to_map(&decoded.metadata);
                Ok(envelope(aggregate_id, decoded.revision, decoded.event, metadata))
            })
            .try_collect()
            .await
            .map_err(framework_error)
    }

    async fn load_aggregate(
        &self,
        aggregate_id: &str,
    ) -> Result<PortContext<A>, AggregateError<A::Error>> {
        let stream = stream_named::<A>(aggregate_id)?;
        let folded = fold::load(&*self.store, &stream, None).await.map_err(framework_error)?;
        Ok(PortContext { aggregate_id: aggregate_id.to_owned(), stream, folded })
    }

    /// Appends at the revision that was loaded; `metadata` is
    /// [`CommandContext::to_framework`].
    async fn commit(
        &self,
        events: Vec<A::Event>,
        context: PortContext<A>,
        metadata: HashMap<String, String>,
    ) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        if events.is_empty() {
            return Ok(vec![]);
        }
        let command: CommandContext = from_map(&metadata)
            .map_err(|error| AggregateError::DeserializationError(Box::new(error)))?;
        let PortContext { aggregate_id, stream, folded } = context;
        let expected =
            folded.revision.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exactly);
        let encoded = encode(&stream, &events, &command);
        self.store.append(&stream, expected, encoded).await.map_err(|error| match error {
            AppendError::WrongExpectedRevision { .. } => AggregateError::AggregateConflict,
            error => AggregateError::DatabaseConnectionError(Box::new(error)),
        })?;
        let mut revision = folded.next_revision();
        let mut envelopes = Vec::with_capacity(events.len());
        for event in events {
            envelopes.push(envelope(&aggregate_id, revision, event, metadata.clone()));
            revision = revision.next();
        }
        Ok(envelopes)
    }
}

fn stream_named<A: Decider>(aggregate_id: &str) -> Result<StreamName, AggregateError<A::Error>> {
    StreamName::new(format!("{}-{aggregate_id}", A::Event::CATEGORY))
        .map_err(|error| AggregateError::UnexpectedError(Box::new(error)))
}

/// The framework counts from one.
fn envelope<A: Decider>(
    aggregate_id: &str,
    revision: Revision,
    payload: A::Event,
    metadata: HashMap<String, String>,
) -> EventEnvelope<A> {
    let sequence = usize::try_from(revision.next().get()).expect("revisions fit the memory");
    EventEnvelope { aggregate_id: aggregate_id.to_owned(), sequence, payload, metadata }
}

fn framework_error<E: std::error::Error>(error: LoadError) -> AggregateError<E> {
    match error {
        LoadError::Unreadable(error) => AggregateError::DeserializationError(Box::new(error)),
        LoadError::Store(error) => AggregateError::DatabaseConnectionError(Box::new(error)),
        LoadError::Gap { .. } | LoadError::Deleted(_) | LoadError::Reclaimed(_) => {
            AggregateError::UnexpectedError(Box::new(error))
        }
    }
}

fn to_map(value: &impl Serialize) -> HashMap<String, String> {
    match serde_json::to_value(value).expect("metadata is plain data with string keys") {
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, value.to_string())).collect()
        }
        other => unreachable!("a struct is an object, not {other}"),
    }
}

fn from_map<T: DeserializeOwned>(map: &HashMap<String, String>) -> serde_json::Result<T> {
    let fields = map
        .iter()
        .map(|(name, text)| Ok((name.clone(), serde_json::from_str(text)?)))
        .collect::<serde_json::Result<Map<_, _>>>()?;
    serde_json::from_value(Value::Object(fields))
}
