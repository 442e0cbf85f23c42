//! The binary `veza`: its commands and exit codes.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use veza::config::{Config, Flags, Layers, listing};
use veza::event_store_server::{self, EventStoreArgs};
use veza::{serve, telemetry};

/// The platform for music-makers.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print every setting, its value and where that came from, as a TOML file.
    Config(Flags),
    /// Start the platform; SIGTERM or Ctrl-C stops it.
    Serve(Flags),
    /// Serve the event store alone, to EventStoreDB's clients.
    EventStore(EventStoreArgs),
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, causes and all: what an operator sees first should say everything.
            eprintln!("veza: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    match &cli.command {
        Command::Config(flags) => {
            let layers = Layers::gather(flags, std::env::vars_os())?;
            print!("{}", listing(&layers));
            for name in &layers.unknown_variables {
                eprintln!("veza: there is no setting {name}");
            }
            Config::read(&layers).map(drop).context("these settings do not work")
        }
        Command::Serve(flags) => {
            let layers = Layers::gather(flags, std::env::vars_os())?;
            for name in &layers.unknown_variables {
                eprintln!("veza: there is no setting {name}");
            }
            let config = Config::read(&layers)?;
            let metrics = telemetry::start(&config)?;
            until_stopped(|stop| serve::serve(config, metrics, stop))
        }
        Command::EventStore(args) => {
            until_stopped(|stop| event_store_server::serve(args.clone(), stop))
        }
    }
}

/// Runs until it ends by itself, or is told to by a signal.
fn until_stopped<F: Future<Output = anyhow::Result<()>>>(
    run: impl FnOnce(CancellationToken) -> F,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("no runtime")?;
    runtime.block_on(async { run(until_told_to_stop()?).await })
}

/// Cancelled by the first SIGTERM or SIGINT.
fn until_told_to_stop() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind).context("signals can't be heard")?;
        let stop = stop.clone();
        tokio::spawn(async move {
            signals.recv().await;
            stop.cancel();
        });
    }
    Ok(stop)
}
