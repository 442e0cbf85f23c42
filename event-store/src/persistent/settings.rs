//! The settings of a group, with the defaults and checks of the protocol.
//!
//! Defaults are those of the official clients; the checks are the server's own, and upper limits so
//! that nobody's setting takes the memory of all.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::group::{EventSource, Place};
use crate::limits::GROUP_BUFFER_MAX;

/// The largest number that the protocol has for a revision or a position.
const PLACE_MAX: u64 = i64::MAX as u64;

/// Where a group begins that has no checkpoint yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFrom {
    /// With the first event.
    Start,
    /// With what is appended after it was created.
    End,
    /// With the event at this place, that event included.
    At(Place),
}

/// How the messages of a group are spread over its consumers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// To one consumer until it is full, then to the next.
    DispatchToSingle,
    /// To each in turn.
    RoundRobin,
    /// Those of one stream to one consumer: to the one that has another of them in flight. Which
    /// one that is anybody can compute: who may begin streams can choose names that all go to one
    /// consumer, which is then as busy as with as many events of one stream.
    Pinned,
    /// The same by `$correlationId` in the metadata; by stream where there is none.
    PinnedByCorrelation,
}

impl Strategy {
    /// The name that the protocol has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::DispatchToSingle => "DispatchToSingle",
            Self::RoundRobin => "RoundRobin",
            Self::Pinned => "Pinned",
            Self::PinnedByCorrelation => "PinnedByCorrelation",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Strategy {
    type Err = String;

    /// The error is the reason to refuse a group with.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let all =
            [Self::DispatchToSingle, Self::RoundRobin, Self::Pinned, Self::PinnedByCorrelation];
        let found = all.into_iter().find(|strategy| strategy.name() == name);
        found.ok_or_else(|| format!("consumer strategy {name} does not exist"))
    }
}

/// What is to become of a message that a consumer refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NackAction {
    /// The consumer does not say: it is tried again.
    Unknown,
    /// Keep it apart, until parked messages are replayed.
    Park,
    /// Try it again; park it when that was done too often.
    Retry,
    /// Nothing: it counts as finished.
    Skip,
    /// Nothing now; as the server of the protocol has it, the message stays in flight and is tried
    /// again when its time is over.
    Stop,
}

/// The settings of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether consumers get what links point to, beside the links.
    pub resolve_links: bool,
    /// Whether latencies are measured.
    pub extra_statistics: bool,
    /// Where it begins without a checkpoint.
    pub start_from: StartFrom,
    /// How long a consumer may take to acknowledge; zero is for ever.
    pub message_timeout: Duration,
    /// How often a message is tried again before it is parked.
    pub max_retry_count: u32,
    /// How many messages are to be finished before time brings a checkpoint.
    pub min_checkpoint_count: u32,
    /// How many messages are finished at most without a checkpoint.
    pub max_checkpoint_count: u32,
    /// The time between two checkpoints.
    pub checkpoint_after: Duration,
    /// How many messages are held ready while the group follows live; with none, one is.
    pub live_buffer_size: u32,
    /// How many events are read at once from the past.
    pub read_batch_size: u32,
    /// How many messages are held ready while the group reads the past.
    pub history_buffer_size: u32,
    /// How many consumers it takes; zero is any number.
    pub max_subscriber_count: u32,
    /// How messages are spread.
    pub strategy: Strategy,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            resolve_links: false,
            extra_statistics: false,
            start_from: StartFrom::End,
            message_timeout: Duration::from_secs(30),
            max_retry_count: 10,
            min_checkpoint_count: 10,
            max_checkpoint_count: 1000,
            checkpoint_after: Duration::from_secs(2),
            live_buffer_size: 500,
            read_batch_size: 20,
            history_buffer_size: 500,
            max_subscriber_count: 0,
            strategy: Strategy::RoundRobin,
        }
    }
}

impl Settings {
    /// Whether a group of this source can be so; the error is the reason why not.
    pub(super) fn check(&self, source: &EventSource) -> Result<(), String> {
        let sizes = [
            ("live buffer size", self.live_buffer_size, 0),
            ("read batch size", self.read_batch_size, 1),
            ("history buffer size", self.history_buffer_size, 1),
        ];
        for (name, size, least) in sizes {
            if size < least || size > GROUP_BUFFER_MAX {
                return Err(format!("the {name} is {size}, not {least} to {GROUP_BUFFER_MAX}"));
            }
        }
        if self.read_batch_size >= self.history_buffer_size {
            return Err("the read batch size must be less than the history buffer size".to_owned());
        }
        match (self.start_from, source) {
            (StartFrom::At(Place::Position(_)), EventSource::Stream(_))
            | (StartFrom::At(Place::Revision(_)), EventSource::All) => {
                Err("the start is not a place of what is subscribed to".to_owned())
            }
            (StartFrom::At(place), _) if place.number() > PLACE_MAX => {
                Err(format!("the start {place} is not possible"))
            }
            _ => Ok(()),
        }
    }

    /// Where it begins, as the protocol writes it: `0`, `-1`, a revision; for the log `C:0/P:0`,
    /// `C:-1/P:-1`, a position.
    pub fn start_text(&self, source: &EventSource) -> String {
        let number = match self.start_from {
            StartFrom::At(place) => return place.to_string(),
            StartFrom::Start => 0,
            StartFrom::End => -1,
        };
        match source {
            EventSource::Stream(_) => number.to_string(),
            EventSource::All => format!("C:{number}/P:{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Position;
    use crate::stream::Revision;

    fn stream() -> EventSource {
        EventSource::new("orders").unwrap()
    }

    #[test]
    fn the_defaults_are_those_of_the_clients_and_are_allowed() {
        let settings = Settings::default();
        assert_eq!(settings.check(&stream()), Ok(()));
        assert_eq!(settings.check(&EventSource::All), Ok(()));
        assert_eq!(settings.start_text(&stream()), "-1");
        assert_eq!(settings.start_text(&EventSource::All), "C:-1/P:-1");
    }

    #[test]
    fn sizes_that_can_not_be_are_refused() {
        let with = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.check(&stream()).unwrap_err()
        };
        assert!(with(|it| it.read_batch_size = it.history_buffer_size).contains("less than"));
        assert!(with(|it| it.live_buffer_size = GROUP_BUFFER_MAX + 1).contains("live buffer"));
        assert!(with(|it| it.read_batch_size = 0).contains("read batch"));
        assert!(with(|it| it.history_buffer_size = GROUP_BUFFER_MAX + 1).contains("history"));
    }

    #[test]
    fn a_start_is_of_its_source() {
        let at = |place| Settings { start_from: StartFrom::At(place), ..Settings::default() };
        let revision = at(Place::Revision(Revision::new(3)));
        let position = at(Place::Position(Position::new(3)));
        assert_eq!(revision.check(&stream()), Ok(()));
        assert_eq!(position.check(&EventSource::All), Ok(()));
        assert!(revision.check(&EventSource::All).is_err());
        assert!(position.check(&stream()).is_err());
        assert!(at(Place::Revision(Revision::new(u64::MAX))).check(&stream()).is_err());
        assert_eq!(revision.start_text(&stream()), "3");
        assert_eq!(position.start_text(&EventSource::All), "C:3/P:3");
    }

    #[test]
    fn strategies_are_known_by_name() {
        assert_eq!("PinnedByCorrelation".parse(), Ok(Strategy::PinnedByCorrelation));
        assert!("Fair".parse::<Strategy>().unwrap_err().contains("Fair"));
    }
}
