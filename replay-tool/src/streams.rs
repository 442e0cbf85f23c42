//! `streams`: which streams there are, and what of them can be read.

use std::collections::{BTreeMap, HashMap, HashSet};

use event_store::{
    AsOf, EventStore, Filter, Position, ReadAll, ReadError, ReadStream, RecordedEvent, Revision,
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
    /// Of what could be read then not all is left, or it can't be known what that was.
    Reclaimed,
}

/// What the log has up to a moment.
#[derive(Default)]
struct Log {
    seen: BTreeMap<StreamName, Seen>,
    /// The last metadata of each stream.
    metadata: HashMap<StreamName, StreamMetadata>,
    /// Streams whose metadata are from later only, while some from before may have been reclaimed.
    metadata_gone: HashSet<StreamName>,
    /// How many events were read.
    events: u64,
    /// The position of the last.
    last: Option<Position>,
}

/// Prints the streams by name. It reads the log once, and holds one line a stream; those with a
/// `$maxAge` are each asked besides where they begin by now.
///
/// Of a moment that events were reclaimed from, metadata are looked for in all of the log.
pub async fn streams(
    store: &dyn EventStore,
    args: &StreamsArgs,
    output: &mut Output<'_>,
) -> Result<(), ReplayError> {
    let as_of = Moment::as_of(args.at, store).await?;
    // What can be read of a stream is said in the stream of its metadata.
    let prefixes = [args.prefix.clone(), format!("$${}", args.prefix)];
    let filter = Filter::stream_prefixes(prefixes);
    // Whether positions are missing up to a moment is seen by those of all events.
    let filter = (!args.prefix.is_empty() && as_of.is_none()).then_some(filter);
    let mut log = Log::default();
    let mut reader = store.read_all(ReadAll { filter, as_of, ..ReadAll::forward() }).await?;
    while let Some(event) = reader.try_next().await? {
        log.add(&event, &args.prefix);
    }
    let has_gaps = match as_of {
        Some(as_of) => log.events < log.end(store, as_of).await?.get(),
        None => false,
    };
    if has_gaps {
        log.find_metadata_gone(store, &args.prefix).await?;
    }
    for (stream, seen) in &log.seen {
        let readable = log.readable(store, stream, seen, as_of).await?;
        print(stream, seen, &readable, output)?;
    }
    output.remark(&format!("{} streams", log.seen.len()))?;
    if has_gaps {
        output.remark(
            "(not every position up to then has an event any more: streams of which nothing from \
             then is left are not listed)",
        )?;
    }
    Ok(())
}

impl Log {
    fn add(&mut self, event: &RecordedEvent, prefix: &str) {
        (self.events, self.last) = (self.events + 1, Some(event.position));
        if let Some(subject) = event.stream.metadata_subject() {
            // Anybody may write there: what is no metadata counts as none.
            let metadata = serde_json::from_slice(&event.data).unwrap_or_default();
            self.metadata.insert(subject, metadata);
        }
        if event.stream.as_str().starts_with(prefix) {
            let entry = self.seen.entry(event.stream.clone());
            entry.and_modify(|seen| seen.add(event)).or_insert_with(|| Seen::first(event));
        }
    }

    /// What is behind the last event that was read.
    fn behind(&self) -> ReadAll {
        match self.last {
            Some(last) => ReadAll::forward().from(Position::new(last.get() + 1)),
            None => ReadAll::forward(),
        }
    }

    /// The last position of a moment, whose events were read; it need not have an event any more.
    async fn end(&self, store: &dyn EventStore, as_of: AsOf) -> Result<Position, ReplayError> {
        if let AsOf::Position(position) = as_of {
            return Ok(position);
        }
        let next = store.read_all(self.behind().limit(1)).await?.try_next().await?;
        match next {
            Some(next) => Ok(Position::new(next.position.get() - 1)),
            None => Ok(store.head().await?),
        }
    }

    /// Finds the streams whose metadata of that moment may be gone: of those that are left the
    /// first are of later, and are not the first that there were.
    async fn find_metadata_gone(
        &mut self,
        store: &dyn EventStore,
        prefix: &str,
    ) -> Result<(), ReplayError> {
        let filter = Some(Filter::stream_prefixes([format!("$${prefix}")]));
        let mut reader = store.read_all(ReadAll { filter, ..self.behind() }).await?;
        let mut met = HashSet::new();
        while let Some(event) = reader.try_next().await? {
            let Some(subject) = event.stream.metadata_subject() else { continue };
            let is_first = !self.metadata.contains_key(&subject) && met.insert(subject.clone());
            if is_first && event.revision > Revision::FIRST {
                self.metadata_gone.insert(subject);
            }
        }
        Ok(())
    }

    async fn readable(
        &self,
        store: &dyn EventStore,
        stream: &StreamName,
        seen: &Seen,
        as_of: Option<AsOf>,
    ) -> Result<Readable, ReadError> {
        if !seen.tombstoned && self.metadata_gone.contains(stream) {
            return Ok(Readable { state: State::Reclaimed, first: None });
        }
        let none = StreamMetadata::default();
        readable(store, stream, seen, self.metadata.get(stream).unwrap_or(&none), as_of).await
    }
}

async fn readable(
    store: &dyn EventStore,
    stream: &StreamName,
    seen: &Seen,
    metadata: &StreamMetadata,
    as_of: Option<AsOf>,
) -> Result<Readable, ReadError> {
    const RECLAIMED: Readable = Readable { state: State::Reclaimed, first: None };
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
            Err(ReadError::Reclaimed(_)) => return Ok(RECLAIMED),
            reader => reader?.try_next().await?.map(|event| event.revision),
        }
    } else {
        let first = seen.last_revision.and_then(|last| first_kept(stream, last, metadata));
        match first.map(|first| first.max(seen.first_revision)) {
            left if as_of.is_some() && left > first => return Ok(RECLAIMED),
            left => left,
        }
    };
    let whole = first == Some(Revision::FIRST);
    Ok(Readable { state: if whole { State::Whole } else { State::Truncated }, first })
}

/// The first revision that the metadata leave, but for their `$maxAge`.
fn first_kept(stream: &StreamName, last: Revision, metadata: &StreamMetadata) -> Option<Revision> {
    // Of metadata themselves only the last can be read.
    let holds_metadata = stream.metadata_subject().is_some();
    let count = if holds_metadata { Some(1) } else { metadata.max_count };
    let counted = count.map_or(0, |count| last.next().get().saturating_sub(count));
    let kept = counted.max(metadata.truncate_before.unwrap_or(0));
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
    let events = match (state, range) {
        (State::Reclaimed, _) => None,
        (_, range) => Some(range.map_or(0, |(first, last)| last.next().get() - first.get())),
    };
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
        (State::Reclaimed, _) => "  (has been reclaimed in part)".to_owned(),
    };
    let events = events.map_or("?".to_owned(), |events| events.to_string());
    let line = format!("{stream:<60} {events:>8} events  last {last_type} at {last_at}{told}");
    Ok(output.result(&document, &line)?)
}
