//! Events of a fixed size for the store itself, to which an event is a name and bytes.

use bytes::Bytes;
use event_store::{
    ContentType, EmbeddedStore, EventId, EventStore as _, EventType, ExpectedRevision, NewEvent,
    StreamName,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use uuid::Uuid;

/// The data of an event, in bytes.
pub const EVENT_BYTES: usize = 256;

/// About what one takes in a log, in bytes.
pub const RECORD_BYTES: usize = EVENT_BYTES + 91;

/// Chance from which the data of events is cut.
const CHANCE_BYTES: usize = 64 * 1024;

/// How many streams a filled log has at most.
pub const STREAMS: usize = 16;

/// How many events of one stream stand beside each other in it.
const APPEND_EVENTS: usize = 250;

/// How many appends are under way while it is filled.
const APPENDS_AT_ONCE: usize = 8;

/// How many new streams are under way while a log of many is filled.
const STREAMS_AT_ONCE: usize = 256;

/// The name of every event's type.
pub const EVENT_TYPE: &str = "Measured";

/// Makes events, all different and always the same.
pub struct Events {
    random: StdRng,
    chance: Bytes,
    event_type: EventType,
}

impl Events {
    pub fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut chance = vec![0; CHANCE_BYTES];
        random.fill_bytes(&mut chance);
        let event_type = EventType::new(EVENT_TYPE).expect("a short literal");
        Self { random, chance: chance.into(), event_type }
    }

    pub fn next(&mut self) -> NewEvent {
        let from = self.random.random_range(0..CHANCE_BYTES - EVENT_BYTES);
        NewEvent {
            id: EventId(self.id()),
            event_type: self.event_type.clone(),
            content_type: ContentType::Binary,
            data: self.chance.slice(from..from + EVENT_BYTES),
            metadata: Bytes::new(),
        }
    }

    fn id(&mut self) -> Uuid {
        Uuid::from_u128(self.random.random())
    }
}

/// One of the streams.
pub fn stream(number: usize) -> StreamName {
    StreamName::new(format!("measured-{number}")).expect("a short name")
}

/// The streams of a log that was filled with so many events.
pub fn streams(count: usize) -> impl Iterator<Item = StreamName> {
    (0..STREAMS.min(count.div_ceil(APPEND_EVENTS))).map(stream)
}

/// A log in which every stream has as many events.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    pub streams: usize,
    /// How many events each has.
    pub stream_events: usize,
}

impl Log {
    /// What [`fill`] makes of so many events.
    pub fn filled(count: usize) -> Self {
        let streams = streams(count).count();
        Self { streams, stream_events: count / streams }
    }

    pub fn events(self) -> usize {
        self.streams * self.stream_events
    }
}

/// Appends the streams from this number on, each at once.
pub async fn fill_streams(store: &EmbeddedStore, log: Log, from: usize) -> anyhow::Result<()> {
    let mut events = Events::new(from as u64);
    let appends = (from..log.streams).map(|number| {
        let batch: Vec<NewEvent> = (0..log.stream_events).map(|_| events.next()).collect();
        let stream = stream(number);
        async move { store.append(&stream, ExpectedRevision::NoStream, batch).await }
    });
    stream::iter(appends).buffered(STREAMS_AT_ONCE).try_for_each(|_| async { Ok(()) }).await?;
    Ok(())
}

/// Appends so many events to the store, in some streams by turns.
pub async fn fill(store: &EmbeddedStore, count: usize) -> anyhow::Result<()> {
    let mut events = Events::new(count as u64);
    let appends = (0..count).step_by(APPEND_EVENTS).enumerate().map(|(number, from)| {
        let size = APPEND_EVENTS.min(count - from);
        let batch: Vec<NewEvent> = (0..size).map(|_| events.next()).collect();
        let stream = stream(number % STREAMS);
        async move { store.append(&stream, ExpectedRevision::Any, batch).await }
    });
    stream::iter(appends).buffered(APPENDS_AT_ONCE).try_for_each(|_| async { Ok(()) }).await?;
    Ok(())
}
