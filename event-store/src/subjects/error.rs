//! Why personal data can't be sealed or opened.

use std::sync::Arc;

use thiserror::Error;

use super::subject::Subject;
use crate::event::EventType;
use crate::stream::StreamName;

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
    /// Something was to be sealed for somebody who has no key here, and had one: another would
    /// leave two keys of one person, of which one opens only a part.
    #[error(
        "nothing is sealed for subject {subject}, whose key is not there any more: stream {home} \
             has something of theirs that was sealed with it"
    )]
    KeyLost {
        /// For whom.
        subject: Subject,
        /// Where something of theirs is sealed.
        home: StreamName,
    },
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
    /// A field is sealed for somebody whose key is damaged here.
    #[error("{place} is sealed, and the key of subject {subject} can't be used: {reason}")]
    KeyDamaged {
        /// Which field of which event.
        place: Arc<str>,
        /// For whom.
        subject: Subject,
        /// What is wrong with it.
        reason: Arc<str>,
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
