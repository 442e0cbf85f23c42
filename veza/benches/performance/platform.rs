//! The programs under test: `veza serve` and `veza event-store`, as processes on free ports.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use event_store::{ClientStore, EventStore as _};
use projections::{ModelId, Watermarks, postgres, search};
use serde_json::Value;
use sqlx::PgPool;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::database::Database;
use crate::machine::cpu_time;

/// How long a start may take, the models' first build included.
const START_TIME_MAX: Duration = Duration::from_secs(180);

/// How long the models may take to come after what was appended.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(180);

const POLL: Duration = Duration::from_millis(50);

/// The address that its tokens are from.
pub const PUBLIC_URL: &str = "http://veza.test";

/// A running platform; killed when this is dropped.
pub struct Platform {
    pub http: SocketAddr,
    /// The connection string of its event store.
    pub event_store: String,
    process: Child,
    log: PathBuf,
}

/// The platform's data folder below this one.
pub fn data_folder(folder: &Path) -> PathBuf {
    folder.join("data")
}

impl Platform {
    /// Starts it on the data below this folder and on this database, and waits until its models
    /// have everything that is in the log. Nothing is set but addresses, and that callers are not
    /// slowed down.
    pub async fn start(folder: &Path, database: &Database) -> anyhow::Result<Self> {
        let data = data_folder(folder);
        let log = folder.join("veza.log");
        let output = File::create(&log)?;
        let process = veza(&["serve", "--data"])
            .arg(&data)
            .env("VEZA_HTTP", "127.0.0.1:0")
            .env("VEZA_EVENT_STORE_LISTEN", "127.0.0.1:0")
            .env("VEZA_PUBLIC_URL", PUBLIC_URL)
            .env("VEZA_DATABASE_URL", database.url())
            .env("VEZA_RATE_LIMITS", "off")
            .env("VEZA_LOG", "warn")
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut platform = Self { http: nowhere, event_store: String::new(), process, log };
        let run = platform.run_file(&data.join("run.json")).await?;
        let address = |key: &str| run[key].as_str().with_context(|| format!("no {key} in {run}"));
        platform.http = address("http")?.parse()?;
        platform.event_store = format!("esdb://{}?tls=false", address("event_store")?);
        platform.settle(&database.pool).await?;
        Ok(platform)
    }

    /// Polls until it says where its doors are.
    async fn run_file(&mut self, path: &Path) -> anyhow::Result<Value> {
        let deadline = Instant::now() + START_TIME_MAX;
        loop {
            if let Ok(text) = fs::read(path) {
                return Ok(serde_json::from_slice(&text)?);
            }
            let ended = self.process.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                bail!("the platform did not start: {}", said.lines().last().unwrap_or("silence"));
            }
            tokio::time::sleep(POLL).await; // poll
        }
    }

    /// Waits until every model has everything that is in the log now; tells how long it took.
    pub async fn settle(&self, pool: &PgPool) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let head = ClientStore::new(&self.event_store)?.head().await?;
        let watermarks = Watermarks::remote(pool.clone());
        watermarks.wait_for(&models(), head, SETTLE_TIME_MAX).await?;
        Ok(began.elapsed())
    }
}

/// Every model that the platform fills.
fn models() -> Vec<ModelId> {
    let ids = postgres::projections().into_iter().map(|projection| projection.id());
    ids.chain([search::postgres::MODEL]).collect()
}

/// A running event store; killed when this is dropped.
pub struct EventStoreServer {
    /// Its connection string.
    pub url: String,
    process: Child,
    // It would break if it printed into a pipe that nobody holds.
    _output: Lines<BufReader<ChildStdout>>,
}

impl EventStoreServer {
    /// Serves the log in `events` in this folder.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let mut process = veza(&["event-store", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().context("its output is piped")?;
        let mut output = BufReader::new(output).lines();
        while let Some(line) = output.next_line().await? {
            if let Some((_, address)) = line.split_once("esdb://") {
                let url = format!("esdb://{}", address.trim());
                return Ok(Self { url, process, _output: output });
            }
        }
        bail!("the event store did not start")
    }

    /// The time of processors that it has taken so far.
    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        cpu_time(&self.process.id().context("it has ended")?.to_string())
    }
}

/// The program, with nothing of this process's settings.
fn veza(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_veza"));
    let kept = ["PATH", "TMPDIR", "HOME"];
    let kept = kept.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    command.args(arguments).env_clear().envs(kept).stdin(Stdio::null()).kill_on_drop(true);
    command
}
