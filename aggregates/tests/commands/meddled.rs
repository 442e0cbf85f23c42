//! A store with which others meddle: they are faster, or swallow an acknowledgement.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aggregates::CommandHandler;
use aggregates::commerce::Listing;
use async_trait::async_trait;
use event_store::{
    AppendError, Appended, EventReader, EventStore, ExpectedRevision, Filter, NewEvent, Position,
    ReadAll, ReadError, ReadStream, RecordedEvent, Revision, StoreError, StreamMetadata,
    StreamName, SubscribeError, SubscribeFrom, Subscription,
};

use crate::{LISTING, context, reserve};

/// A store with which others meddle.
pub struct Meddled {
    inner: Arc<dyn EventStore>,
    /// How many appends still find that somebody was faster.
    pub rivals: AtomicU32,
    /// How many appends are still done without being acknowledged.
    pub lost: AtomicU32,
}

impl Meddled {
    pub fn new(inner: Arc<dyn EventStore>, rivals: u32, lost: u32) -> Self {
        let (rivals, lost) = (AtomicU32::new(rivals), AtomicU32::new(lost));
        Self { inner, rivals, lost }
    }
}

fn one_less(counter: &AtomicU32) -> Option<u32> {
    let less = |left: u32| left.checked_sub(1);
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).ok()
}

#[async_trait]
impl EventStore for Meddled {
    async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        events: Vec<NewEvent>,
    ) -> Result<Appended, AppendError> {
        if let Some(left) = one_less(&self.rivals) {
            let buyer = 1000 + u128::from(left);
            let rival = CommandHandler::new(self.inner.clone());
            let reserved =
                rival.execute::<Listing>(LISTING, reserve(buyer), &context(buyer)).await.unwrap();
            assert_eq!(reserved.events.len(), 1);
        }
        let appended = self.inner.append(stream, expected, events).await?;
        if one_less(&self.lost).is_some() {
            return Err(StoreError::Unavailable { reason: "the line went dead".into() }.into());
        }
        Ok(appended)
    }

    async fn read_stream(&self, read: ReadStream) -> Result<EventReader, ReadError> {
        self.inner.read_stream(read).await
    }

    async fn read_all(&self, read: ReadAll) -> Result<EventReader, ReadError> {
        self.inner.read_all(read).await
    }

    async fn subscribe_stream(
        &self,
        stream: &StreamName,
        from: SubscribeFrom<Revision>,
    ) -> Result<Subscription, SubscribeError> {
        self.inner.subscribe_stream(stream, from).await
    }

    async fn subscribe_all(
        &self,
        from: SubscribeFrom<Position>,
        filter: Option<Filter>,
    ) -> Result<Subscription, SubscribeError> {
        self.inner.subscribe_all(from, filter).await
    }

    async fn last_event(&self, stream: &StreamName) -> Result<Option<RecordedEvent>, ReadError> {
        self.inner.last_event(stream).await
    }

    async fn head(&self) -> Result<Position, StoreError> {
        self.inner.head().await
    }

    async fn stream_metadata(
        &self,
        stream: &StreamName,
    ) -> Result<(StreamMetadata, Option<Revision>), ReadError> {
        self.inner.stream_metadata(stream).await
    }

    async fn set_stream_metadata(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        metadata: StreamMetadata,
    ) -> Result<Appended, AppendError> {
        self.inner.set_stream_metadata(stream, expected, metadata).await
    }

    async fn delete_stream(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
    ) -> Result<Appended, AppendError> {
        self.inner.delete_stream(stream, expected).await
    }

    async fn tombstone_stream(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
    ) -> Result<Appended, AppendError> {
        self.inner.tombstone_stream(stream, expected).await
    }
}
