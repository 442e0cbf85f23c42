//! The key of one segment, and what it does to a record.
//!
//! A nonce is made of the record's position, so the store never encrypts two records of one
//! position with one key: it goes on in a new segment, whose key is new, whenever bytes may have
//! reached the disk that are not part of the log.

use super::chain::ChainEnd;
use crate::encryption::{Cipher, KeyBytes, NONCE_BYTES, TAG_BYTES};

/// What of a record stays in plain: its length, its checksum and its position.
const PLAIN_BYTES: usize = 16;
const POSITION_AT: usize = 8;

/// The key that the records of one segment are encrypted with.
pub(crate) struct DataKey(Cipher);

/// Where an end of the chain stands: what makes the nonces of one position different. That of its
/// record has zero here.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ChainPlace {
    /// In the header of the frame that begins with this position.
    Frame = 1,
    /// In the header of the segment that begins with it.
    Segment = 2,
}

impl DataKey {
    pub(crate) fn new(key: &KeyBytes) -> Self {
        Self(Cipher::new(key))
    }

    /// Encrypts a record, whose length and position are set, and at whose end there is room for
    /// the tag. Its checksum is to be made afterwards.
    pub(crate) fn encrypt(&self, record: &mut [u8], salt: u32) {
        let (nonce, associated) = surroundings(record, salt);
        self.0.seal(nonce, &associated, &mut record[PLAIN_BYTES..]);
    }

    /// Decrypts a record in its place, but for the tag at its end; whether it is as it was
    /// encrypted, in this segment and at its position. When it is not, its bytes are of no use.
    #[must_use]
    pub(crate) fn decrypt(&self, record: &mut [u8], salt: u32) -> bool {
        let (nonce, associated) = surroundings(record, salt);
        self.0.open(nonce, &associated, &mut record[PLAIN_BYTES..])
    }

    /// Hides the end of the chain, or shows a hidden one: in plain it would tell whoever guesses an
    /// event that the guess is right. It needs no tag, because the chain is compared with the
    /// events.
    #[must_use]
    pub(crate) fn hide(&self, chain: ChainEnd, position: u64, place: ChainPlace) -> ChainEnd {
        let mut nonce = [0; NONCE_BYTES];
        nonce[..8].copy_from_slice(&position.to_le_bytes());
        nonce[8] = place as u8;
        let mut stream = [0; ChainEnd::BYTES + TAG_BYTES];
        self.0.seal(nonce, &[], &mut stream);
        let mut hidden = *chain.as_bytes();
        hidden.iter_mut().zip(stream).for_each(|(byte, mask)| *byte ^= mask);
        ChainEnd::from_bytes(hidden)
    }
}

/// The nonce: the position and zeros. And what is not encrypted and must not change: the position,
/// the length, and the salt of the segment.
fn surroundings(record: &[u8], salt: u32) -> ([u8; NONCE_BYTES], [u8; PLAIN_BYTES]) {
    let position = &record[POSITION_AT..PLAIN_BYTES];
    let (mut nonce, mut associated) = ([0; NONCE_BYTES], [0; PLAIN_BYTES]);
    nonce[..8].copy_from_slice(position);
    associated[..8].copy_from_slice(position);
    associated[8..12].copy_from_slice(&record[..4]);
    associated[12..].copy_from_slice(&salt.to_le_bytes());
    (nonce, associated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encryption::random;
    use crate::log::SystemEntropy;

    fn record(text: &[u8]) -> Vec<u8> {
        let length = PLAIN_BYTES + text.len() + TAG_BYTES;
        let mut record = u32::try_from(length).unwrap().to_le_bytes().to_vec();
        record.extend_from_slice(&[0; 4]);
        record.extend_from_slice(&7_u64.to_le_bytes());
        record.extend_from_slice(text);
        record.resize(length, 0);
        record
    }

    #[test]
    fn a_hidden_end_of_the_chain_is_shown_again_at_its_place_only() {
        let (key, chain) = (DataKey::new(&random(&SystemEntropy)), ChainEnd::START.after(&[7; 32]));
        let hidden = key.hide(chain, 7, ChainPlace::Frame);
        assert_eq!(key.hide(hidden, 7, ChainPlace::Frame), chain);
        let others = [(8, ChainPlace::Frame), (7, ChainPlace::Segment)];
        for other in others.map(|(position, place)| key.hide(hidden, position, place)) {
            assert!(other != chain && other != hidden && hidden != chain);
        }
    }

    #[test]
    fn a_record_is_read_with_its_key_in_its_segment_at_its_position_and_whole() {
        let key = DataKey::new(&random(&SystemEntropy));
        let plain = record(b"what happened");
        let mut encrypted = plain.clone();
        key.encrypt(&mut encrypted, 3);
        assert_eq!(encrypted[..PLAIN_BYTES], plain[..PLAIN_BYTES]);
        assert!(!encrypted.windows(4).any(|part| part == b"what"));
        let mut again = encrypted.clone();
        assert!(key.decrypt(&mut again, 3));
        assert_eq!(again[..plain.len() - TAG_BYTES], plain[..plain.len() - TAG_BYTES]);
        assert!(
            !DataKey::new(&random(&SystemEntropy)).decrypt(&mut encrypted.clone(), 3),
            "another key"
        );
        assert!(!key.decrypt(&mut encrypted.clone(), 4), "another segment");
        for at in (0..encrypted.len()).filter(|at| !(4..8).contains(at)) {
            let mut changed = encrypted.clone();
            changed[at] ^= 1;
            assert!(!key.decrypt(&mut changed, 3), "byte {at} was changed");
        }
    }
}
