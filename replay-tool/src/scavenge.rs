//! `scavenge`: gives the bytes of events back that no reader can see any more.

use event_store::{EmbeddedStore, ScavengeOptions};
use serde_json::json;

use crate::command::ReplayError;
use crate::output::Output;

/// How to scavenge.
#[derive(Clone, Debug, clap::Args)]
pub struct ScavengeArgs {
    /// Write a segment of the log anew only where that gives back so many percent of it; with 0,
    /// wherever an event can go, so that none stays on the disk
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100),
        default_value_t = event_store::limits::SCAVENGE_PERCENT)]
    least_percent: u8,
    /// Begin with the first segment, also where a pass that was stopped could go on
    #[arg(long)]
    afresh: bool,
}

/// Scavenges a folder at rest, as fast as it can be; nobody else wants its disk.
pub async fn scavenge(
    folder: Option<&EmbeddedStore>,
    args: &ScavengeArgs,
    output: &mut Output<'_>,
) -> Result<(), ReplayError> {
    let folder = folder.ok_or(ReplayError::NotAtRest)?;
    let options = ScavengeOptions::default().least_percent(args.least_percent);
    let options = if args.afresh { options.afresh() } else { options };
    let progress = folder.scavenge(options.bytes_per_second(u64::MAX)).await?.progress;
    let document = json!({
        "segments": progress.segments,
        "segments_rewritten": progress.segments_rewritten,
        "events_reclaimed": progress.events_reclaimed,
        "bytes_given_back": progress.bytes_given_back,
    });
    let line = format!(
        "scavenged: {} events reclaimed, {} bytes given back; {} of {} segments written anew",
        progress.events_reclaimed,
        progress.bytes_given_back,
        progress.segments_rewritten,
        progress.segments,
    );
    output.result(&document, &line)?;
    Ok(())
}
