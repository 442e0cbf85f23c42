//! `state`: what a stream's events add up to, now or at a moment of the past.

use aggregates::state_of;
use event_store::{EventStore, ReadError, StreamName};
use serde_json::json;

use crate::command::ReplayError;
use crate::events::stream_name;
use crate::moment::Moment;
use crate::output::Output;

/// Which state is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct StateArgs {
    /// The stream, such as `order-<id>`
    #[arg(value_parser = stream_name)]
    pub stream: StreamName,
    /// As it was at this position or time (RFC 3339)
    #[arg(long)]
    pub at: Option<Moment>,
}

/// Prints the state.
pub async fn state(
    store: &dyn EventStore,
    args: &StateArgs,
    output: &mut Output<'_>,
) -> Result<(), ReplayError> {
    let as_of = args.at.map(|moment| moment.0);
    let folded = state_of(store, &args.stream, as_of).await?;
    let Some(revision) = folded.revision else {
        return Err(ReadError::StreamNotFound(args.stream.clone()).into());
    };
    output.document(&json!({
        "stream": args.stream.as_str(),
        "revision": revision.get(),
        "position": folded.position.to_string(),
        "state": folded.state,
    }))?;
    Ok(())
}
