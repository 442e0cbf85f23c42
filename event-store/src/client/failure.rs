//! The client's errors as the port's.

use eventstore::{CurrentRevision, Error, GrpcConnectionError};
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
        other => StoreError::Unavailable { reason: reason(other).into() },
    }
}

/// What was tried and what came of it, in words for people.
fn reason(error: &Error) -> String {
    let connecting = "it was asked what it can do, to begin with, and ";
    match error {
        Error::GrpcConnectionError(GrpcConnectionError::Grpc(status)) => {
            match message(status).as_str() {
                "client error (Connect)" => {
                    format!("{connecting}no connection was made: is tls= right for this port?")
                }
                "h2 protocol error: http2 error" => {
                    format!("{connecting}did not answer in HTTP/2: is it an event store's port?")
                }
                other => format!("{connecting}the answer was: {other}"),
            }
        }
        Error::GrpcConnectionError(GrpcConnectionError::MaxDiscoveryAttemptReached(times)) => {
            format!("no node was found in {times} attempts")
        }
        Error::ServerError(status) => format!("it answered: {}", message(status)),
        Error::Grpc { message, .. } => format!("it answered: {message}"),
        Error::ConnectionClosed => "the connection was closed".to_owned(),
        Error::DeadlineExceeded => "it did not answer in time".to_owned(),
        Error::NotLeaderException(leader) => {
            format!("it is no leader, which is {}:{}", leader.host, leader.port)
        }
        other => other.to_string(),
    }
}

/// The message in a status, which the client leaves as text: `status: …, message: "…", details: …`.
/// A status without one is told by its code.
fn message(status: &str) -> String {
    let quoted = status
        .split_once(", message: \"")
        .and_then(|(_, behind)| behind.rsplit_once("\", details: "))
        .map(|(message, _)| message);
    match quoted {
        None => status.to_owned(),
        Some("") => {
            let code = status.split(", ").next().unwrap_or(status);
            code.strip_prefix("status: ").unwrap_or(code).to_owned()
        }
        Some(message) => message.replace("\\\"", "\"").replace("\\\\", "\\"),
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

    fn told(error: &Error) -> String {
        store(error).to_string()
    }

    fn status(code: &str, message: &str) -> String {
        format!("status: {code}, message: {message:?}, details: [], metadata: MetadataMap {{ }}")
    }

    #[test]
    fn who_is_no_event_store_is_told_in_words_for_people() {
        let connecting = |message| {
            let status = status("Unknown", message);
            told(&Error::GrpcConnectionError(GrpcConnectionError::Grpc(status)))
        };
        let begin =
            "the event store can't be reached: it was asked what it can do, to begin with, ";
        let cases = [
            ("client error (Connect)", "and no connection was made: is tls= right for this port?"),
            (
                "h2 protocol error: http2 error",
                "and did not answer in HTTP/2: is it an event store's port?",
            ),
            (r#"no "such" call"#, r#"and the answer was: no "such" call"#),
            ("", "and the answer was: Unknown"),
        ];
        for (message, words) in cases {
            assert_eq!(connecting(message), format!("{begin}{words}"));
        }
        let never = GrpcConnectionError::MaxDiscoveryAttemptReached(3);
        let said = told(&Error::GrpcConnectionError(never));
        assert_eq!(said, "the event store can't be reached: no node was found in 3 attempts");
    }

    #[test]
    fn what_a_server_answers_is_told_without_the_programs_own_words() {
        let (code, message) =
            (i32::from(Code::ResourceExhausted).into(), "too many calls".to_owned());
        for (error, words) in [
            (
                Error::ServerError(status("Unavailable", "it is closing")),
                "it answered: it is closing",
            ),
            (Error::ServerError("as it is".to_owned()), "it answered: as it is"),
            (Error::Grpc { code, message }, "it answered: too many calls"),
            (Error::ConnectionClosed, "the connection was closed"),
            (Error::DeadlineExceeded, "it did not answer in time"),
        ] {
            assert_eq!(told(&error), format!("the event store can't be reached: {words}"));
        }
    }

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
