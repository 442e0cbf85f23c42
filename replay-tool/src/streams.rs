//! `streams`: which streams there are, and what of them can be read.

use std::collections::{BTreeMap, HashMap};

use event_store::{
    AsOf, EventStore, Filter, ReadAll, ReadError, ReadStream, RecordedEvent, Revision,
    StreamMetadata, StreamName,
};
use futures::TryStreamExt as _;
use serde::Serialize;
use serde_json::json;

use crate::command::ReplayError;
use crate::moment::Moment;
use crate::output::Output;

/// Which streams are asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct StreamsArgs {
    /// Only those whose names begin so, such as `order-`
    #[arg(long, default_value = "", hide_default_value = true)]
    pub prefix: String,
    /// As they were at this position, or at this time (RFC 3339)
    #[arg(long, value_name = "POSITION|TIME")]
    pub at: Option<Moment>,
}

/// What the log has of a stream.
struct Seen {
    first_revision: Revision,
    /// That of the last event which is no tombstone.
    last_revision: Option<Revision>,
    tombstoned: bool,
    last_type: String,
    last_at: String,
}

impl Seen {
    fn first(event: &RecordedEvent) -> Self {
        let mut seen = Self {
            first_revision: event.revision,
            last_revision: None,
            tombstoned: false,
            last_type: String::new(),
            last_at: String::new(),
        };
        seen.add(event);
        seen
    }

    fn add(&mut self, event: &RecordedEvent) {
        if event.revision == Revision::TOMBSTONE {
            self.tombstoned = true;
        } else {
            self.last_revision = Some(event.revision);
        }
        self.last_type = event.event_type.to_string();
        self.last_at = event.recorded_at.to_rfc3339();
    }
}

/// What can be read of a stream: from `first`, where there is one, to its last revision.
struct Readable {
    state: State,
    first: Option<Revision>,
}

/// How a stream stands.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// All its events can be read.
    Whole,
    /// Only its last ones.
    Truncated,
    /// None, until it is written again.
    Deleted,
    /// None, for good.
    Tombstoned,
}

/// Prints the streams by name. It reads the log once, and holds one line a stream; those with a
/// `$maxAge` are each asked besides where they begin by now.
pub async fn streams(
    store: &dyn EventStore,
    args: &StreamsArgs,
    output: &mut Output<'_>,
) -> Result<(), ReplayError> {
    let as_of = args.at.map(|moment| moment.0);
    // What can be read of a stream is said in the stream of its metadata.
    let prefixes = [args.prefix.clone(), format!("$${}", args.prefix)];
    let filter = (!args.prefix.is_empty()).then(|| Filter::stream_prefixes(prefixes));
    let mut reader = store.read_all(ReadAll { filter, as_of, ..ReadAll::forward() }).await?;
    let mut seen: BTreeMap<StreamName, Seen> = BTreeMap::new();
    let mut metadata: HashMap<StreamName, StreamMetadata> = HashMap::new();
    while let Some(event) = reader.try_next().await? {
        if let Some(subject) = event.stream.metadata_subject() {
            // Anybody may write there: what is no metadata counts as none.
            metadata.insert(subject, serde_json::from_slice(&event.data).unwrap_or_default());
        }
        if event.stream.as_str().starts_with(&args.prefix) {
            let entry = seen.entry(event.stream.clone());
            entry.and_modify(|seen| seen.add(&event)).or_insert_with(|| Seen::first(&event));
        }
    }
    for (stream, seen) in &seen {
        let metadata = metadata.remove(stream).unwrap_or_default();
        let readable = readable(store, stream, seen, &metadata, as_of).await?;
        print(stream, seen, &readable, output)?;
    }
    output.remark(&format!("{} streams", seen.len()))?;
    Ok(())
}

async fn readable(
    store: &dyn EventStore,
    stream: &StreamName,
    seen: &Seen,
    metadata: &StreamMetadata,
    as_of: Option<AsOf>,
) -> Result<Readable, ReadError> {
    if seen.tombstoned {
        return Ok(Readable { state: State::Tombstoned, first: None });
    }
    if metadata.is_of_deleted() {
        return Ok(Readable { state: State::Deleted, first: None });
    }
    let first = if metadata.max_age_seconds.is_some() {
        let read = ReadStream { as_of, ..ReadStream::forward(stream.clone()).limit(1) };
        match store.read_stream(read).await {
            // It went while the log was read.
            Err(ReadError::StreamNotFound(_) | ReadError::StreamDeleted(_)) => None,
            reader => reader?.try_next().await?.map(|event| event.revision),
        }
    } else {
        seen.last_revision.and_then(|last| first_kept(stream, seen.first_revision, last, metadata))
    };
    let whole = first == Some(Revision::FIRST);
    Ok(Readable { state: if whole { State::Whole } else { State::Truncated }, first })
}

/// The first revision that the metadata leave, but for their `$maxAge`.
fn first_kept(
    stream: &StreamName,
    first: Revision,
    last: Revision,
    metadata: &StreamMetadata,
) -> Option<Revision> {
    // Of metadata themselves only the last can be read.
    let holds_metadata = stream.metadata_subject().is_some();
    let count = if holds_metadata { Some(1) } else { metadata.max_count };
    let counted = count.map_or(0, |count| last.next().get().saturating_sub(count));
    let kept = counted.max(metadata.truncate_before.unwrap_or(0)).max(first.get());
    (kept <= last.get()).then(|| Revision::new(kept))
}

fn print(
    stream: &StreamName,
    seen: &Seen,
    readable: &Readable,
    output: &mut Output<'_>,
) -> Result<(), ReplayError> {
    let Seen { last_revision: last, last_type, last_at, .. } = seen;
    let &Readable { state, first } = readable;
    let range = first.zip(*last);
    let events = range.map_or(0, |(first, last)| last.next().get() - first.get());
    let document = json!({
        "stream": stream.as_str(),
        "state": state,
        "events": events,
        "first_revision": first.map(Revision::get),
        "last_revision": last.map(Revision::get),
        "last_type": last_type,
        "last_recorded_at": last_at,
    });
    let told = match (state, range) {
        (State::Whole, _) => String::new(),
        (State::Truncated, Some((first, last))) => format!("  (truncated: {first} to {last})"),
        (State::Truncated, None) => "  (truncated)".to_owned(),
        (State::Deleted, _) => "  (deleted)".to_owned(),
        (State::Tombstoned, _) => "  (tombstoned)".to_owned(),
    };
    let line = format!("{stream:<60} {events:>8} events  last {last_type} at {last_at}{told}");
    Ok(output.result(&document, &line)?)
}
