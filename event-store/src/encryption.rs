//! Encryption at rest: the keys that an operator keeps, and the cipher.
//!
//! Each encrypted segment of the log has a random data key of its own, which stands beside it,
//! wrapped by one of the [`WrappingKeys`]. Those are never in the folder. The bytes are in
//! `FORMAT.md`.

mod cipher;
mod key_block;
mod wrapping_keys;

pub use wrapping_keys::{WrappingKeys, WrappingKeysError};

pub(crate) use cipher::{Cipher, KEY_BYTES, KeyBytes, NONCE_BYTES, TAG_BYTES, random};
pub(crate) use key_block::{
    BLOCK_BYTES, BlockKind, KeyBlock, OWN_AT, OWN_BYTES, damaged, plain_key, read_block, unwrapped,
    wrapped_by, write_block,
};
