//! A moment of the past, as it is written on the command line.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use event_store::{AsOf, EventStore, Position};
use thiserror::Error;

use crate::command::ReplayError;

/// A position (`4711`) or a time (`2026-01-31T12:00:00Z`); what came later is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub AsOf);

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            AsOf::Position(position) => write!(formatter, "position {position}"),
            AsOf::Time(time) => {
                formatter.write_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
            }
        }
    }
}

impl Moment {
    /// What a read is asked as of: a position must have been reached. A time may be any.
    pub(crate) async fn as_of(
        at: Option<Self>,
        store: &dyn EventStore,
    ) -> Result<Option<AsOf>, ReplayError> {
        if let Some(Self(AsOf::Position(asked))) = at {
            let head = store.head().await?;
            if asked > head {
                return Err(ReplayError::BehindHead { asked, head });
            }
        }
        Ok(at.map(|moment| moment.0))
    }
}

/// The text is neither a position nor a time.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is neither a position (4711) nor a time (2026-01-31T12:00:00Z)")]
pub struct InvalidMoment(String);

impl FromStr for Moment {
    type Err = InvalidMoment;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(position) = text.parse::<Position>() {
            return Ok(Self(AsOf::Position(position)));
        }
        DateTime::parse_from_rfc3339(text)
            .map(|time| Self(AsOf::Time(time.with_timezone(&Utc))))
            .map_err(|_| InvalidMoment(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_position_or_a_time() {
        assert_eq!("4711".parse(), Ok(Moment(AsOf::Position(Position::new(4711)))));
        let time = DateTime::from_timestamp(0, 500_000_000).expect("a time");
        assert_eq!("1970-01-01T01:00:00.5+01:00".parse(), Ok(Moment(AsOf::Time(time))));
        for bad in ["", "-1", "yesterday", "2026-01-31", "2026-01-31T12:00:00"] {
            assert!(bad.parse::<Moment>().is_err(), "{bad:?} was taken");
        }
    }
}
