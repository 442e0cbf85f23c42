//! One run of `ffmpeg`, bounded in time and output, its last complaints kept.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit, setpriority_pgrp};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::{Ffmpeg, TranscodeError};
use crate::ending::is_crash;
use crate::limits::{FFMPEG_MEMORY_BYTES_MAX, FFMPEG_NICENESS, STDERR_TAIL_BYTES};

/// How often the output's size is looked at, in milliseconds.
const CHECK_MS: u64 = 250;

/// How `ffmpeg` ends when more packets failed to decode than it was told to bear.
const TOO_MANY_BAD: i32 = 69;

/// What the versions of `ffmpeg` say of a packet that does not decode.
const BAD_PACKET: [&str; 3] =
    ["Error while decoding stream", "Error submitting packet to decoder", "Decoding error:"];

/// What a run may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) time_ms: u64,
    /// How long it may keep a processor busy: what passes that does so whenever it is tried.
    pub(super) processor_ms: u64,
    pub(super) output_bytes: u64,
}

/// Runs the command to its end, or to the first bound it passes; it is dead when this returns.
pub(super) async fn run(
    mut command: Command,
    ffmpeg: &Ffmpeg,
    (source, folder): (&Path, &Path),
    bounds: Bounds,
) -> Result<(), TranscodeError> {
    let mut child = command.spawn().map_err(|error| ffmpeg.spawn_error(error))?;
    restrain(&child);
    let pid = child.id();
    let ended = tokio::select! {
        ended = timeout(Duration::from_millis(bounds.time_ms), complete(&mut child)) => {
            ended.unwrap_or(Err(TranscodeError::TimedOut { limit_ms: bounds.time_ms }))
        }
        passed = watch(pid, folder, &bounds) => Err(passed),
    };
    let (status, complaints) = match ended {
        Ok(ended) => ended,
        Err(passed) => {
            child.kill().await.map_err(TranscodeError::Scratch)?;
            return Err(passed);
        }
    };
    if status.success() {
        // A short run may end between two looks at its output.
        return check_output(folder, bounds.output_bytes).await;
    }
    Err(failure(status, &complaints, (source, folder)))
}

/// Lowers the priority of the child and all its threads, and bounds its memory: only what is its
/// own, since the address space of many threads is large and mostly nothing.
///
/// When that is not possible, the child has ended, which is seen elsewhere.
fn restrain(child: &Child) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let Some(pid) = pid else {
        return;
    };
    let bytes = Some(FFMPEG_MEMORY_BYTES_MAX);
    let memory = Rlimit { current: bytes, maximum: bytes };
    let bounded = prlimit(Some(pid), Resource::Data, memory);
    let lowered = setpriority_pgrp(Some(pid), FFMPEG_NICENESS);
    if let Err(error) = bounded.and(lowered) {
        tracing::debug!(%error, "ffmpeg runs unrestrained");
    }
}

async fn complete(child: &mut Child) -> Result<(ExitStatus, String), TranscodeError> {
    let stderr = child.stderr.take().expect("the command pipes its complaints");
    let (status, complaints) = tokio::join!(child.wait(), tail(stderr));
    let status = status.map_err(TranscodeError::Scratch)?;
    Ok((status, complaints.map_err(TranscodeError::Scratch)?))
}

/// Reads to the end and keeps the last bytes.
async fn tail(mut from: impl AsyncRead + Unpin) -> io::Result<String> {
    let mut kept = Vec::with_capacity(2 * STDERR_TAIL_BYTES);
    let mut piece = [0; STDERR_TAIL_BYTES];
    loop {
        let read = from.read(&mut piece).await?;
        if read == 0 {
            return Ok(String::from_utf8_lossy(&kept).into_owned());
        }
        kept.extend_from_slice(&piece[..read]);
        kept.drain(..kept.len().saturating_sub(STDERR_TAIL_BYTES));
    }
}

/// Returns only when it was at work for too long, or its output has grown too large or cannot be
/// looked at.
async fn watch(pid: Option<u32>, folder: &Path, bounds: &Bounds) -> TranscodeError {
    loop {
        sleep(Duration::from_millis(CHECK_MS)).await;
        if let Err(passed) = check_output(folder, bounds.output_bytes).await {
            return passed;
        }
        if pid.and_then(processor_ms).is_some_and(|busy_ms| busy_ms > bounds.processor_ms) {
            return TranscodeError::Endless { limit_ms: bounds.processor_ms };
        }
    }
}

/// How long a process has kept processors busy (`proc(5)`: fields 14 and 15 of `stat`, in ticks,
/// of which programs see 100 a second); `None` once it is gone.
fn processor_ms(pid: u32) -> Option<u64> {
    const TICK_MS: u64 = 10;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in the second field may have spaces.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().ok());
    Some(ticks.sum::<Option<u64>>()? * TICK_MS)
}

async fn check_output(folder: &Path, limit_bytes: u64) -> Result<(), TranscodeError> {
    let folder = folder.to_owned();
    let measured = spawn_blocking(move || size_bytes(&folder)).await.map_err(io::Error::other);
    match measured.flatten().map_err(TranscodeError::Scratch)? {
        size if size > limit_bytes => Err(TranscodeError::OutputTooLarge { limit_bytes }),
        _ => Ok(()),
    }
}

fn size_bytes(folder: &PathBuf) -> io::Result<u64> {
    let mut size = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size += size_bytes(&entry.path())?,
            Ok(metadata) => size += metadata.len(),
            // `ffmpeg` renames its temporary files while they are counted.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(size)
}

fn failure(
    status: ExitStatus,
    complaints: &str,
    (source, folder): (&Path, &Path),
) -> TranscodeError {
    if complaints.contains("No space left on device") {
        return TranscodeError::Full;
    }
    if is_crash(status) {
        return TranscodeError::Failed { reason: "ffmpeg broke down over it".to_owned() };
    }
    if status.code().is_none() {
        return TranscodeError::Stopped;
    }
    // Damaged sound may also decode to more channels than there are loudspeakers, at which it ends
    // with complaints of those.
    let is_bad = || BAD_PACKET.iter().any(|told| complaints.contains(told));
    if status.code() == Some(TOO_MANY_BAD) || is_bad() {
        return TranscodeError::Damaged;
    }
    // The reason is shown to people, who have no use for this machine's paths and addresses.
    let without_source = complaints.replace(&format!("file:{}", source.display()), "the master");
    let without_folder = without_source.replace(&*folder.to_string_lossy(), "");
    let lines: Vec<&str> = without_folder.lines().map(without_speaker).collect();
    let spoken: Vec<&str> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    let reason = match spoken.len() {
        0 => status.to_string(),
        count => spoken[count.saturating_sub(3)..].join("; "),
    };
    TranscodeError::Failed { reason }
}

/// A line without the part of `ffmpeg` that says it, `[wav @ 0x55d0c0ffee00]`.
fn without_speaker(line: &str) -> &str {
    let line = line.trim();
    let speaker = line.strip_prefix('[').and_then(|line| line.split_once("] "));
    match speaker.filter(|(speaker, _)| speaker.contains(" @ 0x")) {
        Some((_, said)) => without_speaker(said),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_says_what_is_wrong_and_nothing_of_the_machine() {
        let complaints = "[in#0 @ 0x55d0] [wav @ 0x55d1c0ffee00] Invalid sample rate: -1\n\
            [Parsed] kept\nfile:/srv/data/masters/7: Invalid data\n/srv/scratch/1/a.m4s: gone\n";
        let status = std::os::unix::process::ExitStatusExt::from_raw(1 << 8);
        let paths = (Path::new("/srv/data/masters/7"), Path::new("/srv/scratch/1"));
        let TranscodeError::Failed { reason } = failure(status, complaints, paths) else {
            panic!("it failed");
        };
        assert_eq!(reason, "[Parsed] kept; the master: Invalid data; /a.m4s: gone");
        assert_eq!(without_speaker(complaints.lines().next().unwrap()), "Invalid sample rate: -1");
    }

    #[tokio::test]
    async fn only_the_end_of_long_complaints_is_kept() {
        let mut long = "x".repeat(10 * STDERR_TAIL_BYTES + 77);
        long.push_str("the end");
        let kept = tail(long.as_bytes()).await.unwrap();
        assert_eq!(kept.len(), STDERR_TAIL_BYTES);
        assert!(kept.ends_with("xthe end"));
    }
}
