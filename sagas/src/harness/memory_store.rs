//! The port over memory: as much of it as sagas use, for tests that want thousands of runs.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use chrono::Utc;
use event_store::{
    AppendError, Appended, Delivery, Direction, EventReader, EventStore, ExpectedRevision, Filter,
    NewEvent, Pattern, Position, ReadAll, ReadError, ReadStream, RecordedEvent, Revision,
    StoreError, StreamMetadata, StreamName, StreamStart, SubscribeError, SubscribeFrom,
    Subscription,
};
use futures::{StreamExt, stream};
use tokio::sync::watch;

/// A log in memory.
pub(crate) struct MemoryStore {
    log: std::sync::Arc<Mutex<Vec<RecordedEvent>>>,
    grown: watch::Sender<usize>,
    reads: AtomicUsize,
}

impl MemoryStore {
    pub(crate) fn new() -> Self {
        Self { log: Default::default(), grown: watch::Sender::new(0), reads: AtomicUsize::new(0) }
    }

    /// Everything in the log.
    pub(crate) fn events(&self) -> Vec<RecordedEvent> {
        self.log.lock().unwrap().clone()
    }

    /// How often a stream was read.
    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    fn of(&self, stream: &StreamName) -> Vec<RecordedEvent> {
        let mut events = self.events();
        events.retain(|event| event.stream == *stream);
        events
    }
}

fn keeps(filter: Option<&Filter>, event: &RecordedEvent) -> bool {
    match filter.map(|filter| &filter.pattern) {
        None => true,
        Some(Pattern::Prefixes(prefixes)) => {
            let name = event.stream.as_str();
            prefixes.iter().any(|prefix| name.starts_with(prefix))
        }
        Some(Pattern::Regex(_)) => panic!("sagas filter by prefixes"),
    }
}

#[async_trait]
impl EventStore for MemoryStore {
    async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        events: Vec<NewEvent>,
    ) -> Result<Appended, AppendError> {
        let mut log = self.log.lock().unwrap();
        let last = log.iter().rev().find(|event| event.stream == *stream);
        let actual = last.map(|event| event.revision);
        let fits = match expected {
            ExpectedRevision::Any => true,
            ExpectedRevision::NoStream => actual.is_none(),
            ExpectedRevision::StreamExists => actual.is_some(),
            ExpectedRevision::Exactly(revision) => actual == Some(revision),
        };
        let known = |new: &NewEvent| log.iter().find(|event| event.id == new.id);
        if let Some(event) = events.last().and_then(known) {
            return Ok(Appended {
                last_revision: Some(event.revision),
                position: Some(event.position),
            });
        }
        if !fits {
            let stream = stream.clone();
            return Err(AppendError::WrongExpectedRevision { stream, expected, actual });
        }
        let mut revision = actual.map_or(Revision::FIRST, Revision::next);
        for event in events {
            let position = Position::new(log.len() as u64 + 1);
            log.push(RecordedEvent {
                id: event.id,
                stream: stream.clone(),
                revision,
                position,
                event_type: event.event_type,
                content_type: event.content_type,
                data: event.data,
                metadata: event.metadata,
                recorded_at: Utc::now(),
            });
            revision = revision.next();
        }
        let last = log.last().expect("something was appended");
        let appended =
            Appended { last_revision: Some(last.revision), position: Some(last.position) };
        self.grown.send_replace(log.len());
        Ok(appended)
    }

    async fn read_stream(&self, read: ReadStream) -> Result<EventReader, ReadError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let mut events = self.of(&read.stream);
        if events.is_empty() {
            return Err(ReadError::StreamNotFound(read.stream));
        }
        if let StreamStart::Revision(from) = read.start {
            events.retain(|event| event.revision >= from);
        }
        if read.direction == Direction::Backward {
            events.reverse();
        }
        let limit = read.limit.map_or(usize::MAX, |limit| limit as usize);
        Ok(stream::iter(events.into_iter().take(limit).map(Ok)).boxed())
    }

    async fn read_all(&self, _: ReadAll) -> Result<EventReader, ReadError> {
        Ok(stream::iter(self.events().into_iter().map(Ok)).boxed())
    }

    async fn subscribe_stream(
        &self,
        _: &StreamName,
        _: SubscribeFrom<Revision>,
    ) -> Result<Subscription, SubscribeError> {
        Err(StoreError::Closed.into())
    }

    async fn subscribe_all(
        &self,
        from: SubscribeFrom<Position>,
        filter: Option<Filter>,
    ) -> Result<Subscription, SubscribeError> {
        let next = match from {
            SubscribeFrom::Start => 0,
            SubscribeFrom::After(position) => position.get() as usize,
            SubscribeFrom::End => self.events().len(),
        };
        let (log, grown) = (self.log.clone(), self.grown.subscribe());
        let state = (next, false, log, grown, filter);
        let deliveries = stream::unfold(state, |state| async move {
            let (mut next, live, log, mut grown, filter) = state;
            loop {
                let event = log.lock().unwrap().get(next).cloned();
                match event {
                    Some(event) => {
                        next += 1;
                        if keeps(filter.as_ref(), &event) {
                            let state = (next, live, log, grown, filter);
                            return Some((Ok(Delivery::Event(event)), state));
                        }
                    }
                    None if !live => {
                        return Some((Ok(Delivery::CaughtUp), (next, true, log, grown, filter)));
                    }
                    None => {
                        let more = grown.wait_for(|&length| length > next).await.map(|_| ());
                        more.ok()?;
                    }
                }
            }
        });
        Ok(deliveries.boxed())
    }

    async fn last_event(&self, stream: &StreamName) -> Result<Option<RecordedEvent>, ReadError> {
        Ok(self.of(stream).pop())
    }

    async fn head(&self) -> Result<Position, StoreError> {
        Ok(Position::new(self.events().len() as u64))
    }

    async fn stream_metadata(
        &self,
        _: &StreamName,
    ) -> Result<(StreamMetadata, Option<Revision>), ReadError> {
        Ok((StreamMetadata::default(), None))
    }

    // It keeps everything, which metadata of a checkpoint's stream only saves from.
    async fn set_stream_metadata(
        &self,
        _: &StreamName,
        _: ExpectedRevision,
        _: StreamMetadata,
    ) -> Result<Appended, AppendError> {
        Ok(Appended { last_revision: None, position: None })
    }

    async fn delete_stream(
        &self,
        _: &StreamName,
        _: ExpectedRevision,
    ) -> Result<Appended, AppendError> {
        Err(StoreError::AccessDenied.into())
    }

    async fn tombstone_stream(
        &self,
        _: &StreamName,
        _: ExpectedRevision,
    ) -> Result<Appended, AppendError> {
        Err(StoreError::AccessDenied.into())
    }
}
