//! What goes wrong with an append to several streams, as a status with typed details: the error's
//! name first, and last the message that clients look for.
//!
//! Official clients look for these codes and messages; changing one breaks them.

use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};

use super::super::problem::{Problem, of_store};
use super::super::proto::google::rpc;
use super::super::proto::google::rpc::bad_request::FieldViolation;
use super::super::proto::kurrent::rpc::AccessDeniedErrorDetails;
use super::super::proto::kurrentdb::protocol::v2::streams::errors as told;
use super::super::proto::kurrentdb::protocol::v2::streams::errors::consistency_violation as one;
use crate::error::{AppendError, MultiAppendError, StoreError, TooLarge};
use crate::multi::{ExpectedState, StreamState, Violation};
use crate::port::EventStore;
use crate::stream::{Revision, StreamName};

/// The words that have no revision, as numbers.
const NO_STREAM: i64 = -1;
const ANY: i64 = -2;
const EXISTS: i64 = -4;
const SOFT_DELETED: i64 = -5;
const TOMBSTONED: i64 = -6;

/// Most bytes of violations that are told: clients refuse trailers beyond 8 KiB, of which encoding
/// takes a third, and others the rest.
const VIOLATIONS_BYTES_MAX: usize = 3 * 1024;

const STREAMS: &str = "streams";
const SERVER: &str = "server";

/// What a writer expects; `None` where that is nothing.
pub(super) fn expected(number: i64) -> Result<Option<ExpectedState>, Status> {
    match expected_state(number)? {
        Some(ExpectedState::Tombstoned) => Err(unknown_state()),
        expected => Ok(expected),
    }
}

/// What a check expects; `None` where that is nothing.
pub(super) fn expected_state(number: i64) -> Result<Option<ExpectedState>, Status> {
    Ok(Some(match number {
        ANY => return Ok(None),
        NO_STREAM => ExpectedState::NoStream,
        EXISTS => ExpectedState::StreamExists,
        SOFT_DELETED => ExpectedState::SoftDeleted,
        TOMBSTONED => ExpectedState::Tombstoned,
        revision => {
            let revision = u64::try_from(revision).map_err(|_| unknown_state())?;
            ExpectedState::Exactly(Revision::new(revision))
        }
    }))
}

fn unknown_state() -> Status {
    bad("expected_revision", "no such state can be expected")
}

/// A request that can't be understood, and where.
pub(super) fn bad(field: &str, reason: &str) -> Status {
    let violation = FieldViolation { field: field.to_owned(), description: reason.to_owned() };
    let detail = rpc::BadRequest { field_violations: vec![violation] };
    let detail = detail_of("google.rpc.BadRequest", &detail);
    let message = format!("The request is invalid: {field}: {reason}");
    status(Code::InvalidArgument, SERVER, "BAD_REQUEST", message, Some(detail))
}

/// A session that ended before it began.
pub(super) fn no_requests() -> Status {
    let message = "The session ended without a request.".to_owned();
    status(Code::FailedPrecondition, STREAMS, "APPEND_SESSION_NO_REQUESTS", message, None)
}

/// A stream for which the session has a request already.
pub(super) fn already_in_session(stream: &StreamName) -> Status {
    let detail = told::StreamAlreadyInAppendSessionErrorDetails { stream: stream.to_string() };
    let detail = of_streams("StreamAlreadyInAppendSessionErrorDetails", &detail);
    let message = format!(
        "Stream '{stream}' is already part of this append session. \
         Appending to the same stream multiple times is currently not supported."
    );
    status(Code::Aborted, STREAMS, "STREAM_ALREADY_IN_APPEND_SESSION", message, Some(detail))
}

/// What went wrong before a request was whole.
pub(super) fn of_request(error: &Status) -> Status {
    match error.code() {
        Code::ResourceExhausted => of_problem(Problem::Full),
        Code::DeadlineExceeded => of_problem(Problem::TooSlow),
        Code::Internal | Code::InvalidArgument | Code::OutOfRange => {
            bad("request", error.message())
        }
        // The connection broke, and nobody is told.
        _ => error.clone(),
    }
}

/// What went wrong before the store was asked, or while it was.
pub(super) fn of_problem(problem: Problem) -> Status {
    match problem {
        Problem::BadRequest(reason) => bad("stream", &reason),
        Problem::Append(AppendError::TooLarge(error)) => of_size("", &error),
        Problem::Full => {
            let message = "The server holds too many appends that are not committed.".to_owned();
            status(Code::Unavailable, SERVER, "SERVER_OVERLOADED", message, None)
        }
        Problem::Timeout | Problem::TooSlow => {
            let message = Status::from(problem).message().to_owned();
            status(Code::DeadlineExceeded, SERVER, "OPERATION_TIMEOUT", message, None)
        }
        // The calls of one stream have these alone.
        Problem::MissingMetadata | Problem::Append(_) => problem.into(),
    }
}

/// A record or an append that is too large.
pub(in crate::grpc) fn of_size(stream: &str, error: &TooLarge) -> Status {
    match *error {
        TooLarge::Event { id, size, max } => {
            let detail = told::AppendRecordSizeExceededErrorDetails {
                stream: stream.to_owned(),
                record_id: id.to_string(),
                size: saturated(size),
                max_size: saturated(max),
            };
            let detail = of_streams("AppendRecordSizeExceededErrorDetails", &detail);
            let reason = "APPEND_RECORD_SIZE_EXCEEDED";
            status(Code::InvalidArgument, STREAMS, reason, error.to_string(), Some(detail))
        }
        TooLarge::Append { size, max, .. } => {
            let detail = told::AppendTransactionSizeExceededErrorDetails {
                size: saturated(size),
                max_size: saturated(max),
            };
            let detail = of_streams("AppendTransactionSizeExceededErrorDetails", &detail);
            let reason = "APPEND_TRANSACTION_SIZE_EXCEEDED";
            status(Code::Aborted, STREAMS, reason, error.to_string(), Some(detail))
        }
    }
}

/// Why the store refused a session of these streams: of the first of them that is not as expected.
pub(super) async fn of_session(
    store: &dyn EventStore,
    error: &MultiAppendError,
    streams: &[StreamName],
) -> Status {
    match error {
        MultiAppendError::Violated(violations) => {
            let place = |it: &&Violation| streams.iter().position(|stream| *stream == it.stream);
            let first = violations.iter().min_by_key(place);
            first.map_or_else(|| of_append(error), of_violation)
        }
        MultiAppendError::HalfKnown => {
            // It says not of which stream; any will do for clients, which look at it again.
            let Some(stream) = streams.first() else { return of_append(error) };
            let last = store.last_event(stream).await.ok().flatten();
            conflict(stream, ANY, last.map(|event| event.revision))
        }
        error => of_append(error),
    }
}

fn of_violation(violation: &Violation) -> Status {
    let Violation { stream, expected, actual, .. } = violation;
    match *actual {
        StreamState::Tombstoned => tombstoned(stream),
        StreamState::At(last) => conflict(stream, number(*expected), Some(last)),
        StreamState::SoftDeleted { last } => conflict(stream, number(*expected), last),
        StreamState::NoEvents => conflict(stream, number(*expected), None),
    }
}

fn tombstoned(stream: &StreamName) -> Status {
    let detail = told::StreamTombstonedErrorDetails { stream: stream.to_string() };
    let detail = of_streams("StreamTombstonedErrorDetails", &detail);
    let message = format!(
        "Stream '{stream}' has been tombstoned. \
         It has been permanently removed from the system and cannot be restored."
    );
    status(Code::FailedPrecondition, STREAMS, "STREAM_TOMBSTONED", message, Some(detail))
}

fn conflict(stream: &StreamName, expected: i64, actual: Option<Revision>) -> Status {
    let actual = actual.map_or(NO_STREAM, |revision| revision.get().cast_signed());
    let detail = told::StreamRevisionConflictErrorDetails {
        stream: stream.to_string(),
        expected_revision: expected,
        actual_revision: actual,
    };
    let detail = of_streams("StreamRevisionConflictErrorDetails", &detail);
    let message = format!(
        "Append failed due to a revision conflict on stream '{stream}'. \
         Expected revision: {expected}. Actual revision: {actual}."
    );
    status(Code::FailedPrecondition, STREAMS, "STREAM_REVISION_CONFLICT", message, Some(detail))
}

/// Why the store refused records: all checks that failed.
pub(super) fn of_records(error: &MultiAppendError) -> Status {
    match error {
        MultiAppendError::Violated(violations) => {
            let failed: Vec<_> = violations.iter().filter_map(failed_check).collect();
            match violations.first() {
                Some(violation) if failed.is_empty() => of_violation(violation),
                _ => consistency(failed),
            }
        }
        MultiAppendError::HalfKnown => consistency(Vec::new()),
        error => of_append(error),
    }
}

fn failed_check(violation: &Violation) -> Option<told::ConsistencyViolation> {
    let state = one::StreamStateViolation {
        stream: violation.stream.to_string(),
        expected_state: number(violation.expected),
        actual_state: match violation.actual {
            StreamState::NoEvents => NO_STREAM,
            StreamState::At(revision) => revision.get().cast_signed(),
            StreamState::SoftDeleted { .. } => SOFT_DELETED,
            StreamState::Tombstoned => TOMBSTONED,
        },
    };
    Some(told::ConsistencyViolation {
        check_index: saturated(violation.check?),
        r#type: Some(one::Type::StreamState(state)),
    })
}

fn consistency(mut violations: Vec<told::ConsistencyViolation>) -> Status {
    let message = match violations.len() {
        0 => MultiAppendError::HalfKnown.to_string(),
        count => format!("Checks that failed: {count}."),
    };
    let mut bytes = 0;
    let fits = |it: &&told::ConsistencyViolation| {
        bytes += it.encoded_len();
        bytes <= VIOLATIONS_BYTES_MAX
    };
    let fitting = violations.iter().take_while(fits).count();
    violations.truncate(fitting);
    let detail = told::AppendConsistencyViolationErrorDetails { violations };
    let detail = of_streams("AppendConsistencyViolationErrorDetails", &detail);
    let reason = "APPEND_CONSISTENCY_VIOLATION";
    status(Code::FailedPrecondition, STREAMS, reason, message, Some(detail))
}

/// What is told the same of both calls.
fn of_append(error: &MultiAppendError) -> Status {
    match error {
        MultiAppendError::TooLarge(error) => of_size("", error),
        MultiAppendError::Store(error) => of_failure(error),
        MultiAppendError::Unsupported => Status::unimplemented(error.to_string()),
        MultiAppendError::NoEvents => bad("records", &error.to_string()),
        MultiAppendError::CheckedTwice(_)
        | MultiAppendError::TombstonedWritten(_)
        | MultiAppendError::HalfKnown
        | MultiAppendError::Violated(_) => bad("checks", &error.to_string()),
    }
}

fn of_failure(error: &StoreError) -> Status {
    let plain = of_store(error);
    let told =
        |reason, detail| status(plain.code(), SERVER, reason, plain.message().to_owned(), detail);
    match plain.code() {
        Code::PermissionDenied => {
            let detail = AccessDeniedErrorDetails { operation: "append records".to_owned() };
            let detail = detail_of("kurrent.rpc.AccessDeniedErrorDetails", &detail);
            let mut denied = told("ACCESS_DENIED", Some(detail));
            // The Node client looks for the first version's trailer, and at nothing else.
            *denied.metadata_mut() = plain.metadata().clone();
            denied
        }
        Code::Unavailable => told("SERVER_NOT_READY", None),
        Code::Internal => told("SERVER_MALFUNCTION", None),
        _ => plain,
    }
}

/// What is expected, as the protocol has it.
fn number(expected: Option<ExpectedState>) -> i64 {
    match expected {
        None => ANY,
        Some(ExpectedState::NoStream) => NO_STREAM,
        Some(ExpectedState::StreamExists) => EXISTS,
        Some(ExpectedState::SoftDeleted) => SOFT_DELETED,
        Some(ExpectedState::Tombstoned) => TOMBSTONED,
        Some(ExpectedState::Exactly(revision)) => revision.get().cast_signed(),
    }
}

/// A status whose details are the error's name and, last, what exactly it is.
fn status(code: Code, domain: &str, reason: &str, message: String, detail: Option<Any>) -> Status {
    let info = rpc::ErrorInfo { reason: reason.to_owned(), domain: domain.to_owned() };
    let details = [detail_of("google.rpc.ErrorInfo", &info)].into_iter().chain(detail).collect();
    let told = rpc::Status { code: code.into(), message: message.clone(), details };
    Status::with_details(code, message, told.encode_to_vec().into())
}

fn of_streams<T: Message>(name: &str, message: &T) -> Any {
    detail_of(&format!("kurrentdb.protocol.v2.streams.errors.{name}"), message)
}

fn detail_of<T: Message>(name: &str, message: &T) -> Any {
    let type_url = format!("type.googleapis.com/{name}");
    Any { type_url, value: message.encode_to_vec() }
}

fn saturated(size: usize) -> i32 {
    i32::try_from(size).unwrap_or(i32::MAX)
}
