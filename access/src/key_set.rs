//! The keys of access tokens as they stand in their folder: one Ed25519 key that signs, and older
//! ones that still verify.
//!
//! In the folder, `signing-key.pk8` is the private key (PKCS#8 DER), and each
//! `<kid>.retired.json` is the public half of a key that signed before. A key's id is its RFC 7638
//! thumbprint, so the same key has the same id wherever it is loaded.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm,
    OctetKeyPairParameters, OctetKeyPairType, PublicKeyUse, ThumbprintHash,
};
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::key_folder::{KeyFolder, Put};

/// The name of the key that signs, in the folder.
pub const SIGNING_KEY_FILE: &str = "signing-key.pk8";
const RETIRED_SUFFIX: &str = ".retired.json";
/// Bytes of an Ed25519 public key.
const PUBLIC_KEY_BYTES: usize = 32;

/// How long a retired key verifies: far longer than a token lives, however late a process learns
/// that it no longer signs. To stop believing a stolen key at once, rotate and delete its
/// `.retired.json`.
pub const RETIRED_KEY_LIFE: TimeDelta = TimeDelta::hours(24);

/// Why the keys could not be loaded or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file or the folder cannot be read or written, or is open to others.
    #[error("cannot use the key file {}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no signing key.
    #[error("there is no signing key in {}", path.display())]
    NoKey {
        /// The folder.
        path: PathBuf,
    },
    /// A file is there and does not hold a key.
    #[error("the file {} does not hold a key", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// The system's random source failed.
    #[error("no key can be generated")]
    Generate,
}

/// The signing key, and the public keys that verify.
pub struct KeySet {
    kid: String,
    signing: EncodingKey,
    /// The public half of the signing key.
    public_key: Vec<u8>,
    verifying: HashMap<String, PublicKey>,
}

/// A public key that verifies.
struct PublicKey {
    jwk: Jwk,
    key: DecodingKey,
    /// When it stops to; never, while it is the signing key's.
    until: Option<DateTime<Utc>>,
}

/// A key of a [`KeySet`], as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedKey {
    /// Its id, as tokens name it.
    pub kid: String,
    /// Until when it verifies; `None` for the key that signs.
    pub until: Option<DateTime<Utc>>,
}

/// The public half of a key that no longer signs.
#[derive(Serialize, Deserialize)]
struct RetiredKey {
    /// The public key, base64url.
    x: String,
    retired_at: DateTime<Utc>,
}

impl KeySet {
    /// Loads the keys from `folder`; makes the folder and a signing key where there is none.
    /// Of several processes that start at once on an empty folder, all end with the same key.
    /// Keys retired longer ago than [`RETIRED_KEY_LIFE`] before `now` are removed.
    ///
    /// # Errors
    /// When a file cannot be read or written, does not hold a key, or others may read it.
    pub fn load_or_create(folder: &Path, now: DateTime<Utc>) -> Result<Self, KeyError> {
        let opened = open(folder)?;
        if read(&opened, SIGNING_KEY_FILE)?.is_none() {
            // Another process may be first: what is in the folder is the key.
            write(&opened, SIGNING_KEY_FILE, &generate()?, Put::IfAbsent)?;
        }
        Self::load(folder, now)
    }

    /// The same, where there is a signing key.
    ///
    /// # Errors
    /// [`KeyError::NoKey`] where there is none; else as [`KeySet::load_or_create`].
    pub fn load(folder: &Path, now: DateTime<Utc>) -> Result<Self, KeyError> {
        let folder = KeyFolder::at(folder);
        let pkcs8 = read(&folder, SIGNING_KEY_FILE)?
            .ok_or_else(|| KeyError::NoKey { path: folder.path().to_owned() })?;
        let mut keys = Self::from_pkcs8(&pkcs8, &folder)?;
        keys.add_retired(&folder, now)?;
        Ok(keys)
    }

    /// Retires the signing key in `folder` as of `now`, puts a new one in its place, and loads
    /// the result. The old public key is durable before the new private key is, so a crash
    /// between the two loses nothing. Tokens already signed go on verifying. Of several processes
    /// that rotate at once, each retires the key of the one before it.
    ///
    /// # Errors
    /// As [`KeySet::load`].
    pub fn rotate(folder: &Path, now: DateTime<Utc>) -> Result<Self, KeyError> {
        Self::load(folder, now)?;
        let path = folder;
        let folder = KeyFolder::at(path);
        let _only = folder.lock().map_err(|source| file_error(&folder, "", source))?;
        let old = Self::load(path, now)?;
        let retired = RetiredKey { x: URL_SAFE_NO_PAD.encode(&old.public_key), retired_at: now };
        let json = serde_json::to_vec(&retired).expect("strings and times are always JSON");
        write(&folder, &format!("{}{RETIRED_SUFFIX}", old.kid), &json, Put::Replace)?;
        write(&folder, SIGNING_KEY_FILE, &generate()?, Put::Replace)?;
        Self::load(path, now)
    }

    /// The id of the key that signs.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Every key: first the one that signs, then those that verify, the last retired first.
    #[must_use]
    pub fn list(&self) -> Vec<ListedKey> {
        let listed =
            |(kid, key): (&String, &PublicKey)| ListedKey { kid: kid.clone(), until: key.until };
        let mut keys: Vec<_> = self.verifying.iter().map(listed).collect();
        keys.sort_by_key(|key| (key.until.is_some(), Reverse(key.until), key.kid.clone()));
        keys
    }

    /// Every public key, as a JWK set (RFC 7517).
    #[must_use]
    pub fn jwks(&self) -> JwkSet {
        let mut keys: Vec<_> = self.verifying.values().map(|key| key.jwk.clone()).collect();
        keys.sort_by(|one, other| one.common.key_id.cmp(&other.common.key_id));
        JwkSet { keys }
    }

    pub(crate) const fn signing(&self) -> &EncodingKey {
        &self.signing
    }

    /// The key of this id, if it verifies at `now`.
    pub(crate) fn verifying(&self, kid: &str, now: DateTime<Utc>) -> Option<&DecodingKey> {
        let known = self.verifying.get(kid)?;
        known.until.is_none_or(|until| now < until).then_some(&known.key)
    }

    fn from_pkcs8(pkcs8: &[u8], folder: &KeyFolder) -> Result<Self, KeyError> {
        // Other crates of the build may switch on a second provider, and `jsonwebtoken` then
        // refuses to choose. An error here says that one is chosen already.
        jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default().ok();
        let pair =
            Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| not_a_key(folder, SIGNING_KEY_FILE))?;
        let public_key = pair.public_key().as_ref().to_vec();
        let (kid, key) = public(&public_key, None);
        Ok(Self {
            public_key,
            kid: kid.clone(),
            signing: EncodingKey::from_ed_der(pkcs8),
            verifying: HashMap::from([(kid, key)]),
        })
    }

    fn add_retired(&mut self, folder: &KeyFolder, now: DateTime<Utc>) -> Result<(), KeyError> {
        let names = folder.names_ending(RETIRED_SUFFIX);
        for name in names.map_err(|source| file_error(folder, "", source))? {
            let Some(json) = read(folder, &name)? else {
                continue;
            };
            let retired = serde_json::from_slice::<RetiredKey>(&json).ok();
            let Some((retired, public_key)) = retired.and_then(decoded) else {
                return Err(not_a_key(folder, &name));
            };
            let until = retired.retired_at.checked_add_signed(RETIRED_KEY_LIFE);
            let until = until.ok_or_else(|| not_a_key(folder, &name))?;
            if now >= until {
                folder.remove(&name).map_err(|source| file_error(folder, &name, source))?;
                continue;
            }
            let (kid, key) = public(&public_key, Some(until));
            self.verifying.entry(kid).or_insert(key);
        }
        Ok(())
    }
}

/// Says which key signs, never the key.
impl fmt::Debug for KeySet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verifying = self.verifying.len();
        formatter
            .debug_struct("KeySet")
            .field("kid", &self.kid)
            .field("verifying", &verifying)
            .finish_non_exhaustive()
    }
}

fn generate() -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let random = aws_lc_rs::rand::SystemRandom::new();
    // Version 1, because older tools cannot read version 2.
    let document = Ed25519KeyPair::generate_pkcs8v1(&random).map_err(|_| KeyError::Generate)?;
    Ok(Zeroizing::new(document.as_ref().to_vec()))
}

fn public(public_key: &[u8], until: Option<DateTime<Utc>>) -> (String, PublicKey) {
    let mut jwk = Jwk {
        common: CommonParameters {
            public_key_use: Some(PublicKeyUse::Signature),
            key_algorithm: Some(KeyAlgorithm::EdDSA),
            ..CommonParameters::default()
        },
        algorithm: AlgorithmParameters::OctetKeyPair(OctetKeyPairParameters {
            key_type: OctetKeyPairType::OctetKeyPair,
            curve: EllipticCurve::Ed25519,
            x: URL_SAFE_NO_PAD.encode(public_key),
        }),
    };
    let kid = jwk.thumbprint(ThumbprintHash::SHA256);
    jwk.common.key_id = Some(kid.clone());
    // Despite its name it takes the bare public key, as the verifier under it does.
    (kid, PublicKey { jwk, key: DecodingKey::from_ed_der(public_key), until })
}

fn decoded(retired: RetiredKey) -> Option<(RetiredKey, Vec<u8>)> {
    let public_key = URL_SAFE_NO_PAD.decode(&retired.x).ok()?;
    (public_key.len() == PUBLIC_KEY_BYTES).then_some((retired, public_key))
}

pub(crate) fn open(path: &Path) -> Result<KeyFolder, KeyError> {
    KeyFolder::open(path).map_err(|source| KeyError::File { path: path.to_owned(), source })
}

pub(crate) fn read(folder: &KeyFolder, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
    folder.read_private(name).map_err(|source| file_error(folder, name, source))
}

pub(crate) fn write(
    folder: &KeyFolder,
    name: &str,
    bytes: &[u8],
    put: Put,
) -> Result<bool, KeyError> {
    folder.write(name, bytes, put).map_err(|source| file_error(folder, name, source))
}

fn file_error(folder: &KeyFolder, name: &str, source: io::Error) -> KeyError {
    KeyError::File { path: folder.path_of(name), source }
}

pub(crate) fn not_a_key(folder: &KeyFolder, name: &str) -> KeyError {
    KeyError::NotAKey { path: folder.path_of(name) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::{fs, thread};

    use super::*;

    fn noon() -> DateTime<Utc> {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_set_made_once_is_loaded_again() {
        let folder = tempfile::tempdir().unwrap();
        let made = KeySet::load_or_create(folder.path(), noon()).unwrap();
        let loaded = KeySet::load_or_create(folder.path(), noon()).unwrap();
        assert_eq!(made.kid(), loaded.kid());
        assert_eq!(made.jwks(), loaded.jwks());
        let file = fs::metadata(folder.path().join(SIGNING_KEY_FILE)).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn processes_that_start_at_once_share_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let kids: Vec<_> = thread::scope(|scope| {
            let load = || KeySet::load_or_create(folder.path(), noon()).unwrap().kid().to_owned();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(kids.iter().all(|kid| *kid == kids[0]), "{kids:?}");
    }

    #[test]
    fn a_retired_key_verifies_for_a_day() {
        let folder = tempfile::tempdir().unwrap();
        let old = KeySet::load_or_create(folder.path(), noon()).unwrap();
        let new = KeySet::rotate(folder.path(), noon()).unwrap();
        assert_ne!(old.kid(), new.kid());
        assert_eq!(new.jwks().keys.len(), 2);
        let until = noon() + RETIRED_KEY_LIFE;
        let listed = |kid: &str, until| ListedKey { kid: kid.to_owned(), until };
        assert_eq!(new.list(), [listed(new.kid(), None), listed(old.kid(), Some(until))]);
        // Also where the keys are not loaded again.
        assert!(new.verifying(old.kid(), until - TimeDelta::seconds(1)).is_some());
        assert!(new.verifying(old.kid(), until).is_none());

        let almost = KeySet::load(folder.path(), until - TimeDelta::seconds(1)).unwrap();
        assert!(almost.verifying(old.kid(), noon()).is_some());
        let after = KeySet::load(folder.path(), until).unwrap();
        assert!(after.verifying(old.kid(), noon()).is_none());
        assert_eq!(after.list(), [listed(new.kid(), None)]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn no_key_is_lost_when_several_rotate_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let first = KeySet::load_or_create(folder.path(), noon()).unwrap();
        let mut kids: Vec<_> = thread::scope(|scope| {
            let rotate = || KeySet::rotate(folder.path(), noon()).unwrap().kid().to_owned();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(rotate)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        kids.push(first.kid().to_owned());
        let mut left = KeySet::load(folder.path(), noon()).unwrap().list();
        left.sort_by(|one, other| one.kid.cmp(&other.kid));
        kids.sort_unstable();
        assert_eq!(left.into_iter().map(|key| key.kid).collect::<Vec<_>>(), kids);
    }

    #[test]
    fn only_what_is_there_is_rotated() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("keys");
        let error = KeySet::rotate(&missing, noon()).unwrap_err();
        assert!(matches!(&error, KeyError::NoKey { path } if *path == missing), "{error}");
        assert!(!missing.exists());
    }

    #[test]
    fn the_document_holds_public_halves_only() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeySet::load_or_create(folder.path(), noon()).unwrap();
        let document = serde_json::to_value(keys.jwks()).unwrap();
        let key = document["keys"][0].as_object().unwrap();
        let mut names: Vec<_> = key.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["alg", "crv", "kid", "kty", "use", "x"]);
        assert_eq!(key["kty"], "OKP");
        assert_eq!(key["crv"], "Ed25519");
        assert_eq!(key["alg"], "EdDSA");
        assert_eq!(key["kid"], keys.kid());
    }

    #[test]
    fn what_is_not_a_key_is_named() {
        let folder = tempfile::tempdir().unwrap();
        KeySet::load_or_create(folder.path(), noon()).unwrap();
        let path = folder.path().join(SIGNING_KEY_FILE);
        fs::write(&path, b"not a key").unwrap();
        let error = KeySet::load_or_create(folder.path(), noon()).unwrap_err();
        assert!(matches!(&error, KeyError::NotAKey { path: named } if *named == path));

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = KeySet::load_or_create(folder.path(), noon()).unwrap_err();
        assert!(matches!(&error, KeyError::File { path: named, .. } if *named == path));
    }

    #[test]
    fn debug_shows_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeySet::load_or_create(folder.path(), noon()).unwrap();
        let text = format!("{keys:?}");
        assert!(text.contains(keys.kid()) && text.contains(".."), "{text}");
    }
}
