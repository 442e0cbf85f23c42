//! Filters: which events of the log a reader wants.

mod matcher;

use std::num::NonZeroU64;

pub(crate) use matcher::Matcher;

/// Keeps the events whose subject matches the pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// What of the event is looked at.
    pub subject: FilterSubject,
    /// What it must look like.
    pub pattern: Pattern,
    /// A subscription tells how far it has come after so many events, kept or not, and on reaching
    /// live. `None` is as often as it has seen everything, which is what a model of the log wants.
    pub checkpoint_events: Option<NonZeroU64>,
}

/// What of an event a filter looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterSubject {
    /// The name of its stream.
    StreamName,
    /// The name of its type.
    EventType,
}

/// What the subject must look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// It begins with one of these.
    Prefixes(Vec<String>),
    /// This regular expression is found in it (unanchored).
    Regex(String),
}

impl Filter {
    /// Events of streams whose names begin with one of the prefixes.
    pub fn stream_prefixes<T: Into<String>>(prefixes: impl IntoIterator<Item = T>) -> Self {
        Self {
            subject: FilterSubject::StreamName,
            pattern: Pattern::Prefixes(prefixes.into_iter().map(Into::into).collect()),
            checkpoint_events: None,
        }
    }

    /// Events whose types begin with one of the prefixes.
    pub fn type_prefixes<T: Into<String>>(prefixes: impl IntoIterator<Item = T>) -> Self {
        Self {
            subject: FilterSubject::EventType,
            pattern: Pattern::Prefixes(prefixes.into_iter().map(Into::into).collect()),
            checkpoint_events: None,
        }
    }
}
