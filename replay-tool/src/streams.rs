//! `streams`: which streams there are, with their sizes.

use std::collections::BTreeMap;

use event_store::{EventStore, Filter, ReadAll, Revision, StreamName};
use futures::TryStreamExt as _;
use serde_json::json;

use crate::command::ReplayError;
use crate::moment::Moment;
use crate::output::Output;

/// Which streams are asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct StreamsArgs {
    /// Only those whose names begin so, such as `order-`
    #[arg(long, default_value = "")]
    pub prefix: String,
    /// As they were at this position or time (RFC 3339)
    #[arg(long)]
    pub at: Option<Moment>,
}

struct Seen {
    last_revision: Revision,
    last_type: String,
    last_at: String,
}

/// Prints the streams by name. It reads the log once, and holds one line a stream.
pub async fn streams(
    store: &dyn EventStore,
    args: &StreamsArgs,
    output: &mut Output<'_>,
) -> Result<(), ReplayError> {
    let filter = (!args.prefix.is_empty()).then(|| Filter::stream_prefixes([&args.prefix]));
    let as_of = args.at.map(|moment| moment.0);
    let mut reader = store.read_all(ReadAll { filter, as_of, ..ReadAll::forward() }).await?;
    let mut seen: BTreeMap<StreamName, Seen> = BTreeMap::new();
    while let Some(event) = reader.try_next().await? {
        let latest = Seen {
            last_revision: event.revision,
            last_type: event.event_type.to_string(),
            last_at: event.recorded_at.to_rfc3339(),
        };
        seen.insert(event.stream, latest);
    }
    for (stream, latest) in &seen {
        let document = json!({
            "stream": stream.as_str(),
            "last_revision": latest.last_revision.get(),
            "last_type": latest.last_type,
            "last_recorded_at": latest.last_at,
        });
        let line = format!(
            "{stream:<60} {:>8} events  last {} at {}",
            latest.last_revision.get() + 1,
            latest.last_type,
            latest.last_at,
        );
        output.result(&document, &line)?;
    }
    output.remark(&format!("{} streams", seen.len()))?;
    Ok(())
}
