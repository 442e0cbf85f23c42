//! What users may be called.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::limits::LOGIN_BYTES_MAX;

/// A login name: 1 to [`LOGIN_BYTES_MAX`] bytes. Cheap to clone.
///
/// It is sent in front of a `:`, is a part of a stream's name, and stands in the lists of streams
/// beside the names of groups, of which those that begin with `$` are the system's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Login(Arc<str>);

/// Why a login name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidLogin {
    /// There is nothing in it.
    #[error("the login name is empty")]
    Empty,
    /// It is too long.
    #[error("the login name is longer than {LOGIN_BYTES_MAX} bytes")]
    TooLong,
    /// It has characters that it can't be sent or kept with.
    #[error("the login name begins with `$`, or has a colon, a space or a control character")]
    Characters,
}

impl Login {
    /// Checks and wraps a login name.
    pub fn new(name: &str) -> Result<Self, InvalidLogin> {
        if name.is_empty() {
            return Err(InvalidLogin::Empty);
        }
        if name.len() > LOGIN_BYTES_MAX {
            return Err(InvalidLogin::TooLong);
        }
        let is_forbidden = |c: char| c == ':' || c.is_control() || c.is_whitespace();
        if name.starts_with('$') || name.contains(is_forbidden) {
            return Err(InvalidLogin::Characters);
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Login {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_sent_and_kept_is_a_login_name() {
        let long = "a".repeat(LOGIN_BYTES_MAX);
        for name in ["admin", "ann@example.org", "a-b_c", "Zoë", "all", long.as_str()] {
            assert_eq!(
                Login::new(name).map(|login| login.as_str().to_owned()),
                Ok(name.to_owned())
            );
        }
        let longer = format!("{long}a");
        for (name, why) in [
            ("", InvalidLogin::Empty),
            (longer.as_str(), InvalidLogin::TooLong),
            ("$admins", InvalidLogin::Characters),
            ("a:b", InvalidLogin::Characters),
            ("a b", InvalidLogin::Characters),
            ("a\n", InvalidLogin::Characters),
        ] {
            assert_eq!(Login::new(name), Err(why), "{name:?}");
        }
    }
}
