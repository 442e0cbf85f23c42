//! Fuzz targets, for the tests beside this folder.
//!
//! An input is a list of edits of something that is good. `__fuzz__/<target>/corpus` beside a test
//! has those that were of use; all are replayed with the tests, and some new ones are made up.
//! `BOLERO_RANDOM_SEED` repeats what failed; `cargo bolero test <target>` guides by coverage.

/// How many inputs are made up in every run of the tests.
pub const INPUTS: usize = 400;
pub const INPUT_BYTES_MAX: usize = 64;

/// Edits bytes, five of the input each: what to do, where, and with which byte.
pub fn edit(bytes: &mut Vec<u8>, input: &[u8]) {
    for edit in input.chunks_exact(5) {
        let [what, high, low, with, more] = *edit else { continue };
        if bytes.is_empty() {
            return;
        }
        let at = usize::from(u16::from_be_bytes([high, low])) % bytes.len();
        let end = (at + usize::from(more)).min(bytes.len());
        match what % 6 {
            0 => bytes[at] ^= with,
            1 => bytes[at..end].fill(with),
            2 => bytes.truncate(at),
            3 => drop(bytes.splice(at..at, vec![with; usize::from(more)])),
            4 => drop(bytes.drain(at..end)),
            _ => {
                let to = usize::from(with).min(bytes.len() - (end - at));
                bytes.copy_within(at..end, to);
            }
        }
    }
}

/// Runs a target over its corpus and over inputs that are made up, so many or as many as there is
/// time for.
macro_rules! target {
    ($name:ident, $target:expr) => {
        #[test]
        fn $name() {
            use std::sync::atomic::{AtomicU64, Ordering};

            use $crate::fuzzing::{INPUT_BYTES_MAX, INPUTS};
            use $crate::seeds::long_seconds;

            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.unwrap();
            let fuzz = bolero::check!(name = stringify!($name)).with_max_len(INPUT_BYTES_MAX);
            let fuzz = match long_seconds() {
                Some(seconds) => fuzz.with_test_time(std::time::Duration::from_secs(seconds)),
                None => fuzz.with_iterations(INPUTS),
            };
            let inputs = AtomicU64::new(0);
            fuzz.for_each(|input: &[u8]| {
                inputs.fetch_add(1, Ordering::Relaxed);
                let target: fn(&tokio::runtime::Runtime, &[u8]) = $target;
                target(&runtime, input);
            });
            let inputs = inputs.into_inner();
            println!("{}: {inputs} inputs", stringify!($name));
            assert!(inputs > INPUTS as u64 || long_seconds().is_some(), "the corpus is replayed");
        }
    };
}

pub(crate) use target;
