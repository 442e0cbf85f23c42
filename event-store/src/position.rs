//! Places in the one order of all events.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The place of an event in the global order.
///
/// Opaque outside this crate: strictly increasing, never zero for an event, and good for comparing,
/// storing and resuming, not for counting. As text it is the decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(u64);

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
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}
