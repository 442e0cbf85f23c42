//! Places in the one order of all events.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The place of an event in the global order.
///
/// Opaque outside this crate: strictly increasing, never zero for an event, and good for comparing,
/// storing and resuming, not for counting. As text it is the decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(u64);

/// A text that is no [`Position`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a position is a decimal number")]
pub struct NoPosition;

impl Position {
    /// Before every event; no event has it.
    pub const START: Self = Self(0);

    /// The position with this raw number, as a store or a saved checkpoint gave it.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The raw number, for saving.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for Position {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        // Numbers are read with a sign as well, which no position is written with.
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NoPosition);
        }
        text.parse().map(Self).map_err(|_| NoPosition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_written() {
        for position in [Position::START, Position::new(4711), Position::new(u64::MAX)] {
            assert_eq!(position.to_string().parse(), Ok(position));
        }
        for bad in ["", "+5", "-5", " 5", "5 ", "0x5", "5.0", "٥", "18446744073709551616"] {
            assert_eq!(bad.parse::<Position>(), Err(NoPosition), "{bad:?}");
        }
    }
}
