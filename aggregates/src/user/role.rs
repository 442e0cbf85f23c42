//! The roles a person may hold, by the names that events keep.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a person is on the platform. One person may hold several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Listens, talks and buys.
    Listener,
    /// Publishes music of their own, and sells it.
    Artist,
    /// Publishes and sells for artists.
    Label,
    /// Keeps the peace.
    Moderator,
    /// Helps people with their orders and accounts.
    Support,
    /// Runs the platform and grants roles.
    Administrator,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] = [
        Self::Listener,
        Self::Artist,
        Self::Label,
        Self::Moderator,
        Self::Support,
        Self::Administrator,
    ];

    /// Its name in events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Artist => "artist",
            Self::Label => "label",
            Self::Moderator => "moderator",
            Self::Support => "support",
            Self::Administrator => "administrator",
        }
    }

    /// Whether people may choose it themselves when they sign up.
    pub const fn may_be_chosen(self) -> bool {
        matches!(self, Self::Listener | Self::Artist | Self::Label)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// No role has this name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no role is named {0:?}")]
pub struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|role| role.name() == name);
        known.ok_or_else(|| UnknownRole(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_json_agree() {
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.name());
        }
        assert!("owner".parse::<Role>().is_err());
    }
}
