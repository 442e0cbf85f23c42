//! Filters applied on this side, for reads of the log.

use fancy_regex::Regex;

use crate::error::ReadError;
use crate::event::RecordedEvent;
use crate::filter::{Filter, FilterSubject, Pattern};

/// What a filter keeps.
pub(super) struct Kept(Option<(FilterSubject, Test)>);

enum Test {
    Prefixes(Vec<String>),
    Regex(Box<Regex>),
}

impl Kept {
    pub(super) fn new(filter: Option<Filter>) -> Result<Self, ReadError> {
        let Some(filter) = filter else {
            return Ok(Self(None));
        };
        let test = match filter.pattern {
            Pattern::Prefixes(prefixes) => Test::Prefixes(prefixes),
            Pattern::Regex(text) => {
                let bad =
                    |error: fancy_regex::Error| ReadError::BadFilter(error.to_string().into());
                Test::Regex(Box::new(Regex::new(&text).map_err(bad)?))
            }
        };
        Ok(Self(Some((filter.subject, test))))
    }

    /// Whether nothing is left out.
    pub(super) fn is_everything(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn keeps(&self, event: &RecordedEvent) -> Result<bool, ReadError> {
        let Some((subject, test)) = &self.0 else {
            return Ok(true);
        };
        let text = match subject {
            FilterSubject::StreamName => event.stream.as_str(),
            FilterSubject::EventType => event.event_type.as_str(),
        };
        match test {
            Test::Prefixes(prefixes) => Ok(prefixes.iter().any(|prefix| text.starts_with(prefix))),
            Test::Regex(regex) => regex
                .is_match(text)
                .map_err(|error| ReadError::BadFilter(error.to_string().into())),
        }
    }
}
