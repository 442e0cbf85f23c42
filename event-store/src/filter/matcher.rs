//! Filters, made ready to be asked about every event.

use std::sync::Arc;

use fancy_regex::Regex;

use super::{Filter, FilterSubject, Pattern};
use crate::event::RecordedEvent;
use crate::limits::{FILTER_PATTERN_BYTES_MAX, FILTER_PREFIXES_MAX};

/// A filter that was checked.
pub(crate) struct Matcher {
    subject: FilterSubject,
    test: Test,
}

enum Test {
    Prefixes(Vec<String>),
    /// With look-around, which official clients use to leave out the system's own events.
    Regex(Regex),
}

impl Matcher {
    /// Checks a filter; the error says what is wrong with it.
    pub(crate) fn new(filter: Filter) -> Result<Self, Arc<str>> {
        let test = match filter.pattern {
            Pattern::Prefixes(prefixes) if prefixes.len() > FILTER_PREFIXES_MAX => {
                return Err(format!("it has more than {FILTER_PREFIXES_MAX} prefixes").into());
            }
            Pattern::Prefixes(prefixes) if prefixes.is_empty() => {
                return Err("it has no prefix".into());
            }
            Pattern::Prefixes(prefixes) => Test::Prefixes(prefixes),
            Pattern::Regex(pattern) if pattern.len() > FILTER_PATTERN_BYTES_MAX => {
                return Err(format!("it is longer than {FILTER_PATTERN_BYTES_MAX} bytes").into());
            }
            Pattern::Regex(pattern) => {
                Test::Regex(Regex::new(&pattern).map_err(|error| error.to_string())?)
            }
        };
        Ok(Self { subject: filter.subject, test })
    }

    /// Whether the filter keeps the event; an error when the pattern backtracks without end.
    pub(crate) fn keeps(&self, event: &RecordedEvent) -> Result<bool, Arc<str>> {
        let subject = match self.subject {
            FilterSubject::StreamName => event.stream.as_str(),
            FilterSubject::EventType => event.event_type.as_str(),
        };
        match &self.test {
            Test::Prefixes(prefixes) => Ok(prefixes.iter().any(|one| subject.starts_with(one))),
            Test::Regex(regex) => regex.is_match(subject).map_err(|error| error.to_string().into()),
        }
    }
}
