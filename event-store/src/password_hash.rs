//! Passwords as Argon2id hashes: off the async threads, a few at a time, and as slow for a stranger
//! as for somebody who is there.
//!
//! Otherwise logging in would be a way to take the machine's memory and processor away. What a hash
//! fills, some 19 MiB, is kept for the next one: the system's allocator would leave as much with
//! every thread that ever hashed, and not give it back.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use argon2::password_hash::{Output, PasswordHash, Salt, SaltString};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use tokio::sync::Semaphore;
use tokio::task;

/// How long a salt is, in bytes.
const SALT_BYTES: usize = 16;

/// What one hash fills.
type Memory = Vec<Block>;

/// Hashes and compares passwords, no more at once than there are places. Cheap to clone.
#[derive(Clone)]
pub struct PasswordHasher {
    places: Arc<Semaphore>,
    /// What no hash fills just now.
    idle: Arc<Mutex<Vec<Memory>>>,
    /// What strangers' passwords are compared with.
    nobody: Arc<OnceLock<String>>,
}

impl fmt::Debug for PasswordHasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PasswordHasher").finish_non_exhaustive()
    }
}

impl PasswordHasher {
    /// A hasher with this many places; as many as processors is right.
    #[must_use]
    pub fn new(places: usize) -> Self {
        let places = Arc::new(Semaphore::new(places));
        Self { places, idle: Arc::default(), nobody: Arc::default() }
    }

    /// What is kept of a password: a PHC string.
    pub async fn hash(&self, password: impl AsRef<[u8]> + Send + 'static) -> String {
        self.in_place(move |memory| hash_now(password.as_ref(), memory)).await
    }

    /// Whether the password is the one that was hashed. With no hash it takes as long, and is not;
    /// nor is it with what is no such hash.
    pub async fn verify(
        &self,
        password: impl AsRef<[u8]> + Send + 'static,
        hash: Option<String>,
    ) -> bool {
        let nobody = Arc::clone(&self.nobody);
        let verify = move |memory: &mut Memory| match hash {
            Some(hash) => verify_now(password.as_ref(), &hash, memory),
            None => {
                let hash = nobody.get_or_init(|| hash_now(b"nobody", memory));
                verify_now(password.as_ref(), hash, memory);
                false
            }
        };
        self.in_place(verify).await
    }

    async fn in_place<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> T {
        let place = Arc::clone(&self.places).acquire_owned().await.expect("it is never closed");
        let idle = Arc::clone(&self.idle);
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

fn hash_now(password: &[u8], memory: &mut Memory) -> String {
    let mut salt = [0; SALT_BYTES];
    aws_lc_rs::rand::fill(&mut salt).expect("the operating system gives random bytes");
    let salt = SaltString::encode_b64(&salt).expect("a salt of this length is valid");
    let argon2 = Argon2::default();
    let output = output(&argon2, password, salt.as_salt(), Params::DEFAULT_OUTPUT_LEN, memory)
        .expect("the default parameters and a fresh salt are valid");
    let hash = PasswordHash {
        algorithm: Algorithm::default().ident(),
        version: Some(Version::default().into()),
        params: argon2.params().try_into().expect("the default parameters are valid"),
        salt: Some(salt.as_salt()),
        hash: Some(output),
    };
    hash.to_string()
}

fn verify_now(password: &[u8], hash: &str, memory: &mut Memory) -> bool {
    let mut again = || {
        let stored = PasswordHash::new(hash).ok()?;
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
    password: &[u8],
    salt: Salt<'_>,
    bytes: usize,
    memory: &mut Memory,
) -> Option<Output> {
    let mut room = [0; Salt::MAX_LENGTH];
    let salt = salt.decode_b64(&mut room).ok()?;
    let blocks = argon2.params().block_count();
    memory.resize(memory.len().max(blocks), Block::new());
    let fill = |output: &mut [u8]| {
        let blocks = &mut memory[..blocks];
        Ok(argon2.hash_password_into_with_memory(password, salt, output, blocks)?)
    };
    Output::init_with(bytes, fill).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_is_taken() {
        let hasher = PasswordHasher::new(2);
        let hash = hasher.hash("correct horse").await;
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hasher.hash("correct horse").await, hash, "each has its own salt");
        assert!(hasher.verify("correct horse", Some(hash.clone())).await);
        assert!(!hasher.verify("correct horses", Some(hash)).await);
        assert!(!hasher.verify("correct horse", Some("not a hash".to_owned())).await);
        assert!(!hasher.verify("nobody", None).await);
    }

    /// What others made, as libraries of this kind did with larger parameters.
    #[tokio::test]
    async fn hashes_are_taken_as_they_say() {
        let salt = SaltString::encode_b64(&[7; SALT_BYTES]).unwrap();
        let argon2 = Argon2::new(
            Algorithm::Argon2i,
            Version::V0x13,
            Params::new(24 * 1024, 1, 2, Some(24)).unwrap(),
        );
        let made = argon2::PasswordHasher::hash_password(&argon2, b"correct horse", &salt);
        let made = made.unwrap().to_string();
        let hasher = PasswordHasher::new(1);
        assert!(hasher.verify("correct horse", Some(made.clone())).await, "{made}");
        assert!(!hasher.verify("correct", Some(made)).await);
    }

    /// Given a hasher of two places, then however many passwords it has looked at, it holds what
    /// two of them need.
    #[tokio::test]
    async fn what_was_hashed_leaves_nothing_behind() {
        const PLACES: usize = 2;
        let hasher = PasswordHasher::new(PLACES);
        for _ in 0..20 {
            let verified = (0..8).map(|_| hasher.verify("correct horse", None));
            assert_eq!(futures::future::join_all(verified).await, [false; 8]);
        }
        let idle = hasher.idle.lock().expect("nothing panicked");
        let blocks = Argon2::default().params().block_count();
        assert!((1..=PLACES).contains(&idle.len()), "{}", idle.len());
        assert!(idle.iter().all(|memory| memory.capacity() == blocks));
    }
}
