//! Passwords: what may be chosen, what is tried, and what is kept of them.

use std::fmt;

use thiserror::Error;
use unicode_normalization::UnicodeNormalization as _;

/// Shortest password, in characters.
pub const PASSWORD_CHARS_MIN: usize = 10;
/// Longest password, in characters, of four bytes at most: more makes hashing slower, not the
/// password safer.
pub const PASSWORD_CHARS_MAX: usize = 256;

/// A password as somebody typed it, in Unicode's form NFC: keyboards differ in how they send the
/// same letters (RFC 8265, 4.2). Shown nowhere.
#[derive(Clone)]
pub struct Password(String);

/// The password's length is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a password has {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters")]
pub struct PasswordLength;

impl Password {
    /// A password for a new account.
    pub fn chosen(text: String) -> Result<Self, PasswordLength> {
        let text: String = text.nfc().collect();
        let fine = PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX;
        if fine.contains(&text.chars().count()) { Ok(Self(text)) } else { Err(PasswordLength) }
    }

    /// A password to try; one that is too long can't be right.
    pub fn tried(text: String) -> Self {
        let mut text: String = text.nfc().collect();
        if text.chars().count() > PASSWORD_CHARS_MAX {
            text.clear();
        }
        Self(text)
    }
}

impl AsRef<[u8]> for Password {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password(..)")
    }
}

/// What is kept of a password: the PHC string.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// A hash from its text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text to store.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text to compare with.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PasswordHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_password_is_neither_short_nor_endless() {
        for one in ["x", "é", "🎵"] {
            for (count, fine) in [
                (0, false),
                (PASSWORD_CHARS_MIN - 1, false),
                (PASSWORD_CHARS_MIN, true),
                (PASSWORD_CHARS_MAX, true),
                (PASSWORD_CHARS_MAX + 1, false),
            ] {
                assert_eq!(Password::chosen(one.repeat(count)).is_ok(), fine, "{count} of {one}");
            }
            let longest = one.repeat(PASSWORD_CHARS_MAX);
            assert_eq!(Password::tried(longest.clone()).0, longest);
        }
        // Apart, a letter and its accent are two characters.
        assert!(Password::chosen("e\u{301}".repeat(PASSWORD_CHARS_MIN - 1)).is_err());
        assert!(Password::chosen("e\u{301}".repeat(PASSWORD_CHARS_MAX)).is_ok());
        let told = PasswordLength.to_string();
        assert_eq!(told, "a password has 10 to 256 characters");
        assert_eq!(format!("{:?}", Password::tried("secret".to_owned())), "Password(..)");
    }

    #[test]
    fn a_password_is_the_same_however_its_accents_are_sent() {
        let (composed, apart) = ("motdepass\u{e9}", "motdepasse\u{301}");
        for text in [composed, apart] {
            assert_eq!(Password::chosen(text.to_owned()).unwrap().as_ref(), composed.as_bytes());
            assert_eq!(Password::tried(text.to_owned()).as_ref(), composed.as_bytes());
        }
        let compatible = "\u{fb01}";
        assert_eq!(
            Password::tried(compatible.to_owned()).0,
            compatible,
            "other letters stay other"
        );
    }
}
