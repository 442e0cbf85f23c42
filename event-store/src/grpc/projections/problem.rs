//! What goes wrong with projections, as statuses that official clients know by their words.

use tonic::Status;

use super::super::problem::{of_append, of_store};
use crate::projections::ProjectionError;

pub(super) fn of_projection(error: &ProjectionError) -> Status {
    let instead = |received: &str| {
        Status::unknown(format!(
            "Envelope callback expected Updated, received {received} instead: {error}"
        ))
    };
    match error {
        ProjectionError::NotFound(name) => {
            Status::not_found(format!("Projection '{name}' not found"))
        }
        ProjectionError::Exists(_) => instead("Conflict"),
        ProjectionError::Refused(_) => instead("OperationFailed"),
        ProjectionError::TracksNothing => Status::unknown("Exception was thrown by handler."),
        ProjectionError::TooMany { .. } => Status::resource_exhausted(error.to_string()),
        ProjectionError::NoState(_) => Status::deadline_exceeded(error.to_string()),
        ProjectionError::ChangedElsewhere => Status::aborted(error.to_string()),
        ProjectionError::Corrupt { .. } => Status::data_loss(error.to_string()),
        ProjectionError::Store(error) => of_store(error),
        ProjectionError::Append(error) => of_append(error),
    }
}
