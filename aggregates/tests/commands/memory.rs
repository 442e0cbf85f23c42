//! The few promises of the port that the handler leans on, kept in memory.

use std::sync::Mutex;

use async_trait::async_trait;
use chrono::{DateTime, Duration, Utc};
use event_store::{
    AppendError, Appended, AsOf, EventReader, EventStore, ExpectedRevision, Filter, NewEvent,
    Position, ReadAll, ReadError, ReadStream, RecordedEvent, Revision, StoreError, StreamMetadata,
    StreamName, StreamStart, SubscribeError, SubscribeFrom, Subscription,
};
use futures::{StreamExt, stream};

/// A log in memory. What the handler does not ask for is answered as by a closed store.
#[derive(Default)]
pub struct MemoryStore {
    log: Mutex<Vec<RecordedEvent>>,
}

/// When the event at this position is recorded: a second after the one before.
pub fn recorded_at(position: Position) -> DateTime<Utc> {
    let seconds = i64::try_from(position.get()).unwrap();
    DateTime::<Utc>::UNIX_EPOCH + Duration::seconds(seconds)
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
        let there: Vec<_> = log
            .iter()
            .filter(|event| event.stream == *stream)
            .cloned()
            .collect();
        let actual = there.last().map(|event| event.revision);
        let first = match expected {
            ExpectedRevision::Any | ExpectedRevision::StreamExists => {
                actual.map_or(Revision::FIRST, Revision::next)
            }
            ExpectedRevision::NoStream => Revision::FIRST,
            ExpectedRevision::Exactly(revision) => revision.next(),
        };
        let known: Vec<_> = there
            .iter()
            .filter(|event| event.revision >= first)
            .take(events.len())
            .collect();
        if known.len() == events.len() && known.iter().zip(&events).all(|(a, b)| a.id == b.id) {
            let last = known.last();
            return Ok(Appended {
                last_revision: last.map(|event| event.revision),
                position: last.map(|event| event.position),
            });
        }
        if actual.map_or(Revision::FIRST, Revision::next) != first {
            let stream = stream.clone();
            return Err(AppendError::WrongExpectedRevision {
                stream,
                expected,
                actual,
            });
        }
        let mut revision = first;
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
                recorded_at: recorded_at(position),
            });
            revision = revision.next();
        }
        let last = log.last().unwrap();
        Ok(Appended {
            last_revision: Some(last.revision),
            position: Some(last.position),
        })
    }

    async fn read_stream(&self, read: ReadStream) -> Result<EventReader, ReadError> {
        let log = self.log.lock().unwrap();
        let StreamStart::Revision(first) = read.start else {
            return Ok(reader(
                log.iter().filter(|event| event.stream == read.stream),
            ));
        };
        if !log.iter().any(|event| event.stream == read.stream) {
            return Err(ReadError::StreamNotFound(read.stream));
        }
        Ok(reader(log.iter().filter(|event| {
            let seen = match read.as_of {
                None => true,
                Some(AsOf::Position(position)) => event.position <= position,
                Some(AsOf::Time(time)) => event.recorded_at <= time,
            };
            event.stream == read.stream && event.revision >= first && seen
        })))
    }

    async fn read_all(&self, _: ReadAll) -> Result<EventReader, ReadError> {
        Ok(reader(self.log.lock().unwrap().iter()))
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
        _: SubscribeFrom<Position>,
        _: Option<Filter>,
    ) -> Result<Subscription, SubscribeError> {
        Err(StoreError::Closed.into())
    }

    async fn last_event(&self, _: &StreamName) -> Result<Option<RecordedEvent>, ReadError> {
        Err(StoreError::Closed.into())
    }

    async fn head(&self) -> Result<Position, StoreError> {
        Ok(Position::new(self.log.lock().unwrap().len() as u64))
    }

    async fn stream_metadata(
        &self,
        _: &StreamName,
    ) -> Result<(StreamMetadata, Option<Revision>), ReadError> {
        Err(StoreError::Closed.into())
    }

    async fn set_stream_metadata(
        &self,
        _: &StreamName,
        _: ExpectedRevision,
        _: StreamMetadata,
    ) -> Result<Appended, AppendError> {
        Err(StoreError::Closed.into())
    }

    async fn delete_stream(
        &self,
        _: &StreamName,
        _: ExpectedRevision,
    ) -> Result<Appended, AppendError> {
        Err(StoreError::Closed.into())
    }

    async fn tombstone_stream(
        &self,
        _: &StreamName,
        _: ExpectedRevision,
    ) -> Result<Appended, AppendError> {
        Err(StoreError::Closed.into())
    }
}

fn reader<'a>(events: impl Iterator<Item = &'a RecordedEvent>) -> EventReader {
    let events: Vec<_> = events.cloned().map(Ok).collect();
    stream::iter(events).boxed()
}
