//! A log in memory behind the event store's port: what projections need of it, made for tests that
//! must decide when events come and which reads fail.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use event_schemas::{Actor, EventFamily, Metadata};
use event_store::*;
use futures::StreamExt;
use tokio::sync::watch;
use uuid::Uuid;

/// The log.
pub struct MemoryStore {
    events: Arc<Mutex<Vec<RecordedEvent>>>,
    head: watch::Sender<u64>,
    is_away: AtomicBool,
    refusals: AtomicUsize,
}

impl MemoryStore {
    /// An empty log.
    pub fn new() -> Arc<Self> {
        let (head, _) = watch::channel(0);
        let (is_away, refusals) = (AtomicBool::default(), AtomicUsize::default());
        Arc::new(Self { events: Arc::default(), head, is_away, refusals })
    }

    /// Appends an event of the platform to the stream of its category and this id.
    pub fn put<F: EventFamily>(&self, id: impl ToString, event: impl Into<F>) -> Position {
        let encoded = event.into().encode();
        let data = serde_json::to_vec(&encoded.data).expect("plain data");
        self.put_raw(F::CATEGORY, &id.to_string(), encoded.event_type, data)
    }

    /// The same, of something that happened then.
    pub fn put_at<F: EventFamily>(
        &self,
        id: impl ToString,
        event: impl Into<F>,
        at: DateTime<Utc>,
    ) -> Position {
        let encoded = event.into().encode();
        let data = serde_json::to_vec(&encoded.data).expect("plain data");
        self.record(F::CATEGORY, &id.to_string(), encoded.event_type, data, at)
    }

    /// Removes an event, as the deletion of its stream does.
    pub fn remove(&self, position: Position) {
        let mut events = self.events.lock().expect("no test panics with it");
        events.retain(|event| event.position != position);
    }

    /// From now on, nobody is told where the log ends, or everybody again.
    pub fn away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::SeqCst);
    }

    /// How often somebody was not told where the log ends.
    pub fn refusals(&self) -> usize {
        self.refusals.load(Ordering::SeqCst)
    }

    /// Appends whatever it is given.
    pub fn put_raw(&self, category: &str, id: &str, event_type: &str, data: Vec<u8>) -> Position {
        self.record(category, id, event_type, data, Utc::now())
    }

    /// Adds an event as somebody else appends one, without the platform's metadata.
    pub fn put_foreign(&self, category: &str, id: &str, event_type: &str) -> Position {
        self.append((category, id), event_type, b"{}".to_vec(), b"{}".to_vec())
    }

    fn record(
        &self,
        category: &str,
        id: &str,
        event_type: &str,
        data: Vec<u8>,
        occurred_at: DateTime<Utc>,
    ) -> Position {
        let metadata = Metadata {
            schema_version: 1,
            correlation_id: Uuid::new_v4(),
            causation_id: Uuid::new_v4(),
            actor: Actor::System,
            occurred_at,
            traceparent: None,
            command: None,
        };
        let metadata = serde_json::to_vec(&metadata).expect("plain data");
        self.append((category, id), event_type, data, metadata)
    }

    fn append(
        &self,
        (category, id): (&str, &str),
        event_type: &str,
        data: Vec<u8>,
        metadata: Vec<u8>,
    ) -> Position {
        let stream = StreamName::new(format!("{category}-{id}")).expect("a short name");
        let mut events = self.events.lock().expect("no test panics with it");
        let revision = events.iter().filter(|event| event.stream == stream).count() as u64;
        let position = Position::new(*self.head.borrow() + 1);
        events.push(RecordedEvent {
            id: EventId(Uuid::new_v4()),
            stream,
            revision: Revision::new(revision),
            position,
            event_type: EventType::new(event_type).expect("a short name"),
            content_type: ContentType::Json,
            data: data.into(),
            metadata: metadata.into(),
            recorded_at: Utc::now(),
        });
        self.head.send_replace(position.get());
        position
    }
}

fn after(
    events: &Mutex<Vec<RecordedEvent>>,
    position: Position,
    filter: &Option<Filter>,
) -> Vec<RecordedEvent> {
    let events = events.lock().expect("no test panics with it");
    let kept = |event: &&RecordedEvent| match filter.as_ref().map(|filter| &filter.pattern) {
        None => true,
        Some(Pattern::Prefixes(prefixes)) => {
            prefixes.iter().any(|prefix| event.stream.as_str().starts_with(prefix))
        }
        Some(Pattern::Regex(_)) => panic!("projections filter by prefixes"),
    };
    events.iter().filter(|event| event.position > position).filter(kept).cloned().collect()
}

fn not_here() -> StoreError {
    StoreError::Unavailable { reason: "projections do not ask for that".into() }
}

#[async_trait]
impl EventStore for MemoryStore {
    async fn append(
        &self,
        _: &StreamName,
        _: ExpectedRevision,
        _: Vec<NewEvent>,
    ) -> Result<Appended, AppendError> {
        Err(not_here().into())
    }

    async fn read_stream(&self, _: ReadStream) -> Result<EventReader, ReadError> {
        Err(not_here().into())
    }

    async fn read_all(&self, read: ReadAll) -> Result<EventReader, ReadError> {
        assert_eq!(read.direction, Direction::Forward);
        let start = match read.start {
            AllStart::Position(position) => Position::new(position.get().saturating_sub(1)),
            _ => Position::START,
        };
        let mut events = after(&self.events, start, &read.filter);
        events.truncate(read.limit.map_or(usize::MAX, |limit| limit as usize));
        Ok(futures::stream::iter(events.into_iter().map(Ok)).boxed())
    }

    async fn subscribe_stream(
        &self,
        _: &StreamName,
        _: SubscribeFrom<Revision>,
    ) -> Result<Subscription, SubscribeError> {
        Err(not_here().into())
    }

    async fn subscribe_all(
        &self,
        from: SubscribeFrom<Position>,
        filter: Option<Filter>,
    ) -> Result<Subscription, SubscribeError> {
        let SubscribeFrom::After(start) = from else {
            return Err(not_here().into());
        };
        // Sends no checkpoints: a runner must keep up with events of others by itself.
        let (events, head) = (Arc::clone(&self.events), self.head.subscribe());
        let state = (events, head, filter, start);
        let chunks =
            futures::stream::unfold(state, |(events, mut head, filter, last)| async move {
                loop {
                    head.borrow_and_update();
                    let found = after(&events, last, &filter);
                    if let Some(event) = found.last() {
                        let last = event.position;
                        return Some((futures::stream::iter(found), (events, head, filter, last)));
                    }
                    head.changed().await.ok()?;
                }
            });
        Ok(chunks.flatten().map(|event| Ok(Delivery::Event(event))).boxed())
    }

    async fn last_event(&self, _: &StreamName) -> Result<Option<RecordedEvent>, ReadError> {
        Err(not_here().into())
    }

    async fn head(&self) -> Result<Position, StoreError> {
        if self.is_away.load(Ordering::SeqCst) {
            self.refusals.fetch_add(1, Ordering::SeqCst);
            return Err(not_here());
        }
        Ok(Position::new(*self.head.borrow()))
    }

    async fn stream_metadata(
        &self,
        _: &StreamName,
    ) -> Result<(StreamMetadata, Option<Revision>), ReadError> {
        Err(not_here().into())
    }

    async fn set_stream_metadata(
        &self,
        _: &StreamName,
        _: ExpectedRevision,
        _: StreamMetadata,
    ) -> Result<Appended, AppendError> {
        Err(not_here().into())
    }

    async fn delete_stream(
        &self,
        _: &StreamName,
        _: ExpectedRevision,
    ) -> Result<Appended, AppendError> {
        Err(not_here().into())
    }

    async fn tombstone_stream(
        &self,
        _: &StreamName,
        _: ExpectedRevision,
    ) -> Result<Appended, AppendError> {
        Err(not_here().into())
    }
}
