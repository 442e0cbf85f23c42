//! The process that a master is probed in: it bounds itself, so a file takes down nothing else.
//!
//! The file is its standard input, and its answer a line of JSON on standard output. Readers of
//! formats believe what a file says of itself; one that says it has 2³² chunks has them ask for
//! 32 GiB, and a process that gets none is aborted, which no thread survives.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::ending::{ended_by, is_crash};
use crate::limits::{
    PROBE_ANSWER_BYTES_MAX, PROBE_CPU_SECONDS_MAX, PROBE_MEMORY_BYTES_MAX, PROBE_MS_MAX,
};
use crate::object_key::ObjectKey;
use crate::probe::{AudioFacts, ProbeError, probe_file};
use crate::storage::ObjectStorage;

/// What the child says.
type Answer = Result<AudioFacts, ProbeError>;

/// Probes masters, each in a process of its own.
#[derive(Debug, Clone)]
pub struct Prober {
    program: PathBuf,
    arguments: Vec<String>,
}

/// What the child does: bounds itself, probes its standard input, and answers.
///
/// # Errors
/// When the input is no file that can be read, or nobody takes the answer.
pub fn answer_probe() -> io::Result<()> {
    bound(Resource::As, PROBE_MEMORY_BYTES_MAX)?;
    bound(Resource::Cpu, PROBE_CPU_SECONDS_MAX)?;
    // A child that is aborted for its file leaves no image of its memory behind.
    bound(Resource::Core, 0)?;
    let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let answer: Answer = catch_unwind(|| probe_file(file)).unwrap_or_else(|_| Err(gave_up()));
    let answer = serde_json::to_string(&answer).map_err(io::Error::other)?;
    // On a line of its own, whatever the program has said before.
    writeln!(io::stdout(), "\n{answer}")
}

fn bound(resource: Resource, most: u64) -> io::Result<()> {
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    Ok(setrlimit(resource, limit)?)
}

fn gave_up() -> ProbeError {
    ProbeError::Damaged { reason: "its reader gave up".to_owned() }
}

impl Prober {
    /// A prober whose child is this program with these arguments; it calls [`answer_probe`].
    pub fn new<const N: usize>(program: impl Into<PathBuf>, arguments: [&str; N]) -> Self {
        Self { program: program.into(), arguments: arguments.map(str::to_owned).into() }
    }

    /// Probes an object. When this is dropped, the child is killed.
    ///
    /// # Errors
    /// When the object is not sound that can become a track, each reason its own [`ProbeError`];
    /// when it is not there, or the child could not do its work.
    pub async fn probe_object(
        &self,
        storage: &dyn ObjectStorage,
        key: &ObjectKey,
    ) -> Result<AudioFacts, ProbeError> {
        let file = storage.local_file(key).await?;
        self.probe(file.path()).await
    }

    pub(crate) async fn probe(&self, path: &Path) -> Result<AudioFacts, ProbeError> {
        let file = tokio::fs::File::open(path).await.map_err(ProbeError::Io)?;
        let asked = self.ask(file.into_std().await);
        let answered = timeout(Duration::from_millis(PROBE_MS_MAX), asked).await;
        let answered = answered.map_err(|_| ProbeError::TimedOut { limit_ms: PROBE_MS_MAX })?;
        let (status, said) = answered.map_err(ProbeError::Prober)?;
        understand(status, &said)
    }

    async fn ask(&self, file: File) -> io::Result<(ExitStatus, Vec<u8>)> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .stdin(file)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let mut said = Vec::new();
        let stdout = child.stdout.take().expect("the command pipes its answer");
        stdout.take(PROBE_ANSWER_BYTES_MAX).read_to_end(&mut said).await?;
        Ok((child.wait().await?, said))
    }
}

fn understand(status: ExitStatus, said: &[u8]) -> Answer {
    if ended_by(status, Signal::XCPU) {
        return Err(ProbeError::TooSlow { limit_seconds: PROBE_CPU_SECONDS_MAX });
    }
    if is_crash(status) {
        return Err(gave_up());
    }
    let mut lines = said.split(|byte| *byte == b'\n');
    let answer = lines.find_map(|line| serde_json::from_slice::<Answer>(line).ok());
    let none = || Err(ProbeError::Prober(io::Error::other(format!("no answer, {status}"))));
    answer.unwrap_or_else(none)
}

#[cfg(test)]
pub(crate) mod tests;
