//! Names of objects: checked once, then safe to become a path, a URL or an S3 key.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::{KEY_BYTES_MAX, KEY_PART_BYTES_MAX};

/// The name of an object, such as `masters/0190…`: parts of `A-Z a-z 0-9 . _ -` between slashes.
///
/// No part is empty or begins with a dot, so no key leads out of a storage, names a hidden file,
/// or means two things to two file systems.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(String);

/// The folder of a listing: nothing (everything), or whole parts that end in a slash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyPrefix(String);

/// Why a string is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectKeyError {
    /// Nothing is no name.
    #[error("the object key is empty")]
    Empty,
    /// Longer than a key, or a part of it, may be.
    #[error("the object key is longer than {limit_bytes} bytes")]
    TooLong {
        /// The limit that was passed, in bytes.
        limit_bytes: usize,
    },
    /// A part is empty or begins with a dot.
    #[error("the object key has a part that is empty or begins with a dot")]
    BadPart,
    /// A character outside the alphabet of keys.
    #[error("the object key contains {character:?}")]
    BadCharacter {
        /// The first character that may not be there.
        character: char,
    },
}

impl ObjectKey {
    /// Checks a string and makes it a key.
    ///
    /// # Errors
    /// When it is empty, too long, or has a part or character that a key may not have.
    pub fn new(key: impl Into<String>) -> Result<Self, ObjectKeyError> {
        let key = key.into();
        check(&key)?;
        Ok(Self(key))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl KeyPrefix {
    /// The prefix that every key has.
    pub fn everything() -> Self {
        Self(String::new())
    }

    /// The keys below a folder, given without its last slash, such as `hls/0190…`.
    ///
    /// # Errors
    /// As [`ObjectKey::new`].
    pub fn folder(folder: impl Into<String>) -> Result<Self, ObjectKeyError> {
        let mut folder = folder.into();
        check(&folder)?;
        folder.push('/');
        Ok(Self(folder))
    }

    /// The prefix as text: empty, or ending in a slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = ObjectKeyError;

    fn try_from(key: String) -> Result<Self, Self::Error> {
        Self::new(key)
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> Self {
        key.0
    }
}

impl std::str::FromStr for ObjectKey {
    type Err = ObjectKeyError;

    fn from_str(key: &str) -> Result<Self, Self::Err> {
        Self::new(key)
    }
}

fn check(key: &str) -> Result<(), ObjectKeyError> {
    if key.is_empty() {
        return Err(ObjectKeyError::Empty);
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(ObjectKeyError::TooLong { limit_bytes: KEY_BYTES_MAX });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    if let Some(character) = key.chars().find(|c| !allowed(*c)) {
        return Err(ObjectKeyError::BadCharacter { character });
    }
    for part in key.split('/') {
        if part.is_empty() || part.starts_with('.') {
            return Err(ObjectKeyError::BadPart);
        }
        if part.len() > KEY_PART_BYTES_MAX {
            return Err(ObjectKeyError::TooLong { limit_bytes: KEY_PART_BYTES_MAX });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_leads_elsewhere_is_refused() {
        for key in ["/etc/passwd", "a/../b", "..", ".", "a//b", "a/", ".tmp/x", "a/./b"] {
            assert_eq!(ObjectKey::new(key), Err(ObjectKeyError::BadPart), "{key}");
        }
        for key in ["a\\b", "a\0b", "a b", "é", "a:b", "%2e%2e/a"] {
            let refused = ObjectKey::new(key);
            assert!(matches!(refused, Err(ObjectKeyError::BadCharacter { .. })), "{key}");
        }
        assert_eq!(ObjectKey::new(""), Err(ObjectKeyError::Empty));
        assert!(ObjectKey::new("a".repeat(KEY_PART_BYTES_MAX + 1)).is_err());
        assert!(ObjectKey::new("a/".repeat(KEY_BYTES_MAX) + "a").is_err());
        assert!(KeyPrefix::folder("../a").is_err());
        assert!(serde_json::from_str::<ObjectKey>("\"../a\"").is_err());
    }

    proptest! {
        #[test]
        fn a_key_is_a_relative_path_of_plain_names(text in "[a.\\-_/A9]{1,20}") {
            if let Ok(key) = ObjectKey::new(text) {
                let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
                prop_assert!(Path::new(key.as_str()).components().all(plain));
            }
        }
    }
}
