//! Why personal data can't be sealed or opened.

use std::sync::Arc;

use thiserror::Error;

use super::subject::Subject;
use crate::event::EventType;

/// Why personal data can't be sealed or opened. What it says never holds a part of the data.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PersonalError {
    /// Data that was to be appended has personal fields by its type, and is not as it must be.
    #[error("the personal data of a {event_type} can't be sealed: {reason}")]
    Unsealable {
        /// The type of the event.
        event_type: EventType,
        /// What is wrong with its data.
        reason: &'static str,
    },
    /// Something was to be sealed where there are no keys.
    #[error("there are no keys of subjects to seal personal data with")]
    NoKeys,
    /// A field is sealed for somebody who has no key here and was not forgotten here.
    #[error(
        "{place} is sealed, and the key of subject {subject} is not there: put a backup of \
             the keys back"
    )]
    KeyMissing {
        /// Which field of which event.
        place: Arc<str>,
        /// For whom.
        subject: Subject,
    },
    /// A field is sealed, and is not as it was when it was sealed, or not where.
    #[error("{place} is sealed, and is not opened by the key of its subject: {reason}")]
    Refused {
        /// Which field of which event.
        place: Arc<str>,
        /// What is seen.
        reason: &'static str,
    },
}
