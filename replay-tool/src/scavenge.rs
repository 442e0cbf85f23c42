//! `scavenge`: gives the bytes of events back that no reader can see any more.

use std::io::{self, Write as _};
use std::time::Duration;

use event_store::{EmbeddedStore, ScavengeOptions, ScavengeStatus};
use serde_json::json;

use crate::command::ReplayError;
use crate::output::Output;

/// How often progress is told.
const TOLD_EVERY: Duration = Duration::from_secs(2);

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
    let mut pass = Box::pin(folder.scavenge(options.bytes_per_second(u64::MAX)));
    let progress = loop {
        match tokio::time::timeout(TOLD_EVERY, &mut pass).await {
            Ok(scavenged) => break scavenged?.progress,
            Err(_) => tell(&folder.scavenge_status()),
        }
    };
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

/// Tells the progress on the error output; whoever closed that does not want to know.
fn tell(status: &ScavengeStatus) {
    if let ScavengeStatus::Running(progress) = status {
        let (done, all) = (progress.segments_done, progress.segments);
        let given_back = progress.bytes_given_back;
        let _ = writeln!(
            io::stderr(),
            "{done} of {all} segments, {given_back} bytes given back; \
             a pass that is stopped goes on here the next time"
        );
    }
}
