//! A key in a small file of its own: what both kinds of such files have in common.
//!
//! What the file is stands in its first 24 bytes, and is authenticated with the key.

use crc32c::crc32c;
use zeroize::Zeroizing;

use super::cipher::{KEY_BYTES, KeyBytes, NONCE_BYTES, TAG_BYTES, random};
use super::wrapping_keys::{ID_BYTES_MAX, WrappingKeys};
use crate::error::StoreError;
use crate::log::{DiskFile, Entropy, KeyError, array_at, u32_at};

/// What a file says of itself: of which kind it is, and what that kind has to say.
const HEAD_BYTES: usize = 24;
/// Where the latter begins.
pub(crate) const OWN_AT: usize = 12;
/// How long it is.
pub(crate) const OWN_BYTES: usize = HEAD_BYTES - OWN_AT;
const NONCE_AT: usize = HEAD_BYTES;
const ID_AT: usize = 40;
/// What stands before the wrapped key is authenticated with it.
const WRAPPED_AT: usize = ID_AT + ID_BYTES_MAX;
const CRC_AT: usize = WRAPPED_AT + KEY_BYTES + TAG_BYTES;
/// The size of such a file.
pub(crate) const BLOCK_BYTES: usize = CRC_AT + 4;

/// The bytes of a file with a key.
pub(crate) type KeyBlock = [u8; BLOCK_BYTES];

/// What the first bytes of a file say that it is.
#[derive(Clone, Copy)]
pub(crate) struct BlockKind {
    pub(crate) magic: [u8; 8],
    pub(crate) version: u32,
}

impl BlockKind {
    /// The head of such a file, with these bytes of its own.
    pub(crate) fn head(self, own: [u8; OWN_BYTES]) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        head[..8].copy_from_slice(&self.magic);
        head[8..OWN_AT].copy_from_slice(&self.version.to_le_bytes());
        head[OWN_AT..].copy_from_slice(&own);
        head
    }
}

/// The key, wrapped by the first of these; without any, as it is.
pub(crate) fn write_block(
    head: [u8; HEAD_BYTES],
    key: &KeyBytes,
    keys: Option<&WrappingKeys>,
    entropy: &dyn Entropy,
) -> KeyBlock {
    let mut bytes = [0; BLOCK_BYTES];
    bytes[..HEAD_BYTES].copy_from_slice(&head);
    bytes[WRAPPED_AT..WRAPPED_AT + KEY_BYTES].copy_from_slice(&key[..]);
    if let Some(keys) = keys {
        let (id, nonce) = (keys.first().as_bytes(), random::<NONCE_BYTES>(entropy));
        bytes[NONCE_AT..NONCE_AT + NONCE_BYTES].copy_from_slice(&nonce[..]);
        bytes[ID_AT..ID_AT + id.len()].copy_from_slice(id);
        let (associated, rest) = bytes.split_at_mut(WRAPPED_AT);
        keys.first_cipher().seal(*nonce, associated, &mut rest[..KEY_BYTES + TAG_BYTES]);
    }
    let crc = crc32c(&bytes[..CRC_AT]);
    bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Reads the block in a file of this name, which must be one of this kind and as it was written.
pub(crate) fn read_block(
    file: &dyn DiskFile,
    name: &str,
    kind: BlockKind,
) -> Result<Zeroizing<KeyBlock>, KeyError> {
    if file.length()? != BLOCK_BYTES as u64 {
        return Err(damaged(name, "it has another length"));
    }
    let mut bytes = Zeroizing::new([0; BLOCK_BYTES]);
    file.read_at(&mut bytes[..], 0)?;
    if crc32c(&bytes[..CRC_AT]) != u32_at(&bytes[..], CRC_AT) {
        return Err(damaged(name, "it does not agree with its checksum"));
    }
    if bytes[..8] != kind.magic || u32_at(&bytes[..], 8) != kind.version {
        return Err(damaged(name, "it is no key, or of another version"));
    }
    Ok(bytes)
}

/// The name of the key that wraps it; empty where none does.
pub(crate) fn wrapped_by(bytes: &KeyBlock) -> String {
    let id = bytes[ID_AT..WRAPPED_AT].split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(id).into_owned()
}

/// The key of a block that is not wrapped.
pub(crate) fn plain_key(bytes: &KeyBlock) -> KeyBytes {
    KeyBytes::new(array_at(bytes, WRAPPED_AT))
}

/// The key of a block that is wrapped, in the file of this name.
pub(crate) fn unwrapped(
    bytes: &KeyBlock,
    file: &str,
    keys: &WrappingKeys,
) -> Result<KeyBytes, KeyError> {
    let id = wrapped_by(bytes);
    let cipher = keys.cipher(&id).ok_or_else(|| KeyError::NotGiven {
        file: file.into(),
        id: id.as_str().into(),
        given: keys.names().collect::<Vec<_>>().join(", ").into(),
    })?;
    let mut wrapped = Zeroizing::new(array_at(bytes, WRAPPED_AT));
    let wrapped: &mut [u8; KEY_BYTES + TAG_BYTES] = &mut wrapped;
    if !cipher.open(array_at(bytes, NONCE_AT), &bytes[..WRAPPED_AT], wrapped) {
        return Err(KeyError::Refused { file: file.into(), id: id.into() });
    }
    let mut key = KeyBytes::default();
    key.copy_from_slice(&wrapped[..KEY_BYTES]);
    Ok(key)
}

/// That a file with a key is damaged.
pub(crate) fn damaged(file: &str, reason: &str) -> KeyError {
    KeyError::Store(StoreError::Corrupt { place: file.into(), reason: reason.into() })
}
