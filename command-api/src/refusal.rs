//! Rejections of aggregates as problems: what a caller can do about them decides the kind.

use std::error::Error;
use std::time::Duration;

use access::{FieldError, Problem, ProblemType};
use aggregates::analytics::PlayRejection;
use aggregates::audio::TrackRejection;
use aggregates::commerce::{AmountError, ListingRejection, OrderRejection};
use aggregates::social::{ChannelRejection, MessageRejection};
use aggregates::text::TextError;
use aggregates::user::UserRejection;
use aggregates::{CommandError, LoadError};
use event_store::{PersonalError, StoreError};

/// When to try again what met a busy aggregate or a store that is out of reach.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How many wrong fields are told of at most: a list may have any number of them.
const FIELDS_MAX: usize = 50;

/// A rejection that has a kind of problem of its own.
pub(crate) trait Refusal: Error + 'static {
    /// Which kind; what is said is the rejection itself.
    fn kind(&self) -> ProblemType;

    /// The path of the body's field that is wrong; there is one whenever the kind is `validation`.
    fn field(&self) -> Option<&'static str>;
}

/// A command that was not carried out, as a problem.
pub(crate) fn refused<R: Refusal>(error: CommandError<R>) -> Problem {
    match error {
        CommandError::Rejected(rejection) => {
            let problem = match rejection.field() {
                Some(name) => field(name, &rejection),
                None => Problem::new(rejection.kind()),
            };
            problem.with_detail(rejection.to_string())
        }
        CommandError::DigestMismatch => Problem::new(ProblemType::IdempotencyKeyReused),
        CommandError::Conflict { .. } => Problem::overloaded(RETRY_AFTER),
        CommandError::Deleted(_) => Problem::new(ProblemType::NotFound),
        CommandError::Store(error) => store_problem(&error),
        CommandError::Decode(error) => Problem::logged(ProblemType::Unreadable, &error),
        error @ CommandError::Stream { .. } => Problem::internal(&error),
    }
}

/// A failure of the store as a problem.
pub(crate) fn store_problem(error: &StoreError) -> Problem {
    match error {
        StoreError::StorageFull => Problem::new(ProblemType::StorageFull),
        // No fault of the request: the process is not ready, and another may be. A store that stops
        // writing says so itself, once; each command that it refuses after that is no news.
        StoreError::Poisoned { .. } | StoreError::Unavailable { .. } | StoreError::Closed => {
            Problem::new(ProblemType::Unavailable).with_retry_after(RETRY_AFTER)
        }
        StoreError::Io(_) => {
            Problem::logged(ProblemType::Unavailable, error).with_retry_after(RETRY_AFTER)
        }
        // Of the log, or of somebody's key, which is read to seal what is of them.
        StoreError::Corrupt { .. } | StoreError::Personal(PersonalError::KeyLost { .. }) => {
            Problem::logged(ProblemType::Unreadable, error)
        }
        error => Problem::internal(error),
    }
}

/// An aggregate that could not be looked at, as a problem.
pub(crate) fn unloaded(error: LoadError) -> Problem {
    match error {
        LoadError::Deleted(_) => Problem::new(ProblemType::NotFound),
        LoadError::Store(error) => store_problem(&error),
        LoadError::Unreadable(error) => Problem::logged(ProblemType::Unreadable, &error),
        error => Problem::internal(&error),
    }
}

/// The command with this key is still being carried out.
pub(crate) fn in_progress() -> Problem {
    Problem::new(ProblemType::IdempotencyInProgress)
        .with_detail("the command with this key is still being carried out")
        .with_retry_after(RETRY_AFTER)
}

/// What is wrong with the fields of a body, so that all of it is told at once.
#[derive(Debug, Default)]
pub(crate) struct WrongFields(Vec<FieldError>);

impl WrongFields {
    /// What a field was made into; where it can't be taken that is noted, and nothing given.
    pub(crate) fn take<T, E: Error>(
        &mut self,
        name: impl Into<String>,
        made: Result<T, E>,
    ) -> Option<T> {
        let noted = |wrong: E| {
            if self.0.len() < FIELDS_MAX {
                self.0.push(FieldError::new(name, wrong.to_string()));
            }
        };
        made.map_err(noted).ok()
    }

    /// Passes if none was wrong.
    ///
    /// # Errors
    /// Names all that were.
    pub(crate) fn none(self) -> Result<(), Problem> {
        if self.0.is_empty() { Ok(()) } else { Err(self.problem()) }
    }

    /// Names all that were wrong.
    pub(crate) fn problem(self) -> Problem {
        Problem::validation(self.0)
    }
}

/// One field of the body is wrong.
pub(crate) fn field(name: &str, wrong: &dyn Error) -> Problem {
    Problem::validation([FieldError::new(name, wrong.to_string())])
}

/// The field of the body that a text was in.
fn field_of(error: &TextError) -> &'static str {
    match error.field() {
        "display name" => "display_name",
        "payment method" => "payment_method",
        "tag" => "tags",
        name => name,
    }
}

/// There is no such thing.
pub(crate) fn not_found(what: &str) -> Problem {
    Problem::new(ProblemType::NotFound).with_detail(format!("there is not {what}"))
}

impl Refusal for UserRejection {
    fn kind(&self) -> ProblemType {
        match self {
            Self::NotRegistered => ProblemType::NotFound,
            Self::AlreadyRegistered | Self::NotConfirmed => ProblemType::Conflict,
            Self::Handle | Self::Text(_) => ProblemType::Validation,
            Self::RoleNotChosen(_) | Self::OwnRole | Self::NotAdministrator => {
                ProblemType::Forbidden
            }
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::Handle => Some("handle"),
            Self::Text(error) => Some(field_of(error)),
            _ => None,
        }
    }
}

impl Refusal for TrackRejection {
    fn kind(&self) -> ProblemType {
        match self {
            Self::NotCreated => ProblemType::NotFound,
            Self::Text(_) | Self::TooManyTags | Self::NoMaster | Self::NoAudio => {
                ProblemType::Validation
            }
            Self::NotArtist | Self::NotArtistOrModerator => ProblemType::Forbidden,
            Self::AlreadyCreated
            | Self::AlreadyTranscoded
            | Self::NotTranscoded
            | Self::TranscodeFailed { .. }
            | Self::MasterTakenDown => ProblemType::Conflict,
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::Text(error) => Some(field_of(error)),
            Self::TooManyTags => Some("tags"),
            Self::NoMaster | Self::NoAudio => Some("upload_id"),
            _ => None,
        }
    }
}

impl Refusal for ChannelRejection {
    fn kind(&self) -> ProblemType {
        match self {
            Self::NotCreated => ProblemType::NotFound,
            Self::Name(_) => ProblemType::Validation,
            Self::AlreadyCreated | Self::Full | Self::LastOwner => ProblemType::Conflict,
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::Name(error) => Some(field_of(error)),
            _ => None,
        }
    }
}

impl Refusal for MessageRejection {
    fn kind(&self) -> ProblemType {
        match self {
            Self::AlreadyPosted => ProblemType::Conflict,
            Self::Text(_) => ProblemType::Validation,
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::Text(error) => Some(field_of(error)),
            Self::AlreadyPosted => None,
        }
    }
}

impl Refusal for PlayRejection {
    fn kind(&self) -> ProblemType {
        match self {
            Self::NoDuration | Self::NoTime { .. } => ProblemType::Conflict,
            Self::TooShort { .. } | Self::LongerThanTrack { .. } => ProblemType::Validation,
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::TooShort { .. } | Self::LongerThanTrack { .. } => Some("listened_ms"),
            _ => None,
        }
    }
}

impl Refusal for ListingRejection {
    fn kind(&self) -> ProblemType {
        match self {
            Self::NotListed => ProblemType::NotFound,
            Self::Price(_) | Self::Text(_) => ProblemType::Validation,
            Self::LicenceTaken => ProblemType::LicenceTaken,
            Self::NotSeller | Self::OrderOfAnother => ProblemType::Forbidden,
            Self::AlreadyListed
            | Self::Withdrawn
            | Self::OwnListing
            | Self::ReservationReleased
            | Self::NotReserved
            | Self::AlreadySold => ProblemType::Conflict,
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::Price(AmountError::Currency(_)) => Some("price.currency"),
            Self::Price(_) => Some("price.amount_minor"),
            Self::Text(error) => Some(field_of(error)),
            _ => None,
        }
    }
}

impl Refusal for OrderRejection {
    fn kind(&self) -> ProblemType {
        match self {
            Self::NotPlaced => ProblemType::NotFound,
            Self::NotSeller | Self::NotBuyer => ProblemType::Forbidden,
            _ => ProblemType::Conflict,
        }
    }

    fn field(&self) -> Option<&'static str> {
        // Its price and the rest come from the listing.
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_is_unreadable_for_readers_and_writers_alike() {
        let (place, reason) = ("abc.keys:128".into(), "it does not agree".into());
        let damaged = StoreError::Corrupt { place, reason };
        let read: Problem = unloaded(LoadError::Store(damaged.clone()));
        let sealed: Problem = refused(CommandError::<UserRejection>::Store(damaged));
        for problem in [read, sealed] {
            assert_eq!((problem.kind(), problem.detail()), (ProblemType::Unreadable, None));
        }
    }
}
