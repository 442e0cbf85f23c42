//! The binary `veza-replay`: the log of a running platform, or of a data folder at rest, and the
//! read models made from it.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use event_store::{EmbeddedStore, OpenError, StoreError, SubjectKeys, SubjectKeysError};
use replay_tool::command::{FOUND_BAD, UNREACHABLE, USAGE};
use replay_tool::{
    FolderCommand, Format, ModelCommand, Output, ReplayCommand, ReplayError, Verdict, corrupt, run,
    run_on_folder, run_on_models, shown,
};
use sagas::orchestrator::ResumeError;
use thiserror::Error;
use veza::config::{Config, Flags, Layers, PLATFORM};
use veza::giving_up::{GiveUpArgs, People, give_up};
use veza::log_guard::LogRefusal;
use veza::replay::{Log, PartsError, ReadSide, fold_saga};
use veza::resume::{NotResumed, ResumeArgs, resume_all, resume_one};
use veza::stopping::Stopping;
use veza::{data_folder, log_guard, personal};

/// Look into the event log, and make read models anew from it.
///
/// Beside a running platform it asks that platform's event store and database; else it opens those
/// of the data folder, which the platform can't start on meanwhile; as the platform does, it cuts
/// off then what was not written whole at the end of the log. Only `resume` adds to the log, and
/// only `give-up` changes the keys of people.
///
/// Exit code: 0 good, 1 something found bad or not done, 2 wrong usage, 3 the event store or the
/// database can't be reached, or what is encrypted not be looked into, because the keys that wrap
/// it are not among those given, or none are.
#[derive(Debug, Parser)]
#[command(name = "veza-replay", version)]
struct Cli {
    /// The data folder (VEZA_DATA; by default ./veza-data)
    #[arg(long, global = true, value_name = "DIR", help_heading = PLATFORM)]
    data: Option<String>,
    /// A TOML file with the platform's settings (VEZA_CONFIG; `veza config` lists them)
    #[arg(long, global = true, value_name = "FILE", help_heading = PLATFORM)]
    config: Option<PathBuf>,
    /// Another store, by its connection string, such as esdb://127.0.0.1:2113?tls=false
    /// (VEZA_EVENT_STORE; by default that of the data folder, through the platform while it runs)
    #[arg(long, global = true, value_name = "URL", help_heading = PLATFORM)]
    store: Option<String>,
    /// Another database, for the commands on read models (VEZA_DATABASE_URL; by default the private
    /// one of the data folder)
    #[arg(long, global = true, value_name = "URL", help_heading = PLATFORM)]
    database_url: Option<String>,
    /// Print JSON, one document a line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Log(ReplayCommand),
    #[command(flatten)]
    Folder(FolderCommand),
    #[command(flatten)]
    Models(ModelCommand),
    /// Let a paused run of a saga, or all of them, go on: the step it paused at is tried again
    Resume(ResumeArgs),
    /// List whose personal data no key opens any more, or give it up, so that it is read as that of
    /// forgotten people
    ///
    /// Where a newer copy of the keys (`keys/subjects`) is left, that is to be put back instead:
    /// what is given up is lost for good. Read models take in what they could not by `retry`, or by
    /// `rebuild`.
    ///
    /// Where `store.key` of that folder is missing or damaged, nobody's key is opened; a backup of
    /// that one file is enough. Without one, `--all` moves the folder aside, to
    /// `keys/subjects.unopened-1` or the next number, and makes another; should `store.key` be
    /// found, it opens the folder that was moved.
    GiveUp(GiveUpArgs),
}

/// Why the command was not carried out.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Parts(#[from] PartsError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    Resume(#[from] ResumeError),
    #[error(transparent)]
    Log(#[from] LogRefusal),
    #[error("signals can't be heard")]
    Signals(#[source] io::Error),
}

impl From<NotResumed> for Failure {
    fn from(error: NotResumed) -> Self {
        match error {
            NotResumed::Run(error) => Self::Resume(error),
            NotResumed::Replay(error) => Self::Replay(error),
        }
    }
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Parts(error) => error.exit_code(),
            Self::Replay(error) => error.exit_code(),
            Self::Resume(ResumeError::Journal(error)) if !error.is_of_the_stream() => UNREACHABLE,
            Self::Log(LogRefusal::NoAnswer | LogRefusal::Database(_)) => UNREACHABLE,
            Self::Resume(_) | Self::Signals(_) | Self::Log(_) => FOUND_BAD,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    data_folder::keep_private();
    let cli = Cli::parse();
    let flags = Flags { data: cli.data.clone(), config: cli.config.clone(), roles: Vec::new() };
    let layers = Layers::gather(&flags, std::env::vars_os());
    for line in layers.iter().flat_map(Layers::ignored) {
        // Whoever closed the error output does not want to know.
        let _ = writeln!(io::stderr(), "veza-replay: {line}");
    }
    let config = match layers.and_then(|layers| Config::read(&layers)) {
        Ok(config) => config,
        Err(error) => return failed(&error, USAGE),
    };
    match carry_out(&cli, &config).await {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Bad) => ExitCode::from(FOUND_BAD),
        Ok(Verdict::Locked) => ExitCode::from(UNREACHABLE),
        // Whoever closed the pipe has seen enough.
        Err(Failure::Replay(ReplayError::Output(error)))
            if error.kind() == io::ErrorKind::BrokenPipe =>
        {
            ExitCode::SUCCESS
        }
        Err(error) => {
            let code = error.exit_code();
            failed(&error, code)
        }
    }
}

/// Says why in one line, causes and all.
fn failed(error: &(dyn std::error::Error + Send + Sync), code: u8) -> ExitCode {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        if !line.contains(&told) {
            line = format!("{line}: {told}");
        }
        cause = error.source();
    }
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    // Whoever closed the error output does not want to know.
    let _ = writeln!(io::stderr(), "veza-replay: {}", shown(&line));
    ExitCode::from(code)
}

async fn carry_out(cli: &Cli, config: &Config) -> Result<Verdict, Failure> {
    let format = if cli.json { Format::Json } else { Format::Text };
    let mut stdout = io::BufWriter::new(io::stdout());
    let mut output = Output::new(&mut stdout, format);
    if let Command::Folder(command) = &cli.command {
        let keys = config.encryption.keys().map_err(PartsError::Setting)?;
        let verdict = run_on_folder(&config.data, keys, command, &mut output).await?;
        stdout.flush().map_err(ReplayError::from)?;
        return Ok(verdict);
    }
    let verifying = matches!(cli.command, Command::Log(ReplayCommand::Verify(_)));
    let log = match Log::open(cli.store.as_deref(), config).await {
        Err(PartsError::Store(OpenError::Store(error @ StoreError::Corrupt { .. })))
            if verifying =>
        {
            let verdict = corrupt(&error, &mut output)?;
            stdout.flush().map_err(ReplayError::from)?;
            return Ok(verdict);
        }
        log => log?,
    };
    if let Some(torn_bytes) = log.folder().map(EmbeddedStore::torn_bytes).filter(|&torn| torn > 0) {
        let cut = "that were not written whole were cut off the end of the log; a log that lost \
                   more shows only beside an exported head (verify --head)";
        let _ = writeln!(io::stderr(), "veza-replay: {torn_bytes} bytes {cut}");
    }
    let outcome = match &cli.command {
        Command::Log(command) => on_log(config, &log, command, &mut output).await,
        // Carried out above, without a store.
        Command::Folder(_) => Ok(Verdict::Good),
        Command::Models(command) => on_models(cli, config, &log, command, &mut output).await,
        Command::Resume(args) => on_runs(cli, config, &log, args, &mut output).await,
        Command::GiveUp(args) => on_people(config, &log, args, &mut output).await,
    };
    log.close().await;
    let verdict = outcome?;
    stdout.flush().map_err(ReplayError::from)?;
    Ok(verdict)
}

/// What is about the log as such is asked of it as it is kept, and needs no keys of people.
async fn on_log(
    config: &Config,
    log: &Log,
    command: &ReplayCommand,
    output: &mut Output<'_>,
) -> Result<Verdict, Failure> {
    let store = match command {
        ReplayCommand::Events(_) | ReplayCommand::State(_) => log.shown(config)?,
        ReplayCommand::Streams(_)
        | ReplayCommand::Verify(_)
        | ReplayCommand::Scavenge(_)
        | ReplayCommand::Backup(_) => log.sealed(),
    };
    Ok(run(&*store, log.folder(), log.files(), fold_saga, command, output).await?)
}

async fn on_runs(
    cli: &Cli,
    config: &Config,
    log: &Log,
    args: &ResumeArgs,
    output: &mut Output<'_>,
) -> Result<Verdict, Failure> {
    if let Some(stream) = &args.stream {
        resume_one(log.opened(config)?, stream, output).await?;
        return Ok(Verdict::Good);
    }
    let store = log.opened(config)?;
    let read_side = ReadSide::open(cli.database_url.as_deref(), config).await?;
    let kind = args.saga.as_deref();
    let models = read_side.models();
    // Which runs are paused, its models say.
    let outcome = match log_guard::check(&models.pool, &*store, &models.ids()).await {
        Ok(()) => resume_all(store, models, kind, output).await.map_err(Failure::from),
        Err(refusal) => Err(refusal.into()),
    };
    read_side.close().await?;
    outcome
}

async fn on_people(
    config: &Config,
    log: &Log,
    args: &GiveUpArgs,
    output: &mut Output<'_>,
) -> Result<Verdict, Failure> {
    let folder = personal::folder(config);
    let keys = if args.all {
        let (keys, moved_to) = Log::keys_anew(config)?;
        if let Some(moved_to) = moved_to {
            let to = moved_to.display();
            let told = format!(
                "the keys that nothing opens any more are moved to {to}; a platform that runs is \
                 to be restarted"
            );
            output.remark(&told).map_err(ReplayError::from)?;
        }
        Some(keys)
    } else if args.gives_up() {
        Some(Log::keys(config)?)
    } else {
        listing_keys(config, output)?
    };
    // Who is forgotten is told by the files, where they can't be opened.
    let forgotten = match &keys {
        None => {
            SubjectKeys::forgotten_in(&folder).map_err(|error| ReplayError::Store(error.into()))?
        }
        Some(_) => Vec::new(),
    };
    let people = People { opened: log.with_keys(keys.as_ref()), keys, forgotten };
    Ok(give_up(&*log.sealed(), &people, args, output).await?)
}

/// The keys to list people by: none where there are none, and no store of them is made, or where
/// the one that wraps them is lost, as all are then.
fn listing_keys(config: &Config, output: &mut Output<'_>) -> Result<Option<SubjectKeys>, Failure> {
    if !SubjectKeys::are_in(&personal::folder(config)) {
        return Ok(None);
    }
    match Log::keys(config) {
        Err(PartsError::SubjectKeys(
            error @ (SubjectKeysError::Lost | SubjectKeysError::Damaged { .. }),
        )) => {
            output.remark(&error.to_string()).map_err(ReplayError::from)?;
            Ok(None)
        }
        keys => Ok(Some(keys?)),
    }
}

/// On Ctrl-C a rebuild is given up in good order, and a server that was started is stopped. Nothing
/// but a rebuild needs the keys of people.
async fn on_models(
    cli: &Cli,
    config: &Config,
    log: &Log,
    command: &ModelCommand,
    output: &mut Output<'_>,
) -> Result<Verdict, Failure> {
    let cancel = Stopping::by_signals().map_err(Failure::Signals)?.gently;
    let store = match command {
        ModelCommand::Rebuild(_) => log.opened(config)?,
        ModelCommand::Projections
        | ModelCommand::Parked(_)
        | ModelCommand::Retry(_)
        | ModelCommand::Sagas(_) => log.sealed(),
    };
    let read_side = ReadSide::open(cli.database_url.as_deref(), config).await?;
    let models = read_side.models();
    // The other commands tell of the log by themselves, or make models of it anew.
    let is_foreign = matches!(command, ModelCommand::Sagas(_))
        && matches!(
            log_guard::check(&models.pool, &*store, &models.ids()).await,
            Err(LogRefusal::AnotherLog)
        );
    let told = match is_foreign {
        true => output.remark("these runs are of another log than the one that is there"),
        false => Ok(()),
    };
    let outcome = match told {
        Ok(()) => run_on_models(store, models, command, output, cancel).await,
        Err(error) => Err(error.into()),
    };
    read_side.close().await?;
    Ok(outcome?)
}
