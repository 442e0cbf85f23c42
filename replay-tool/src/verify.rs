//! `verify`: whether the log is sound, from its first event to its last.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use chrono::{DateTime, Utc};
use event_store::log::AuditHead;
use event_store::{
    EmbeddedStore, EventStore, Position, ReadAll, ReadError, RecordedEvent, Revision, StoreError,
    StreamName, Verified,
};
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::command::{ReplayError, Verdict};
use crate::output::Output;

/// What is checked against.
#[derive(Clone, Debug, clap::Args)]
pub struct VerifyArgs {
    /// A head of the hash chain that was kept elsewhere, `<position>:<64 hexadecimal digits>`: the
    /// log must still go through it (only a folder at rest)
    #[arg(long, value_name = "HEAD")]
    head: Option<AuditHead>,
}

/// Checks the log, and stops at the first thing that is wrong.
///
/// Of a folder at rest every byte, the hash chain and the indexes, which are made again where they
/// are damaged. Of a store over the network every event as it is read. Of both the order of all
/// events: positions and times never fall, revisions have no gap where positions have none, and
/// nothing follows a tombstone.
pub async fn verify(
    store: &dyn EventStore,
    folder: Option<&EmbeddedStore>,
    args: &VerifyArgs,
    output: &mut Output<'_>,
) -> Result<Verdict, ReplayError> {
    let Some(folder) = folder else {
        if args.head.is_some() {
            return Err(ReplayError::NoFolder);
        }
        return match in_order(store).await? {
            Ok(order) => {
                let line = "; its bytes and its hash chain can be verified when it is at rest";
                order.good(None, line, output)
            }
            Err(wrong) => wrong.told(output),
        };
    };
    let verified = match folder.verify(args.head).await {
        Ok(verified) => verified,
        Err(error @ StoreError::Corrupt { .. }) => {
            return Wrong { after: None, what: error.to_string() }.told(output);
        }
        Err(error) => return Err(error.into()),
    };
    let Verified { indexes_mended: mended, indexes_unwritten: unwritten, .. } = verified;
    if mended > 0 {
        let told = "indexes were missing, damaged or old, and have been made again";
        output.remark(&format!("{mended} {told}"))?;
    }
    if unwritten > 0 {
        let told = "indexes can't be written (what stands in their places?): each opening of the \
                    log makes them again";
        output.remark(&format!("{unwritten} {told}"))?;
    }
    match in_order(store).await? {
        Ok(order) => order.good(Some(&verified), "", output),
        Err(wrong) => wrong.told(output),
    }
}

/// The document of a log that can't even be opened, because it is corrupt.
pub fn corrupt(error: &StoreError, output: &mut Output<'_>) -> Result<Verdict, ReplayError> {
    Wrong { after: None, what: error.to_string() }.told(output)
}

/// What is wrong with a log.
struct Wrong {
    after: Option<Position>,
    what: String,
}

impl Wrong {
    fn told(&self, output: &mut Output<'_>) -> Result<Verdict, ReplayError> {
        let Self { after, what } = self;
        let mut document = json!({ "sound": false, "wrong": what });
        let mut line = format!("bad: {what}");
        if let Some(after) = after {
            document["after_position"] = Value::String(after.to_string());
            line = format!("bad after position {after}: {what}");
        }
        output.result(&document, &line)?;
        Ok(Verdict::Bad)
    }
}

/// Reads every event and checks the order of them all.
async fn in_order(store: &dyn EventStore) -> Result<Result<Order, Wrong>, ReplayError> {
    let mut reader = store.read_all(ReadAll::forward()).await?;
    let mut order = Order::default();
    while let Some(event) = reader.next().await {
        let wrong = match event {
            Ok(event) => order.check(&event).err(),
            Err(ReadError::Store(error @ StoreError::Corrupt { .. })) => Some(error.to_string()),
            Err(error) => return Err(error.into()),
        };
        if let Some(what) = wrong {
            return Ok(Err(Wrong { after: Some(order.position), what }));
        }
    }
    Ok(Ok(order))
}

/// What must hold of each event after those before it.
struct Order {
    events: u64,
    position: Position,
    recorded_at: DateTime<Utc>,
    /// The last revision of each stream, and how many positions had been passed over by then.
    revisions: HashMap<StreamName, (Revision, u64)>,
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
    fn good(
        &self,
        verified: Option<&Verified>,
        remark: &str,
        output: &mut Output<'_>,
    ) -> Result<Verdict, ReplayError> {
        let (events, streams) = (self.events, self.revisions.len());
        let head = verified.map_or(self.position.to_string(), |verified| verified.head.to_string());
        let mut document = json!({
            "sound": true, "events": events, "streams": streams, "head": self.position.to_string(),
        });
        let mut reclaimed = String::new();
        if let Some(verified) = verified {
            document["chain"] = Value::String(head.clone());
            document["reclaimed"] = verified.reclaimed.into();
            document["indexes_mended"] = verified.indexes_mended.into();
            document["indexes_unwritten"] = verified.indexes_unwritten.into();
            if verified.reclaimed > 0 {
                reclaimed = format!(" and {} reclaimed ones", verified.reclaimed);
            }
        }
        let line =
            format!("sound: {events} events{reclaimed}, {streams} streams, head {head}{remark}");
        output.result(&document, &line)?;
        Ok(Verdict::Good)
    }

    fn check(&mut self, event: &RecordedEvent) -> Result<(), String> {
        if event.position <= self.position {
            return Err(format!("position {} does not rise", event.position));
        }
        if event.recorded_at < self.recorded_at {
            return Err(format!("time runs backwards at position {}", event.position));
        }
        // Of a log that was scavenged events are missing, and their positions with them.
        let passed_over = event.position.get().saturating_sub(self.events + 1);
        match self.revisions.entry(event.stream.clone()) {
            Entry::Vacant(first) => {
                first.insert((event.revision, passed_over));
            }
            Entry::Occupied(mut seen) => {
                let (last, before) = *seen.get();
                if !follows(last, event.revision, passed_over - before) {
                    let (stream, found) = (&event.stream, event.revision);
                    return Err(format!("stream {stream} goes from revision {last} to {found}"));
                }
                seen.insert((event.revision, passed_over));
            }
        }
        (self.position, self.recorded_at) = (event.position, event.recorded_at);
        self.events += 1;
        Ok(())
    }
}

/// Whether a stream may go on so, of which at most so many events are missing between: a tombstone
/// closes it from any revision.
fn follows(last: Revision, revision: Revision, missing: u64) -> bool {
    let gap = revision.get().checked_sub(last.next().get());
    last != Revision::TOMBSTONE
        && (revision == Revision::TOMBSTONE || gap.is_some_and(|gap| gap <= missing))
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
        let scavenged = [event(1, "a-1", 0, 5), event(4, "a-1", 3, 5), event(5, "a-1", 4, 6)];
        assert_eq!(first_wrong(&scavenged), None);
    }

    #[test]
    fn a_tombstone_closes_a_stream_and_nothing_follows_it() {
        let tombstone = Revision::TOMBSTONE.get();
        let log = [event(1, "a-1", 0, 5), event(2, "a-1", tombstone, 5)];
        assert_eq!(first_wrong(&log), None);
        assert_eq!(first_wrong(&[event(1, "a-1", tombstone, 5)]), None);
        for behind in [1, tombstone, tombstone + 1] {
            let log = [&log[..], &[event(3, "a-1", behind, 5)]].concat();
            let wrong = first_wrong(&log).unwrap_or_default();
            assert!(wrong.contains(&format!("from revision {tombstone} to {behind}")), "{wrong}");
        }
    }

    #[test]
    fn each_disorder_is_named() {
        let cases = [
            ([event(2, "a-1", 0, 5), event(2, "b-1", 0, 5)], "does not rise"),
            ([event(1, "a-1", 0, 5), event(2, "b-1", 0, 4)], "time runs backwards"),
            ([event(1, "a-1", 0, 5), event(2, "a-1", 2, 5)], "from revision 0 to 2"),
            ([event(1, "a-1", 0, 5), event(2, "a-1", 0, 5)], "from revision 0 to 0"),
            ([event(1, "a-1", 0, 5), event(3, "a-1", 3, 5)], "from revision 0 to 3"),
        ];
        for (log, expected) in cases {
            let wrong = first_wrong(&log).unwrap_or_default();
            assert!(wrong.contains(expected), "{wrong:?} does not say {expected:?}");
        }
    }
}
