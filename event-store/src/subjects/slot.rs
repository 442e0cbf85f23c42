//! What is known of one subject, in 128 bytes: their key, or that they are forgotten.
//!
//! Four slots fill a sector of 512 bytes, so none is ever in two of them: a write of one is whole
//! after a power cut, or was not made.

use crc32c::crc32c;
use zeroize::Zeroizing;

use super::subject::{SUBJECT_BYTES, Subject};
use crate::encryption::{Cipher, KEY_BYTES, KeyBytes, NONCE_BYTES, TAG_BYTES, random};
use crate::log::{Entropy, array_at, u32_at};

/// The size of a slot.
pub(super) const SLOT_BYTES: usize = 128;
const VERSION_AT: usize = SUBJECT_BYTES;
const STATE_AT: usize = VERSION_AT + 1;
/// What stands before it is authenticated with the key.
const NONCE_AT: usize = 36;
const WRAPPED_AT: usize = NONCE_AT + NONCE_BYTES;
const CRC_AT: usize = SLOT_BYTES - 4;

const VERSION: u8 = 1;
const LIVE: u8 = 1;
const FORGOTTEN: u8 = 2;

/// What a slot says.
pub(super) enum Slot {
    /// Nothing: a write that a power cut undid.
    Free,
    /// The subject has a key.
    Live,
    /// The subject had a key, or was to have none.
    Forgotten,
    /// Its bytes are not what was written, or of a later version.
    Damaged,
}

/// The bytes of a slot with this key.
pub(super) fn live(
    subject: Subject,
    key: &KeyBytes,
    store: &Cipher,
    entropy: &dyn Entropy,
) -> [u8; SLOT_BYTES] {
    let mut bytes = begun(subject, LIVE);
    let nonce = random::<NONCE_BYTES>(entropy);
    bytes[NONCE_AT..WRAPPED_AT].copy_from_slice(&nonce[..]);
    let (associated, rest) = bytes.split_at_mut(WRAPPED_AT);
    let wrapped = &mut rest[..KEY_BYTES + TAG_BYTES];
    wrapped[..KEY_BYTES].copy_from_slice(&key[..]);
    store.seal(*nonce, &associated[..NONCE_AT], wrapped);
    with_checksum(bytes)
}

/// The bytes of a slot whose subject is forgotten: zeros where a key would be.
pub(super) fn forgotten(subject: Subject) -> [u8; SLOT_BYTES] {
    with_checksum(begun(subject, FORGOTTEN))
}

/// Whose slot it is, damaged or not.
pub(super) fn subject(bytes: &[u8]) -> Subject {
    Subject::from_bytes(array_at(bytes, 0))
}

/// What the slot says.
pub(super) fn read(bytes: &[u8]) -> Slot {
    if bytes.iter().all(|&byte| byte == 0) {
        return Slot::Free;
    }
    let is_whole = crc32c(&bytes[..CRC_AT]) == u32_at(bytes, CRC_AT);
    match (is_whole, bytes[VERSION_AT], bytes[STATE_AT]) {
        (true, VERSION, LIVE) => Slot::Live,
        (true, VERSION, FORGOTTEN) => Slot::Forgotten,
        _ => Slot::Damaged,
    }
}

/// The key of a live slot; none when the store's key does not open it.
pub(super) fn key(bytes: &[u8], store: &Cipher) -> Option<KeyBytes> {
    let mut wrapped = Zeroizing::new(array_at::<{ KEY_BYTES + TAG_BYTES }>(bytes, WRAPPED_AT));
    let opens = store.open(array_at(bytes, NONCE_AT), &bytes[..NONCE_AT], &mut wrapped[..]);
    opens.then(|| KeyBytes::new(array_at(&wrapped[..], 0)))
}

/// Whether there is a key of this subject in the slot, whatever is damaged beside it.
pub(super) fn opens_for(subject: Subject, bytes: &[u8], store: &Cipher) -> bool {
    let mut whole = begun(subject, LIVE);
    whole[NONCE_AT..].copy_from_slice(&bytes[NONCE_AT..]);
    key(&whole, store).is_some()
}

/// Whether there is anything where a key would be.
pub(super) fn may_hold_key(bytes: &[u8]) -> bool {
    bytes[NONCE_AT..WRAPPED_AT + KEY_BYTES + TAG_BYTES].iter().any(|&byte| byte != 0)
}

fn begun(subject: Subject, state: u8) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    bytes[..SUBJECT_BYTES].copy_from_slice(subject.as_bytes());
    bytes[VERSION_AT] = VERSION;
    bytes[STATE_AT] = state;
    bytes
}

fn with_checksum(mut bytes: [u8; SLOT_BYTES]) -> [u8; SLOT_BYTES] {
    let crc = crc32c(&bytes[..CRC_AT]);
    bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::SystemEntropy;

    fn new() -> KeyBytes {
        random(&SystemEntropy)
    }

    #[test]
    fn a_key_is_opened_by_the_key_that_wrapped_it_in_the_slot_of_its_subject() {
        let (key_of, store) = (new(), Cipher::new(&new()));
        let bytes = live(Subject::new("a"), &key_of, &store, &SystemEntropy);
        assert!(matches!(read(&bytes), Slot::Live) && subject(&bytes) == Subject::new("a"));
        assert_eq!(key(&bytes, &store), Some(key_of.clone()));
        assert_eq!(key(&bytes, &Cipher::new(&new())), None);
        assert!(!bytes.windows(8).any(|part| part == &key_of[..8]));
        let mut moved = bytes;
        moved[..SUBJECT_BYTES].copy_from_slice(Subject::new("b").as_bytes());
        let moved = with_checksum(moved);
        assert!(matches!(read(&moved), Slot::Live) && key(&moved, &store).is_none());
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let bytes = [
            live(Subject::new("a"), &new(), &Cipher::new(&new()), &SystemEntropy),
            forgotten(Subject::new("a")),
        ];
        for bytes in bytes {
            for at in 0..SLOT_BYTES {
                let mut changed = bytes;
                changed[at] ^= 1;
                assert!(matches!(read(&changed), Slot::Damaged), "byte {at}");
            }
        }
        assert!(matches!(read(&[0; SLOT_BYTES]), Slot::Free));
    }
}
