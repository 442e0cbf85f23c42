//! The keys of a running process: read again whenever their folder has changed, so that a rotation
//! needs no restart, and no process refuses what another has just signed.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, Utc};

use crate::key_folder::{KeyFolder, Stamp};
use crate::key_set::{KeyError, KeySet, SIGNING_KEY_FILE};

/// The keys in a folder, now.
pub struct KeyRing {
    folder: KeyFolder,
    read: RwLock<Read>,
}

/// What was read last.
#[derive(Clone)]
struct Read {
    /// What the folder was like before.
    stamp: Stamp,
    keys: Arc<KeySet>,
}

impl KeyRing {
    /// The keys in `folder`, which are made where there are none; see [`KeySet::load_or_create`].
    ///
    /// # Errors
    /// When a file cannot be read or written, does not hold a key, or others may read it.
    pub fn load_or_create(folder: &Path, now: DateTime<Utc>) -> Result<Self, KeyError> {
        let opened = KeyFolder::at(folder);
        let stamp = opened.stamp(SIGNING_KEY_FILE);
        let keys = Arc::new(KeySet::load_or_create(folder, now)?);
        Ok(Self { folder: opened, read: RwLock::new(Read { stamp, keys }) })
    }

    /// The keys as they are in the folder at `now`. It costs two looks at the folder, and reading
    /// a few small files after a change. What can't be read is said in the log once, and the keys
    /// of before go on: a folder that is away for a while must not have everybody refused.
    #[must_use]
    pub fn keys(&self, now: DateTime<Utc>) -> Arc<KeySet> {
        let stamp = self.folder.stamp(SIGNING_KEY_FILE);
        let before = self.read.read().unwrap_or_else(PoisonError::into_inner).clone();
        if before.stamp == stamp {
            return before.keys;
        }
        let keys = match KeySet::load(self.folder.path(), now) {
            Ok(keys) => Arc::new(keys),
            Err(error) => {
                tracing::warn!(error = ?error, "changed keys can't be used, those of before are");
                before.keys
            }
        };
        // Were another thread's newer keys overwritten, the next look would find their stamp wrong.
        let read = Read { stamp, keys: Arc::clone(&keys) };
        *self.read.write().unwrap_or_else(PoisonError::into_inner) = read;
        keys
    }
}

/// Says which key signs, never the key.
impl fmt::Debug for KeyRing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = self.read.read().unwrap_or_else(PoisonError::into_inner);
        formatter.debug_struct("KeyRing").field("keys", &read.keys).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn noon() -> DateTime<Utc> {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_rotation_is_noticed_at_the_next_look_and_a_removed_key_too() {
        let folder = tempfile::tempdir().unwrap();
        let ring = KeyRing::load_or_create(folder.path(), noon()).unwrap();
        let old = ring.keys(noon());
        for _ in 0..20 {
            let new = KeySet::rotate(folder.path(), noon()).unwrap();
            assert_eq!(ring.keys(noon()).list(), new.list());
        }
        let stolen = folder.path().join(format!("{}.retired.json", old.kid()));
        assert!(ring.keys(noon()).verifying(old.kid(), noon()).is_some());
        fs::remove_file(stolen).unwrap();
        assert!(ring.keys(noon()).verifying(old.kid(), noon()).is_none());
    }

    #[test]
    fn keys_that_are_away_for_a_while_go_on() {
        let home = tempfile::tempdir().unwrap();
        let (folder, away) = (home.path().join("keys"), home.path().join("away"));
        let ring = KeyRing::load_or_create(&folder, noon()).unwrap();
        let kid = ring.keys(noon()).kid().to_owned();
        fs::rename(&folder, &away).unwrap();
        assert_eq!(ring.keys(noon()).kid(), kid);
        assert!(!folder.exists(), "none are made in their place");
        fs::rename(&away, &folder).unwrap();
        let new = KeySet::rotate(&folder, noon()).unwrap();
        assert_eq!(ring.keys(noon()).kid(), new.kid());
    }
}
