//! `restore`: makes the folder of a store out of a backup.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use event_store::backup::{BackupError, TargetFolder, restore as put_back};
use event_store::log::Folder;
use event_store::{AsOf, Position, WrappingKeys};
use serde_json::json;

use crate::backup::{apart, telling};
use crate::command::ReplayError;
use crate::moment::Moment;
use crate::output::{Output, time};

/// What to put back, and where.
#[derive(Clone, Debug, clap::Args)]
pub struct RestoreArgs {
    /// The folder of the backup
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The folder to be filled: a new or an empty one, or one in which a restore was not finished.
    /// A platform has its log in `events` of its data folder
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Leave out what came after this moment: a position (4711) or a time (2026-01-31T12:00:00Z).
    /// What was committed together is not parted: before a position the log may end a few events
    /// earlier
    #[arg(long, value_name = "MOMENT")]
    until: Option<Moment>,
}

/// Puts a backup back, and checks all of it, what is encrypted with these keys.
pub async fn restore(
    args: &RestoreArgs,
    keys: Option<Arc<WrappingKeys>>,
    output: &mut Output<'_>,
) -> Result<(), ReplayError> {
    apart(&args.to, &args.from)?;
    let until = args.until.map(|moment| moment.0);
    let args = args.clone();
    let work = move || {
        let to = TargetFolder::make(args.to)?;
        let restored = put_back(&Folder::read_only(args.from), &*to, keys, until, &mut telling())?;
        to.keep();
        Ok::<_, BackupError>(restored)
    };
    let restored = tokio::task::spawn_blocking(work).await.map_err(io::Error::other)??;
    let head = restored.head;
    let document = json!({
        "head": head.position.to_string(),
        "chain": head.to_string(),
        "segments": restored.segments,
        "bytes": restored.bytes,
        "backup_end": restored.backup_end.to_string(),
        "backup_made_at": time(restored.made_at),
    });
    let line = format!(
        "restored up to position {}: {} bytes in {} segments, all checked; its head is {head}",
        head.position, restored.bytes, restored.segments,
    );
    output.result(&document, &line)?;
    match until {
        Some(AsOf::Position(asked)) if asked > head.position => output.remark(&format!(
            "(what is from {} to {asked} was committed together with what follows, and is not \
             parted from it)",
            Position::new(head.position.get() + 1)
        ))?,
        Some(AsOf::Time(asked)) if asked > restored.made_at => output.remark(&format!(
            "(the backup was made at {}: nothing that came after is in it)",
            time(restored.made_at)
        ))?,
        _ => {}
    }
    Ok(())
}
