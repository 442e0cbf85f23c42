//! What goes wrong with a call: as a status with trailers, or as the error inside a batch's reply.
//!
//! Official clients look for these codes, trailers and words; changing one breaks them.

use prost::Message;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

use super::proto::event_store::client as sent;
use super::proto::google::rpc;
use super::wire::stream_identifier;
use crate::error::{AppendError, ReadError, StoreError, SubscribeError, TooLarge};
use crate::stream::{ExpectedRevision, Revision, StreamName};

/// Why a call is refused.
#[derive(Clone, Debug)]
pub(super) enum Problem {
    /// The request can't be understood.
    BadRequest(String),
    /// An event names no type or no content type.
    MissingMetadata,
    /// The store refused the append.
    Append(AppendError),
    /// The store did not answer in time.
    Timeout,
    /// The append was too long on its way.
    TooSlow,
    /// Appends that are not committed fill all that the server may hold of them.
    Full,
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        Self::Append(error)
    }
}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::BadRequest(reason) => Self::invalid_argument(reason),
            Problem::MissingMetadata => exception(
                Code::InvalidArgument,
                "Required Metadata Property Missing: type, content-type".to_owned(),
                "missing-required-metadata-property",
                &[("required-metadata-properties", "type,content-type".to_owned())],
            ),
            Problem::Append(error) => of_append(&error),
            Problem::Timeout => {
                Self::aborted("Operation timed out: the append was not acknowledged")
            }
            Problem::TooSlow => Self::deadline_exceeded("the append took too long to arrive"),
            Problem::Full => Self::resource_exhausted("too many appends are not committed"),
        }
    }
}

/// A status as the protocol's exceptions travel: named in a trailer, with its facts beside it.
pub(super) fn exception(
    code: Code,
    message: String,
    name: &str,
    facts: &[(&'static str, String)],
) -> Status {
    let mut trailers = MetadataMap::new();
    trailers.insert("exception", visible(name));
    for (key, value) in facts {
        trailers.insert(*key, visible(value));
    }
    Status::with_metadata(code, message, trailers)
}

/// A trailer holds visible ASCII only.
fn visible(text: &str) -> MetadataValue<tonic::metadata::Ascii> {
    let visible = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
    MetadataValue::try_from(text.chars().map(visible).collect::<String>())
        .expect("visible ASCII is a legal trailer")
}

fn stream_deleted(stream: &StreamName) -> Status {
    stream_is_deleted(stream.as_str())
}

/// The same of a stream that is known by its name alone.
pub(super) fn stream_is_deleted(stream: &str) -> Status {
    exception(
        Code::FailedPrecondition,
        format!("Event stream '{stream}' is deleted."),
        "stream-deleted",
        &[("stream-name", stream.to_string())],
    )
}

/// Expected and actual revisions as numbers: below zero are the words that have none.
fn expected_number(expected: ExpectedRevision) -> i64 {
    match expected {
        ExpectedRevision::Exactly(revision) => revision.get().cast_signed(),
        ExpectedRevision::NoStream => -1,
        ExpectedRevision::Any => -2,
        ExpectedRevision::StreamExists => -4,
    }
}

fn actual_number(actual: Option<Revision>) -> i64 {
    actual.map_or(-1, |revision| revision.get().cast_signed())
}

pub(super) fn of_append(error: &AppendError) -> Status {
    match error {
        AppendError::WrongExpectedRevision { stream, expected, actual } => {
            let (expected, actual) = (expected_number(*expected), actual_number(*actual));
            exception(
                Code::FailedPrecondition,
                format!(
                    "Append failed due to WrongExpectedVersion. Stream: {stream}, \
                     Expected version: {expected}, Actual version: {actual}"
                ),
                "wrong-expected-version",
                &[
                    ("stream-name", stream.to_string()),
                    ("expected-version", expected.to_string()),
                    ("actual-version", actual.to_string()),
                ],
            )
        }
        AppendError::StreamDeleted(stream) => stream_deleted(stream),
        AppendError::TooLarge(TooLarge::Event { id, size, max }) => exception(
            Code::InvalidArgument,
            format!("Event {id} has {size} bytes: Maximum Append Event Size of {max} Exceeded."),
            "maximum-append-event-size-exceeded",
            &[
                ("maximum-append-event-size", max.to_string()),
                ("event-id", id.to_string()),
                ("proposed-append-event-size", size.to_string()),
            ],
        ),
        AppendError::TooLarge(TooLarge::Append { size, max, unit }) => exception(
            Code::InvalidArgument,
            format!("{size} {unit}: Maximum Append Size of {max} Exceeded."),
            "maximum-append-size-exceeded",
            &[("maximum-append-size", max.to_string())],
        ),
        AppendError::Store(error) => of_store(error),
    }
}

/// Why the store as a whole can't answer. Internal detail stays in the server's log.
pub(super) fn of_store(error: &StoreError) -> Status {
    match error {
        StoreError::Closed => Status::unavailable("Server Is Not Ready"),
        StoreError::Poisoned { .. } | StoreError::Unavailable { .. } => {
            Status::unavailable(error.to_string())
        }
        StoreError::StorageFull => Status::resource_exhausted(error.to_string()),
        StoreError::Personal(_) => Status::failed_precondition(error.to_string()),
        StoreError::Corrupt { .. } => Status::data_loss(error.to_string()),
        StoreError::Io(_) => Status::internal(error.to_string()),
        StoreError::AccessDenied => {
            exception(Code::PermissionDenied, "Access Denied".to_owned(), "access-denied", &[])
        }
    }
}

pub(super) fn of_read(error: &ReadError) -> Status {
    match error {
        ReadError::StreamNotFound(stream) => exception(
            Code::NotFound,
            format!("Event stream '{stream}' was not found."),
            "stream-not-found",
            &[("stream-name", stream.to_string())],
        ),
        ReadError::StreamDeleted(stream) => stream_deleted(stream),
        ReadError::Reclaimed(_) => Status::failed_precondition(error.to_string()),
        ReadError::ScanEnded { .. } => Status::resource_exhausted(error.to_string()),
        ReadError::BadFilter(_) => Status::invalid_argument(error.to_string()),
        ReadError::Store(error) => of_store(error),
    }
}

pub(super) fn of_subscribe(error: &SubscribeError) -> Status {
    match error {
        SubscribeError::StreamDeleted(stream) => stream_deleted(stream),
        SubscribeError::BadFilter(_) => Status::invalid_argument(error.to_string()),
        SubscribeError::Store(error) => of_store(error),
    }
}

/// The same problem inside a reply of BatchAppend: a code, the problem's name, and one detail.
pub(super) fn in_batch(problem: Problem) -> rpc::Status {
    let bad = |message| detail(Code::InvalidArgument, "BadRequest", &sent::BadRequest { message });
    match problem {
        Problem::BadRequest(message) => bad(message),
        Problem::MissingMetadata => bad("type and content-type are required".to_owned()),
        Problem::Full => detail(Code::ResourceExhausted, "Unknown", &sent::Unknown {}),
        Problem::Timeout | Problem::TooSlow => {
            detail(Code::DeadlineExceeded, "Timeout", &sent::Timeout {})
        }
        Problem::Append(error) => of_append_in_batch(&error),
    }
}

fn of_append_in_batch(error: &AppendError) -> rpc::Status {
    match error {
        AppendError::WrongExpectedRevision { expected, actual, .. } => {
            wrong_version_in_batch(*expected, *actual)
        }
        AppendError::StreamDeleted(stream) => {
            let stream_identifier = Some(stream_identifier(stream));
            let deleted = sent::StreamDeleted { stream_identifier };
            detail(Code::NotFound, "StreamDeleted", &deleted)
        }
        AppendError::TooLarge(TooLarge::Event { id, size, max }) => detail(
            Code::InvalidArgument,
            "MaximumAppendEventSizeExceeded",
            &sent::MaximumAppendEventSizeExceeded {
                event_id: id.to_string(),
                proposed_event_size: saturated(*size),
                max_append_event_size: saturated(*max),
            },
        ),
        AppendError::TooLarge(TooLarge::Append { max, .. }) => detail(
            Code::InvalidArgument,
            "MaximumAppendSizeExceeded",
            &sent::MaximumAppendSizeExceeded { max_append_size: saturated(*max) },
        ),
        AppendError::Store(StoreError::AccessDenied) => {
            detail(Code::PermissionDenied, "AccessDenied", &sent::AccessDenied {})
        }
        AppendError::Store(_) => detail(Code::Unknown, "Unknown", &sent::Unknown {}),
    }
}

fn wrong_version_in_batch(expected: ExpectedRevision, actual: Option<Revision>) -> rpc::Status {
    use sent::wrong_expected_version::CurrentStreamRevisionOption as Current;
    use sent::wrong_expected_version::ExpectedStreamPositionOption as Expected;
    let current = actual.map_or(Current::CurrentNoStream(()), |revision| {
        Current::CurrentStreamRevision(revision.get())
    });
    let expected = match expected {
        ExpectedRevision::Any => Expected::ExpectedAny(()),
        ExpectedRevision::NoStream => Expected::ExpectedNoStream(()),
        ExpectedRevision::StreamExists => Expected::ExpectedStreamExists(()),
        ExpectedRevision::Exactly(revision) => Expected::ExpectedStreamPosition(revision.get()),
    };
    let wrong = sent::WrongExpectedVersion {
        current_stream_revision_option: Some(current),
        expected_stream_position_option: Some(expected),
    };
    detail(Code::AlreadyExists, "WrongExpectedVersion", &wrong)
}

fn detail<T: Message>(code: Code, name: &str, message: &T) -> rpc::Status {
    rpc::Status {
        code: code.into(),
        message: name.to_owned(),
        details: vec![prost_types::Any {
            type_url: format!("type.googleapis.com/event_store.client.{name}"),
            value: message.encode_to_vec(),
        }],
    }
}

fn saturated(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
