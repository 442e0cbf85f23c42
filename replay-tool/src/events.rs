//! `events`: what happened in a stream, or in all.

use chrono::SecondsFormat;
use event_store::{
    AsOf, EventReader, EventStore, Position, ReadAll, ReadError, ReadStream, RecordedEvent,
    Revision, StreamName,
};
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
    /// From this revision of the stream on, itself included; in the whole log from this position
    /// on, itself included, or backward from before it
    #[arg(long, value_name = "REVISION|POSITION")]
    pub from: Option<u64>,
    /// As it was at this position, or at this time (RFC 3339)
    #[arg(long, value_name = "POSITION|TIME")]
    pub at: Option<Moment>,
    /// At most this many; without it the first 1000, and with --json all
    #[arg(long)]
    pub limit: Option<u64>,
    /// The latest first
    #[arg(long)]
    pub backward: bool,
}

/// A stream's name on the command line.
pub(crate) fn stream_name(text: &str) -> Result<StreamName, event_store::error::InvalidName> {
    StreamName::new(text)
}

/// Whether the stream has events by now; what can't be told is taken for no.
pub(crate) async fn is_there_now(store: &dyn EventStore, stream: &StreamName) -> bool {
    matches!(store.last_event(stream).await, Ok(Some(_)))
}

/// Prints the events, and in a line for people from where the next ones are.
pub async fn events(
    store: &dyn EventStore,
    args: &EventsArgs,
    output: &mut Output<'_>,
) -> Result<(), ReplayError> {
    let limit = output.limit(args.limit);
    let as_of = Moment::as_of(args.at, store).await?;
    let mut reader = match open(store, args, as_of, limit).await {
        // One that is there by now, but was not then, is told apart from a slip of the pen.
        Err(ReadError::StreamNotFound(stream)) => {
            return Err(match args.at {
                Some(moment) if is_there_now(store, &stream).await => {
                    ReplayError::NotYet { stream, moment }
                }
                _ => ReadError::StreamNotFound(stream).into(),
            });
        }
        reader => reader?,
    };
    let (mut printed, mut last) = (0, None);
    while let Some(event) = reader.try_next().await? {
        if printed == limit {
            let next = match (&args.stream, args.backward) {
                (Some(_), _) => event.revision.to_string(),
                (None, false) => event.position.to_string(),
                (None, true) => last.unwrap_or(event.position).to_string(),
            };
            output.remark(&format!("(there are more: --from {next})"))?;
            break;
        }
        print(&event, output)?;
        (printed, last) = (printed + 1, Some(event.position));
    }
    Ok(())
}

fn print(event: &RecordedEvent, output: &mut Output<'_>) -> Result<(), ReplayError> {
    let document = event_document(event);
    let line = format!(
        "{:>10}  {}  {}@{}  {}  {}",
        event.position.to_string(),
        // As `--at` takes it.
        event.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true),
        event.stream,
        event.revision,
        event.event_type,
        document["data"],
    );
    Ok(output.result(&document, &line)?)
}

/// Begins to read, with one event more than is asked for, which tells whether there are more.
async fn open(
    store: &dyn EventStore,
    args: &EventsArgs,
    as_of: Option<AsOf>,
    limit: u64,
) -> Result<EventReader, ReadError> {
    let limit = limit.saturating_add(1);
    if let Some(stream) = &args.stream {
        let stream = stream.clone();
        let read = match args.backward {
            true => ReadStream::backward(stream),
            false => ReadStream::forward(stream),
        };
        let read = match args.from {
            Some(revision) => read.from(Revision::new(revision)),
            None => read,
        };
        return store.read_stream(ReadStream { as_of, ..read.limit(limit) }).await;
    }
    let read = if args.backward { ReadAll::backward() } else { ReadAll::forward() };
    let read = match args.from {
        // Before the first event is its beginning, in either direction.
        Some(position) if position > 0 || args.backward => read.from(Position::new(position)),
        _ => read,
    };
    store.read_all(ReadAll { as_of, ..read.limit(limit) }).await
}
