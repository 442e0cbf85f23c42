//! The binary `veza`: its commands and exit codes.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use veza::config::{Config, Flags, Layers, listing};

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
            Config::read(&layers)
                .map(drop)
                .context("these settings do not work")
        }
    }
}
