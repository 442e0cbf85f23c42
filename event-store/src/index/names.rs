//! The hashes by which names are found. Names come from clients, so the hashes have a key that no
//! client can know: else some could choose thousands of names with one hash, and each look for one
//! of them would go through all.
//!
//! A log has one key, so a name is hashed once however many segments are asked for it. The key is
//! in the header of every index; `FORMAT.md` says how a log without any index comes by one.

use std::fmt;

use siphasher::sip::SipHasher13;

use super::secondary::{IndexKey, Secondary};
use crate::event::RecordedEvent;
use crate::log::{Entropy, Kinds};

/// The size of a key, in bytes.
pub(super) const NAME_KEY_BYTES: usize = 16;

/// What the hashes of names are made with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct NameKey([u8; NAME_KEY_BYTES]);

/// What an event is found by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hashes {
    /// The hash of its stream.
    pub(crate) stream: u64,
    /// Those of its category and its type, in the order of [`Secondary::ALL`].
    kinds: [Option<u64>; 2],
}

impl NameKey {
    /// A new key.
    pub(crate) fn new(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; NAME_KEY_BYTES];
        entropy.fill(&mut bytes);
        Self(bytes)
    }

    /// The key that is written so.
    pub(super) fn from_bytes(bytes: [u8; NAME_KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// How it is written.
    pub(super) fn as_bytes(&self) -> &[u8; NAME_KEY_BYTES] {
        &self.0
    }

    /// The hash of a stream's name.
    pub(crate) fn of_stream(&self, name: &str) -> u64 {
        self.hash(name.as_bytes())
    }

    /// The hash of a category or a type. It is made of the one in the log, for that is all which is
    /// left of the name when an event is reclaimed.
    pub(super) fn of_kind(&self, in_log: u64) -> u64 {
        self.hash(&in_log.to_le_bytes())
    }

    /// The hashes of each of these events. Most often many follow one another that have the same.
    pub(crate) fn of_events(&self, events: &[RecordedEvent]) -> Vec<Hashes> {
        let alike = |one: &RecordedEvent, next: &RecordedEvent| {
            one.stream == next.stream && one.event_type == next.event_type
        };
        let mut all = Vec::with_capacity(events.len());
        for run in events.chunk_by(alike) {
            let hashes = self.of(run[0].stream.as_str(), Kinds::of_event(&run[0]));
            all.extend(run.iter().map(|_| hashes));
        }
        all
    }

    /// The hashes of an event of this stream and these kinds.
    pub(super) fn of(&self, stream: &str, kinds: Kinds) -> Hashes {
        // Zero in the log stands for none.
        let of_kind = |in_log| (in_log != 0).then(|| self.of_kind(in_log));
        let kinds = [kinds.category, kinds.event_type].map(of_kind);
        Hashes { stream: self.of_stream(stream), kinds }
    }

    /// The hash of bytes.
    pub(super) fn hash(&self, bytes: &[u8]) -> u64 {
        SipHasher13::new_with_key(&self.0).hash(bytes)
    }
}

/// A key that is printed is a key no more.
impl fmt::Debug for NameKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("NameKey")
    }
}

impl Hashes {
    /// The category and the type, where it has them.
    pub(crate) fn keys(self) -> impl Iterator<Item = IndexKey> {
        let all = Secondary::ALL.into_iter().zip(self.kinds);
        all.filter_map(|(of, hash)| Some(IndexKey { of, hash: hash? }))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A key like any other.
    pub(crate) const KEY: NameKey =
        NameKey(*b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f");

    /// What an implementation of its own, which gives the vectors of SipHash-2-4's authors too,
    /// makes with that key of the first so many of the bytes 0, 1, 2, …
    const VECTORS: [u64; 9] = [
        0xabac_0158_050f_c4dc,
        0xc9f4_9bf3_7d57_ca93,
        0x82cb_9b02_4dc7_d44d,
        0x8bf8_0ab8_e7dd_f7fb,
        0xcf75_5760_88d3_8328,
        0xdef9_d52f_4953_3b67,
        0xc50d_2b50_c59f_22a7,
        0xd392_7d98_9bb1_1140,
        0x3690_9511_8d29_9a8e,
    ];

    /// The hashes are on disks: those of another implementation are the same.
    #[test]
    fn hashes_are_those_of_siphash_1_3() {
        let bytes: Vec<u8> = (0..8).collect();
        for (length, vector) in VECTORS.into_iter().enumerate() {
            assert_eq!(KEY.hash(&bytes[..length]), vector, "of {length} bytes");
        }
        assert_eq!(KEY.of_kind(u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7])), VECTORS[8]);
    }
}
