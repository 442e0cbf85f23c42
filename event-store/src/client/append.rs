//! Appends in a batch session that stays open, or by themselves.
//!
//! A session sends an append as one message, which no server can hold up with a delayed
//! acknowledgement. It ends at its first error, though, whoever's append that was; those that were
//! waiting beside it are sent again by themselves, and so is the refused one, to learn why.

use std::sync::Arc;
use std::time::Duration;

use eventstore::{
    AppendToStreamOptions, BatchAppendClient, BatchAppendOptions, Error, EventData,
    ExpectedRevision as Expected,
};
use tokio::sync::Mutex;

use super::connection::Connection;
use super::event::offered;
use super::failure;
use crate::error::AppendError;
use crate::event::NewEvent;
use crate::port::Appended;
use crate::position::Position;
use crate::size::checked_size;
use crate::stream::{ExpectedRevision, Revision, StreamName};

/// Larger appends go by themselves, an event a message, because a message has a limit.
const SESSION_APPEND_BYTES_MAX: usize = 1024 * 1024;

/// How long an append in a session may take before its outcome is called unknown.
const SESSION_APPEND_SECONDS_MAX: u64 = 15;

/// What the client says of an append whose session ended before it was answered.
const SESSION_CLOSED: &str = "Batch-append stream has been closed";

/// Appends over one connection.
pub(super) struct Appender {
    connection: Arc<Connection>,
    session: Mutex<Option<Arc<BatchAppendClient>>>,
}

impl Appender {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, session: Mutex::new(None) }
    }

    pub(super) async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        events: Vec<NewEvent>,
    ) -> Result<Appended, AppendError> {
        let bytes = checked_size(events.iter())?;
        if bytes <= SESSION_APPEND_BYTES_MAX
            && let Some(appended) = self.in_session(stream, expected, &events).await?
        {
            return Ok(appended);
        }
        self.alone(stream, expected, &events).await
    }

    /// Sends the append in the session; `None` where it is to be sent again by itself.
    async fn in_session(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        events: &[NewEvent],
    ) -> Result<Option<Appended>, AppendError> {
        let Ok(session) = self.session().await else {
            return Ok(None);
        };
        let offered = events.iter().map(offered).collect();
        let answer = session.append_to_stream(stream.as_str(), expectation(expected), offered);
        let limit = Duration::from_secs(SESSION_APPEND_SECONDS_MAX);
        let error = match tokio::time::timeout(limit, answer).await {
            Ok(Ok(written)) => {
                return Ok(Some(Appended {
                    last_revision: written.current_revision().map(Revision::new),
                    position: written.current_position().map(|at| Position::new(at.commit)),
                }));
            }
            Ok(Err(error)) => error,
            Err(_) => Error::DeadlineExceeded,
        };
        self.close(&session).await;
        match error {
            Error::Grpc { .. } => Ok(None),
            Error::ServerError(reason) if reason.contains(SESSION_CLOSED) => Ok(None),
            // Sent again, it is recognised for good only where a revision was expected.
            error => match expected {
                ExpectedRevision::Exactly(_) | ExpectedRevision::NoStream => Ok(None),
                _ => Err(failure::store(&error).into()),
            },
        }
    }

    /// Sends the append as a call of its own.
    pub(super) async fn alone(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        events: &[NewEvent],
    ) -> Result<Appended, AppendError> {
        let options = AppendToStreamOptions::default().expected_revision(expectation(expected));
        let appended = self
            .connection
            .ask(|client| {
                let options = &options;
                async move {
                    let offered: Vec<EventData> = events.iter().map(offered).collect();
                    client.append_to_stream(stream.as_str(), options, offered).await
                }
            })
            .await;
        match appended {
            Ok(written) => Ok(Appended {
                last_revision: Some(Revision::new(written.next_expected_version)),
                position: Some(Position::new(written.position.commit)),
            }),
            Err(error) => Err(failure::append(error, stream, expected, events)),
        }
    }

    /// The open session, or a new one.
    async fn session(&self) -> eventstore::Result<Arc<BatchAppendClient>> {
        let mut session = self.session.lock().await;
        if let Some(session) = &*session {
            return Ok(Arc::clone(session));
        }
        let options = BatchAppendOptions::default();
        let opened = self
            .connection
            .ask(|client| {
                let options = &options;
                async move { client.batch_append(options).await }
            })
            .await?;
        Ok(Arc::clone(session.insert(Arc::new(opened))))
    }

    /// Forgets a session that has ended, unless another has taken its place.
    async fn close(&self, ended: &Arc<BatchAppendClient>) {
        let mut session = self.session.lock().await;
        if session.as_ref().is_some_and(|open| Arc::ptr_eq(open, ended)) {
            *session = None;
        }
    }
}

/// The expectation in the client's words.
pub(super) fn expectation(expected: ExpectedRevision) -> Expected {
    match expected {
        ExpectedRevision::Any => Expected::Any,
        ExpectedRevision::NoStream => Expected::NoStream,
        ExpectedRevision::StreamExists => Expected::StreamExists,
        ExpectedRevision::Exactly(revision) => Expected::Exact(revision.get()),
    }
}
