//! Chance that is the same each time, for the tests beside this folder.

/// Coins thrown from a seed.
pub fn coins(seed: u64) -> impl FnMut() -> bool {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.count_ones().is_multiple_of(2)
    }
}
