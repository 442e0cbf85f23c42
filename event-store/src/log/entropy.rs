//! Chance, passed in so that a simulated run can be repeated: salts, keys, nonces and ids.

use std::sync::atomic::{AtomicU64, Ordering};

use uuid::{Builder, Uuid};

/// Gives bytes that nobody can foresee.
pub trait Entropy: Send + Sync + 'static {
    /// Fills all of them.
    fn fill(&self, bytes: &mut [u8]);
}

/// The chance of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        aws_lc_rs::rand::fill(bytes).expect("the operating system gives random bytes");
    }
}

/// What follows from a seed (SplitMix64), for tests: whoever knows the seed foresees all of it.
#[derive(Debug)]
pub struct SimEntropy(AtomicU64);

impl SimEntropy {
    /// The same bytes in the same order, each time, from this seed.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Entropy for SimEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        for part in bytes.chunks_mut(size_of::<u64>()) {
            let state = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let number = (mixed ^ (mixed >> 31)).to_le_bytes();
            part.copy_from_slice(&number[..part.len()]);
        }
    }
}

/// A new id (UUIDv4).
pub(crate) fn new_id(entropy: &dyn Entropy) -> Uuid {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    Builder::from_random_bytes(bytes).into_uuid()
}
