//! Why a request is refused: a code and a line of text, as EventStoreDB has them.

use ::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use hyper::ext::ReasonPhrase;
use tonic::body::Body;

use super::super::problem::Problem;
use crate::error::{AppendError, ReadError, StoreError};

/// The revision that a stream has, told to who expected another; by both names.
const CURRENT_VERSION: [HeaderName; 2] = [
    HeaderName::from_static("es-currentversion"),
    HeaderName::from_static("kurrent-currentversion"),
];

/// A refused request.
#[derive(Debug)]
pub(super) struct Refusal {
    code: StatusCode,
    phrase: Option<&'static str>,
    reason: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refusal {
    pub(super) fn new(code: StatusCode, reason: impl Into<String>) -> Self {
        Self { code, phrase: None, reason: reason.into(), headers: Vec::new() }
    }

    /// The request makes no sense.
    pub(super) fn bad(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "")
    }

    /// Another method would do.
    pub(super) fn method(allowed: &'static str) -> Self {
        let allowed = (header::ALLOW, HeaderValue::from_static(allowed));
        Self { headers: vec![allowed], ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "") }
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = if self.reason.is_empty() {
            super::empty(self.code)
        } else {
            super::typed("text/plain; charset=utf-8", format!("{}\n", self.reason))
        };
        *response.status_mut() = self.code;
        response.headers_mut().extend(self.headers);
        if let Some(phrase) = self.phrase {
            response.extensions_mut().insert(ReasonPhrase::from_static(phrase.as_bytes()));
        }
        response
    }
}

impl From<StoreError> for Refusal {
    /// Internal detail stays in the server's log.
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::Closed | StoreError::Poisoned { .. } | StoreError::Unavailable { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            StoreError::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
            StoreError::AccessDenied => StatusCode::UNAUTHORIZED,
            StoreError::Personal(_) => StatusCode::CONFLICT,
            StoreError::Corrupt { .. } | StoreError::Io(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(code, error.to_string())
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        let code = match error {
            ReadError::StreamNotFound(_) => StatusCode::NOT_FOUND,
            ReadError::StreamDeleted(_) | ReadError::Reclaimed(_) => StatusCode::GONE,
            ReadError::BadFilter(_) | ReadError::ScanEnded { .. } => StatusCode::BAD_REQUEST,
            ReadError::Store(error) => return error.into(),
        };
        Self::new(code, error.to_string())
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        let reason = error.to_string();
        match error {
            AppendError::WrongExpectedRevision { actual, .. } => {
                let actual = actual.map_or(-1, |revision| revision.get().cast_signed());
                let headers = CURRENT_VERSION.map(|name| (name, HeaderValue::from(actual)));
                let phrase = Some("Wrong expected EventNumber");
                Self { phrase, headers: headers.into(), ..Self::bad(reason) }
            }
            AppendError::StreamDeleted(_) => Self::new(StatusCode::GONE, reason),
            AppendError::TooLarge(_) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, reason),
            AppendError::Store(error) => error.into(),
        }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::BadRequest(reason) => Self::bad(reason),
            Problem::MissingMetadata => Self::bad("the type of the event is missing"),
            Problem::Append(error) => error.into(),
            Problem::Timeout => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the append was not acknowledged in time",
            ),
            Problem::TooSlow => {
                Self::new(StatusCode::REQUEST_TIMEOUT, "the request took too long to arrive")
            }
            Problem::Full => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "too many appends are not committed")
            }
        }
    }
}
