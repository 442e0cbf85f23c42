//! The key that wraps those of all subjects, in a file of its own, wrapped by an operator's key
//! where there is one. So another wrapping key rewrites one small file, however many subjects there
//! are.

use std::io;

use super::keys::SubjectKeysError;
use crate::encryption::{
    BLOCK_BYTES, BlockKind, KeyBytes, OWN_AT, OWN_BYTES, WrappingKeys, plain_key, read_block,
    unwrapped, wrapped_by, write_block,
};
use crate::error::StoreError;
use crate::log::{Disk, Entropy, FileStamp, KeyError, array_at, u32_at, unfinished};

/// The name of the file.
pub(super) const FILE: &str = "store.key";

/// Where it says which key it has, whatever wraps it.
const WHICH_AT: usize = OWN_AT + 4;
/// What stands there in a file that does not tell.
const UNTOLD: [u8; 8] = [0; 8];
const WHICH: &str = "veza event-store 2026 personal fields: which store key";

const KIND: BlockKind = BlockKind { magic: *b"VEZASUB\0", version: 1 };

/// The key, and the name of the key that wraps it; empty where none does.
pub(super) struct StoreKey {
    pub(super) key: KeyBytes,
    pub(super) wrapped_by: String,
}

impl StoreKey {
    /// Reads it; none where there is no such file.
    pub(super) fn read(
        disk: &dyn Disk,
        keys: Option<&WrappingKeys>,
    ) -> Result<Option<Self>, SubjectKeysError> {
        let file = match disk.open(FILE, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let bytes = read_block(&*file, FILE, KIND).map_err(|error| match error {
            KeyError::Store(StoreError::Corrupt { reason, .. }) => {
                SubjectKeysError::Damaged { reason }
            }
            error => error.into(),
        })?;
        let wrapped_by = wrapped_by(&bytes);
        let key = match (u32_at(&bytes[..], OWN_AT), keys) {
            (0, _) => plain_key(&bytes),
            (_, None) => return Err(SubjectKeysError::Wrapped { by: wrapped_by.into() }),
            (_, Some(keys)) => unwrapped(&bytes, FILE, keys)?,
        };
        Ok(Some(Self { key, wrapped_by }))
    }

    /// Whether the file has this key, as far as it tells without being opened, and its stamp from
    /// before it was read.
    pub(super) fn is_in_place(
        disk: &dyn Disk,
        key: &KeyBytes,
    ) -> Result<(bool, FileStamp), KeyError> {
        let file = disk.open(FILE, false)?;
        let stamp = file.stamp()?;
        let block = match read_block(&*file, FILE, KIND) {
            // Wrapped by another key meanwhile, and so overwritten.
            Err(_) if disk.stamp(FILE)?.is_some_and(|now| now.file != stamp.file) => {
                return Self::is_in_place(disk, key);
            }
            block => block?,
        };
        let told = array_at(&block[..], WHICH_AT);
        Ok((told == UNTOLD || told == which(key), stamp))
    }

    /// Writes it, durable, in the place of what is there; and overwrites that, as far as the file
    /// system writes where it is told to.
    pub(super) fn write(
        disk: &dyn Disk,
        key: &KeyBytes,
        keys: Option<&WrappingKeys>,
        entropy: &dyn Entropy,
    ) -> io::Result<()> {
        let mut own = [0; OWN_BYTES];
        // Whether it is wrapped.
        own[..4].copy_from_slice(&u32::from(keys.is_some()).to_le_bytes());
        own[4..].copy_from_slice(&which(key));
        let block = zeroize::Zeroizing::new(write_block(KIND.head(own), key, keys, entropy));
        let before = disk.open(FILE, false).ok();
        let file = disk.open(&unfinished(FILE), true)?;
        file.truncate(0)?;
        file.write_at(&block[..], 0)?;
        file.sync()?;
        disk.rename(&unfinished(FILE), FILE)?;
        disk.sync_folder()?;
        if let Some(before) = before {
            before.write_at(&[0; BLOCK_BYTES], 0)?;
            before.sync()?;
        }
        Ok(())
    }
}

/// Which key it is: what says nothing of the key itself.
fn which(key: &KeyBytes) -> [u8; 8] {
    array_at(&blake3::derive_key(WHICH, &key[..]), 0)
}
