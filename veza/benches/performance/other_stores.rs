//! Other event stores, measured beside ours: their servers as processes in folders of their own.
//!
//! `deploy/local/other-stores` installs them and tells in variables where they are; `make
//! bench-grpc` runs beside it. Without them their rows say that they were not measured.

mod sierradb;
mod umadb;

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

pub use sierradb::{SierraDb, SierraWriter};
pub use umadb::{UmaClient, UmaDb};

/// How long a start may take.
const START_TIME_MAX: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(20);

/// A server's program.
#[derive(Clone, Debug)]
struct Program {
    path: PathBuf,
    /// Its name and version, in its own words.
    version: String,
}

impl Program {
    /// The one that the variable names; none, and loudly, where it is not set.
    async fn named(variable: &str, name: &str) -> anyhow::Result<Option<Self>> {
        let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()) else {
            eprintln!("bench: {name} WILL NOT BE MEASURED: {variable} names no server of it");
            return Ok(None);
        };
        let path = PathBuf::from(path);
        let said = Command::new(&path).arg("--version").output().await;
        let said = said.with_context(|| format!("can't run {}", path.display()))?;
        ensure!(said.status.success(), "{} --version: {}", path.display(), said.status);
        let version = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        println!("  beside it: {version}");
        Ok(Some(Self { path, version }))
    }

    /// Starts it in this folder, and waits until it listens. It sees no settings but these
    /// arguments.
    async fn start(
        &self,
        folder: &Path,
        address: SocketAddr,
        arguments: &[OsString],
    ) -> anyhow::Result<Server> {
        let log = folder.join("log");
        let output = File::create(&log)?;
        let mut process = Command::new(&self.path)
            .args(arguments)
            .env_clear()
            .env("HOME", folder)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()?;
        let deadline = Instant::now() + START_TIME_MAX;
        while TcpStream::connect(address).await.is_err() {
            if process.try_wait()?.is_some() || Instant::now() > deadline {
                let said = fs::read_to_string(&log).unwrap_or_default();
                bail!("{} did not start: {said}", self.version);
            }
            tokio::time::sleep(POLL).await; // poll
        }
        Ok(Server { address, _process: process })
    }
}

/// A running server; killed when this is dropped.
struct Server {
    address: SocketAddr,
    _process: Child,
}

/// A port that was free just now.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// A new folder of this name in the folder.
fn new_folder(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let folder = folder.join(name);
    fs::create_dir(&folder)?;
    Ok(folder)
}
