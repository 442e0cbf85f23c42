//! Appends of one stream: options, then the events, then the commit.

use std::time::Duration;

use tonic::{Status, Streaming};

use super::problem::Problem;
use super::proto::event_store::client::Empty;
use super::proto::event_store::client::streams::append_resp::wrong_expected_version as wrong;
use super::proto::event_store::client::streams::append_resp::{
    self, Position, Success, WrongExpectedVersion, success,
};
use super::proto::event_store::client::streams::{AppendReq, AppendResp, append_req};
use super::wire::{Proposed, expected, stream_name};
use crate::error::AppendError;
use crate::event::NewEvent;
use crate::limits::{APPEND_BYTES_MAX, APPEND_EVENTS_MAX};
use crate::port::{Appended, EventStore};
use crate::stream::{ExpectedRevision, Revision};

/// How long a client may wait for the store to acknowledge; what it waits for may still happen.
pub(super) const WRITE_SECONDS_MAX: u64 = 10;

/// The events of an append that is still arriving, within the limits from the first byte on.
#[derive(Default)]
pub(super) struct Arriving {
    events: Vec<NewEvent>,
    bytes: usize,
}

impl Arriving {
    /// Takes one more event, unless the append would become too large.
    pub(super) fn push(&mut self, proposed: Proposed) -> Result<(), Problem> {
        let event = NewEvent::try_from(proposed)?;
        self.bytes += event.size();
        self.events.push(event);
        let (size, max, unit) = if self.bytes > APPEND_BYTES_MAX {
            (self.bytes, APPEND_BYTES_MAX, "bytes")
        } else if self.events.len() > APPEND_EVENTS_MAX {
            (self.events.len(), APPEND_EVENTS_MAX, "events")
        } else {
            return Ok(());
        };
        Err(AppendError::AppendTooLarge { size, max, unit }.into())
    }

    /// How much is held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn into_events(self) -> Vec<NewEvent> {
        self.events
    }
}

/// Receives one append and commits it; a call that breaks off before its end appends nothing.
pub(super) async fn append(
    store: &dyn EventStore,
    mut requests: Streaming<AppendReq>,
) -> Result<AppendResp, Status> {
    use append_req::Content;
    let first = requests.message().await?.and_then(|first| first.content);
    let Some(Content::Options(options)) = first else {
        return Err(Status::invalid_argument("an append begins with its options"));
    };
    let stream = stream_name(options.stream_identifier)?;
    let expected = expected(options.expected_stream_revision)?;
    let mut arriving = Arriving::default();
    while let Some(request) = requests.message().await? {
        let Some(Content::ProposedMessage(message)) = request.content else {
            return Err(Status::invalid_argument("options come once, before the events"));
        };
        arriving.push(message.into())?;
    }
    let limit = Duration::from_secs(WRITE_SECONDS_MAX);
    let append = store.append(&stream, expected, arriving.into_events());
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
