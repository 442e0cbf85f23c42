//! Hostile masters, each probed in a child; the child is the program of these tests.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use proptest::prelude::*;

use super::*;

/// A prober whose child is this program, asked for the next function alone.
pub(crate) fn prober() -> Prober {
    Prober::new("/proc/self/exe", ["--exact", "prober::tests::child", "--ignored"])
}

#[test]
#[ignore = "the process that probes for the other tests"]
fn child() {
    answer_probe().unwrap();
}

fn atom(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len() + 8).unwrap();
    [&length.to_be_bytes()[..], name, content].concat()
}

/// An M4A whose sample table is these atoms.
fn m4a(tables: &[u8]) -> Vec<u8> {
    let brand = atom(b"ftyp", b"M4A \0\0\0\0M4A mp42isom\0\0\0\0");
    let nested = [b"stbl", b"minf", b"mdia", b"trak", b"moov"];
    let movie = nested.iter().fold(tables.to_vec(), |inner, name| atom(name, &inner));
    [brand, movie].concat()
}

async fn probe(bytes: &[u8]) -> Answer {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    prober().probe(file.path()).await
}

/// A program in the place of the child.
async fn impostor(script: &str) -> Answer {
    let home = tempfile::tempdir().unwrap();
    let program = home.path().join("impostor");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let begun = Instant::now();
    loop {
        let answer = Prober::new(&program, []).probe(&program).await;
        // A test beside this one that forks just now may still hold the file open for writing.
        let busy = |error: &io::Error| error.kind() == io::ErrorKind::ExecutableFileBusy;
        match answer {
            Err(ProbeError::Prober(error)) if busy(&error) => {
                assert!(begun.elapsed() < Duration::from_secs(30), "{error}");
            }
            answer => return answer,
        }
    }
}

#[tokio::test]
async fn a_file_that_asks_for_all_memory_is_damaged_and_nothing_else_is() {
    let count = [&[0; 4][..], &u32::MAX.to_be_bytes(), &[0; 64]].concat();
    let bomb = m4a(&atom(b"co64", &count));
    let answer = probe(&bomb).await;
    let damaged =
        matches!(&answer, Err(ProbeError::Damaged { reason }) if reason == "its reader gave up");
    assert!(damaged, "{answer:?}");
    assert!(!answer.unwrap_err().is_transient());
}

#[tokio::test]
async fn how_a_child_ends_tells_whose_fault_it_was() {
    for (script, transient, told) in [
        ("kill -SEGV $$", false, "the file is damaged: its reader gave up"),
        ("kill -XCPU $$", false, "the file took more than 60 s of work to read"),
        ("kill -KILL $$", true, "the file's reader did not run"),
        ("exit 1", true, "the file's reader did not run"),
        ("echo words; echo '{}'", true, "the file's reader did not run"),
        // Nobody reads more than so much, and it is not waited for.
        ("exec cat /dev/zero", true, "the file's reader did not run"),
        ("echo '{\"Err\":\"ZeroLength\"}'", false, "the audio has no length"),
    ] {
        let error = impostor(script).await.unwrap_err();
        assert_eq!((error.is_transient(), error.to_string().as_str()), (transient, told));
    }
    let absent = Prober::new("/absent", []).probe(Path::new("/proc/self/exe")).await;
    assert!(matches!(&absent, Err(error) if error.is_transient()), "{absent:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever its tables say they hold: the file is answered, and it is the file's fault.
    #[test]
    fn a_table_that_boasts_is_answered(
        tables in prop::collection::vec(
            (
                prop::sample::select(vec![
                    *b"co64", *b"stco", *b"stsz", *b"stts", *b"stsc", *b"stsd", *b"stss",
                ]),
                // The version, and what stands before the count.
                0..3_usize,
                prop_oneof![Just(u32::MAX), any::<u32>(), 0..100_000_u32],
                0..80_usize,
            ),
            1..5,
        ),
    ) {
        let table = |(name, before, count, rest): (_, usize, u32, usize)| {
            let fields = [&vec![0; before * 4][..], &count.to_be_bytes(), &vec![0; rest]].concat();
            atom(&name, &fields)
        };
        let bytes = m4a(&tables.into_iter().flat_map(table).collect::<Vec<u8>>());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(probe(&bytes));
        let fault = matches!(&answer, Err(error) if !error.is_transient());
        prop_assert!(fault, "{answer:?}");
    }
}
