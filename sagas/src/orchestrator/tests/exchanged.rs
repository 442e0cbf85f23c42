//! A log that is exchanged under a runtime, which has events of the other one at hand still.

use event_store::{
    AppendError, Appended, EventReader, Filter, Position, ReadAll, ReadError, RecordedEvent,
    Revision, StoreError, StreamMetadata, SubscribeError, SubscribeFrom, Subscription,
};
use tokio_util::sync::CancellationToken;

use super::*;
use checkpoint::CheckpointError;

/// Follows one log; all else is done with another.
struct Exchanged {
    followed: MemoryStore,
    there: Arc<MemoryStore>,
}

#[async_trait]
impl EventStore for Exchanged {
    async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        events: Vec<NewEvent>,
    ) -> Result<Appended, AppendError> {
        self.there.append(stream, expected, events).await
    }

    async fn read_stream(&self, read: ReadStream) -> Result<EventReader, ReadError> {
        self.there.read_stream(read).await
    }

    async fn read_all(&self, read: ReadAll) -> Result<EventReader, ReadError> {
        self.there.read_all(read).await
    }

    async fn subscribe_stream(
        &self,
        stream: &StreamName,
        from: SubscribeFrom<Revision>,
    ) -> Result<Subscription, SubscribeError> {
        self.followed.subscribe_stream(stream, from).await
    }

    async fn subscribe_all(
        &self,
        from: SubscribeFrom<Position>,
        filter: Option<Filter>,
    ) -> Result<Subscription, SubscribeError> {
        self.followed.subscribe_all(from, filter).await
    }

    async fn last_event(&self, stream: &StreamName) -> Result<Option<RecordedEvent>, ReadError> {
        self.there.last_event(stream).await
    }

    async fn head(&self) -> Result<Position, StoreError> {
        self.there.head().await
    }

    async fn stream_metadata(
        &self,
        stream: &StreamName,
    ) -> Result<(StreamMetadata, Option<Revision>), ReadError> {
        self.there.stream_metadata(stream).await
    }

    async fn set_stream_metadata(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        metadata: StreamMetadata,
    ) -> Result<Appended, AppendError> {
        self.there.set_stream_metadata(stream, expected, metadata).await
    }

    async fn delete_stream(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
    ) -> Result<Appended, AppendError> {
        self.there.delete_stream(stream, expected).await
    }

    async fn tombstone_stream(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
    ) -> Result<Appended, AppendError> {
        self.there.tombstone_stream(stream, expected).await
    }
}

/// A run of what happened in another log would charge somebody for nothing.
#[tokio::test]
async fn no_run_begins_in_a_log_that_lacks_what_it_is_begun_by() {
    let faulty = Faulty::new(Fault::IsAway, 0);
    let (followed, there) = (MemoryStore::new(), Arc::new(MemoryStore::new()));
    let trigger = StreamName::new("trigger-1").unwrap();
    for store in [&followed, &*there] {
        store.append(&trigger, ExpectedRevision::Any, vec![triggered()]).await.unwrap();
    }
    let store = Arc::new(Exchanged { followed, there: Arc::clone(&there) });
    let runtime = SagaRuntime::new(store, vec![saga(&faulty)], SagaSettings::default());
    let running = runtime.run(CancellationToken::new());
    let ended = tokio::time::timeout(Duration::from_secs(10), running).await.expect("in time");
    assert!(matches!(ended, Err(CheckpointError::LogExchanged { .. })), "{ended:?}");
    assert_eq!(there.head().await.unwrap(), Position::new(1));
}
