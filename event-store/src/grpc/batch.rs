//! Appends to many streams over one call.
//!
//! Each append has a correlation, may arrive in pieces, and is answered when it is durable, in any
//! order. They are handed to the store in the order of their commits, so that what one client sends
//! to one stream stays in order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use uuid::Uuid;

use super::append::{WRITE_SECONDS_MAX, may_append};
use super::arriving::{Arriving, Reception};
use super::caller::Caller;
use super::problem::{Problem, in_batch};
use super::proto::event_store::client as sent;
use super::proto::event_store::client::streams::batch_append_req::options::DeadlineOption;
use super::proto::event_store::client::streams::batch_append_resp::{
    self, ExpectedStreamPosition, Success, success,
};
use super::proto::event_store::client::streams::{
    BatchAppendReq, BatchAppendResp, batch_append_req,
};
use super::requests::Requests;
use super::wire::{expected, identity, stream_identifier, stream_name};
use crate::port::{Appended, EventStore};
use crate::stream::{ExpectedRevision, StreamName};

/// Most appends of one call that wait for the store at once; more are not read from the client.
const RUNNING_MAX: usize = 1024;

/// Most appends of one call that may have begun and not be committed.
const ARRIVING_MAX: usize = 256;

/// Most bytes of one call that may be held at once, arriving and running together.
const HELD_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Replies that wait for a slow client before its appends are read more slowly.
const REPLIES_MAX: usize = 64;

type Replies = mpsc::Sender<Result<BatchAppendResp, Status>>;
type Running = BoxFuture<'static, (BatchAppendResp, usize)>;

/// Answers the call until the client ends it or the server stops.
pub(super) fn serve(
    store: Arc<dyn EventStore>,
    caller: Caller,
    requests: Requests<BatchAppendReq>,
    reception: Reception,
    shutdown: CancellationToken,
) -> ReceiverStream<Result<BatchAppendResp, Status>> {
    let (replies, stream) = mpsc::channel(REPLIES_MAX);
    let session = Session {
        store,
        caller,
        reception,
        arriving: HashMap::new(),
        running: FuturesUnordered::new(),
        held_bytes: 0,
    };
    tokio::spawn(session.run(requests, replies, shutdown));
    ReceiverStream::new(stream)
}

/// An append that has begun.
struct Begun {
    target: Target,
    timeout: Duration,
    /// When all of it must be there.
    until: Instant,
    arriving: Arriving,
}

/// Where an append goes; repeated in its reply.
#[derive(Clone)]
struct Target {
    stream: StreamName,
    expected: ExpectedRevision,
}

struct Session {
    store: Arc<dyn EventStore>,
    caller: Caller,
    reception: Reception,
    arriving: HashMap<Uuid, Begun>,
    running: FuturesUnordered<Running>,
    held_bytes: usize,
}

impl Session {
    async fn run(
        mut self,
        mut requests: Requests<BatchAppendReq>,
        replies: Replies,
        shutdown: CancellationToken,
    ) {
        let mut open = true;
        while open || !self.running.is_empty() {
            let ready = open && self.running.len() < RUNNING_MAX;
            let until = self.arriving.values().map(|begun| begun.until).min();
            let reply = tokio::select! {
                Some((reply, bytes)) = self.running.next() => {
                    self.held_bytes -= bytes;
                    Some(reply)
                }
                message = requests.message(), if ready => match message {
                    Ok(Some(request)) => self.receive(request).await,
                    Ok(None) => {
                        open = false;
                        None
                    }
                    // What it committed is the store's already.
                    Err(status) => {
                        let _ = replies.send(Err(status)).await;
                        return;
                    }
                },
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                    let _ = replies.send(Err(Problem::TooSlow.into())).await;
                    return;
                }
                () = shutdown.cancelled(), if open => {
                    open = false;
                    None
                }
            };
            if let Some(reply) = reply
                && replies.send(Ok(reply)).await.is_err()
            {
                return;
            }
            if self.held_bytes > HELD_BYTES_MAX || self.arriving.len() > ARRIVING_MAX {
                let status = Status::resource_exhausted("too many appends are not committed");
                let _ = replies.send(Err(status)).await;
                return;
            }
        }
        if shutdown.is_cancelled() {
            let stopped = Status::unavailable("Server Is Not Ready");
            let _ = replies.send(Err(stopped)).await;
        }
    }

    /// Takes one message in; a reply is due at once only where it is refused.
    async fn receive(&mut self, request: BatchAppendReq) -> Option<BatchAppendResp> {
        let correlation = request.correlation_id.clone();
        let options = request.options.clone();
        let refusal = match self.take(request).await {
            Ok(()) => return None,
            Err(problem) => batch_append_resp::Result::Error(in_batch(problem)),
        };
        let name = options.as_ref().and_then(|o| o.stream_identifier.clone());
        let expected = options.and_then(|options| options.expected_stream_position);
        Some(BatchAppendResp {
            correlation_id: Some(correlation.unwrap_or_default()),
            stream_identifier: Some(name.unwrap_or_default()),
            expected_stream_position: expected.map(|expected| position(expected.into())),
            result: Some(refusal),
        })
    }

    async fn take(&mut self, request: BatchAppendReq) -> Result<(), Problem> {
        let correlation = identity(request.correlation_id.clone())?;
        let mut begun = match self.arriving.remove(&correlation) {
            Some(begun) => {
                self.held_bytes -= begun.arriving.bytes();
                begun
            }
            None => {
                let begun = begin(request.options, &self.reception)?;
                // Before the next is taken, so that they stay in order.
                may_append(&self.caller, &begun.target.stream).await?;
                begun
            }
        };
        for message in request.proposed_messages {
            begun.arriving.push(message.into())?;
        }
        self.held_bytes += begun.arriving.bytes();
        if request.is_final {
            let sent = request.correlation_id.unwrap_or_default();
            let running = commit(Arc::clone(&self.store), sent, begun);
            // Were it made to yield before it reaches the store, a later one could overtake it.
            let running = tokio::task::unconstrained(running);
            self.running.push(Box::pin(running));
        } else {
            self.arriving.insert(correlation, begun);
        }
        Ok(())
    }
}

fn begin(
    options: Option<batch_append_req::Options>,
    reception: &Reception,
) -> Result<Begun, Problem> {
    let missing = || Problem::BadRequest("an append begins with its options".to_owned());
    let options = options.ok_or_else(missing)?;
    Ok(Begun {
        timeout: timeout(options.deadline_option.as_ref()),
        target: Target {
            stream: stream_name(options.stream_identifier)?,
            expected: expected(options.expected_stream_position)?,
        },
        until: Instant::now() + reception.time_max,
        arriving: reception.begin(),
    })
}

/// How long the client waits, never longer than the server lets it. Some clients send the moment
/// itself where a duration belongs, which is then only a very long one.
fn timeout(deadline: Option<&DeadlineOption>) -> Duration {
    let max = Duration::from_secs(WRITE_SECONDS_MAX);
    let asked = match deadline {
        None => max,
        Some(DeadlineOption::Deadline(duration)) => {
            Duration::try_from(*duration).unwrap_or(Duration::ZERO)
        }
        Some(DeadlineOption::Deadline21100(moment)) => SystemTime::try_from(*moment)
            .ok()
            .and_then(|moment| moment.duration_since(SystemTime::now()).ok())
            .unwrap_or(Duration::ZERO),
    };
    asked.min(max)
}

async fn commit(
    store: Arc<dyn EventStore>,
    correlation: sent::Uuid,
    begun: Begun,
) -> (BatchAppendResp, usize) {
    let bytes = begun.arriving.bytes();
    let Target { stream, expected } = begun.target;
    let (events, _held) = begun.arriving.into_events();
    let append = store.append(&stream, expected, events);
    let result = match tokio::time::timeout(begun.timeout, append).await {
        Ok(Ok(appended)) => batch_append_resp::Result::Success(success(appended)),
        Ok(Err(error)) => batch_append_resp::Result::Error(in_batch(error.into())),
        Err(_) => batch_append_resp::Result::Error(in_batch(Problem::Timeout)),
    };
    let reply = BatchAppendResp {
        correlation_id: Some(correlation),
        stream_identifier: Some(stream_identifier(&stream)),
        expected_stream_position: Some(position(expected)),
        result: Some(result),
    };
    (reply, bytes)
}

fn success(appended: Appended) -> Success {
    use success::{CurrentRevisionOption, PositionOption};
    let revision = match appended.last_revision {
        Some(revision) => CurrentRevisionOption::CurrentRevision(revision.get()),
        None => CurrentRevisionOption::NoStream(()),
    };
    let position = match appended.position {
        Some(position) => PositionOption::Position(sent::AllStreamPosition {
            commit_position: position.get(),
            prepare_position: position.get(),
        }),
        None => PositionOption::NoPosition(()),
    };
    Success { current_revision_option: Some(revision), position_option: Some(position) }
}

fn position(expected: ExpectedRevision) -> ExpectedStreamPosition {
    match expected {
        ExpectedRevision::Any => ExpectedStreamPosition::Any(()),
        ExpectedRevision::NoStream => ExpectedStreamPosition::NoStream(()),
        ExpectedRevision::StreamExists => ExpectedStreamPosition::StreamExists(()),
        ExpectedRevision::Exactly(revision) => {
            ExpectedStreamPosition::StreamPosition(revision.get())
        }
    }
}
