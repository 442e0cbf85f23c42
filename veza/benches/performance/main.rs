//! The performance suite: each figure beside its baseline, both measured in one run.
//!
//! `cargo bench -p veza --bench performance -- store|grpc|command|query|projections` measures
//! those parts, or all without a name; the Makefile has a target for each. A part prints a table
//! and writes `target/bench/<part>.json`, and the same in Markdown beside it. `BENCH_FULL=1` adds
//! the long rows, `BENCH_SMOKE=1` only shows that everything runs: its figures mean nothing.
//!
//! | file | what is there |
//! | --- | --- |
//! | `store`, `grpc`, `command`, `query`, `projections` | the parts, each with its baselines |
//! | `table` | rows, as a table and as JSON |
//! | `load`, `http` | callers that ask as fast as they are answered, or at a pace |
//! | `platform`, `database` | the programs under test, as processes in folders of their own |
//! | `other_stores` | other event stores, beside which ours is measured |
//! | `raw_file`, `bare_server` | baselines: the disk alone, and a server that does nothing else |
//! | `events`, `world`, `requests` | what is appended and asked, from fixed seeds |
//! | `machine`, `scale` | what it runs on, and for how long |

mod bare_server;
mod command;
mod database;
mod events;
mod grpc;
mod http;
mod load;
mod machine;
mod other_stores;
mod platform;
mod projections;
mod query;
mod raw_file;
mod requests;
mod scale;
mod store;
mod table;
mod world;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use tokio::signal::unix::{SignalKind, signal};

use scale::Scale;
use table::Row;

const PARTS: [&str; 5] = ["store", "grpc", "command", "query", "projections"];

fn main() -> ExitCode {
    // Cargo adds `--bench`; the rest are names of parts.
    let named: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    match named.as_slice() {
        [role, file] if role == bare_server::ROLE => {
            return told(bare_server::serve(Path::new(file)));
        }
        [role, folder] if role == store::MEMORY_ROLE => {
            return told(store::tell_memory(Path::new(folder)));
        }
        _ => {}
    }
    let runtime = tokio::runtime::Runtime::new().expect("the system has threads");
    let outcome = runtime.block_on(until_interrupted(run(&named)));
    told(outcome)
}

fn told(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Ctrl-C drops what is at work, which ends the processes that it started.
async fn until_interrupted(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let stopped = async {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
    };
    tokio::select! {
        outcome = work => return outcome,
        () = stopped => {}
    }
    database::all_stopped().await;
    bail!("interrupted");
}

async fn run(named: &[String]) -> anyhow::Result<()> {
    let parts: Vec<&str> = match named {
        [] => PARTS.to_vec(),
        named => named.iter().map(String::as_str).collect(),
    };
    if let Some(unknown) = parts.iter().find(|part| !PARTS.contains(part)) {
        bail!("there is no part {unknown}; the parts are {}", PARTS.join(", "));
    }
    let scale = Scale::from_environment();
    let machine = machine::header()?;
    println!("{machine}");
    let (mut all, mut failed): (Vec<Row>, Vec<&str>) = (Vec::new(), Vec::new());
    for part in parts {
        println!("\n{part}");
        let measured = match part {
            "store" => store::measure(scale).await,
            "grpc" => grpc::measure(scale).await,
            "command" => command::measure(scale).await,
            "query" => query::measure(scale).await,
            _ => projections::measure(scale).await,
        };
        let written = measured.and_then(|rows| {
            let file = machine::bench_folder()?.join(scale.results(part));
            let told = format!("{machine}\n\n{}", table::markdown(&rows));
            table::write(&file, &rows)
                .and_then(|()| fs::write(file.with_extension("md"), told))
                .with_context(|| format!("can't write {}", file.display()))?;
            Ok(rows)
        });
        match written {
            Ok(rows) => all.extend(rows),
            Err(error) => {
                eprintln!("bench: {part}: {error:#}");
                failed.push(part);
            }
        }
    }
    println!("\n{}", table::table(&all));
    if !failed.is_empty() {
        bail!("these parts could not be measured: {}", failed.join(", "));
    }
    Ok(())
}
