//! What a group is called, and where in its source it stands.

use std::fmt;

use crate::error::InvalidName;
use crate::index_streams::LINK_PREFIX_BYTES_MAX;
use crate::limits::GROUP_NAME_BYTES_MAX;
use crate::position::Position;
use crate::stream::{Revision, StreamName};

/// What the protocol calls the log where it stands for a stream.
const ALL: &str = "$all";

/// Where the events of a group come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventSource {
    /// One stream.
    Stream(StreamName),
    /// The log.
    All,
}

impl EventSource {
    /// The source that is written so: `$all`, or the name of a stream.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        if name == ALL { Ok(Self::All) } else { StreamName::new(name).map(Self::Stream) }
    }

    /// The place in this source with that number.
    pub(super) fn place(&self, number: u64) -> Place {
        match self {
            Self::Stream(_) => Place::Revision(Revision::new(number)),
            Self::All => Place::Position(Position::new(number)),
        }
    }
}

impl fmt::Display for EventSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(stream) => stream.fmt(formatter),
            Self::All => formatter.write_str(ALL),
        }
    }
}

/// A group: its name, and the source whose events it is about.
///
/// Its text is `<stream>::<group>`, which the protocol calls the id of the subscription.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId {
    source: EventSource,
    name: String,
}

impl GroupId {
    /// Checks and makes the name of a group: 1 to [`GROUP_NAME_BYTES_MAX`] bytes, and with its
    /// source short enough for the streams that belong to it, as are all that no group keeps.
    pub fn new(source: EventSource, name: impl Into<String>) -> Result<Self, InvalidName> {
        let name = name.into();
        match name.len() {
            0 => return Err(InvalidName::Empty),
            length if length > GROUP_NAME_BYTES_MAX => {
                return Err(InvalidName::TooLong { length, max: GROUP_NAME_BYTES_MAX });
            }
            _ => {}
        }
        // A stream that happens to be called as the log is would share the log's streams.
        let source = match source {
            EventSource::Stream(stream) => EventSource::new(stream.as_str())?,
            EventSource::All => EventSource::All,
        };
        let group = Self { source, name };
        StreamName::new(group.checkpoint_name())?;
        Ok(group)
    }

    /// Where its events come from.
    pub fn source(&self) -> &EventSource {
        &self.source
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The stream of its checkpoints.
    pub fn checkpoint_stream(&self) -> StreamName {
        StreamName::recorded(&self.checkpoint_name())
    }

    /// The stream of its parked messages.
    pub fn parked_stream(&self) -> StreamName {
        StreamName::recorded(&format!("{KEPT}{self}{PARKED}"))
    }

    /// The longest name of a stream that belongs to it.
    fn checkpoint_name(&self) -> String {
        format!("{KEPT}{self}{CHECKPOINTS}")
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{BETWEEN}{}", self.source, self.name)
    }
}

/// What stands between the source and the name of a group.
const BETWEEN: &str = "::";

/// What the names of the streams begin with that hold what groups keep.
const KEPT: &str = "$persistentsubscription-";
/// What the names of those with their checkpoints end with.
const CHECKPOINTS: &str = "-checkpoint";
/// What the names of those with their parked messages end with.
const PARKED: &str = "-parked";

/// How much longer than other streams those may be named that hold what a group keeps, so that
/// any stream can have groups.
const KEPT_BYTES_MAX: usize =
    KEPT.len() + LINK_PREFIX_BYTES_MAX + BETWEEN.len() + GROUP_NAME_BYTES_MAX + CHECKPOINTS.len();

/// How much longer than other streams one of this name may be named: it may be a group's.
pub(crate) fn kept_bytes_max(stream: &str) -> usize {
    let is_kept = stream.starts_with(KEPT)
        && [CHECKPOINTS, PARKED].into_iter().any(|end| stream.ends_with(end));
    if is_kept { KEPT_BYTES_MAX } else { 0 }
}

/// The group whose checkpoints are in a stream of this name.
pub(crate) fn group_of_checkpoints(stream: &str) -> Option<&str> {
    stream.strip_prefix(KEPT)?.strip_suffix(CHECKPOINTS)
}

/// Whether a stream holds what groups of the log keep for themselves: EventStoreDB hides it from
/// readers of the log, and a group that was given its own checkpoints would never come to rest.
pub(super) fn is_kept_by_groups_of_all(stream: &StreamName) -> bool {
    let name = stream.as_str();
    let name = name.strip_prefix("$$").filter(|it| it.starts_with('$')).unwrap_or(name);
    name.starts_with("$persistentsubscription-$all::")
        && (name.ends_with("-checkpoint") || name.ends_with("-parked"))
}

/// A place in the source of a group.
///
/// Its text is that of the protocol: `42` for a revision, `C:42/P:42` for a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a stream.
    Revision(Revision),
    /// In the log.
    Position(Position),
}

impl Place {
    /// Its number, whatever it counts.
    pub(super) fn number(self) -> u64 {
        match self {
            Self::Revision(revision) => revision.get(),
            Self::Position(position) => position.get(),
        }
    }

    /// The place in this source that is written so.
    pub(super) fn parse(source: &EventSource, text: &str) -> Option<Self> {
        let number = match source {
            EventSource::Stream(_) => text,
            EventSource::All => text.strip_prefix("C:")?.split_once("/P:")?.0,
        };
        Some(source.place(number.parse().ok()?))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revision(revision) => revision.fmt(formatter),
            Self::Position(position) => write!(formatter, "C:{position}/P:{position}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::STREAM_NAME_BYTES_MAX;

    #[test]
    fn places_are_written_as_the_protocol_has_them() {
        let stream = EventSource::new("orders").unwrap();
        for (source, text) in [(&stream, "42"), (&EventSource::All, "C:42/P:42")] {
            let place = Place::parse(source, text).unwrap();
            assert_eq!((place.number(), place.to_string().as_str()), (42, text));
        }
        for (source, text) in [(&stream, "C:1/P:1"), (&EventSource::All, "42"), (&stream, "-1")] {
            assert_eq!(Place::parse(source, text), None, "{text}");
        }
    }

    #[test]
    fn a_stream_called_as_the_log_is_the_log() {
        let stream = EventSource::Stream(StreamName::new("$all").unwrap());
        assert_eq!(*GroupId::new(stream, "g").unwrap().source(), EventSource::All);
    }

    #[test]
    fn names_that_leave_no_room_for_the_groups_streams_are_refused() {
        let kept = format!("$persistentsubscription-{}::g-parked", "s".repeat(1530));
        let kept = EventSource::new(&kept).unwrap();
        assert!(matches!(GroupId::new(kept, "g"), Err(InvalidName::TooLong { .. })));
        assert_eq!(GroupId::new(EventSource::All, ""), Err(InvalidName::Empty));
        let long = "g".repeat(GROUP_NAME_BYTES_MAX + 1);
        assert!(matches!(GroupId::new(EventSource::All, long), Err(InvalidName::TooLong { .. })));
    }

    #[test]
    fn the_longest_streams_have_groups_of_the_longest_names() {
        let longest = "s".repeat(STREAM_NAME_BYTES_MAX);
        for stream in [longest.clone(), format!("$ce-{longest}")] {
            let source = EventSource::new(&stream).unwrap();
            let group = GroupId::new(source, "g".repeat(GROUP_NAME_BYTES_MAX)).unwrap();
            for kept in [group.checkpoint_stream(), group.parked_stream()] {
                assert_eq!(StreamName::new(kept.as_str()).unwrap(), kept);
            }
        }
    }

    #[test]
    fn groups_of_the_log_do_not_see_what_they_keep() {
        let hidden =
            ["-checkpoint", "-parked"].map(|end| format!("$persistentsubscription-$all::g{end}"));
        for name in &hidden {
            assert!(is_kept_by_groups_of_all(&StreamName::new(name).unwrap()));
            let metadata = StreamName::new(name).unwrap().metadata_stream();
            assert!(is_kept_by_groups_of_all(&metadata));
        }
        for name in ["$persistentsubscription-s::g-parked", "$persistentSubscriptionConfig", "s"] {
            assert!(!is_kept_by_groups_of_all(&StreamName::new(name).unwrap()));
        }
    }
}
