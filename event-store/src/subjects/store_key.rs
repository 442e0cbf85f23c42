//! The key that wraps those of all subjects, in a file of its own, wrapped by an operator's key
//! where there is one. So another wrapping key rewrites one small file, however many subjects there
//! are.

use std::io;

use super::keys::SubjectKeysError;
use crate::encryption::{
    BLOCK_BYTES, HEAD_BYTES, KeyBlock, KeyBytes, WrappingKeys, damaged, is_whole, plain_key,
    unwrapped, wrapped_by, write_block,
};
use crate::log::{Disk, u32_at, unfinished};

/// The name of the file.
pub(super) const FILE: &str = "store.key";

const MAGIC: [u8; 8] = *b"VEZASUB\0";
const VERSION: u32 = 1;
const WRAPPED_AT: usize = 12;

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
        if file.length()? != BLOCK_BYTES as u64 {
            return Err(damaged(FILE, "it has another length").into());
        }
        let mut bytes = zeroize::Zeroizing::new([0; BLOCK_BYTES]);
        file.read_at(&mut bytes[..], 0)?;
        Self::of_block(&bytes, keys).map(Some)
    }

    fn of_block(bytes: &KeyBlock, keys: Option<&WrappingKeys>) -> Result<Self, SubjectKeysError> {
        if !is_whole(bytes) {
            return Err(damaged(FILE, "it does not agree with its checksum").into());
        }
        if bytes[..8] != MAGIC || u32_at(bytes, 8) != VERSION {
            return Err(damaged(FILE, "it is no key, or of another version").into());
        }
        let wrapped_by = wrapped_by(bytes);
        let key = match (u32_at(bytes, WRAPPED_AT), keys) {
            (0, _) => plain_key(bytes),
            (_, None) => return Err(SubjectKeysError::Wrapped { by: wrapped_by.into() }),
            (_, Some(keys)) => unwrapped(bytes, FILE, keys)?,
        };
        Ok(Self { key, wrapped_by })
    }

    /// Writes it, durable, in the place of what is there; and overwrites that, as far as the file
    /// system writes where it is told to.
    pub(super) fn write(
        disk: &dyn Disk,
        key: &KeyBytes,
        keys: Option<&WrappingKeys>,
    ) -> io::Result<()> {
        let mut head = [0; HEAD_BYTES];
        head[..8].copy_from_slice(&MAGIC);
        head[8..12].copy_from_slice(&VERSION.to_le_bytes());
        head[WRAPPED_AT..WRAPPED_AT + 4].copy_from_slice(&u32::from(keys.is_some()).to_le_bytes());
        let block = zeroize::Zeroizing::new(write_block(head, key, keys));
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
