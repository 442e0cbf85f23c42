//! The command line of `veza-replay`, and what its commands end with.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aggregates::{LoadError, StateError};
use event_store::backup::BackupError;
use event_store::{
    EmbeddedStore, EventStore, Position, ReadError, ScavengeError, StoreError, StreamName,
    WrappingKeys,
};
use projections::runner::BatchError;
use projections::{QueryError, RebuildError, is_unreachable};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::backup::{BackupArgs, LogFiles, backup, is_usage};
use crate::events::{EventsArgs, events};
use crate::inspect::{InspectArgs, inspect};
use crate::models::{Models, models};
use crate::moment::Moment;
use crate::output::Output;
use crate::parked::{ParkedArgs, RetryArgs, parked, retry};
use crate::rebuild::{RebuildArgs, rebuild};
use crate::restore::{RestoreArgs, restore};
use crate::sagas::{SagasArgs, sagas};
use crate::scavenge::{ScavengeArgs, scavenge};
use crate::state::{FoldSaga, StateArgs, state};
use crate::streams::{StreamsArgs, streams};
use crate::verify::{VerifyArgs, verify};

/// The exit code when all is as it should be.
pub const GOOD: u8 = 0;
/// The exit code when something was found bad, or could not be done; a key of a segment that is
/// lost or damaged is such a thing.
pub const FOUND_BAD: u8 = 1;
/// The exit code when what was asked makes no sense.
pub const USAGE: u8 = 2;
/// The exit code when the event store or the database can't be reached, or a log not be looked into
/// with the keys that were given, or without any.
pub const UNREACHABLE: u8 = 3;

/// What can be asked of the log.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum ReplayCommand {
    /// List the streams: how many of their events can be read, and which was the last
    ///
    /// Of one that is truncated it tells from which revision to which it can be read; a deleted
    /// one begins again with what is appended next, a tombstoned one never. With --at a stream of
    /// which events of then were given back to the disk is named, and not counted.
    Streams(StreamsArgs),
    /// Show the events of a stream, or of the whole log
    Events(EventsArgs),
    /// Show the state that a stream's events add up to, now or at a moment of the past
    State(StateArgs),
    /// Read the whole log and check that nothing is missing, changed or out of order
    ///
    /// A folder at rest is checked to the last byte, along its hash chain. What is printed as its
    /// head can be kept elsewhere, and given to a later `verify --head`.
    ///
    /// A log whose keys are not given is not found bad: it ends with 3.
    Verify(VerifyArgs),
    /// Give the bytes of events back that no reader can see any more (only a folder at rest)
    ///
    /// What a stream's metadata hides goes, and what was deleted; the last event of a stream that
    /// can go on stays. It can be stopped at any moment, and then goes on where it was.
    Scavenge(ScavengeArgs),
    /// Copy the log to another folder, also while the platform writes it (on its machine)
    ///
    /// Each segment is checked on the way. It holds all that was acknowledged before it began. One
    /// that is interrupted is no backup, and can be begun again.
    ///
    /// An encrypted log is backed up as it is, but checking it takes the keys that it is opened
    /// with (VEZA_EVENT_STORE_KEY_FILE or VEZA_EVENT_STORE_KEY). They are not in the backup, which
    /// can't be put back without them: keep each for as long as there is a backup made with it.
    Backup(BackupArgs),
}

/// What can be asked of a folder, without a store that has it open.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum FolderCommand {
    /// Make the folder of an event store out of a backup, up to its end or to a moment
    ///
    /// All of it is checked before a store opens on it. The backup is only read.
    ///
    /// A backup of an encrypted log takes the keys that wrapped the log's when it was made
    /// (VEZA_EVENT_STORE_KEY_FILE or VEZA_EVENT_STORE_KEY), also when they were changed since. What
    /// is put back is as encrypted and wrapped as it was.
    Restore(RestoreArgs),
    /// Show what is in a folder with a log: segments, indexes, the largest streams, and what
    /// opening it would do
    ///
    /// It looks at every byte and changes nothing. Beside a running store it tells what is on the
    /// disk at that moment. Of an encrypted log the events are looked into with its keys only
    /// (VEZA_EVENT_STORE_KEY_FILE or VEZA_EVENT_STORE_KEY): where they are missing or others it
    /// tells what it could check, and ends with 3 unless that is bad. A key file in the folder that
    /// is lost, changed or not opened by the key it names is bad.
    Inspect(InspectArgs),
}

/// What can be asked of the read models, and done about them.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum ModelCommand {
    /// List the read models: how far each has come, and what it could not take
    Projections,
    /// Make read models anew from the log, beside the live ones, and put them in their place
    Rebuild(RebuildArgs),
    /// Show the events that a read model could not take, and those that wait behind them
    Parked(ParkedArgs),
    /// Let the running platform try parked events again, a key's or all
    Retry(RetryArgs),
    /// List runs of sagas, the newest first
    Sagas(SagasArgs),
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All as it should be.
    Good,
    /// Something is wrong, and has been printed.
    Bad,
    /// Nothing is wrong as far as could be looked, which the keys that were given don't let whole.
    Locked,
}

/// Why a command could not be carried out.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The event store could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stream's events do not add up to a state.
    #[error(transparent)]
    State(#[from] StateError),
    /// A run of a saga can't be folded.
    #[error("the run {stream} can't be read: {reason}")]
    Saga {
        /// Its stream.
        stream: StreamName,
        /// What is wrong.
        reason: String,
    },
    /// The stream had no event at that moment.
    #[error("stream {stream} was not there yet at {moment}")]
    NotYet {
        /// Which stream.
        stream: StreamName,
        /// Which moment.
        moment: Moment,
    },
    /// The log has not come that far.
    #[error("the log ends at position {head}, before {asked}")]
    BehindHead {
        /// The position that was asked for.
        asked: Position,
        /// That of the last event.
        head: Position,
    },
    /// There is no such read model.
    #[error("there is no read model {name:?}; there are {known}")]
    NoSuchModel {
        /// What was asked for.
        name: String,
        /// Those there are, separated by commas.
        known: String,
    },
    /// The hash chain was asked about, and the store is not a folder at rest.
    #[error("the hash chain can be checked in a folder at rest only: stop the platform first")]
    NoFolder,
    /// The store was to be scavenged, and is not a folder at rest.
    #[error("a folder at rest only can be scavenged from here: stop the platform first")]
    NotAtRest,
    /// The log could not be scavenged.
    #[error(transparent)]
    Scavenge(#[from] ScavengeError),
    /// The store was to be backed up, and was named by its address: its files need not be here.
    #[error(
        "only the store of a data folder on this machine can be backed up: name it with --data, \
         and not with --store or VEZA_EVENT_STORE"
    )]
    NotHere,
    /// A folder is to be filled that is, or is inside of, one that is read.
    #[error("{} is in {}, which is read: name a folder apart", to.display(), read.display())]
    NotApart {
        /// The folder to be filled.
        to: PathBuf,
        /// The folder that is read.
        read: PathBuf,
    },
    /// There is no such folder.
    #[error("there is no folder {}", .0.display())]
    NoSuchFolder(PathBuf),
    /// There is no log in the folder.
    #[error("there is no event store in {}", .0.display())]
    NoStore(PathBuf),
    /// Where the folder of the log should be is something else, so that no store opens.
    #[error("{} is no folder: no store opens on it", .0.display())]
    IsNoFolder(PathBuf),
    /// There is no room to write where the log is.
    #[error("the disk of the folder {} is full", .0.display())]
    Full(PathBuf),
    /// A backup could not be made, or not be put back.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A read model could not be rebuilt; the live one is as it was.
    #[error("{0}")]
    Rebuild(#[source] RebuildError),
    /// A query over a read model failed.
    #[error("{0}")]
    Query(#[source] QueryError),
    /// The database failed.
    #[error("the database did not do its work: {0}")]
    Database(#[from] sqlx::Error),
    /// The result could not be printed.
    #[error("the result could not be printed")]
    Output(#[from] io::Error),
}

impl From<RebuildError> for ReplayError {
    fn from(error: RebuildError) -> Self {
        match error {
            RebuildError::Read(error) => Self::Read(error),
            RebuildError::Store(error) => Self::Store(error),
            RebuildError::Database(error) => Self::Database(error),
            RebuildError::Batch(BatchError::Transient(cause)) => match cause.downcast() {
                Ok(error) => Self::Database(*error),
                Err(cause) => Self::Rebuild(BatchError::Transient(cause).into()),
            },
            error => Self::Rebuild(error),
        }
    }
}

impl From<QueryError> for ReplayError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Database(error) => Self::Database(error),
            error => Self::Query(error),
        }
    }
}

impl ReplayError {
    /// What the store as a whole could not do.
    fn of_store(&self) -> Option<&StoreError> {
        match self {
            Self::Read(ReadError::Store(error)) | Self::Store(error) => Some(error),
            Self::State(StateError::Load(LoadError::Store(error))) => Some(error),
            Self::Scavenge(ScavengeError::Store(error)) => Some(error),
            Self::Backup(BackupError::Store(error)) => Some(error),
            _ => None,
        }
    }

    /// The same, naming the folder of these files where its disk is full.
    fn of_files(self, files: Option<&LogFiles>) -> Self {
        match (self.of_store(), files) {
            (Some(StoreError::StorageFull), Some(files)) => Self::Full(files.folder.clone()),
            _ => self,
        }
    }

    /// What the process ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            _ if matches!(self.of_store(), Some(StoreError::Unavailable { .. })) => UNREACHABLE,
            Self::State(StateError::NoAggregate { .. })
            | Self::BehindHead { .. }
            | Self::NoSuchModel { .. }
            | Self::NoFolder
            | Self::NotAtRest
            | Self::NotHere
            | Self::NotApart { .. }
            | Self::NoSuchFolder(_)
            | Self::NoStore(_) => USAGE,
            Self::Backup(error) if is_usage(error) => USAGE,
            Self::Backup(BackupError::Key(error)) if error.is_for_want_of_keys() => UNREACHABLE,
            Self::Database(error) if is_unreachable(error) => UNREACHABLE,
            _ => FOUND_BAD,
        }
    }
}

/// Carries out a command on the log; `folder` is the store itself where it is a folder at rest, and
/// `files` those of its log, where they are on this machine.
pub async fn run(
    store: &dyn EventStore,
    folder: Option<&EmbeddedStore>,
    files: Option<&LogFiles>,
    fold_saga: FoldSaga,
    command: &ReplayCommand,
    output: &mut Output<'_>,
) -> Result<Verdict, ReplayError> {
    let outcome = carry_out(store, folder, files, fold_saga, command, output).await;
    outcome.map_err(|error| error.of_files(files))
}

async fn carry_out(
    store: &dyn EventStore,
    folder: Option<&EmbeddedStore>,
    files: Option<&LogFiles>,
    fold_saga: FoldSaga,
    command: &ReplayCommand,
    output: &mut Output<'_>,
) -> Result<Verdict, ReplayError> {
    match command {
        ReplayCommand::Streams(args) => streams(store, args, output).await?,
        ReplayCommand::Events(args) => events(store, args, output).await?,
        ReplayCommand::State(args) => state(store, fold_saga, args, output).await?,
        ReplayCommand::Verify(args) => return verify(store, folder, args, output).await,
        ReplayCommand::Scavenge(args) => scavenge(folder, args, output).await?,
        ReplayCommand::Backup(args) => {
            let files = files.ok_or(ReplayError::NotHere)?;
            backup(store, files, args, output).await?;
        }
    }
    Ok(Verdict::Good)
}

/// Carries out a command on a folder; `data` is the data folder, where none is named, and `keys`
/// are those that a log is encrypted with.
pub async fn run_on_folder(
    data: &Path,
    keys: Option<Arc<WrappingKeys>>,
    command: &FolderCommand,
    output: &mut Output<'_>,
) -> Result<Verdict, ReplayError> {
    match command {
        FolderCommand::Restore(args) => restore(args, keys, output).await?,
        FolderCommand::Inspect(args) => return inspect(args, data, keys, output).await,
    }
    Ok(Verdict::Good)
}

/// Carries out a command on the read models; `cancel` stops a rebuild between two batches.
pub async fn run_on_models(
    store: Arc<dyn EventStore>,
    read_models: &Models,
    command: &ModelCommand,
    output: &mut Output<'_>,
    cancel: CancellationToken,
) -> Result<Verdict, ReplayError> {
    match command {
        ModelCommand::Projections => return models(&*store, read_models, output).await,
        ModelCommand::Rebuild(args) => {
            rebuild(store, read_models, args, output, cancel).await?;
        }
        ModelCommand::Parked(args) => return parked(read_models, args, output).await,
        ModelCommand::Retry(args) => return retry(read_models, args, output).await,
        ModelCommand::Sagas(args) => sagas(read_models, args, output).await?,
    }
    Ok(Verdict::Good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rebuild_that_lost_its_database_is_told_apart_from_one_that_failed() {
        let code = |cause: Box<dyn std::error::Error + Send + Sync>| {
            ReplayError::from(RebuildError::Batch(BatchError::Transient(cause))).exit_code()
        };
        let gone = sqlx::Error::Io(io::ErrorKind::BrokenPipe.into());
        assert_eq!(code(gone.into()), UNREACHABLE);
        assert_eq!(code(sqlx::Error::RowNotFound.into()), FOUND_BAD);
        assert_eq!(code("the search engine is away".into()), FOUND_BAD);
    }
}
