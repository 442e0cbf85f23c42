//! What a projection has kept of itself: how far it is, and the states of its partitions.

use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::error::{Ended, Failure};
use super::names::Names;
use super::place::{Life, Place};
use super::script::Stored;
use crate::error::{InvalidName, ReadError};
use crate::event::RecordedEvent;
use crate::port::EventStore;
use crate::stream::{Revision, StreamName};

/// The type of the checkpoints of a projection, and of its partitions.
pub(super) const CHECKPOINT_TYPE: &str = "$ProjectionCheckpoint";
pub(super) const PARTITION_CHECKPOINT_TYPE: &str = "$Checkpoint";

/// The last checkpoint of a projection, whatever life it is of.
#[derive(Debug, Default)]
pub(super) struct Checkpoint {
    /// The revision that keeps it, for the next one to follow.
    pub revision: Option<Revision>,
    /// Where it stands, if that was in this life.
    pub place: Option<Place>,
    pub stored: Option<Stored>,
    pub shared: Option<Arc<str>>,
}

/// The states in a checkpoint: `[state, result, shared]`, the last two only where they are there.
pub(super) fn write_states(stored: &Stored, shared: Option<&str>) -> String {
    let text = |it: &Option<Arc<str>>| it.as_deref().unwrap_or("null").to_owned();
    let mut parts = vec![text(&stored.state), text(&stored.result)];
    parts.extend(shared.map(str::to_owned));
    while parts.len() > 1 && parts.last().is_some_and(|part| part == "null") {
        parts.pop();
    }
    format!("[{}]", parts.join(","))
}

fn read_states(data: &[u8]) -> Result<(Stored, Option<Arc<str>>), String> {
    let parts: Vec<&RawValue> = serde_json::from_slice(data).map_err(|error| error.to_string())?;
    let part = |at: usize| {
        parts.get(at).map(|part| part.get()).filter(|text| *text != "null").map(Arc::from)
    };
    Ok((Stored { state: part(0), result: part(1) }, part(2)))
}

/// Reads where a projection stands.
pub(super) async fn checkpoint(
    store: &dyn EventStore,
    names: &Names,
    life: Life,
) -> Result<Checkpoint, Failure> {
    let stream = names.checkpoint();
    let Some(event) = last(store, &stream).await? else { return Ok(Checkpoint::default()) };
    let revision = Some(event.revision);
    let Some(metadata) = of_life(&event, life) else {
        return Ok(Checkpoint { revision, ..Checkpoint::default() });
    };
    let corrupt = |reason: String| {
        Failure::Final(Ended::Faulted(format!("{stream} does not hold what it should: {reason}")))
    };
    let place = Place::read(&metadata).ok_or_else(|| corrupt("it names no place".to_owned()))?;
    let (stored, shared) = read_states(&event.data).map_err(corrupt)?;
    Ok(Checkpoint { revision, place: Some(place), stored: Some(stored), shared })
}

/// Reads the state of a partition.
pub(super) async fn partition(
    store: &dyn EventStore,
    names: &Names,
    life: Life,
    partition: &str,
) -> Result<Option<Stored>, Failure> {
    let stream = names.partition_checkpoint(partition).map_err(|error| named(&error))?;
    let Some(event) = last(store, &stream).await? else { return Ok(None) };
    if of_life(&event, life).is_none() {
        return Ok(None);
    }
    match read_states(&event.data) {
        Ok((stored, _)) => Ok(Some(stored)),
        Err(reason) => Err(Failure::Final(Ended::Faulted(format!(
            "{stream} does not hold what it should: {reason}"
        )))),
    }
}

/// The revision that the next event of a stream gets, where that can be told.
pub(super) async fn next_revision(
    store: &dyn EventStore,
    stream: &StreamName,
) -> Result<Option<u64>, Failure> {
    if let Some(last) = last(store, stream).await? {
        return Ok(Some(last.revision.next().get()));
    }
    let (metadata, _) = match store.stream_metadata(stream).await {
        Ok(metadata) => metadata,
        Err(ReadError::Store(error)) => return Err(error.into()),
        Err(_) => return Ok(None),
    };
    // Of a deleted stream, or one whose events are too old to be read, it can't.
    let is_open = metadata.max_age_seconds.is_none() && !metadata.is_of_deleted();
    Ok(is_open.then(|| metadata.truncate_before.unwrap_or(0)))
}

/// The last event of a stream; none of one that was deleted.
pub(super) async fn last(
    store: &dyn EventStore,
    stream: &StreamName,
) -> Result<Option<RecordedEvent>, Failure> {
    match store.last_event(stream).await {
        Ok(event) => Ok(event),
        Err(ReadError::Store(error)) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// The metadata of an event that this life of a projection has made.
fn of_life(event: &RecordedEvent, life: Life) -> Option<Map<String, Value>> {
    let metadata: Map<String, Value> = serde_json::from_slice(&event.metadata).ok()?;
    let made = Life::read(&metadata)?;
    (made.registration == life.registration && made.epoch == life.epoch).then_some(metadata)
}

/// Whether an earlier life of a projection has made an event.
pub(super) fn is_of_earlier_life(event: &RecordedEvent, life: Life) -> bool {
    let made = serde_json::from_slice(&event.metadata).ok().and_then(|it| Life::read(&it));
    made.is_some_and(|made| made.registration == life.registration && made.epoch < life.epoch)
}

/// A partition that can't have a stream of its own.
pub(super) fn named(error: &InvalidName) -> Failure {
    Failure::Final(Ended::Faulted(format!("a stream can't be named so: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_as_they_are_written() {
        let some = |text: &str| Some(Arc::from(text));
        for (state, result, shared, written) in [
            (some("{\"a\":1}"), None, None, "[{\"a\":1}]"),
            (some("1"), some("[1]"), None, "[1,[1]]"),
            (None, None, None, "[null]"),
            (some("1"), None, some("{\"all\":2}"), "[1,null,{\"all\":2}]"),
        ] {
            let stored = Stored { state, result };
            let text = write_states(&stored, shared.as_deref());
            assert_eq!(text, written);
            assert_eq!(read_states(text.as_bytes()), Ok((stored, shared)));
        }
    }
}
