//! Names of one hash, as somebody who means harm makes them, for the tests beside this folder.
//!
//! FNV-1a has no key: whoever knows it finds such names in seconds.

/// Two texts between which FNV-1a can't tell, where it begins and where either of them has ended.
/// So all sequences of them that are equally long have one hash.
const HALVES: [&str; 2] = ["oSkGH6UMJA7J", "bD5AZFRWUqnM"];

/// How many of them make a name: enough for 8,192 names.
const PARTS: u32 = 13;

/// So many names, up to 8,192, of which all have one hash by FNV-1a.
pub fn names_of_one_hash(count: usize) -> Vec<String> {
    let half = |number: usize, part| HALVES[number >> part & 1];
    let named = |number: usize| (0..PARTS).map(|part| half(number, part)).collect();
    let names: Vec<String> = (0..count).map(named).collect();
    let hash = fnv_1a(&names[0]);
    assert!(names.iter().all(|name| fnv_1a(name) == hash) && count <= 1 << PARTS);
    names
}

fn fnv_1a(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
