//! What is measured on: processors, disk and memory, and where its files are.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;

use crate::raw_file;

/// How often the disk is tried for the header.
const SYNCS: usize = 200;

/// How many bytes each of them makes durable.
const SYNC_BYTES: usize = 256;

/// `target/bench`, where the results are written and everything that is measured lives.
pub fn bench_folder() -> anyhow::Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a workspace")?;
    let folder = workspace.join("target").join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
    Ok(folder)
}

/// A folder that is gone when it is dropped, on the disk that holds `target`.
pub fn scratch() -> anyhow::Result<TempDir> {
    let folder = TempDir::new_in(bench_folder()?)?;
    // The private PostgreSQL runs as another user where this one is root.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711))?;
    Ok(folder)
}

/// What to know about the machine, in a line.
pub fn header() -> anyhow::Result<String> {
    let folder = scratch()?;
    let mut syncs = raw_file::sync_times(folder.path(), SYNC_BYTES, SYNCS)?;
    syncs.sort_unstable();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = field(&memory, "MemTotal:").unwrap_or(0);
    Ok(format!(
        "commit {}; {} CPUs, {:.1} GiB of memory; disk: {} µs for {SYNC_BYTES} bytes and fdatasync \
         (median of {SYNCS}), {:.1} GiB free",
        commit(),
        thread::available_parallelism()?,
        kilobytes as f64 / (1 << 20) as f64,
        syncs[SYNCS / 2].as_micros(),
        free_bytes(&bench_folder()?)? as f64 / f64::from(1 << 30),
    ))
}

/// What is measured: the commit, and whether files of it were changed since.
fn commit() -> String {
    let git = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let said = git.ok().filter(|git| git.status.success());
    let said = said.map(|git| String::from_utf8_lossy(&git.stdout).trim().to_owned());
    said.unwrap_or_else(|| "unknown".to_owned())
}

/// What users may still write to the disk that holds this folder, in bytes.
pub fn free_bytes(folder: &Path) -> anyhow::Result<u64> {
    let about = rustix::fs::statvfs(folder)?;
    Ok(about.f_bavail * about.f_frsize)
}

/// The memory of this process that is its own, in MB: pages of mapped files do not count.
pub fn own_memory_mb() -> anyhow::Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kilobytes = |name| field(&status, name).with_context(|| format!("no {name}"));
    Ok(((kilobytes("RssAnon:")? + kilobytes("RssShmem:")?) << 10) as f64 / 1e6)
}

/// In what parts of a second Linux tells programs the time of processors (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// The time of processors that a process has taken so far, `self` being this one.
pub fn cpu_time(process: &str) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name of the program is in parentheses, and may have any character itself.
    let (_, behind_name) = stat.rsplit_once(')').context("a process has a name")?;
    let of_user_and_system = behind_name.split_whitespace().skip(11).take(2);
    let ticks: u32 = of_user_and_system.map(str::parse::<u32>).sum::<Result<_, _>>()?;
    Ok(TICK * ticks)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
