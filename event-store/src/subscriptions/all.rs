//! Following the whole log, or what a filter keeps of it.

use std::num::NonZeroU64;
use std::sync::Arc;

use async_stream::try_stream;
use futures::StreamExt;

use super::live::open;
use crate::embedded::Shared;
use crate::error::SubscribeError;
use crate::event::RecordedEvent;
use crate::filter::{Filter, Matcher};
use crate::index::Page;
use crate::limits::{CHECKPOINT_EVENTS, PAGE_EVENTS_MAX};
use crate::position::Position;
use crate::subscription::{Delivery, Subscription};

/// When a subscriber is to be told how far it has come.
pub(crate) struct Checkpoints {
    filtered: bool,
    /// What the subscriber asked for.
    interval: Option<NonZeroU64>,
    /// How many events were looked at since it was told.
    looked_at: u64,
}

impl Checkpoints {
    /// As the filter asks; whoever gets every event need not be told.
    pub(crate) fn of(filter: Option<&Filter>) -> Self {
        let interval = filter.and_then(|filter| filter.checkpoint_events);
        Self { filtered: filter.is_some(), interval, looked_at: 0 }
    }

    /// Whether one is due after this event. Without an interval a delivered event tells as much.
    pub(crate) fn due_after(&mut self, delivered: bool) -> bool {
        self.looked_at += 1;
        match self.interval {
            Some(interval) => self.due(interval.get()),
            None if delivered => {
                self.looked_at = 0;
                false
            }
            None => self.due(CHECKPOINT_EVENTS),
        }
    }

    /// Whether one is due where everything was looked at.
    pub(crate) fn due_at_end(&mut self, live: bool) -> bool {
        (self.interval.is_none() || !live) && self.due(1)
    }

    fn due(&mut self, after: u64) -> bool {
        let due = self.filtered && self.looked_at >= after;
        if due {
            self.looked_at = 0;
        }
        due
    }
}

/// Delivers the events behind this position.
pub(crate) fn subscribe_all(
    shared: Arc<Shared>,
    after: u64,
    matcher: Option<Matcher>,
    mut checkpoints: Checkpoints,
) -> Subscription {
    let matcher = matcher.map(Arc::new);
    try_stream! {
        let mut bell = shared.live.bell_of_all();
        let mut seen = after;
        let mut live = false;
        loop {
            open(bell.hear())?;
            let head = shared.catalog.head();
            if seen >= head {
                if checkpoints.due_at_end(live) {
                    yield Delivery::Checkpoint(Position::new(seen));
                }
                if !live {
                    live = true;
                    yield Delivery::CaughtUp;
                }
                open(bell.rings().await)?;
                continue;
            }
            // What is kept may not be found by others yet.
            let count = usize::try_from(head - seen).unwrap_or(usize::MAX).min(PAGE_EVENTS_MAX);
            let page = match shared.live.from(seen + 1, count) {
                Some(events) => Page { looked_at: events.len() as u64, events },
                None => {
                    if live {
                        live = false;
                        yield Delivery::FellBehind;
                    }
                    page(&shared, seen + 1).await?
                }
            };
            let reached = seen + page.looked_at;
            for event in page.events {
                seen = event.position.get();
                let kept = keeps(matcher.as_deref(), &event)?;
                if kept {
                    yield Delivery::Event(event);
                }
                if checkpoints.due_after(kept) {
                    yield Delivery::Checkpoint(Position::new(seen));
                }
            }
            // What was reclaimed is passed over.
            seen = reached;
        }
    }
    .boxed()
}

fn keeps(matcher: Option<&Matcher>, event: &RecordedEvent) -> Result<bool, SubscribeError> {
    matcher.map_or(Ok(true), |matcher| matcher.keeps(event).map_err(SubscribeError::BadFilter))
}

async fn page(shared: &Arc<Shared>, from: u64) -> Result<Page, SubscribeError> {
    let page = shared.blocking(move |shared| shared.catalog.page(from, PAGE_EVENTS_MAX)).await?;
    Ok(page)
}
