//! `verify`: whether the log is sound, from its first event to its last.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use chrono::{DateTime, Utc};
use event_store::{EventStore, Position, ReadAll, ReadError, RecordedEvent, Revision, StreamName};
use futures::StreamExt as _;
use serde_json::json;

use crate::command::{ReplayError, Verdict};
use crate::output::Output;
use event_store::StoreError;

/// Reads every event, which checks its bytes, and checks the order of them all: positions and
/// times never fall, revisions have no gap.
///
/// It stops at the first thing that is wrong, and names its position.
pub async fn verify(
    store: &dyn EventStore,
    output: &mut Output<'_>,
) -> Result<Verdict, ReplayError> {
    let mut reader = store.read_all(ReadAll::forward()).await?;
    let mut order = Order::default();
    while let Some(event) = reader.next().await {
        let wrong = match event {
            Ok(event) => order.check(&event).err(),
            Err(ReadError::Store(error @ StoreError::Corrupt { .. })) => Some(error.to_string()),
            Err(error) => return Err(error.into()),
        };
        if let Some(wrong) = wrong {
            let after = order.position.to_string();
            let document = json!({ "sound": false, "after_position": after, "wrong": wrong });
            output.result(&document, &format!("bad after position {after}: {wrong}"))?;
            return Ok(Verdict::Bad);
        }
    }
    let (events, streams) = (order.events, order.revisions.len());
    let head = order.position.to_string();
    let document = json!({ "sound": true, "events": events, "streams": streams, "head": head });
    output.result(&document, &format!("sound: {events} events, {streams} streams, head {head}"))?;
    Ok(Verdict::Good)
}

/// What must hold of each event after those before it.
struct Order {
    events: u64,
    position: Position,
    recorded_at: DateTime<Utc>,
    revisions: HashMap<StreamName, Revision>,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            events: 0,
            position: Position::START,
            recorded_at: DateTime::<Utc>::MIN_UTC,
            revisions: HashMap::new(),
        }
    }
}

impl Order {
    fn check(&mut self, event: &RecordedEvent) -> Result<(), String> {
        if event.position <= self.position {
            return Err(format!("position {} does not rise", event.position));
        }
        if event.recorded_at < self.recorded_at {
            return Err(format!("time runs backwards at position {}", event.position));
        }
        match self.revisions.entry(event.stream.clone()) {
            Entry::Vacant(first) => {
                first.insert(event.revision);
            }
            Entry::Occupied(mut last) if event.revision == last.get().next() => {
                last.insert(event.revision);
            }
            Entry::Occupied(last) => {
                let (stream, found, last) = (&event.stream, event.revision, last.get());
                return Err(format!("stream {stream} goes from revision {last} to {found}"));
            }
        }
        (self.position, self.recorded_at) = (event.position, event.recorded_at);
        self.events += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use event_store::{ContentType, EventId, EventType};
    use uuid::Uuid;

    use super::*;

    fn event(position: u64, stream: &str, revision: u64, second: i64) -> RecordedEvent {
        RecordedEvent {
            id: EventId(Uuid::from_u128(position.into())),
            stream: StreamName::new(stream).expect("a name"),
            revision: Revision::new(revision),
            position: Position::new(position),
            event_type: EventType::new("Happened").expect("a name"),
            content_type: ContentType::Json,
            data: Bytes::from_static(b"{}"),
            metadata: Bytes::new(),
            recorded_at: DateTime::from_timestamp(second, 0).expect("a time"),
        }
    }

    fn first_wrong(events: &[RecordedEvent]) -> Option<String> {
        let mut order = Order::default();
        events.iter().find_map(|event| order.check(event).err())
    }

    #[test]
    fn a_sound_order_has_nothing_wrong() {
        let log = [event(1, "a-1", 0, 5), event(2, "b-1", 0, 5), event(5, "a-1", 1, 6)];
        assert_eq!(first_wrong(&log), None);
    }

    #[test]
    fn each_disorder_is_named() {
        let cases = [
            ([event(2, "a-1", 0, 5), event(2, "b-1", 0, 5)], "does not rise"),
            ([event(1, "a-1", 0, 5), event(2, "b-1", 0, 4)], "time runs backwards"),
            ([event(1, "a-1", 0, 5), event(2, "a-1", 2, 5)], "from revision 0 to 2"),
            ([event(1, "a-1", 0, 5), event(2, "a-1", 0, 5)], "from revision 0 to 0"),
        ];
        for (log, expected) in cases {
            let wrong = first_wrong(&log).unwrap_or_default();
            assert!(wrong.contains(expected), "{wrong:?} does not say {expected:?}");
        }
    }
}
