//! Foreign events: of somebody else, in a stream that is named as the platform's are. No model
//! needs them, now or later, so they are passed over and counted, where parking each would keep its
//! key from going on, and fill a table without end.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use event_store::RecordedEvent;
use metrics::counter;
use tracing::warn;

use crate::projection::ModelId;

/// How long it takes from telling of foreign events to telling of more.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What a writer has passed over.
#[derive(Debug, Default)]
pub(crate) struct Foreign(Mutex<PassedOver>);

#[derive(Debug, Default)]
struct PassedOver {
    told_at: Option<Instant>,
    /// Since it was told.
    events: u64,
}

impl Foreign {
    /// Counts one, and tells of it now and then.
    pub(crate) fn passed_over(&self, id: ModelId, event: &RecordedEvent) {
        counter!("veza_projection_foreign_events_total", "projection" => id.name).increment(1);
        if let Some(events) = self.news(Instant::now()) {
            warn!(
                projection = %id, event.position = %event.position, event.stream = %event.stream,
                event.r#type = %event.event_type, events,
                "events that are not the platform's are in its streams, and are passed over"
            );
        }
    }

    /// Counts one; how many are to be told of.
    fn news(&self, now: Instant) -> Option<u64> {
        let mut passed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        passed.events += 1;
        if passed.told_at.is_some_and(|told| now.saturating_duration_since(told) < TELL_EVERY) {
            return None;
        }
        passed.told_at = Some(now);
        Some(std::mem::take(&mut passed.events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_told_of_at_once_and_then_every_minute_with_their_number() {
        let (foreign, begin) = (Foreign::default(), Instant::now());
        let told = (0..=1200).filter_map(|tenth| {
            let after = Duration::from_millis(tenth * 100);
            Some((after, foreign.news(begin + after)?))
        });
        let minutes = [(Duration::ZERO, 1), (TELL_EVERY, 600), (2 * TELL_EVERY, 600)];
        assert_eq!(told.collect::<Vec<_>>(), minutes);
    }
}
