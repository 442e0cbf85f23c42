//! Appends of one stream: options, then the events, then the commit.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::arriving::{Arriving, Reception};
use super::caller::Caller;
use super::problem::{Problem, of_store};
use super::proto::event_store::client::Empty;
use super::proto::event_store::client::streams::append_resp::wrong_expected_version as wrong;
use super::proto::event_store::client::streams::append_resp::{
    self, Position, Success, WrongExpectedVersion, success,
};
use super::proto::event_store::client::streams::{AppendReq, AppendResp, append_req};
use super::requests::Requests;
use super::wire::{expected, stream_name};
use crate::access::StreamAction;
use crate::error::{AppendError, StoreError};
use crate::port::{Appended, EventStore};
use crate::stream::{ExpectedRevision, Revision, StreamName};

/// How long a client may wait for the store to acknowledge; what it waits for may still happen.
pub(super) const WRITE_SECONDS_MAX: u64 = 10;

/// Receives one append and commits it; a call that breaks off before its end appends nothing, nor
/// does one that is not whole when the server stops.
pub(super) async fn append(
    store: &dyn EventStore,
    caller: &Caller,
    requests: Requests<AppendReq>,
    reception: &Reception,
    shutdown: &CancellationToken,
) -> Result<AppendResp, Status> {
    let received = tokio::time::timeout(reception.time_max, receive(caller, requests, reception));
    let received = tokio::select! {
        biased;
        received = received => received,
        () = shutdown.cancelled() => return Err(of_store(&StoreError::Closed)),
    };
    let (stream, expected, arrived) = received.map_err(|_| Problem::TooSlow)??;
    let (events, _held) = arrived.into_events();
    let limit = Duration::from_secs(WRITE_SECONDS_MAX);
    let append = store.append(&stream, expected, events);
    let result = match tokio::time::timeout(limit, append).await {
        Ok(Ok(appended)) => append_resp::Result::Success(success(appended)),
        Ok(Err(AppendError::WrongExpectedRevision { expected, actual, .. })) => {
            append_resp::Result::WrongExpectedVersion(wrong_version(expected, actual))
        }
        Ok(Err(error)) => return Err(Problem::from(error).into()),
        Err(_) => return Err(Problem::Timeout.into()),
    };
    Ok(AppendResp { result: Some(result) })
}

async fn receive(
    caller: &Caller,
    mut requests: Requests<AppendReq>,
    reception: &Reception,
) -> Result<(StreamName, ExpectedRevision, Arriving), Status> {
    use append_req::Content;
    let first = requests.message().await?.and_then(|first| first.content);
    let Some(Content::Options(options)) = first else {
        return Err(Status::invalid_argument("an append begins with its options"));
    };
    let stream = stream_name(options.stream_identifier)?;
    let expected = expected(options.expected_stream_revision)?;
    may_append(caller, &stream).await?;
    let mut arriving = reception.begin();
    while let Some(request) = requests.message().await? {
        let Some(Content::ProposedMessage(message)) = request.content else {
            return Err(Status::invalid_argument("options come once, before the events"));
        };
        arriving.push(message.into())?;
    }
    Ok((stream, expected, arriving))
}

/// Whether the caller may append to that stream; asked before its events are taken in.
pub(super) async fn may_append(caller: &Caller, stream: &StreamName) -> Result<(), Problem> {
    let may = caller.may_with(stream, StreamAction::Write).await;
    may.map_err(|error| AppendError::from(error).into())
}

fn success(appended: Appended) -> Success {
    use success::{CurrentRevisionOption, PositionOption};
    let revision = match appended.last_revision {
        Some(revision) => CurrentRevisionOption::CurrentRevision(revision.get()),
        None => CurrentRevisionOption::NoStream(Empty {}),
    };
    let position = match appended.position {
        Some(position) => PositionOption::Position(Position {
            commit_position: position.get(),
            prepare_position: position.get(),
        }),
        None => PositionOption::NoPosition(Empty {}),
    };
    Success { current_revision_option: Some(revision), position_option: Some(position) }
}

fn wrong_version(expected: ExpectedRevision, actual: Option<Revision>) -> WrongExpectedVersion {
    use wrong::{
        CurrentRevisionOption, CurrentRevisionOption2060, ExpectedRevisionOption,
        ExpectedRevisionOption2060,
    };
    let (current, current_old) = match actual.map(Revision::get) {
        Some(number) => (
            CurrentRevisionOption::CurrentRevision(number),
            CurrentRevisionOption2060::CurrentRevision2060(number),
        ),
        None => (
            CurrentRevisionOption::CurrentNoStream(Empty {}),
            CurrentRevisionOption2060::NoStream2060(Empty {}),
        ),
    };
    let (expected, expected_old) = match expected {
        ExpectedRevision::Any => (
            ExpectedRevisionOption::ExpectedAny(Empty {}),
            ExpectedRevisionOption2060::Any2060(Empty {}),
        ),
        ExpectedRevision::StreamExists => (
            ExpectedRevisionOption::ExpectedStreamExists(Empty {}),
            ExpectedRevisionOption2060::StreamExists2060(Empty {}),
        ),
        // The old form has no word for it; it wrote -1.
        ExpectedRevision::NoStream => (
            ExpectedRevisionOption::ExpectedNoStream(Empty {}),
            ExpectedRevisionOption2060::ExpectedRevision2060(u64::MAX),
        ),
        ExpectedRevision::Exactly(revision) => (
            ExpectedRevisionOption::ExpectedRevision(revision.get()),
            ExpectedRevisionOption2060::ExpectedRevision2060(revision.get()),
        ),
    };
    WrongExpectedVersion {
        current_revision_option_20_6_0: Some(current_old),
        expected_revision_option_20_6_0: Some(expected_old),
        current_revision_option: Some(current),
        expected_revision_option: Some(expected),
    }
}
