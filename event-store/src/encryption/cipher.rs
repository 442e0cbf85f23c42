//! AES-256-GCM, in place.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::log::Entropy;

/// The size of a key, in bytes.
pub(crate) const KEY_BYTES: usize = 32;
/// The size of a nonce, in bytes.
pub(crate) const NONCE_BYTES: usize = 12;
/// The size of the tag that stands behind what is encrypted, in bytes.
pub(crate) const TAG_BYTES: usize = 16;

/// A key as bytes, which are overwritten when it is dropped.
pub(crate) type KeyBytes = Zeroizing<[u8; KEY_BYTES]>;

/// A key, ready for use.
pub(crate) struct Cipher(LessSafeKey);

impl Cipher {
    /// The cipher with this key.
    pub(crate) fn new(key: &KeyBytes) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, &key[..]).expect("the key has its size");
        Self(LessSafeKey::new(key))
    }

    /// Encrypts the bytes but for the last, which become the tag. The same nonce must never come
    /// again with this key.
    pub(crate) fn seal(&self, nonce: [u8; NONCE_BYTES], associated: &[u8], bytes: &mut [u8]) {
        let (text, tag) = bytes.split_at_mut(bytes.len() - TAG_BYTES);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let made = self.0.seal_in_place_separate_tag(nonce, Aad::from(associated), text);
        tag.copy_from_slice(made.expect("what is encrypted is far below 64 GiB").as_ref());
    }

    /// Decrypts the bytes but for the last, which are the tag; whether they, the nonce and what is
    /// associated are as they were when they were encrypted with this key.
    #[must_use]
    pub(crate) fn open(
        &self,
        nonce: [u8; NONCE_BYTES],
        associated: &[u8],
        bytes: &mut [u8],
    ) -> bool {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.open_in_place(nonce, Aad::from(associated), bytes).is_ok()
    }
}

/// Random bytes, as a key or a nonce.
pub(crate) fn random<const N: usize>(entropy: &dyn Entropy) -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    entropy.fill(&mut bytes[..]);
    bytes
}
