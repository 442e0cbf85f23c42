//! Passwords: Argon2id off the async threads, a few at a time, and as slow for a stranger as for
//! somebody who is there. Else logging in would be a way to take the machine away.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::thread::available_parallelism;

use argon2::password_hash::{PasswordHash, PasswordHasher as _, SaltString};
use argon2::{Argon2, PasswordVerifier as _};
use tokio::sync::Semaphore;
use tokio::task;
use zeroize::Zeroizing;

use super::error::UsersError;
use crate::limits::{PASSWORD_BYTES_MAX, PASSWORDS_WAITING_MAX};

/// How long a salt is, in bytes.
const SALT_BYTES: usize = 16;

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

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password(..)")
    }
}

/// Hashes and compares, as many at once as there are processors.
pub(super) struct Hasher {
    places: Arc<Semaphore>,
    /// For those who may wait for a place, and those who have one.
    queue: Arc<Semaphore>,
    /// What strangers' passwords are compared with.
    nobody: Arc<OnceLock<String>>,
}

impl Hasher {
    pub(super) fn new() -> Self {
        let places = available_parallelism().map_or(1, usize::from);
        Self {
            places: Arc::new(Semaphore::new(places)),
            queue: Arc::new(Semaphore::new(places + PASSWORDS_WAITING_MAX)),
            nobody: Arc::default(),
        }
    }

    /// What is kept of a password.
    pub(super) async fn hash(&self, password: Password) -> Result<String, UsersError> {
        self.in_place(move || hash_now(&password)).await
    }

    /// Whether the password is the one that was hashed. With no hash it takes as long, and is not.
    pub(super) async fn verify(
        &self,
        password: Password,
        hash: Option<String>,
    ) -> Result<bool, UsersError> {
        let nobody = Arc::clone(&self.nobody);
        let verify = move || match hash {
            Some(hash) => verify_now(&password, &hash),
            None => {
                let hash = nobody.get_or_init(|| hash_now(&Password(Zeroizing::default())));
                verify_now(&password, hash);
                false
            }
        };
        self.in_place(verify).await
    }

    async fn in_place<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, UsersError> {
        let queued = Arc::clone(&self.queue).try_acquire_owned();
        let queued = queued.map_err(|_full| UsersError::Busy)?;
        let place = Arc::clone(&self.places).acquire_owned().await.expect("it is never closed");
        let done = task::spawn_blocking(move || {
            let _places = (queued, place);
            work()
        });
        Ok(done.await.expect("hashing does not panic"))
    }
}

fn hash_now(password: &Password) -> String {
    let mut salt = [0; SALT_BYTES];
    aws_lc_rs::rand::fill(&mut salt).expect("the operating system gives random bytes");
    let salt = SaltString::encode_b64(&salt).expect("a salt of this length is valid");
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
    hash.expect("the default parameters and a fresh salt are valid").to_string()
}

fn verify_now(password: &Password, hash: &str) -> bool {
    let parsed = PasswordHash::new(hash);
    parsed.is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_is_taken() {
        let hasher = Hasher::new();
        let tried = |text: &str| Password::new(text).unwrap();
        let hash = hasher.hash(tried("changeit")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hasher.hash(tried("changeit")).await.unwrap(), hash, "each has its own salt");
        assert!(hasher.verify(tried("changeit"), Some(hash.clone())).await.unwrap());
        assert!(!hasher.verify(tried("changeits"), Some(hash)).await.unwrap());
        assert!(!hasher.verify(tried("changeit"), Some("no hash".to_owned())).await.unwrap());
        assert!(!hasher.verify(tried(""), None).await.unwrap());
    }

    #[test]
    fn what_is_empty_or_too_long_is_no_password() {
        assert!(matches!(Password::chosen(""), Err(UsersError::EmptyPassword)));
        let long = "a".repeat(PASSWORD_BYTES_MAX + 1);
        assert!(matches!(Password::new(long), Err(UsersError::TooLong { .. })));
        assert_eq!(format!("{:?}", Password::new("secret").unwrap()), "Password(..)");
    }
}
