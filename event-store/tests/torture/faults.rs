//! Kills and failures at exactly the nth call of the system, on a real process (by strace).

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::process::{Life, is_sound, live};

/// Every call by which the store changes its files, and those that make the changes durable.
const CALLS: [&str; 7] =
    ["pwrite64", "fdatasync", "fsync", "fallocate", "ftruncate", "rename", "unlink"];

/// No thread of the process makes so many of one call.
const CALLS_MAX: u32 = 200;

/// Whether there is a strace that can do it.
fn strace_is_there() -> bool {
    let version = Command::new("strace").arg("-V").output();
    let is_there = version.is_ok_and(|output| output.status.success());
    if !is_there {
        assert!(std::env::var_os("CI").is_none(), "strace is needed: run deploy/local/setup");
        eprintln!("SKIPPED: strace is needed, `deploy/local/setup` installs it");
    }
    is_there
}

/// A life with a fault in a call, as strace writes it; each thread counts its calls for itself.
async fn life_with(call: &str, fault: &str) -> Life {
    let folder = TempDir::new().unwrap();
    life_in(folder.path(), call, fault, &[]).await
}

/// The same in this folder, where only calls that are about these files have the fault, if any are
/// given.
async fn life_in(folder: &Path, call: &str, fault: &str, files: &[PathBuf]) -> Life {
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:{fault}"));
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", trace.as_str(), "-e", &inject];
    let mut below = strace.map(OsStr::new).to_vec();
    for file in files {
        below.extend([OsStr::new("-P"), file.as_os_str()]);
    }
    let life = live(folder, &below);
    is_sound(folder, &life).await;
    life
}

/// Given a process that writes, when it is killed as soon as a thread of it makes its nth call of
/// any kind, for every n until none comes so far, then what it acknowledged is there and no append
/// by half. (Every step of all threads together is gone through over `SimDisk`, in `crash.rs`.)
#[tokio::test]
async fn a_kill_at_any_call_loses_nothing() {
    if !strace_is_there() {
        return;
    }
    let mut kills = Vec::new();
    for call in CALLS {
        let mut nth = 1;
        while life_with(call, &format!("signal=KILL:when={nth}")).await.killed {
            nth += 1;
            assert!(nth < CALLS_MAX, "{call} has no end");
        }
        assert!(nth > 1, "the store never calls {call}");
        kills.push(format!("{call} {}", nth - 1));
    }
    println!("killed at each of: {}", kills.join(", "));
}

/// Given a write or a sync that fails once, at any time, when more is appended, then nothing is
/// acknowledged until the store is opened again, and what was acknowledged before is there.
#[tokio::test]
async fn a_failed_call_stops_the_writer_until_it_is_opened_again() {
    if !strace_is_there() {
        return;
    }
    let mut stopped = 0;
    for call in ["pwrite64", "fdatasync"] {
        for nth in 1..=8 {
            let life = life_with(call, &format!("error=EIO:when={nth}")).await;
            for opening in &life.openings {
                let failed = opening.appends.iter().position(Result::is_err);
                let after = failed.map_or(&[][..], |failed| &opening.appends[failed..]);
                assert!(after.iter().all(Result::is_err), "{call} {nth}: {life:?}");
                stopped += usize::from(failed.is_some());
            }
        }
    }
    assert!(stopped >= 8, "most of these are appends, not {stopped}");
}

/// Given no right or no room to open a file of the store, whichever it is, then the opening or the
/// append is refused, nothing is lost, and the same store goes on once it may.
#[tokio::test]
async fn a_file_that_can_not_be_opened_is_told() {
    if !strace_is_there() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let whole = live(folder.path(), &["env"]);
    assert_eq!((whole.openings.len(), whole.refusals().count()), (2, 0), "{whole:?}");
    let mut names = Vec::new();
    for file in fs::read_dir(folder.path()).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        // Both are made under another name.
        let is_made = [".idx", ".log"].iter().any(|end| name.ends_with(end));
        names.extend(is_made.then(|| format!("{name}.tmp")));
        names.push(name);
    }
    let (mut refused, mut unopened) = (0, 0);
    for error in ["EMFILE", "EACCES"] {
        for name in &names {
            let folder = TempDir::new().unwrap();
            let files = [folder.path().join(name)];
            let fault = format!("error={error}:when=1");
            let life = life_in(folder.path(), "openat", &fault, &files).await;
            for opening in &life.openings {
                let refusals = opening.appends.iter().filter(|append| append.is_err()).count();
                assert!(refusals <= 1, "{name} {fault}: {life:?}");
                refused += refusals;
                unopened += usize::from(opening.appends.is_empty());
            }
        }
    }
    println!("{unopened} openings and {refused} appends were refused");
    assert!(unopened >= 4 && refused >= 4, "{unopened} openings, {refused} appends");
}

/// Given calls that are interrupted or that a file system can't do, then nobody notices.
#[tokio::test]
async fn an_interrupted_call_is_made_again() {
    if !strace_is_there() {
        return;
    }
    let interrupted = ["pwrite64", "fdatasync", "fsync", "fallocate"];
    let mut faults = interrupted.map(|call| (call, "error=EINTR:when=1+2")).to_vec();
    faults.push(("fallocate", "error=EOPNOTSUPP"));
    for (call, fault) in faults {
        let life = life_with(call, fault).await;
        assert_eq!(life.refusals().count(), 0, "{call} {fault}: {life:?}");
        assert_eq!(life.openings.len(), 2);
        assert!(life.openings.iter().all(|opening| opening.appends.len() == 7));
    }
}

/// Given a disk that is full for one write, then that append is refused as such, and the next is
/// taken by the same writer.
#[tokio::test]
async fn a_full_disk_stops_no_writer() {
    if !strace_is_there() {
        return;
    }
    for nth in 1..=6 {
        let life = life_with("pwrite64", &format!("error=ENOSPC:when={nth}")).await;
        assert!(life.refusals().all(|why| why == "full"), "write {nth}: {life:?}");
        let appends = life.openings.iter().map(|opening| opening.appends.len()).sum::<usize>();
        assert!(life.acknowledged().count() + 2 >= appends, "write {nth}: {life:?}");
    }
}
