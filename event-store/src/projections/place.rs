//! Where in its source a projection stands, and how that is written beside what it has made.

use serde_json::{Map, Value, json};

use crate::position::Position;
use crate::stream::{Revision, StreamName};

/// A place in the source of a projection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the log.
    Log(Position),
    /// In one stream.
    Stream(StreamName, Revision),
}

impl Place {
    /// As statistics tell it.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Log(position) => format!("C:{position}/P:{position}"),
            Self::Stream(stream, revision) => format!("{stream}: {revision}"),
        }
    }

    /// Writes it as the server's own checkpoints have it.
    pub(super) fn write(&self, metadata: &mut Map<String, Value>) {
        match self {
            Self::Log(position) => {
                metadata.insert("$c".to_owned(), json!(position.get()));
                metadata.insert("$p".to_owned(), json!(position.get()));
            }
            Self::Stream(stream, revision) => {
                metadata.insert("$s".to_owned(), json!({ stream.as_str(): revision.get() }));
            }
        }
    }

    /// Reads it.
    pub(super) fn read(metadata: &Map<String, Value>) -> Option<Self> {
        if let Some(position) = metadata.get("$c") {
            return Some(Self::Log(Position::new(position.as_u64()?)));
        }
        let (stream, revision) = metadata.get("$s")?.as_object()?.iter().next()?;
        Some(Self::Stream(StreamName::recorded(stream), Revision::new(revision.as_u64()?)))
    }
}

/// Which projection made something, and in which of its lives; a reset begins a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    /// The revision of the list of projections that made it known.
    pub registration: u64,
    /// The version of its definition that it was begun anew with, or the first; -1 of one whose
    /// name nobody had before, as the server counts.
    pub epoch: i64,
    pub version: i64,
}

impl Life {
    pub(super) fn told(self) -> String {
        format!("{}:{}:{}", self.registration, self.epoch, self.version)
    }

    pub(super) fn read(metadata: &Map<String, Value>) -> Option<Self> {
        let mut parts = metadata.get("$v")?.as_str()?.split(':');
        Some(Self {
            registration: parts.next()?.parse().ok()?,
            epoch: parts.next()?.parse().ok()?,
            version: parts.next()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_lives_are_read_as_they_are_written() {
        let stream = StreamName::new("$ce-cat").unwrap();
        let life = Life { registration: 7, epoch: -1, version: 3 };
        for place in [Place::Log(Position::new(42)), Place::Stream(stream, Revision::new(5))] {
            let mut metadata = Map::from_iter([("$v".to_owned(), json!(life.told()))]);
            place.write(&mut metadata);
            assert_eq!(Place::read(&metadata), Some(place));
            assert_eq!(Life::read(&metadata), Some(life));
        }
    }
}
