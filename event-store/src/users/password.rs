//! Passwords of users, and the queue before the hasher.

use std::fmt;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::error::UsersError;
use crate::limits::{PASSWORD_BYTES_MAX, PASSWORDS_WAITING_MAX};
use crate::password_hash::PasswordHasher;

/// A password as somebody gave it. Shown nowhere, and wiped.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// A password that is tried; one that is too long is none.
    pub fn new(text: impl Into<String>) -> Result<Self, UsersError> {
        let text = Zeroizing::new(text.into());
        if text.len() > PASSWORD_BYTES_MAX {
            let (what, unit) = ("password", "bytes");
            return Err(UsersError::TooLong { what, max: PASSWORD_BYTES_MAX, unit });
        }
        Ok(Self(text))
    }

    /// A password that somebody is to have: it must not be empty.
    pub fn chosen(text: impl Into<String>) -> Result<Self, UsersError> {
        let password = Self::new(text)?;
        if password.0.is_empty() { Err(UsersError::EmptyPassword) } else { Ok(password) }
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

/// Hashes and compares, as many at once as there are processors; too many who wait are refused.
pub(super) struct Hasher {
    hasher: PasswordHasher,
    /// For those who may wait for a place, and those who have one.
    queue: Semaphore,
}

impl Hasher {
    pub(super) fn new() -> Self {
        let places = available_parallelism().map_or(1, usize::from);
        let queue = Semaphore::new(places + PASSWORDS_WAITING_MAX);
        Self { hasher: PasswordHasher::new(places), queue }
    }

    /// What is kept of a password.
    pub(super) async fn hash(&self, password: Password) -> Result<String, UsersError> {
        let _queued = self.queue.try_acquire().map_err(|_full| UsersError::Busy)?;
        Ok(self.hasher.hash(password).await)
    }

    /// Whether the password is the one that was hashed. With no hash it takes as long, and is not.
    pub(super) async fn verify(
        &self,
        password: Password,
        hash: Option<String>,
    ) -> Result<bool, UsersError> {
        let _queued = self.queue.try_acquire().map_err(|_full| UsersError::Busy)?;
        Ok(self.hasher.verify(password, hash).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_or_too_long_is_no_password() {
        assert!(matches!(Password::chosen(""), Err(UsersError::EmptyPassword)));
        let long = "a".repeat(PASSWORD_BYTES_MAX + 1);
        assert!(matches!(Password::new(long), Err(UsersError::TooLong { .. })));
        assert_eq!(format!("{:?}", Password::new("secret").unwrap()), "Password(..)");
    }
}
