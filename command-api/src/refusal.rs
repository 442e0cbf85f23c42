//! Rejections of aggregates as problems: what a caller can do about them decides the kind.

use std::error::Error;
use std::time::Duration;

use access::{FieldError, Problem, ProblemType};
use aggregates::CommandError;
use aggregates::analytics::PlayRejection;
use aggregates::audio::TrackRejection;
use aggregates::commerce::{ListingRejection, OrderRejection};
use aggregates::social::{ChannelRejection, MessageRejection};
use aggregates::user::UserRejection;
use event_store::StoreError;

/// When to try again what met a busy aggregate or a store that is out of reach.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A rejection that has a kind of problem of its own.
pub(crate) trait Refusal: Error + 'static {
    /// Which kind; what is said is the rejection itself.
    fn kind(&self) -> ProblemType;
}

/// A command that was not carried out, as a problem.
pub(crate) fn refused<R: Refusal>(error: CommandError<R>) -> Problem {
    match error {
        CommandError::Rejected(rejection) => {
            Problem::new(rejection.kind()).with_detail(rejection.to_string())
        }
        CommandError::DigestMismatch => Problem::new(ProblemType::IdempotencyKeyReused),
        CommandError::Conflict { .. } => Problem::overloaded(RETRY_AFTER),
        CommandError::Deleted(_) => Problem::new(ProblemType::NotFound),
        CommandError::Store(error) => store_problem(&error),
        error @ (CommandError::Decode(_) | CommandError::Stream { .. }) => {
            Problem::internal(&error)
        }
    }
}

/// A failure of the store as a problem.
pub(crate) fn store_problem(error: &StoreError) -> Problem {
    match error {
        StoreError::StorageFull => Problem::new(ProblemType::StorageFull),
        StoreError::Unavailable { .. } | StoreError::Closed => Problem::overloaded(RETRY_AFTER),
        error => Problem::internal(error),
    }
}

/// One field of the body is wrong.
pub(crate) fn field(name: &str, wrong: &dyn Error) -> Problem {
    Problem::validation([FieldError::new(name, wrong.to_string())])
}

/// There is no such thing.
pub(crate) fn not_found(what: &str) -> Problem {
    Problem::new(ProblemType::NotFound).with_detail(format!("there is not {what}"))
}
