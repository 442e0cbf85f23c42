//! The binary `veza-replay`: the log of a running platform, or of a data folder at rest.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser;
use event_store::{ClientStore, EmbeddedOptions, EmbeddedStore, EventStore, OpenError};
use replay_tool::{Format, Output, ReplayCommand, ReplayError, Verdict, run};
use veza::run_file;

/// Look into the event log. It changes nothing.
///
/// Exit code: 0 good, 1 something found bad, 2 wrong usage, 3 the store can't be reached.
#[derive(Debug, Parser)]
#[command(name = "veza-replay", version)]
struct Cli {
    /// The data folder; a platform that runs on it is asked over gRPC
    #[arg(long, global = true, env = "VEZA_DATA", default_value = "./veza-data")]
    data: PathBuf,
    /// Another store, by its connection string, such as esdb://127.0.0.1:2113?tls=false
    #[arg(long, global = true, value_name = "URL")]
    store: Option<String>,
    /// Print JSON, one document a line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: ReplayCommand,
}

const FOUND_BAD: u8 = 1;
const UNREACHABLE: u8 = 3;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let store = match open(&cli).await {
        Ok(store) => store,
        Err(error) => {
            eprintln!("veza-replay: {error:#}");
            return ExitCode::from(UNREACHABLE);
        }
    };
    let format = if cli.json { Format::Json } else { Format::Text };
    let mut stdout = io::BufWriter::new(io::stdout());
    let outcome = run(&*store, &cli.command, &mut Output::new(&mut stdout, format)).await;
    let outcome = outcome.and_then(|verdict| {
        stdout.flush()?;
        Ok(verdict)
    });
    match outcome {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Bad) => ExitCode::from(FOUND_BAD),
        // Whoever closed the pipe has seen enough.
        Err(ReplayError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("veza-replay: {error}");
            ExitCode::from(if error.is_unreachable() { UNREACHABLE } else { FOUND_BAD })
        }
    }
}

async fn open(cli: &Cli) -> anyhow::Result<Arc<dyn EventStore>> {
    if let Some(connection_string) = &cli.store {
        return Ok(Arc::new(ClientStore::new(connection_string)?));
    }
    let folder = cli.data.join("events");
    if !folder.is_dir() {
        anyhow::bail!("there is no event store in {}", cli.data.display());
    }
    match EmbeddedStore::open(EmbeddedOptions::folder(&folder)).await {
        Ok(store) => Ok(Arc::new(store)),
        Err(OpenError::Locked { .. }) => running(&cli.data),
        Err(error) => Err(error.into()),
    }
}

/// The store of the platform that runs on the folder.
fn running(data: &Path) -> anyhow::Result<Arc<dyn EventStore>> {
    let address = run_file::event_store(data)
        .context("the folder is in use, and run.json does not say where its event store is")?;
    let store = ClientStore::new(&format!("esdb://{address}?tls=false"))?;
    Ok(Arc::new(store))
}
