//! What goes wrong with groups, as statuses that official clients know.

use tonic::{Code, Status};

use super::super::problem::{exception, of_append, of_store, stream_is_deleted};
use crate::persistent::{GroupId, PersistentError};

pub(super) fn of_persistent(error: &PersistentError) -> Status {
    match error {
        PersistentError::Exists(group) => about(
            Code::AlreadyExists,
            "persistent-subscription-exists",
            group,
            format!("Subscription group {} on stream {} exists.", group.name(), group.source()),
        ),
        PersistentError::DoesNotExist(group) => {
            does_not_exist(&group.source().to_string(), group.name())
        }
        PersistentError::MaximumSubscribersReached { group, .. } => about(
            Code::FailedPrecondition,
            "maximum-subscribers-reached",
            group,
            format!(
                "Maximum subscriptions reached for subscription group {} on stream {}.",
                group.name(),
                group.source()
            ),
        ),
        PersistentError::Failed { group, reason } => exception(
            Code::Internal,
            format!(
                "Subscription group {} on stream {} failed: '{reason}'",
                group.name(),
                group.source()
            ),
            "persistent-subscription-failed",
            &[
                ("stream-name", group.source().to_string()),
                ("group-name", group.name().to_owned()),
                ("reason", reason.clone()),
            ],
        ),
        PersistentError::Dropped(group) => about(
            Code::Cancelled,
            "persistent-subscription-dropped",
            group,
            format!(
                "Subscription group {} on stream {} was dropped.",
                group.name(),
                group.source()
            ),
        ),
        PersistentError::StreamDeleted(stream) => stream_is_deleted(stream),
        PersistentError::BadConsumer(_)
        | PersistentError::TooManyIds { .. }
        | PersistentError::InvalidName(_)
        | PersistentError::BadFilter(_) => Status::invalid_argument(error.to_string()),
        PersistentError::TooManyGroups { .. } => Status::resource_exhausted(error.to_string()),
        PersistentError::ChangedElsewhere => Status::aborted(error.to_string()),
        PersistentError::Corrupt { .. } => Status::data_loss(error.to_string()),
        PersistentError::Store(error) => of_store(error),
        PersistentError::Append(error) => of_append(error),
    }
}

/// No such group; or, with no name, none at all of that source.
pub(super) fn does_not_exist(source: &str, name: &str) -> Status {
    exception(
        Code::NotFound,
        format!("Subscription group {name} on stream {source} does not exist."),
        "persistent-subscription-does-not-exist",
        &[("stream-name", source.to_owned()), ("group-name", name.to_owned())],
    )
}

fn about(code: Code, name: &str, group: &GroupId, message: String) -> Status {
    let facts =
        [("stream-name", group.source().to_string()), ("group-name", group.name().to_owned())];
    exception(code, message, name, &facts)
}
