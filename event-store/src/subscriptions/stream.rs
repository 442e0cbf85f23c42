//! Following one stream.

use std::sync::Arc;

use async_stream::try_stream;
use futures::StreamExt;

use super::live::{open, recorded_at};
use crate::embedded::{Shared, Window};
use crate::error::{StoreError, SubscribeError};
use crate::event::RecordedEvent;
use crate::index::{Located, Tail};
use crate::limits::PAGE_EVENTS_MAX;
use crate::stream::StreamName;
use crate::subscription::{Delivery, Subscription};

/// What came next in a stream.
struct Next {
    events: Vec<RecordedEvent>,
    /// The first revision that was not looked at.
    revision: u64,
    /// The end of the stream then.
    tail: Tail,
    from_log: bool,
}

impl Next {
    fn nothing(revision: u64, tail: Tail) -> Self {
        Self { events: Vec::new(), revision, tail, from_log: false }
    }

    /// Whether the stream goes on behind what was looked at.
    fn is_part(&self) -> bool {
        self.tail.last.is_some_and(|last| last >= self.revision)
    }
}

/// Delivers the events of a stream from this revision on.
pub(crate) fn subscribe_stream(
    shared: Arc<Shared>,
    stream: StreamName,
    revision: u64,
) -> Subscription {
    try_stream! {
        let mut bell = shared.live.bell_of(stream.as_str());
        let mut next_revision = revision;
        let mut live = false;
        loop {
            open(bell.hear())?;
            let known = if live { known_next(&shared, &stream, next_revision) } else { None };
            let next = match known {
                Some(next) => next,
                None => next(&shared, &stream, next_revision, live).await?,
            };
            if live && next.from_log {
                live = false;
                yield Delivery::FellBehind;
            }
            next_revision = next.revision;
            let (is_part, tail) = (next.is_part(), next.tail);
            for event in next.events {
                yield Delivery::Event(event);
            }
            if is_part {
                continue;
            }
            if tail.tombstoned {
                if let Some(event) = tombstone(&shared, &stream).await? {
                    yield Delivery::Event(event);
                }
                Err(SubscribeError::StreamDeleted(stream.clone()))?;
            }
            if !live {
                live = true;
                yield Delivery::CaughtUp;
            }
            open(bell.rings().await)?;
        }
    }
    .boxed()
}

async fn tombstone(
    shared: &Arc<Shared>,
    stream: &StreamName,
) -> Result<Option<RecordedEvent>, SubscribeError> {
    let stream = stream.clone();
    let read = move |shared: &Shared| {
        let runs = shared.catalog.runs(stream.as_str(), u64::MAX, u64::MAX)?;
        let position = shared.catalog.tombstone(stream.as_str(), &runs)?;
        Ok::<_, StoreError>(shared.catalog.events(position.as_slice())?.events.pop())
    };
    Ok(shared.blocking(read).await?)
}

async fn next(
    shared: &Arc<Shared>,
    stream: &StreamName,
    revision: u64,
    live: bool,
) -> Result<Next, SubscribeError> {
    let stream = stream.clone();
    let next = shared.blocking(move |shared| read_next(shared, &stream, revision, live)).await?;
    Ok(next)
}

/// What came next, where all of that is in memory: most often it is, for who is live. They are
/// given all that is appended, as by EventStoreDB, also what is hidden by what comes with it.
fn known_next(shared: &Shared, stream: &StreamName, revision: u64) -> Option<Next> {
    let tail = shared.catalog.known_tail(stream.as_str())?;
    if tail.last.is_none_or(|last| last < revision) {
        return Some(Next::nothing(revision, tail));
    }
    let positions = shared.catalog.known_positions(stream.as_str(), revision, PAGE_EVENTS_MAX)?;
    let events = shared.live.at(&positions)?;
    let revision = revision + events.len() as u64;
    Some(Next { events, revision, tail, from_log: false })
}

fn read_next(
    shared: &Shared,
    stream: &StreamName,
    revision: u64,
    live: bool,
) -> Result<Next, StoreError> {
    let tail = shared.catalog.tail(stream.as_str())?;
    if tail.last.is_none_or(|last| last < revision) {
        return Ok(Next::nothing(revision, tail));
    }
    let runs = shared.catalog.runs(stream.as_str(), u64::MAX, revision)?;
    let (last, tail) = (runs.tail.last, runs.tail);
    if live {
        let located =
            shared.catalog.positions(stream.as_str(), &runs, revision, PAGE_EVENTS_MAX)?;
        if !located.positions.is_empty()
            && let Some(events) = shared.live.at(&located.positions)
        {
            let revision = revision + located.gone + events.len() as u64;
            return Ok(Next { events, revision, tail, from_log: false });
        }
    }
    let window = Window::of(&shared.catalog, stream, last, u64::MAX, shared.clock.now())?;
    let from = revision.max(window.first).max(runs.first().unwrap_or_default());
    if last.is_none_or(|last| from > last) {
        // Of a stream that was deleted for good the events may be gone by now.
        let revision = last.map_or(revision, |last| last.max(revision)) + 1;
        return Ok(Next::nothing(revision, tail));
    }
    let name = stream.as_str();
    let Located { gone, positions } =
        shared.catalog.positions(name, &runs, from, PAGE_EVENTS_MAX)?;
    let (page, from_log) = recorded_at(shared, &positions)?;
    let revision = from + gone + page.looked_at;
    let events = page.events.into_iter().filter(|event| window.keeps(event)).collect();
    Ok(Next { events, revision, tail, from_log })
}
