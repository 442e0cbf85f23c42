//! `backup`: copies the log to another folder, also while a platform writes it.

use std::io::{self, Write as _};
use std::path::{self, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_store::backup::{Backup, BackupError, CopyProgress, Originals, TargetFolder, back_up};
use event_store::log::{Clock as _, Disk, Folder, SystemClock};
use event_store::{EventStore, OpenError, Position, WrappingKeys};
use serde_json::json;

use crate::command::ReplayError;
use crate::output::Output;

/// How often progress is told.
const TOLD_EVERY: Duration = Duration::from_secs(2);

/// Where to back up to.
#[derive(Clone, Debug, clap::Args)]
pub struct BackupArgs {
    /// The folder to be filled: a new or an empty one, or one in which a backup was not finished
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The folder of a former backup of the same log: what is in it is not copied again. On one
    /// file system the two share the files that are in both; each is whole without the other
    #[arg(long, value_name = "DIR")]
    since: Option<PathBuf>,
}

/// The files of a log.
#[derive(Clone, Debug)]
pub struct LogFiles {
    /// The folder they are in.
    pub folder: PathBuf,
    /// What the keys of its segments are wrapped by, where those are encrypted.
    pub keys: Option<Arc<WrappingKeys>>,
}

/// Backs up these files, which the store has open; what it tells of is durable. Encrypted segments
/// are copied as they are, with their keys as they are wrapped.
pub async fn backup(
    store: &dyn EventStore,
    files: &LogFiles,
    args: &BackupArgs,
    output: &mut Output<'_>,
) -> Result<(), ReplayError> {
    apart(&args.to, &files.folder)?;
    args.since.iter().try_for_each(|since| apart(&args.to, since))?;
    let (originals, head) = originals(store, files).await?;
    let args = args.clone();
    let work = move || {
        let to = TargetFolder::make(args.to)?;
        let since = args.since.map(Folder::read_only);
        let since = since.as_ref().map(|since| since as &dyn Disk);
        let now = SystemClock.now();
        let backup = Backup { originals: &originals, head, to: &*to, since, now };
        back_up(&backup, &mut telling())
    };
    let made = tokio::task::spawn_blocking(work).await.map_err(io::Error::other)??;
    if made.former_damaged > 0 {
        let damaged = made.former_damaged;
        output.remark(&format!(
            "{damaged} segments are damaged in the former backup; they were copied from the log"
        ))?;
    }
    let document = json!({
        "head": made.head.position.to_string(),
        "chain": made.head.to_string(),
        "segments": made.segments,
        "segments_shared": made.segments_linked,
        "bytes": made.bytes,
        "bytes_copied": made.bytes_copied,
        "former_damaged": made.former_damaged,
    });
    let line = format!(
        "backed up to position {}: {} bytes in {} segments, {} bytes copied; its head is {}",
        made.head.position, made.bytes, made.segments, made.bytes_copied, made.head,
    );
    output.result(&document, &line)?;
    Ok(())
}

/// The segments of the log, and a head asked for after they were opened that is in them.
async fn originals(
    store: &dyn EventStore,
    files: &LogFiles,
) -> Result<(Originals, Position), ReplayError> {
    let folder = Folder::read_only(&files.folder);
    loop {
        let originals = Originals::open(&folder, files.keys.clone())?;
        let head = store.head().await?;
        if originals.reach(&folder, head)? {
            return Ok((originals, head));
        }
    }
}

/// Tells the progress on the error output from time to time; whoever closed that does not want to
/// know.
pub(crate) fn telling() -> impl FnMut(CopyProgress) {
    let mut told = Instant::now();
    move |progress| {
        if told.elapsed() >= TOLD_EVERY {
            told = Instant::now();
            let CopyProgress { segments_done, segments, bytes_copied } = progress;
            let _ = writeln!(
                io::stderr(),
                "{segments_done} of {segments} segments, {bytes_copied} bytes copied"
            );
        }
    }
}

/// That a folder to be filled is not in one that is read. A store might not open any more with a
/// stranger among its files, and a backup is to stay as it is.
pub(crate) fn apart(to: &Path, read: &Path) -> Result<(), ReplayError> {
    if real(to)?.starts_with(real(read)?) {
        return Err(ReplayError::NotApart { to: to.to_owned(), read: read.to_owned() });
    }
    Ok(())
}

/// Where a path leads, which need not be there yet.
fn real(path: &Path) -> io::Result<PathBuf> {
    let path = path::absolute(path)?;
    let is_there = |above: &&Path| above.exists();
    let above = path.ancestors().find(is_there).unwrap_or(Path::new("/"));
    let below = path.strip_prefix(above).unwrap_or(Path::new(""));
    Ok(above.canonicalize()?.join(below))
}

/// Whether what was asked for makes no sense, rather than was found bad.
pub(crate) fn is_usage(error: &BackupError) -> bool {
    matches!(
        error,
        BackupError::NotEmpty { .. }
            | BackupError::NoBackup { unfinished: false, .. }
            | BackupError::EndsBefore { .. }
            | BackupError::Target(OpenError::Locked { .. })
    )
}
