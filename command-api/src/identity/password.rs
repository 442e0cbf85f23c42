//! Passwords: Argon2id, a few at a time, and as slow for a stranger as for a member.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{Output, PasswordHash as Parsed, Salt, SaltString};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task;

/// Shortest password, in characters.
pub const PASSWORD_CHARS_MIN: usize = 10;
/// Longest password, in characters, of four bytes at most: more makes hashing slower, not the
/// password safer.
pub const PASSWORD_CHARS_MAX: usize = 256;

/// A password as somebody typed it. Shown nowhere.
#[derive(Clone)]
pub struct Password(String);

/// The password's length is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a password has {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters")]
pub struct PasswordLength;

impl Password {
    /// A password for a new account.
    pub fn chosen(text: String) -> Result<Self, PasswordLength> {
        let fine = PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX;
        if fine.contains(&text.chars().count()) { Ok(Self(text)) } else { Err(PasswordLength) }
    }

    /// A password to try; one that is too long can't be right.
    pub fn tried(mut text: String) -> Self {
        if text.chars().count() > PASSWORD_CHARS_MAX {
            text.clear();
        }
        Self(text)
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
    /// A hash from its stored text.
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// The text to store.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PasswordHash(..)")
    }
}

/// Hashes and compares passwords off the async threads, no more at once than there are places;
/// otherwise logging in would be a way to take the machine's memory and processor away.
#[derive(Clone)]
pub struct PasswordHasher {
    places: Arc<Semaphore>,
    memory: Arc<Mutex<Vec<Memory>>>,
    nobody: Arc<PasswordHash>,
}

/// What one hash fills, some 19 MiB. It is kept for the next one: the system's allocator would
/// leave as much with every thread that ever hashed, and not give it back.
type Memory = Vec<Block>;

impl PasswordHasher {
    /// A hasher with this many places; as many as processors is right.
    pub fn new(places: usize) -> Self {
        let mut memory = Memory::new();
        let nobody = hash_now(&Password("nobody has this password".to_owned()), &mut memory);
        Self {
            places: Arc::new(Semaphore::new(places)),
            memory: Arc::new(Mutex::new(vec![memory])),
            nobody: Arc::new(nobody),
        }
    }

    /// The hash of a chosen password.
    pub async fn hash(&self, password: Password) -> PasswordHash {
        self.in_place(move |memory| hash_now(&password, memory)).await
    }

    /// Whether the password is the one that was hashed. With no hash it takes as long, and is not.
    pub async fn verify(&self, password: Password, hash: Option<PasswordHash>) -> bool {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| (*self.nobody).clone());
        self.in_place(move |memory| verify_now(&password, &hash, memory)).await && known
    }

    async fn in_place<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> T {
        let place = Arc::clone(&self.places).acquire_owned().await.expect("never closed");
        let idle = Arc::clone(&self.memory);
        let done = task::spawn_blocking(move || {
            let _place = place;
            let idle = || idle.lock().unwrap_or_else(PoisonError::into_inner);
            let mut memory = idle().pop().unwrap_or_default();
            let done = work(&mut memory);
            idle().push(memory);
            done
        });
        done.await.expect("hashing does not panic")
    }
}

fn hash_now(password: &Password, memory: &mut Memory) -> PasswordHash {
    let salt = SaltString::generate(&mut OsRng);
    let argon2 = Argon2::default();
    let output = output(&argon2, password, salt.as_salt(), Params::DEFAULT_OUTPUT_LEN, memory)
        .expect("the default parameters and a fresh salt are valid");
    let phc = Parsed {
        algorithm: Algorithm::default().ident(),
        version: Some(Version::default().into()),
        params: argon2.params().try_into().expect("the default parameters are valid"),
        salt: Some(salt.as_salt()),
        hash: Some(output),
    };
    PasswordHash(phc.to_string())
}

/// Not so, too, where what is stored is no such hash.
fn verify_now(password: &Password, hash: &PasswordHash, memory: &mut Memory) -> bool {
    let mut again = || {
        let stored = Parsed::new(&hash.0).ok()?;
        let algorithm = Algorithm::try_from(stored.algorithm).ok()?;
        let version = Version::try_from(stored.version?).ok()?;
        let argon2 = Argon2::new(algorithm, version, Params::try_from(&stored).ok()?);
        let expected = stored.hash?;
        let output = output(&argon2, password, stored.salt?, expected.len(), memory)?;
        // In constant time.
        Some(output == expected)
    };
    again().unwrap_or(false)
}

/// What Argon2 makes of the password, in this memory.
fn output(
    argon2: &Argon2<'_>,
    password: &Password,
    salt: Salt<'_>,
    bytes: usize,
    memory: &mut Memory,
) -> Option<Output> {
    let mut room = [0; Salt::MAX_LENGTH];
    let salt = salt.decode_b64(&mut room).ok()?;
    let blocks = argon2.params().block_count();
    memory.resize(memory.len().max(blocks), Block::new());
    let fill = |output: &mut [u8]| {
        let filled = argon2.hash_password_into_with_memory(
            password.0.as_bytes(),
            salt,
            output,
            &mut memory[..blocks],
        );
        Ok(filled?)
    };
    Output::init_with(bytes, fill).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_is_taken() {
        let hasher = PasswordHasher::new(2);
        let chosen = Password::chosen("correct horse".to_owned()).expect("long enough");
        let hash = hasher.hash(chosen).await;
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        let tried = |text: &str| Password::tried(text.to_owned());
        assert!(hasher.verify(tried("correct horse"), Some(hash.clone())).await);
        assert!(!hasher.verify(tried("correct horses"), Some(hash)).await);
        let broken = PasswordHash::stored("not a hash".to_owned());
        assert!(!hasher.verify(tried("correct horse"), Some(broken)).await);
        assert!(!hasher.verify(tried("nobody has this password"), None).await);
    }

    /// Given a hasher of two places, then however many passwords it has looked at, it holds what
    /// two of them need.
    #[tokio::test]
    async fn what_was_hashed_leaves_nothing_behind() {
        const PLACES: usize = 2;
        let hasher = PasswordHasher::new(PLACES);
        for _ in 0..20 {
            let tried = || Password::tried("correct horse".to_owned());
            let verified = (0..8).map(|_| hasher.verify(tried(), None));
            assert_eq!(futures::future::join_all(verified).await, [false; 8]);
        }
        let memory = hasher.memory.lock().expect("nothing panicked");
        let blocks = Argon2::default().params().block_count();
        assert!((1..=PLACES).contains(&memory.len()), "{}", memory.len());
        assert!(memory.iter().all(|memory| memory.capacity() == blocks));
    }

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
        let told = PasswordLength.to_string();
        assert_eq!(told, "a password has 10 to 256 characters");
        assert_eq!(format!("{:?}", Password::tried("secret".to_owned())), "Password(..)");
    }
}
