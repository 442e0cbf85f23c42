//! The key of digests: what is kept of secrets and addresses can be compared, and guessed by
//! nobody who has not the key. It is a file in the folder of the keys, `digest-key`.

use std::fmt;
use std::path::Path;

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use crate::key_folder::Put;
use crate::key_set::{KeyError, not_a_key, open, read, write};

/// Its name in the folder.
pub const DIGEST_KEY_FILE: &str = "digest-key";
const KEY_BYTES: usize = 32;

/// Makes digests (HMAC-SHA-256) that are alike in every process with the same keys.
#[derive(Clone)]
pub struct DigestKey(hmac::Key);

impl DigestKey {
    /// Loads the key from `folder`; makes the folder and the key where there is none. Of several
    /// processes that start at once on an empty folder, all end with the same key.
    ///
    /// # Errors
    /// When the file cannot be read or written, does not hold a key, or others may read it.
    pub fn load_or_create(folder: &Path) -> Result<Self, KeyError> {
        let folder = open(folder)?;
        let key = match read(&folder, DIGEST_KEY_FILE)? {
            Some(key) => key,
            None => {
                let mut key = Zeroizing::new([0; KEY_BYTES]);
                aws_lc_rs::rand::fill(key.as_mut()).map_err(|_| KeyError::Generate)?;
                write(&folder, DIGEST_KEY_FILE, key.as_ref(), Put::IfAbsent)?;
                // Another process may have been first: what is in the folder is the key.
                read(&folder, DIGEST_KEY_FILE)?
                    .ok_or_else(|| not_a_key(&folder, DIGEST_KEY_FILE))?
            }
        };
        if key.len() != KEY_BYTES {
            return Err(not_a_key(&folder, DIGEST_KEY_FILE));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &key)))
    }

    /// The digest of `text`, in hexadecimal. Digests made for different uses never match.
    #[must_use]
    pub fn digest(&self, made_for: &'static str, text: &str) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(made_for.as_bytes());
        context.update(&[0]);
        context.update(text.as_bytes());
        context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DigestKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::{fs, thread};

    use super::*;

    #[test]
    fn processes_that_start_at_once_share_one_private_key() {
        let folder = tempfile::tempdir().unwrap();
        let digests: Vec<_> = thread::scope(|scope| {
            let load = || DigestKey::load_or_create(folder.path()).unwrap().digest("a", "b");
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
        let file = fs::metadata(folder.path().join(DIGEST_KEY_FILE)).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn digests_differ_by_key_use_and_text() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [one, other] = folders.each_ref().map(|f| DigestKey::load_or_create(f.path()).unwrap());
        let digest = one.digest("a", "b");
        assert_eq!(digest.len(), 64);
        for different in [other.digest("a", "b"), one.digest("b", "b"), one.digest("a", "c")] {
            assert_ne!(different, digest);
        }
    }

    #[test]
    fn what_is_not_a_key_is_named() {
        let folder = tempfile::tempdir().unwrap();
        DigestKey::load_or_create(folder.path()).unwrap();
        let path = folder.path().join(DIGEST_KEY_FILE);
        fs::write(&path, b"short").unwrap();
        let error = DigestKey::load_or_create(folder.path()).unwrap_err();
        assert!(matches!(&error, KeyError::NotAKey { path: named } if *named == path));
    }
}
