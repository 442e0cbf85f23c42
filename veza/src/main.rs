//! The binary `veza`: its commands and exit codes.

#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context;
use chrono::Utc;
use clap::{Parser, Subcommand};
use projections::with_causes;
use veza::config::{Config, Flags, Layers, PlaceFlags, listing};
use veza::console::{complain, say};
use veza::event_store_keys::{self, EventStoreKeysArgs};
use veza::event_store_server::{self, EventStoreArgs};
use veza::saga_role::PROBE_COMMAND;
use veza::signing_keys::{self, KeysArgs};
use veza::stopping::Stopping;
use veza::user::{self, UserArgs};
use veza::{console, data_folder, postgres_server, serve, telemetry};

/// The exit code of whoever was stopped by a second Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

/// The platform for music-makers: publish, stream, talk and sell.
///
/// `veza serve` starts all of it on this machine. Every setting is a variable VEZA_... or a key
/// in a TOML file; `veza config` lists them with their values.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the platform, or some of its roles
    ///
    /// Ctrl-C, SIGTERM or the closed terminal stops it: requests under way end, and every part is
    /// closed. A second Ctrl-C ends it at once; nothing that was acknowledged is lost either way.
    Serve(Flags),
    /// Print every setting, its value and where that came from, as a TOML file
    Config(Flags),
    /// Make accounts and give roles, on the server's own machine
    ///
    /// Beside the running platform, or on its data folder while it is stopped.
    User(UserArgs),
    /// List and rotate the keys that sign access tokens, on the server's own machine
    Keys(KeysArgs),
    /// Serve the event store alone, to EventStoreDB's clients
    ///
    /// It takes the variables named below, each of which may also begin with KURRENTDB_ (which wins
    /// over EVENTSTORE_), and of the platform's settings those of its messages
    /// (VEZA_LOG, VEZA_LOG_FORMAT) and of encryption (VEZA_KEYS, VEZA_EVENT_STORE_KEY_FILE,
    /// VEZA_EVENT_STORE_KEY, VEZA_EVENT_STORE_ENCRYPTION).
    EventStore(EventStoreArgs),
    /// Make and change the keys that the event store is encrypted with
    EventStoreKeys(EventStoreKeysArgs),
    /// Run the private PostgreSQL alone, for roles that are processes of their own
    Postgres(PlaceFlags),
    /// Probe the master on standard input, for the platform itself
    #[command(name = PROBE_COMMAND, hide = true)]
    Probe,
}

fn main() -> ExitCode {
    data_folder::keep_private();
    let (words, needless) = event_store_server::command_line(std::env::args_os());
    let cli = Cli::parse_from(words);
    needless.into_iter().for_each(complain);
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            // One line, causes and all: what an operator sees first should say everything.
            complain(one_line(&with_causes(error.as_ref())));
            ExitCode::FAILURE
        }
    }
}

fn one_line(words: &str) -> String {
    words.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Config(flags) => {
            let layers = gather(&flags)?;
            say(listing(&layers).trim_end());
            Config::read(&layers).context("these settings do not work")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Serve(flags) => {
            let config = Config::read(&gather_to_serve(&flags)?)?;
            let metrics = telemetry::start(&config)?;
            until_stopped(|stopping| serve::serve(config, metrics, stopping))
        }
        Command::User(args) => {
            let config = Config::read(&gather(&args.place.flags())?)?;
            telemetry::start(&config)?;
            until_stopped(|stopping| async move {
                let told = "stopped in the midst of it; the same command can be given again";
                let running = user::run(args, config);
                stopping.gently.run_until_cancelled(running).await.context(told)?
            })
        }
        Command::Keys(args) => {
            let config = Config::read(&gather(&args.place.flags())?)?;
            signing_keys::run(&args, &config, Utc::now())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::EventStore(args) => {
            let settings = args.read(|name| std::env::var_os(name))?;
            let set = std::env::vars_os().filter(|(_, value)| !value.is_empty());
            let names = set.map(|(name, _)| name);
            event_store_server::ignored(names).into_iter().for_each(complain);
            let read = std::env::vars_os()
                .filter(|(name, _)| !event_store_server::is_of_the_platform(name));
            let config = Config::read(&heeded(gather_from(&settings.flags(), read)?))?;
            telemetry::start(&config)?;
            until_stopped(|stopping| event_store_server::serve(settings, config, stopping.gently))
        }
        Command::EventStoreKeys(args) => {
            let config = Config::read(&gather(&args.place.flags())?)?;
            telemetry::start(&config)?;
            until_stopped(|_| event_store_keys::run(args, config))
        }
        Command::Probe => {
            media::answer_probe().context("the master was not probed")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Postgres(place) => {
            let config = Config::read(&gather_to_serve(&place.flags())?)?;
            telemetry::start(&config)?;
            until_stopped(|stopping| postgres_server::serve(config, stopping))
        }
    }
}

/// What was set; what is ignored of it is told.
fn gather(flags: &Flags) -> anyhow::Result<Layers> {
    gather_from(flags, std::env::vars_os())
}

/// The same out of these variables.
fn gather_from(
    flags: &Flags,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> anyhow::Result<Layers> {
    let layers = Layers::gather(flags, variables)?;
    layers.ignored().for_each(complain);
    Ok(layers)
}

/// What was set for who serves, and complains as its log tells.
fn gather_to_serve(flags: &Flags) -> anyhow::Result<Layers> {
    gather(flags).map(heeded)
}

/// These settings, once complaints are told as they ask for.
fn heeded(layers: Layers) -> Layers {
    if layers.get("log_format").is_some_and(|(format, _)| format == "json") {
        console::complain_in_json();
    }
    layers
}

/// Runs until it ends by itself, or is told to by a signal.
fn until_stopped<F: Future<Output = anyhow::Result<()>>>(
    run: impl FnOnce(Stopping) -> F,
) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("no runtime")?;
    let (ended, at_once) = runtime.block_on(async {
        let stopping = Stopping::by_signals().context("signals can't be heard")?;
        let ended = run(stopping.clone()).await;
        anyhow::Ok((ended, stopping.at_once.is_cancelled()))
    })?;
    if at_once {
        // What still runs is left where it is.
        runtime.shutdown_background();
        complain("stopped at once");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    ended.map(|()| ExitCode::SUCCESS)
}
