//! Following a category or a type.

use std::sync::Arc;

use async_stream::try_stream;
use futures::StreamExt;

use super::live::{open, recorded_at};
use crate::embedded::{FollowFrom, Shared, indexed};
use crate::error::{IndexError, StoreError};
use crate::indexed::{Index, IndexSubscription, Indexed};
use crate::limits::PAGE_EVENTS_MAX;
use crate::read::Direction;
use crate::subscription::Delivery;

/// What came next in an index.
struct Next {
    events: Vec<Indexed>,
    /// The last position that was looked at.
    seen: u64,
    from_log: bool,
    /// Whether there was anything at all.
    found: bool,
}

/// Delivers the events of an index behind this place.
pub(crate) fn subscribe_index(
    shared: Arc<Shared>,
    index: Index,
    from: FollowFrom,
) -> IndexSubscription {
    try_stream! {
        let mut bell = shared.live.bell_of_index(shared.catalog.index_key(&index));
        let mut seen = from.position;
        let mut live = false;
        loop {
            open(bell.hear())?;
            let next = next(&shared, &index, seen).await?;
            seen = next.seen;
            if !next.found {
                if !live {
                    live = true;
                    yield Delivery::CaughtUp;
                }
                open(bell.rings().await)?;
                continue;
            }
            if live && next.from_log {
                live = false;
                yield Delivery::FellBehind;
            }
            for event in next.events {
                if from.ordinal.is_none_or(|ordinal| event.ordinal > ordinal) {
                    yield Delivery::Event(event);
                }
            }
        }
    }
    .boxed()
}

async fn next(shared: &Arc<Shared>, index: &Index, seen: u64) -> Result<Next, IndexError> {
    let index = index.clone();
    Ok(shared.blocking(move |shared| read_next(shared, &index, seen)).await?)
}

fn read_next(shared: &Shared, index: &Index, seen: u64) -> Result<Next, StoreError> {
    let head = shared.catalog.head();
    let (key, unseen) = (shared.catalog.index_key(index), (seen + 1, head + 1));
    let places = shared.catalog.indexed(key, unseen, Direction::Forward, PAGE_EVENTS_MAX)?;
    let positions: Vec<u64> = places.iter().map(|place| place.position).collect();
    let (page, from_log) = recorded_at(shared, &positions)?;
    let Some(&seen) = page.last_of(&positions) else {
        return Ok(Next { events: Vec::new(), seen: head, from_log: false, found: false });
    };
    Ok(Next { events: indexed(index, &places, page.events), seen, from_log, found: true })
}
