//! The `ffmpeg` program: found, asked for its version, and set up to run politely.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::limits::FFMPEG_VERSION_MS_MAX;

/// An `ffmpeg` that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ffmpeg {
    program: PathBuf,
    version: String,
}

/// Why there is no `ffmpeg` to work with.
#[derive(Debug, thiserror::Error)]
pub enum FfmpegError {
    /// It is not installed, or not where it was said to be.
    #[error("ffmpeg is missing: {searched}; install it (apt-get install ffmpeg)")]
    FfmpegMissing {
        /// Where it was looked for.
        searched: String,
    },
    /// A program is there, and does not answer as `ffmpeg` does.
    #[error("{} does not work as ffmpeg: {reason}", program.display())]
    Unusable {
        /// The program.
        program: PathBuf,
        /// What it did instead.
        reason: String,
    },
}

impl Ffmpeg {
    /// Finds `ffmpeg` on the `PATH`.
    ///
    /// # Errors
    /// [`FfmpegError`], in one line that says what to do.
    pub async fn locate() -> Result<Self, FfmpegError> {
        Self::locate_in(&env::var_os("PATH").unwrap_or_default()).await
    }

    /// Takes the program at this path.
    ///
    /// # Errors
    /// As [`Ffmpeg::locate`].
    pub async fn at(program: impl Into<PathBuf>) -> Result<Self, FfmpegError> {
        let program = program.into();
        let version = ask_version(&program).await?;
        Ok(Self { program, version })
    }

    /// Where it is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its version as it calls it, such as `5.1.9-0+deb12u1`.
    pub fn version(&self) -> &str {
        &self.version
    }

    async fn locate_in(path: &OsStr) -> Result<Self, FfmpegError> {
        let candidate = env::split_paths(path)
            .map(|folder| folder.join("ffmpeg"))
            .find(|candidate| candidate.is_file());
        match candidate {
            Some(program) => Self::at(program).await,
            None => {
                let searched = "it is in no folder of the PATH".to_owned();
                Err(FfmpegError::FfmpegMissing { searched })
            }
        }
    }

    /// A run in this folder: killed when dropped, and out of the way of a terminal's Ctrl-C, which
    /// is for the platform to answer.
    pub(super) fn command(&self, arguments: &[OsString], folder: &Path) -> Command {
        let mut command = quiet_command(&self.program);
        command.args(arguments).current_dir(folder).stderr(Stdio::piped());
        command
    }

    pub(super) fn spawn_error(&self, error: io::Error) -> FfmpegError {
        spawn_error(&self.program, error)
    }
}

fn quiet_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        // `ffmpeg` listens to variables, such as `FFREPORT`, that would have it write files.
        .env_clear()
        .envs(env::var_os("PATH").map(|path| ("PATH", path)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    command
}

async fn ask_version(program: &Path) -> Result<String, FfmpegError> {
    let unusable = |reason: String| FfmpegError::Unusable { program: program.to_owned(), reason };
    let mut command = quiet_command(program);
    let answer = command.arg("-version").stdout(Stdio::piped()).output();
    let answer = timeout(Duration::from_millis(FFMPEG_VERSION_MS_MAX), answer)
        .await
        .map_err(|_| unusable(format!("no answer within {FFMPEG_VERSION_MS_MAX} ms")))?
        .map_err(|error| spawn_error(program, error))?;
    if !answer.status.success() {
        return Err(unusable(format!("it ended with {}", answer.status)));
    }
    let text = String::from_utf8_lossy(&answer.stdout);
    let version = text.strip_prefix("ffmpeg version ").and_then(|rest| rest.split(' ').next());
    version.map(str::to_owned).ok_or_else(|| unusable("it tells no version".to_owned()))
}

fn spawn_error(program: &Path, error: io::Error) -> FfmpegError {
    match error.kind() {
        io::ErrorKind::NotFound => {
            FfmpegError::FfmpegMissing { searched: format!("no {}", program.display()) }
        }
        _ => FfmpegError::Unusable { program: program.to_owned(), reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_found_and_names_its_version() {
        let ffmpeg = Ffmpeg::locate().await.unwrap();
        assert!(ffmpeg.program().is_absolute());
        assert!(!ffmpeg.version().is_empty() && !ffmpeg.version().contains(char::is_whitespace));
    }

    #[tokio::test]
    async fn a_missing_one_is_one_clear_line() {
        let home = tempfile::tempdir().unwrap();
        let on_path = Ffmpeg::locate_in(home.path().as_os_str()).await.unwrap_err();
        let named = Ffmpeg::at(home.path().join("ffmpeg")).await.unwrap_err();
        for error in [on_path, named] {
            assert!(matches!(error, FfmpegError::FfmpegMissing { .. }), "{error:?}");
            let line = error.to_string();
            assert!(line.starts_with("ffmpeg is missing") && !line.contains('\n'), "{line}");
        }
    }

    #[tokio::test]
    async fn another_program_is_not_taken_for_it() {
        for program in ["/bin/false", "/bin/echo", "/"] {
            let error = Ffmpeg::at(program).await.unwrap_err();
            assert!(matches!(error, FfmpegError::Unusable { .. }), "{program}: {error:?}");
        }
    }
}
