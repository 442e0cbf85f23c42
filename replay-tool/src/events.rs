//! `events`: what happened in a stream, or in all.

use event_store::{EventReader, EventStore, ReadAll, ReadStream, Revision, StreamName};
use futures::TryStreamExt as _;

use crate::command::ReplayError;
use crate::moment::Moment;
use crate::output::{Output, event_document};

/// Which events are asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct EventsArgs {
    /// The stream, such as `order-<id>`; without it, the whole log
    #[arg(value_parser = stream_name)]
    pub stream: Option<StreamName>,
    /// From this revision of the stream on
    #[arg(long, requires = "stream")]
    pub from: Option<u64>,
    /// As it was at this position or time (RFC 3339)
    #[arg(long)]
    pub at: Option<Moment>,
    /// At most this many
    #[arg(long, default_value_t = 1000)]
    pub limit: u64,
    /// The latest first
    #[arg(long, conflicts_with = "from")]
    pub backward: bool,
}

/// A stream's name on the command line.
pub(crate) fn stream_name(text: &str) -> Result<StreamName, event_store::error::InvalidName> {
    StreamName::new(text)
}

/// Prints the events.
pub async fn events(
    store: &dyn EventStore,
    args: &EventsArgs,
    output: &mut Output<'_>,
) -> Result<(), ReplayError> {
    let mut reader = open(store, args).await?;
    while let Some(event) = reader.try_next().await? {
        let document = event_document(&event);
        let line = format!(
            "{:>10}  {}  {}@{}  {}  {}",
            event.position.to_string(),
            event.recorded_at.format("%Y-%m-%d %H:%M:%S%.6f"),
            event.stream,
            event.revision,
            event.event_type,
            document["data"],
        );
        output.result(&document, &line)?;
    }
    Ok(())
}

async fn open(store: &dyn EventStore, args: &EventsArgs) -> Result<EventReader, ReplayError> {
    let reader = if let Some(stream) = &args.stream {
        let stream = stream.clone();
        let read = match (args.backward, args.from) {
            (true, _) => ReadStream::backward(stream),
            (false, Some(revision)) => ReadStream::forward(stream).from(Revision::new(revision)),
            (false, None) => ReadStream::forward(stream),
        };
        let as_of = args.at.map(|moment| moment.0);
        store.read_stream(ReadStream { as_of, ..read.limit(args.limit) }).await?
    } else {
        let read = if args.backward { ReadAll::backward() } else { ReadAll::forward() };
        let as_of = args.at.map(|moment| moment.0);
        store.read_all(ReadAll { as_of, ..read.limit(args.limit) }).await?
    };
    Ok(reader)
}
