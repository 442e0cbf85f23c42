//! What may go wrong with a query, and how that reads: a stable code, and nothing from inside.

use std::error::Error;
use std::time::Duration;

use access::{Problem, ProblemType};
use async_graphql::{ErrorExtensionValues, Response, ServerError, Value};
use projections::{QueryError, WaitError, is_unreachable};
use uuid::Uuid;

use crate::limits::ERRORS_MAX;

/// When to ask again what could not be answered just now.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The same where an operator has something to do first.
const RETRY_AFTER_OPERATOR: Duration = Duration::from_secs(30);

/// Why a field, or a whole query, was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The request is no query that could be looked at.
    #[error("{0}")]
    BadRequest(String),
    /// An argument, or the document as a whole, is not as it may be.
    #[error("{0}")]
    Validation(String),
    /// Only somebody with an access token may ask this.
    #[error("a valid access token is needed")]
    Unauthenticated,
    /// The caller may not ask this.
    #[error("this is not allowed")]
    Forbidden,
    /// The models have not come to what was asked for.
    #[error("the change is not visible yet")]
    NotYetVisible,
    /// A model was never built, or is built for the first time.
    #[error("the model is not built yet")]
    ModelNotBuilt,
    /// What a model has is of another log than the one that is there.
    #[error("the model is of another log, until the operator has it rebuilt")]
    AnotherLog,
    /// The engine or the database that would answer is out of reach.
    #[error("this can't be answered just now")]
    Unavailable,
    /// It took too long.
    #[error("the query took too long")]
    Timeout,
    /// Too much is asked of this process just now.
    #[error("the platform is too busy")]
    Overloaded,
    /// Too many requests of one caller.
    #[error("too many requests")]
    RateLimited,
    /// Something broke; the log knows what, under this id.
    #[error("something went wrong")]
    Internal(Uuid),
}

/// What a field gives that may be null and may fail: its failure makes itself null. That of a
/// `Result` makes null what is above it, which is right only where the field may not be.
pub type Nullable<T> = Option<Result<T, Failure>>;

impl Failure {
    /// Something broke: logs it with its causes, once, and keeps no more of it than an id.
    pub fn internal(cause: &dyn Error) -> Self {
        let id = Uuid::now_v7();
        let mut chain = cause.to_string();
        let mut source = cause.source();
        while let Some(inner) = source {
            chain.push_str(": ");
            chain.push_str(&inner.to_string());
            source = inner.source();
        }
        tracing::error!(error.id = %id, error = %chain, "a query failed");
        Self::Internal(id)
    }

    /// The stable code that clients branch on.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "BAD_REQUEST",
            Self::Validation(_) => "VALIDATION",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Forbidden => "FORBIDDEN",
            Self::NotYetVisible => "NOT_YET_VISIBLE",
            Self::ModelNotBuilt => "MODEL_NOT_BUILT",
            Self::AnotherLog | Self::Unavailable => "UNAVAILABLE",
            Self::Timeout => "TIMEOUT",
            Self::Overloaded => "OVERLOADED",
            Self::RateLimited => "RATE_LIMITED",
            Self::Internal(_) => "INTERNAL",
        }
    }

    fn describe(&self, extensions: &mut ErrorExtensionValues) {
        extensions.set("code", self.code());
        if let Self::Internal(id) = self {
            extensions.set("id", id.to_string());
        }
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::NotBuilt => Self::ModelNotBuilt,
            QueryError::TookTooLong => Self::Timeout,
            QueryError::Overloaded => Self::Overloaded,
            // Told of where it was asked, once an outage.
            QueryError::Analytics(_) | QueryError::Search(_) => Self::Unavailable,
            QueryError::Database(cause) if is_unreachable(&cause) => database_away(&cause),
            error => Self::internal(&error),
        }
    }
}

/// That the database is away is told once an outage by whoever watches it, not by each request.
fn database_away(cause: &dyn Error) -> Failure {
    tracing::debug!(error = %cause, "the database did not answer");
    Failure::Unavailable
}

impl From<WaitError> for Failure {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::NotYetVisible { .. } => Self::NotYetVisible,
            WaitError::NotLookedAt { .. } => Self::Unavailable,
            WaitError::AnotherLog { .. } => Self::AnotherLog,
            WaitError::Database(cause) if is_unreachable(&cause) => database_away(&cause),
            error => Self::internal(&error),
        }
    }
}

/// The same where no GraphQL is spoken.
impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let kind = match &failure {
            Failure::BadRequest(_) => ProblemType::Malformed,
            Failure::Validation(_) => ProblemType::Validation,
            Failure::Unauthenticated => ProblemType::Unauthenticated,
            Failure::Forbidden => ProblemType::Forbidden,
            Failure::NotYetVisible => ProblemType::NotYetVisible,
            Failure::ModelNotBuilt | Failure::Unavailable => {
                let problem = Self::new(ProblemType::Unavailable).with_detail(failure.to_string());
                return problem.with_retry_after(RETRY_AFTER);
            }
            Failure::AnotherLog => {
                let problem = Self::new(ProblemType::Unavailable).with_detail(failure.to_string());
                return problem.with_retry_after(RETRY_AFTER_OPERATOR);
            }
            Failure::Timeout | Failure::Overloaded => return Self::overloaded(RETRY_AFTER),
            Failure::RateLimited => return Self::rate_limited(RETRY_AFTER),
            Failure::Internal(id) => {
                return Self::new(ProblemType::Internal).with("id", id.to_string());
            }
        };
        Self::new(kind).with_detail(failure.to_string())
    }
}

/// The failure of a request as a whole, as GraphQL tells it.
impl From<Failure> for ServerError {
    fn from(failure: Failure) -> Self {
        let mut error = ServerError::new(failure.to_string(), None);
        failure.describe(error.extensions.get_or_insert_default());
        error
    }
}

/// A request that was refused as a whole.
pub fn refused(failure: Failure) -> Response {
    Response::from_errors(vec![failure.into()])
}

/// Whether a request was refused before any field was carried out. A field that was has a failure
/// of ours to tell; what is wrong with a document or an argument, the engine tells.
pub fn was_refused(response: &Response) -> bool {
    let is_of_field = |error: &ServerError| error.source::<Failure>().is_some();
    let has_nothing = response.data == Value::Null && response.is_err();
    has_nothing && !response.errors.iter().any(is_of_field)
}

/// Whether some of it was not answered because too much is asked just now.
pub fn was_too_much(response: &Response) -> bool {
    let mut failures = response.errors.iter().filter_map(|error| error.source::<Failure>());
    failures.any(|failure| *failure == Failure::Overloaded)
}

/// What the engine says of a document that costs too much.
const TOO_COMPLEX: &str = "Query is too complex.";

/// Gives every error of a response its code, and drops those that no reader reads to the end, or
/// has read: the engine goes through a document twice, and may find the same each time.
///
/// `complexity_max` is what the document could cost at most.
pub fn with_codes(mut response: Response, complexity_max: usize) -> Response {
    let mut told: Vec<ServerError> = Vec::new();
    for error in std::mem::take(&mut response.errors) {
        let is_same = |other: &ServerError| {
            (&other.message, &other.locations, &other.path)
                == (&error.message, &error.locations, &error.path)
        };
        if told.len() < ERRORS_MAX && !told.iter().any(is_same) {
            told.push(error);
        }
    }
    response.errors = told;
    for error in &mut response.errors {
        if error.message == TOO_COMPLEX {
            error.message = format!("the document costs more than {complexity_max}");
        }
        let failure = error.source::<Failure>().cloned();
        let extensions = error.extensions.get_or_insert_default();
        match failure {
            Some(failure) => failure.describe(extensions),
            // Only the engine itself makes errors without a source: by its rules of validation.
            None if extensions.get("code").is_none() => extensions.set("code", "VALIDATION"),
            None => {}
        }
    }
    response
}
