//! A process that dies: at one chosen append or call, just before it or just after it.
//!
//! The call never returns, as it would not in a killed process; the test then drops the runtime
//! and starts another on what is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use event_store::{
    AppendError, Appended, EventReader, EventStore, ExpectedRevision, Filter, NewEvent, Position,
    ReadAll, ReadError, ReadStream, RecordedEvent, Revision, StoreError, StreamMetadata,
    StreamName, SubscribeError, SubscribeFrom, Subscription,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::orchestrator::{Activity, ActivityError, StepCall};

/// When the process dies.
pub(crate) struct Crash {
    at: usize,
    passed: AtomicUsize,
    died: CancellationToken,
}

impl Crash {
    /// At this place, counted from one: odd numbers are before something, even ones after it.
    pub(crate) fn at(at: usize) -> Arc<Self> {
        Arc::new(Self { at, passed: AtomicUsize::new(0), died: CancellationToken::new() })
    }

    /// Returns when it has died.
    pub(crate) async fn died(&self) {
        self.died.cancelled().await;
    }

    /// How many places were passed.
    pub(crate) fn passed(&self) -> usize {
        self.passed.load(Ordering::SeqCst)
    }

    async fn pass(&self) {
        let place = self.passed.fetch_add(1, Ordering::SeqCst) + 1;
        if place == self.at {
            self.died.cancel();
        }
        if self.died.is_cancelled() {
            std::future::pending::<()>().await;
        }
    }
}

/// A store as a process that dies sees it.
pub(crate) struct CrashingStore {
    pub(crate) inner: Arc<dyn EventStore>,
    pub(crate) crash: Arc<Crash>,
}

/// An activity of a process that dies.
pub(crate) struct CrashingActivity {
    pub(crate) inner: Arc<dyn Activity>,
    pub(crate) crash: Arc<Crash>,
}

#[async_trait]
impl Activity for CrashingActivity {
    async fn run(&self, call: &StepCall<'_>) -> Result<Value, ActivityError> {
        self.crash.pass().await;
        let outcome = self.inner.run(call).await;
        self.crash.pass().await;
        outcome
    }

    async fn find(&self, call: &StepCall<'_>) -> Result<Option<Value>, ActivityError> {
        self.inner.find(call).await
    }

    async fn give_up(&self, call: &StepCall<'_>) -> Result<Option<Value>, ActivityError> {
        self.crash.pass().await;
        let outcome = self.inner.give_up(call).await;
        self.crash.pass().await;
        outcome
    }

    fn calls_out(&self) -> bool {
        self.inner.calls_out()
    }

    fn time_max(&self) -> Option<Duration> {
        self.inner.time_max()
    }
}

#[async_trait]
impl EventStore for CrashingStore {
    async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        events: Vec<NewEvent>,
    ) -> Result<Appended, AppendError> {
        self.crash.pass().await;
        let appended = self.inner.append(stream, expected, events).await;
        self.crash.pass().await;
        appended
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
