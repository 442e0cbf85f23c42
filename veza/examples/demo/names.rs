//! Names nobody else has, so that the story can be told more than once to one platform.

use rand::Rng as _;
use rand::rngs::StdRng;

const SYLLABLES: &[&str] = &[
    "ba", "cor", "da", "fen", "gli", "ho", "ju", "kal", "lo", "mi", "nar", "os", "pre", "qui",
    "ros", "sta", "tu", "vel", "wen", "yar", "zo", "bri", "cla", "dun", "eth", "fol", "gar", "hin",
];

/// A word of four syllables.
pub fn word(random: &mut StdRng) -> String {
    let syllables = (0..4).map(|_| SYLLABLES[random.random_range(0..SYLLABLES.len())]);
    let word: String = syllables.collect();
    word[..1].to_uppercase() + &word[1..]
}

/// The word as a hasty typist has it: a letter in its midst is missing.
pub fn misspelled(word: &str) -> String {
    let middle = word.len() / 2;
    format!("{}{}", &word[..middle], &word[middle + 1..])
}
