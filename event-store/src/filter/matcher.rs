//! Filters, made ready to be asked about every event.

use std::sync::Arc;

use fancy_regex::{Regex, RegexBuilder};

use super::{Filter, FilterSubject, Pattern};
use crate::event::RecordedEvent;
use crate::limits::{
    FILTER_BACKTRACKS_MAX, FILTER_PATTERN_BYTES_MAX, FILTER_PREFIXES_MAX, FILTER_REGEX_BYTES_MAX,
};

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
                let bounded = RegexBuilder::new(&pattern)
                    .backtrack_limit(FILTER_BACKTRACKS_MAX)
                    .delegate_size_limit(FILTER_REGEX_BYTES_MAX)
                    .build();
                Test::Regex(bounded.map_err(|error| error.to_string())?)
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;
    use crate::event::{ContentType, EventId, EventType};
    use crate::position::Position;
    use crate::stream::{Revision, StreamName};

    fn of_type(name: &str) -> RecordedEvent {
        RecordedEvent {
            id: EventId(Uuid::nil()),
            stream: StreamName::new("tale-1").unwrap(),
            revision: Revision::new(0),
            position: Position::new(1),
            recorded_at: DateTime::UNIX_EPOCH,
            event_type: EventType::new(name).unwrap(),
            content_type: ContentType::Json,
            data: Bytes::new(),
            metadata: Bytes::new(),
        }
    }

    /// So is what it takes to make one ready.
    #[test]
    fn a_pattern_that_grows_beyond_measure_is_refused() {
        for pattern in [r"\w{400}", r"(?=a)\w{400}", r"(?i)(?=a)\w{400}\w{400}"] {
            let pattern = Pattern::Regex(pattern.into());
            let subject = FilterSubject::EventType;
            let made = Matcher::new(Filter { subject, pattern, checkpoint_events: None });
            assert!(made.is_err());
        }
    }

    /// What one match may cost is what everybody waits for, as it can't be interrupted.
    #[test]
    fn a_pattern_that_goes_back_again_and_again_is_given_up() {
        let keeps = |pattern: &str, name: &str| {
            let filter = Filter {
                subject: FilterSubject::EventType,
                pattern: Pattern::Regex(pattern.into()),
                checkpoint_events: None,
            };
            Matcher::new(filter).unwrap().keeps(&of_type(name))
        };
        let name = format!("Y{}c", "a".repeat(14));
        assert!(keeps(r"^Y(a*)*\1b$", &name).is_err());
        // Look-around as clients use it, over a name as long as any.
        let long = "a".repeat(1_000);
        assert_eq!(keeps(r"^(?!\$)(?!.*secret).+$", &long), Ok(true));
        assert_eq!(keeps(r"^(?!\$)(?!.*secret).+$", &format!("{long}secret")), Ok(false));
        assert_eq!(keeps(r"(?<=a)b", &format!("{long}b")), Ok(true));
    }
}
