//! Following the whole log, or what a filter keeps of it.

use std::sync::Arc;

use async_stream::try_stream;
use futures::StreamExt;

use crate::embedded::{Matcher, Shared};
use crate::error::{StoreError, SubscribeError};
use crate::event::RecordedEvent;
use crate::limits::{CHECKPOINT_EVENTS, PAGE_EVENTS_MAX};
use crate::position::Position;
use crate::subscription::{Delivery, Subscription};

/// Delivers the events behind this position.
pub(crate) fn subscribe_all(
    shared: Arc<Shared>,
    after: u64,
    matcher: Option<Matcher>,
) -> Subscription {
    let matcher = matcher.map(Arc::new);
    try_stream! {
        let mut bell = shared.live.bell_of_all();
        let mut seen = after;
        let mut told = after;
        let mut live = false;
        loop {
            open(bell.hear())?;
            if seen >= shared.catalog.head() {
                if matcher.is_some() && told < seen {
                    told = seen;
                    yield Delivery::Checkpoint(Position::new(seen));
                }
                if !live {
                    live = true;
                    yield Delivery::CaughtUp;
                }
                open(bell.rings().await)?;
                continue;
            }
            let events = match shared.live.from(seen + 1, PAGE_EVENTS_MAX) {
                Some(events) => events,
                None => {
                    if live {
                        live = false;
                        yield Delivery::FellBehind;
                    }
                    page(&shared, seen + 1).await?
                }
            };
            for event in events {
                seen = event.position.get();
                if keeps(matcher.as_deref(), &event)? {
                    told = seen;
                    yield Delivery::Event(event);
                } else if seen - told >= CHECKPOINT_EVENTS {
                    told = seen;
                    yield Delivery::Checkpoint(Position::new(seen));
                }
            }
        }
    }
    .boxed()
}

fn open(open: bool) -> Result<(), SubscribeError> {
    if open { Ok(()) } else { Err(StoreError::Closed.into()) }
}

fn keeps(matcher: Option<&Matcher>, event: &RecordedEvent) -> Result<bool, SubscribeError> {
    matcher.map_or(Ok(true), |matcher| matcher.keeps(event).map_err(SubscribeError::BadFilter))
}

async fn page(shared: &Arc<Shared>, from: u64) -> Result<Vec<RecordedEvent>, SubscribeError> {
    let events = shared.blocking(move |shared| shared.catalog.page(from, PAGE_EVENTS_MAX)).await?;
    Ok(events)
}
