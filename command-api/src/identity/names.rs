//! Handles and e-mail addresses: what is let in, and what counts as the same.

use std::fmt;

pub use aggregates::user::account::{HANDLE_CHARS_MAX, HANDLE_CHARS_MIN};
use thiserror::Error;

/// Longest address, in bytes (RFC 5321, 4.5.3.1.3, less the angle brackets).
pub const EMAIL_BYTES_MAX: usize = 254;
/// Longest part before the `@`, in bytes (RFC 5321, 4.5.3.1.1).
const EMAIL_LOCAL_BYTES_MAX: usize = 64;
/// Longest label of the domain, in bytes (RFC 1035, 2.3.4).
const EMAIL_LABEL_BYTES_MAX: usize = 63;

/// Words that nobody may be called, because they would be mistaken for the platform.
const HANDLES_RESERVED: &[&str] = &[
    "admin",
    "administrator",
    "api",
    "everyone",
    "here",
    "me",
    "moderator",
    "root",
    "security",
    "support",
    "system",
    "veza",
];

/// Why a handle or an address is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidIdentity {
    /// The handle's length is off.
    #[error("a handle has {HANDLE_CHARS_MIN} to {HANDLE_CHARS_MAX} characters")]
    HandleLength,
    /// The handle has a character that is not taken.
    #[error("a handle is made of letters a to z, digits, `_` and `.`, and begins with a letter")]
    HandleCharacters,
    /// The handle is kept for the platform.
    #[error("this handle is reserved")]
    HandleReserved,
    /// The address is none.
    #[error("this is not an e-mail address")]
    Email,
}

/// The unique name that others find a person by, case-folded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Handle(String);

impl Handle {
    /// Checks and folds a handle.
    pub fn new(text: &str) -> Result<Self, InvalidIdentity> {
        let folded = text.to_ascii_lowercase();
        if !(HANDLE_CHARS_MIN..=HANDLE_CHARS_MAX).contains(&folded.chars().count()) {
            return Err(InvalidIdentity::HandleLength);
        }
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.".contains(c);
        if !folded.starts_with(|c: char| c.is_ascii_lowercase()) || !folded.chars().all(allowed) {
            return Err(InvalidIdentity::HandleCharacters);
        }
        if HANDLES_RESERVED.contains(&folded.as_str()) {
            return Err(InvalidIdentity::HandleReserved);
        }
        Ok(Self(folded))
    }

    /// A handle that was checked before it was stored.
    pub(super) fn stored(folded: String) -> Self {
        Self(folded)
    }

    /// The folded handle.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// An e-mail address, as it was given and as it is compared.
#[derive(Clone, PartialEq, Eq)]
pub struct Email {
    given: String,
    folded: String,
}

impl Email {
    /// Checks an address: one `@`, no white space or control characters, a domain with a dot.
    pub fn new(text: &str) -> Result<Self, InvalidIdentity> {
        let given = text.trim();
        let plain = |part: &str| !part.chars().any(|c| c.is_whitespace() || c.is_control());
        let (local, domain) = given.rsplit_once('@').ok_or(InvalidIdentity::Email)?;
        let labels_fine = domain.contains('.')
            && domain.split('.').all(|label| {
                (1..=EMAIL_LABEL_BYTES_MAX).contains(&label.len())
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.chars().all(|c| c.is_alphanumeric() || c == '-')
            });
        // An empty atom is a dot at either end, or two in a row (RFC 5321, 4.1.2).
        let local_fine = local.split('.').all(|atom| !atom.is_empty())
            && local.len() <= EMAIL_LOCAL_BYTES_MAX
            && !local.contains(['@', '"', '<', '>', ',', ';', ':', '(', ')', '\\'])
            && plain(local);
        if given.len() > EMAIL_BYTES_MAX || !labels_fine || !local_fine {
            return Err(InvalidIdentity::Email);
        }
        Ok(Self { given: given.to_owned(), folded: given.to_lowercase() })
    }

    /// An address that was checked before it was stored.
    pub(super) fn stored(given: String, folded: String) -> Self {
        Self { given, folded }
    }

    /// The address as it was given; mail is sent there.
    pub fn as_str(&self) -> &str {
        &self.given
    }

    /// The address as it is compared.
    pub fn folded(&self) -> &str {
        &self.folded
    }
}

/// Without the address: debug output ends in logs.
impl fmt::Debug for Email {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Email(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_folded_and_checked() {
        assert_eq!(Handle::new("Nina.S_1").map(|h| h.0), Ok("nina.s_1".to_owned()));
        let refused = [
            ("ab", InvalidIdentity::HandleLength),
            (&"a".repeat(31), InvalidIdentity::HandleLength),
            ("1abc", InvalidIdentity::HandleCharacters),
            ("nina simone", InvalidIdentity::HandleCharacters),
            ("nіna", InvalidIdentity::HandleCharacters), // the second letter is Cyrillic
            ("Admin", InvalidIdentity::HandleReserved),
        ];
        for (text, why) in refused {
            assert_eq!(Handle::new(text), Err(why), "{text:?}");
        }
    }

    #[test]
    fn addresses_are_checked_and_compared_without_case() {
        let email = Email::new(" Nina@Example.org ").expect("an address");
        assert_eq!((email.as_str(), email.folded()), ("Nina@Example.org", "nina@example.org"));
        assert_eq!(format!("{email:?}"), "Email(..)");
        let long = format!("{}@example.org", "a".repeat(65));
        let label = |bytes| format!("nina@{}.org", "a".repeat(bytes));
        assert!(Email::new(&label(63)).is_ok());
        for bad in [
            "",
            "nina",
            "@example.org",
            "nina@",
            "nina@host",
            "a b@c.de",
            "a@b..de",
            "a@b@c.de",
            "a@b.de\r\nBcc: x@y.zz",
            "<a>@b.de",
            "a@-.-",
            "a@b-.de",
            "..@b.de",
            ".a@b.de",
            "a..b@c.de",
            &long,
            &label(64),
            &format!("nina@example.{}", "o".repeat(64)),
        ] {
            assert_eq!(Email::new(bad), Err(InvalidIdentity::Email), "{bad:?}");
        }
    }
}
