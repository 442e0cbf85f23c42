//! Which streams a segment may have: a split-block Bloom filter, so that a stream that is new is
//! not looked for in the index of every segment. `FORMAT.md` says which bits are set.

use crate::log::u32_at;

const BITS_PER_STREAM: usize = 10;
const WORDS: usize = 8;
const WORD_BYTES: usize = 4;
const BLOCK_BYTES: usize = WORDS * WORD_BYTES;

/// What the lower half of a hash is multiplied by, for the bit in each word.
const SALTS: [u32; WORDS] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

type Block = [u32; WORDS];

/// A set of hashes that never denies one that it has.
#[derive(Debug, Default)]
pub(crate) struct Bloom {
    blocks: Box<[Block]>,
}

impl Bloom {
    /// How large a filter of so many streams is, in bytes.
    pub(crate) fn bytes_for(streams: usize) -> usize {
        (streams * BITS_PER_STREAM).div_ceil(BLOCK_BYTES * 8) * BLOCK_BYTES
    }

    /// The filter of these hashes.
    pub(crate) fn of(hashes: &[u64]) -> Self {
        let count = Self::bytes_for(hashes.len()) / BLOCK_BYTES;
        let mut filter = Self { blocks: vec![[0; WORDS]; count].into() };
        for &hash in hashes {
            let (at, bits) = filter.place(hash);
            for (word, bit) in filter.blocks[at].iter_mut().zip(bits) {
                *word |= bit;
            }
        }
        filter
    }

    /// Whether the hash may be among them; a no is certain.
    pub(crate) fn may_have(&self, hash: u64) -> bool {
        let (at, bits) = self.place(hash);
        let block = self.blocks.get(at);
        block.is_some_and(|block| block.iter().zip(bits).all(|(word, bit)| word & bit != 0))
    }

    /// The filter as it is in a file.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.blocks.iter().flatten().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// The filter that is in these bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let word = |block: &[u8]| std::array::from_fn(|number| u32_at(block, number * WORD_BYTES));
        Self { blocks: bytes.chunks_exact(BLOCK_BYTES).map(word).collect() }
    }

    /// The block of a hash, and its bit in each word there.
    fn place(&self, hash: u64) -> (usize, Block) {
        let at = ((hash >> 32) * self.blocks.len() as u64) >> 32;
        let lower = hash as u32;
        let bits = SALTS.map(|salt| 1 << (lower.wrapping_mul(salt) >> 27));
        (usize::try_from(at).unwrap_or(usize::MAX), bits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::index::names::tests::KEY;

    proptest! {
        #[test]
        fn no_stream_that_is_there_is_denied(hashes in vec(any::<u64>(), 0..500)) {
            let filter = Bloom::of(&hashes);
            let read = Bloom::from_bytes(&filter.to_bytes());
            prop_assert_eq!(filter.to_bytes().len(), Bloom::bytes_for(hashes.len()));
            for hash in hashes {
                prop_assert!(filter.may_have(hash) && read.may_have(hash));
            }
        }
    }

    /// Given streams named as the platform names them, when others are looked for, then nearly all
    /// are denied, and a stream costs a byte and a quarter.
    #[test]
    fn nearly_every_stream_that_is_not_there_is_denied() {
        const STREAMS: usize = 100_000;
        let named = |number: usize| KEY.of_stream(&format!("track-{number}"));
        let filter = Bloom::of(&(0..STREAMS).map(named).collect::<Vec<_>>());
        assert!((0..STREAMS).all(|number| filter.may_have(named(number))));
        let wrong = (STREAMS..2 * STREAMS).filter(|&number| filter.may_have(named(number))).count();
        assert!(wrong * 50 < STREAMS, "{wrong} of {STREAMS}");
        assert!(filter.to_bytes().len() <= STREAMS * 5 / 4 + BLOCK_BYTES);
    }
}
