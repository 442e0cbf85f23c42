//! The client's errors as the port's.

use eventstore::{CurrentRevision, Error};
use tonic::Code;

use super::event::NO_EVENT;
use crate::error::{AppendError, ReadError, StoreError, SubscribeError, TooLarge};
use crate::event::NewEvent;
use crate::stream::{ExpectedRevision, Revision, StreamName};

/// What the store as a whole could not do.
pub(super) fn store(error: &Error) -> StoreError {
    match error {
        Error::AccessDenied => StoreError::AccessDenied,
        Error::Grpc { message, .. } if *message == StoreError::StorageFull.to_string() => {
            StoreError::StorageFull
        }
        Error::ServerError(status) if let Some(corrupt) = corrupt(status) => corrupt,
        other => StoreError::Unavailable { reason: other.to_string().into() },
    }
}

/// What a status of lost data tells of the place, which the client leaves as text.
fn corrupt(status: &str) -> Option<StoreError> {
    let (_, told) = status.split_once("DataLoss")?.1.split_once("corrupt data at ")?;
    let (place, reason) = told.split_once(": ")?;
    let reason = reason.split_once("\", details: ").map_or(reason, |(reason, _)| reason);
    Some(StoreError::Corrupt { place: place.into(), reason: reason.into() })
}

pub(super) fn read(error: &Error, stream: Option<&StreamName>) -> ReadError {
    match (error, stream) {
        (Error::ResourceNotFound, Some(stream)) => ReadError::StreamNotFound(stream.clone()),
        (Error::ResourceDeleted, Some(stream)) => ReadError::StreamDeleted(stream.clone()),
        _ => store(error).into(),
    }
}

pub(super) fn subscribe(error: &Error, stream: Option<&StreamName>) -> SubscribeError {
    match (error, stream) {
        (Error::ResourceDeleted, Some(stream)) => SubscribeError::StreamDeleted(stream.clone()),
        _ => match invalid_argument(error) {
            // Nothing else of a subscription to the log can be wrong.
            Some(message) if stream.is_none() => SubscribeError::BadFilter(message.into()),
            _ => store(error).into(),
        },
    }
}

pub(super) fn append(
    error: Error,
    stream: &StreamName,
    expected: ExpectedRevision,
    events: &[NewEvent],
) -> AppendError {
    let wrong =
        |actual| AppendError::WrongExpectedRevision { stream: stream.clone(), expected, actual };
    match &error {
        Error::WrongExpectedVersion { current, .. } => wrong(match current {
            CurrentRevision::Current(number) => Some(Revision::new(*number)),
            CurrentRevision::NoStream => None,
        }),
        Error::ResourceDeleted => AppendError::StreamDeleted(stream.clone()),
        Error::Grpc { message, .. } if message.contains("WrongExpectedVersion") => {
            // The client drops the trailers; a number below zero says that there is no stream.
            let actual = number_after(message, "Actual version: ");
            wrong(actual.map(Revision::new))
        }
        Error::Grpc { message, .. } => match too_large(message, events) {
            Some(error) => error.into(),
            None => AppendError::Store(store(&error)),
        },
        _ => AppendError::Store(store(&error)),
    }
}

/// A refusal for size, which the client leaves as text.
fn too_large(message: &str, events: &[NewEvent]) -> Option<TooLarge> {
    let limit = |words| number_after(message, words).and_then(|max| usize::try_from(max).ok());
    if let Some(max) = limit("Maximum Append Event Size of ") {
        let largest = events.iter().max_by_key(|event| event.size());
        return Some(TooLarge::Event {
            id: largest.map_or(NO_EVENT, |event| event.id),
            size: largest.map_or(0, NewEvent::size),
            max,
        });
    }
    let max = limit("Maximum Append Size of ")?;
    let unit = if message.contains(" events: ") { "events" } else { "bytes" };
    let size = match unit {
        "events" => events.len(),
        _ => events.iter().map(NewEvent::size).sum(),
    };
    Some(TooLarge::Append { size, max, unit })
}

fn number_after(message: &str, words: &str) -> Option<u64> {
    let (_, rest) = message.split_once(words)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

fn invalid_argument(error: &Error) -> Option<&str> {
    match error {
        Error::Grpc { code, message } if i32::from(*code) == i32::from(Code::InvalidArgument) => {
            Some(message)
        }
        _ => None,
    }
}

/// Whether asking again later may help.
pub(super) fn passes(error: &Error) -> bool {
    match error {
        Error::ServerError(status) => corrupt(status).is_none(),
        Error::NotLeaderException(_)
        | Error::ConnectionClosed
        | Error::GrpcConnectionError(_)
        | Error::DeadlineExceeded => true,
        Error::Grpc { .. } => invalid_argument(error).is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_read_out_of_the_text() {
        let text = "failed due to WrongExpectedVersion. Stream: s, Expected version: 3, \
                    Actual version: 17";
        assert_eq!(number_after(text, "Actual version: "), Some(17));
        assert_eq!(number_after("Actual version: -1", "Actual version: "), None);
    }

    #[test]
    fn a_refusal_for_size_keeps_its_limit() {
        let text = "Maximum Append Size of 1048576 Exceeded.";
        let Some(TooLarge::Append { max, unit, .. }) = too_large(text, &[]) else {
            panic!("not understood");
        };
        assert_eq!((max, unit), (1_048_576, "bytes"));
    }
}
