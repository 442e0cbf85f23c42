//! Power cuts after a step, beside `dice.rs`.

use event_store::log::SimDisk;

use crate::dice::Dice;

/// So many seeds are worth trying after each step.
pub const SEEDS: u64 = 4;

/// The disk after a power cut at this step: with the first seed all is left that was not synced,
/// with the second nothing of it, with the others each part or not.
pub fn cut(disk: &SimDisk, step: usize, seed: u64) -> SimDisk {
    let mut dice = Dice::new(seed + step as u64 * SEEDS);
    disk.cut_power(|| match seed {
        0 => true,
        1 => false,
        _ => dice.below(2) == 0,
    })
}
