//! The port: what every engine does, and all that anybody else knows of the event store.

use async_trait::async_trait;

use crate::error::{
    AppendError, IndexError, MultiAppendError, ReadError, StoreError, SubscribeError,
};
use crate::event::{NewEvent, RecordedEvent};
use crate::filter::Filter;
use crate::indexed::{Index, IndexReader, IndexSubscription, Ordinal, ReadIndex};
use crate::multi::{MultiAppend, MultiAppended, append_to_one};
use crate::position::Position;
use crate::read::{EventReader, ReadAll, ReadStream};
use crate::stream::{ExpectedRevision, Revision, StreamMetadata, StreamName};
use crate::subscription::{SubscribeFrom, Subscription};

/// An event store. One conformance suite holds all implementations to the same behaviour.
///
/// Promises: an acknowledged append is durable and whole; revisions of a stream are gapless, also
/// where its first events were hidden and reclaimed; positions strictly increase; nothing is
/// visible before it is durable; a reader sees every event that was acknowledged before its read
/// began, unless it was hidden and reclaimed since.
#[async_trait]
pub trait EventStore: Send + Sync + 'static {
    /// Appends the events to one stream, all or none, and returns when they are durable.
    ///
    /// Idempotent by event id, as EventStoreDB defines it: with an exact revision or no stream a
    /// retry is recognised for good; with any or an existing stream, among the ids appended last.
    /// That holds while the events are there: once they were hidden and reclaimed, a retry with an
    /// exact revision is refused, and one that expects nothing is new.
    async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        events: Vec<NewEvent>,
    ) -> Result<Appended, AppendError>;

    /// Appends events to several streams, all or none, and returns when they are durable; their
    /// order in the log is the one given. What is checked is checked against one state of all
    /// streams, to which the append then goes.
    ///
    /// Idempotent as [`append`](Self::append) is, a stream by itself: when the events of every
    /// stream are known where they would stand, the answer is that of the first time and the
    /// checks of other streams are not made again; when only some are, it is refused.
    ///
    /// A store that appends to one stream at a time need not say so: unless implemented, this
    /// hands on what is of one stream, checks of it included, and refuses all else as
    /// [`MultiAppendError::Unsupported`].
    async fn append_to_streams(
        &self,
        append: MultiAppend,
    ) -> Result<MultiAppended, MultiAppendError> {
        append_to_one(self, append).await
    }

    /// Reads one stream. An unknown stream is an error at once; one whose events were all
    /// truncated is empty.
    async fn read_stream(&self, read: ReadStream) -> Result<EventReader, ReadError>;

    /// Reads the log in its one order.
    async fn read_all(&self, read: ReadAll) -> Result<EventReader, ReadError>;

    /// Follows one stream, from the past to live. It need not be there yet.
    async fn subscribe_stream(
        &self,
        stream: &StreamName,
        from: SubscribeFrom<Revision>,
    ) -> Result<Subscription, SubscribeError>;

    /// Follows the log, or what the filter keeps of it, from the past to live.
    async fn subscribe_all(
        &self,
        from: SubscribeFrom<Position>,
        filter: Option<Filter>,
    ) -> Result<Subscription, SubscribeError>;

    /// Reads the events of a category or a type, at the price of what it returns.
    ///
    /// A store that has no such indexes need not say so: unless implemented, this is refused as
    /// [`IndexError::Unsupported`].
    async fn read_index(&self, _read: ReadIndex) -> Result<IndexReader, IndexError> {
        Err(IndexError::Unsupported)
    }

    /// Follows a category or a type, from the past to live. It need not be there yet.
    ///
    /// Unless implemented, this is refused as [`IndexError::Unsupported`].
    async fn subscribe_index(
        &self,
        _index: &Index,
        _from: SubscribeFrom<Ordinal>,
    ) -> Result<IndexSubscription, IndexError> {
        Err(IndexError::Unsupported)
    }

    /// The last event of a stream; `None` when it has none that can be read.
    async fn last_event(&self, stream: &StreamName) -> Result<Option<RecordedEvent>, ReadError>;

    /// The last revision of a stream, though its event be hidden: metadata hide events, and leave
    /// the revisions. `None` when the stream was never there or is deleted.
    ///
    /// Unless implemented, that of the last event that can be read.
    async fn last_revision(&self, stream: &StreamName) -> Result<Option<Revision>, ReadError> {
        Ok(self.last_event(stream).await?.map(|event| event.revision))
    }

    /// The position of the last event of the log; [`Position::START`] when it is empty.
    async fn head(&self) -> Result<Position, StoreError>;

    /// The metadata of a stream, and the revision of `$$<stream>` that holds it.
    async fn stream_metadata(
        &self,
        stream: &StreamName,
    ) -> Result<(StreamMetadata, Option<Revision>), ReadError>;

    /// Replaces the metadata of a stream; `expected` is of `$$<stream>`. That of a tombstoned
    /// stream is replaced as well, though it can't be read any more.
    async fn set_stream_metadata(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        metadata: StreamMetadata,
    ) -> Result<Appended, AppendError>;

    /// Deletes a stream: its events are no longer read, an append opens it again and goes on with
    /// its numbers.
    async fn delete_stream(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
    ) -> Result<Appended, AppendError>;

    /// Deletes a stream for good: no event is ever appended to it again.
    async fn tombstone_stream(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
    ) -> Result<Appended, AppendError>;
}

/// The acknowledgement of an append; for a retry, that of the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The last revision of the stream after it; `None` when nothing was ever appended.
    pub last_revision: Option<Revision>,
    /// The position of its last event; `None` when it had no events.
    pub position: Option<Position>,
}
