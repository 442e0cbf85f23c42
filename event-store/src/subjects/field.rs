//! How one value is sealed with the key of its subject.
//!
//! AES-256-GCM with a synthetic nonce, in the manner of SIV (RFC 5297; RFC 8452 says what is lost
//! when a nonce comes twice): the nonce is a keyed hash of all that goes in, where the value stands
//! and the value itself. So an event that is sealed again has the same bytes, and two values have
//! two nonces, but for one chance in 2^33 among 2^32 values of one subject. Nothing has to be
//! counted or remembered, whichever process seals, and after whatever crash.

use super::subject::Subject;
use crate::encryption::{Cipher, KeyBytes, NONCE_BYTES, TAG_BYTES};
use crate::event::{EventId, EventType};
use crate::log::array_at;
use crate::stream::StreamName;

/// What a sealed value begins with.
const VERSION: u8 = 1;
const NONCE_AT: usize = 1;
const TEXT_AT: usize = NONCE_AT + NONCE_BYTES;

/// Values are made as long as the next multiple of this, in bytes, lest their lengths tell who has
/// which name. Spaces do it, which JSON allows behind a value.
const PADDED_TO: usize = 32;

const SEALING: &str = "veza event-store 2026 personal fields: sealing";
const NONCES: &str = "veza event-store 2026 personal fields: nonces";

/// What seals for a subject: two keys, made of theirs, one of them ready for use.
pub(crate) struct SubjectKey {
    sealing: Cipher,
    nonces: KeyBytes,
}

/// Where a value stands; what is sealed there opens nowhere else.
#[derive(Clone, Copy)]
pub(crate) struct FieldPlace<'a> {
    pub(crate) subject: Subject,
    pub(crate) stream: &'a StreamName,
    pub(crate) id: EventId,
    pub(crate) event_type: &'a EventType,
    pub(crate) field: &'a str,
}

impl FieldPlace<'_> {
    /// All of it, each part with its length before it, lest two places look alike.
    fn bytes(&self) -> Vec<u8> {
        let parts: [&[u8]; 5] = [
            self.subject.as_bytes(),
            self.stream.as_str().as_bytes(),
            self.id.0.as_bytes(),
            self.event_type.as_str().as_bytes(),
            self.field.as_bytes(),
        ];
        let length: usize = parts.iter().map(|part| size_of::<u64>() + part.len()).sum();
        let mut bytes = Vec::with_capacity(1 + length);
        bytes.push(VERSION);
        for part in parts {
            bytes.extend((part.len() as u64).to_le_bytes());
            bytes.extend(part);
        }
        bytes
    }
}

impl SubjectKey {
    pub(crate) fn new(key: &KeyBytes) -> Self {
        let made = |context| KeyBytes::new(blake3::derive_key(context, &key[..]));
        Self { sealing: Cipher::new(&made(SEALING)), nonces: made(NONCES) }
    }

    /// The JSON text of a value, sealed for this place.
    pub(crate) fn seal(&self, place: &FieldPlace<'_>, text: &str) -> Vec<u8> {
        let length = text.len().next_multiple_of(PADDED_TO);
        let mut bytes = vec![b' '; TEXT_AT + length + TAG_BYTES];
        bytes[TEXT_AT..TEXT_AT + text.len()].copy_from_slice(text.as_bytes());
        let place = place.bytes();
        let nonce = self.nonce(&place, &bytes[TEXT_AT..TEXT_AT + length]);
        bytes[0] = VERSION;
        bytes[NONCE_AT..TEXT_AT].copy_from_slice(&nonce);
        self.sealing.seal(nonce, &place, &mut bytes[TEXT_AT..]);
        bytes
    }

    /// The JSON text that was sealed for this place; none when these are no such bytes.
    pub(crate) fn open(&self, place: &FieldPlace<'_>, mut bytes: Vec<u8>) -> Option<String> {
        if bytes.len() < TEXT_AT + TAG_BYTES || bytes[0] != VERSION {
            return None;
        }
        let nonce = array_at(&bytes, NONCE_AT);
        if !self.sealing.open(nonce, &place.bytes(), &mut bytes[TEXT_AT..]) {
            return None;
        }
        bytes.truncate(bytes.len() - TAG_BYTES);
        bytes.drain(..TEXT_AT);
        let mut text = String::from_utf8(bytes).ok()?;
        text.truncate(text.trim_end_matches(' ').len());
        Some(text)
    }

    fn nonce(&self, place: &[u8], text: &[u8]) -> [u8; NONCE_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.nonces);
        hasher.update(&(place.len() as u64).to_le_bytes()).update(place).update(text);
        array_at(hasher.finalize().as_bytes(), 0)
    }
}
