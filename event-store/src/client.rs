//! The port over the network: an EventStoreDB, a KurrentDB, or our own gRPC server, through the
//! official client.
//!
//! It adds what the port promises and that client does not give: a dead connection is replaced,
//! subscriptions go on where they broke off, and an append closed by another's failure is sent
//! again (its event ids make that safe). Reads of the past and filtered reads of the log are done
//! here, by looking at the events: the protocol has neither. Reads from a time begin at the end of
//! the stream or the log, and pass over all that comes before it. An append to several streams is
//! refused as [`MultiAppendError::Unsupported`](crate::MultiAppendError::Unsupported), because that
//! client has none; one of a single stream, with or without a check of it, is like any other.
//! A category or a type is read from `$ce-…` and `$et-…` of a server that has them; it is not
//! followed, which is refused as [`IndexError::Unsupported`].
//!
//! | module | what is there |
//! | --- | --- |
//! | `connection` | a client for all questions, one for each subscription; each replaced in time |
//! | `append` | appends in a batch session, or by themselves |
//! | `read` | reads, filtered |
//! | `past` | streams as they were at a moment |
//! | `indexed` | categories and types, through the links of the system's projections |
//! | `subscribe` | subscriptions that resume |
//! | `event` | the client's events and ours |
//! | `failure` | the client's errors as the port's |

mod anchor;
mod append;
mod connection;
mod event;
mod failure;
mod indexed;
mod past;
mod read;
mod subscribe;

use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;
use uuid::Uuid;

use crate::error::{AppendError, IndexError, ReadError, StoreError, SubscribeError};
use crate::event::{ContentType, EventId, NewEvent, RecordedEvent};
use crate::filter::Filter;
use crate::indexed::{IndexReader, ReadIndex};
use crate::port::{Appended, EventStore};
use crate::position::Position;
use crate::read::{EventReader, ReadAll, ReadStream};
use crate::stream::{ExpectedRevision, Revision, StreamMetadata, StreamName};
use crate::subscription::{SubscribeFrom, Subscription};
use append::Appender;
use connection::Connection;

/// The type of the events that hold a stream's metadata.
const METADATA_TYPE: &str = "$metadata";

/// A connection string that can't be understood.
#[derive(Clone, Debug, Error)]
#[error("the connection string is not usable: {reason}")]
pub struct InvalidConnectionString {
    /// What is wrong with it.
    pub reason: String,
}

/// An event store on the other side of a connection. Cheap to clone.
#[derive(Clone)]
pub struct ClientStore {
    connection: Arc<Connection>,
    appender: Arc<Appender>,
}

impl ClientStore {
    /// Prepares a connection to `esdb://host:port?tls=false` and the like; nothing is dialled
    /// before the first question. Must be called within a Tokio runtime.
    pub fn new(connection_string: &str) -> Result<Self, InvalidConnectionString> {
        let connection = Arc::new(Connection::new(connection_string)?);
        let appender = Arc::new(Appender::new(Arc::clone(&connection)));
        Ok(Self { connection, appender })
    }

    /// The hosts and ports that are dialled; none where the DNS is asked for them.
    pub fn addresses(&self) -> Vec<(String, u16)> {
        self.connection.addresses()
    }
}

#[async_trait]
impl EventStore for ClientStore {
    async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        events: Vec<NewEvent>,
    ) -> Result<Appended, AppendError> {
        if events.is_empty() {
            return self.append_nothing(stream, expected).await;
        }
        self.appender.append(stream, expected, events).await
    }

    async fn read_stream(&self, read: ReadStream) -> Result<EventReader, ReadError> {
        read::stream(&self.connection, read).await
    }

    async fn read_all(&self, read: ReadAll) -> Result<EventReader, ReadError> {
        read::all(&self.connection, read).await
    }

    async fn subscribe_stream(
        &self,
        stream: &StreamName,
        from: SubscribeFrom<Revision>,
    ) -> Result<Subscription, SubscribeError> {
        subscribe::to_stream(&self.connection, stream, from).await
    }

    async fn subscribe_all(
        &self,
        from: SubscribeFrom<Position>,
        filter: Option<Filter>,
    ) -> Result<Subscription, SubscribeError> {
        subscribe::to_all(&self.connection, from, filter).await
    }

    async fn read_index(&self, read: ReadIndex) -> Result<IndexReader, IndexError> {
        indexed::read(&self.connection, read).await
    }

    async fn last_event(&self, stream: &StreamName) -> Result<Option<RecordedEvent>, ReadError> {
        read::last_of_stream(&self.connection, stream).await
    }

    async fn last_revision(&self, stream: &StreamName) -> Result<Option<Revision>, ReadError> {
        read::last_revision(&self.connection, stream).await
    }

    async fn head(&self) -> Result<Position, StoreError> {
        read::head(&self.connection).await
    }

    async fn stream_metadata(
        &self,
        stream: &StreamName,
    ) -> Result<(StreamMetadata, Option<Revision>), ReadError> {
        let held = self.last_event(&stream.metadata_stream()).await;
        let event = match held {
            Ok(Some(event)) => event,
            Ok(None) => return Ok((StreamMetadata::default(), None)),
            Err(ReadError::StreamDeleted(_)) => {
                return Err(ReadError::StreamDeleted(stream.clone()));
            }
            Err(error) => return Err(error),
        };
        let metadata =
            serde_json::from_slice(&event.data).map_err(|error| StoreError::Corrupt {
                place: format!("{} at {}", event.stream, event.revision).into(),
                reason: error.to_string().into(),
            })?;
        Ok((metadata, Some(event.revision)))
    }

    async fn set_stream_metadata(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        metadata: StreamMetadata,
    ) -> Result<Appended, AppendError> {
        let data = serde_json::to_vec(&metadata).expect("metadata is made of JSON values");
        let id = EventId(Uuid::new_v4());
        let event = NewEvent::system(id, METADATA_TYPE, ContentType::Json, data);
        self.append(&stream.metadata_stream(), expected, vec![event]).await
    }

    async fn delete_stream(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
    ) -> Result<Appended, AppendError> {
        let options = eventstore::DeleteStreamOptions::default()
            .expected_revision(append::expectation(expected));
        let options = &options;
        let deleted = self
            .connection
            .ask(|client| async move { client.delete_stream(stream.as_str(), options).await });
        deletion(deleted.await, stream, expected)
    }

    async fn tombstone_stream(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
    ) -> Result<Appended, AppendError> {
        let options = eventstore::TombstoneStreamOptions::default()
            .expected_revision(append::expectation(expected));
        let options = &options;
        let deleted = self
            .connection
            .ask(|client| async move { client.tombstone_stream(stream.as_str(), options).await });
        deletion(deleted.await, stream, expected)
    }
}

impl ClientStore {
    /// Only the expectation is checked; the client does not tell the revision of it reliably.
    async fn append_nothing(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
    ) -> Result<Appended, AppendError> {
        self.appender.alone(stream, expected, &[]).await?;
        let last = match self.last_event(stream).await {
            Ok(last) => last,
            Err(ReadError::Store(error)) => return Err(error.into()),
            Err(ReadError::StreamDeleted(stream)) => {
                return Err(AppendError::StreamDeleted(stream));
            }
            Err(_) => None,
        };
        Ok(Appended { last_revision: last.map(|event| event.revision), position: None })
    }
}

/// A deletion is acknowledged by its position alone.
fn deletion(
    deleted: eventstore::Result<Option<eventstore::Position>>,
    stream: &StreamName,
    expected: ExpectedRevision,
) -> Result<Appended, AppendError> {
    match deleted {
        Ok(position) => Ok(Appended {
            last_revision: None,
            position: position.map(|position| Position::new(position.commit)),
        }),
        Err(error) => Err(failure::append(error, stream, expected, &[])),
    }
}
