//! The store whose personal fields are sealed: the port over the port.

use std::sync::Arc;

use async_trait::async_trait;
use futures::{Stream, TryStreamExt as _};

use super::data::Fields;
use super::keys::SubjectKeys;
use super::marks::Marks;
use super::seals::{KeysAtHand, Seals, Unopened};
use super::unreadable::{UnreadableField, UnreadableFields};
use crate::error::{
    AppendError, IndexError, MultiAppendError, ReadError, StoreError, SubscribeError,
};
use crate::event::{NewEvent, RecordedEvent};
use crate::filter::Filter;
use crate::indexed::{Index, IndexReader, IndexSubscription, Indexed, Ordinal, ReadIndex};
use crate::multi::{MultiAppend, MultiAppended};
use crate::port::{Appended, EventStore};
use crate::position::Position;
use crate::read::{EventReader, ReadAll, ReadStream};
use crate::stream::{ExpectedRevision, Revision, StreamMetadata, StreamName};
use crate::subscription::{Delivery, SubscribeFrom, Subscription};

/// A store whose personal fields are sealed as they are appended, with the key of the person that
/// they are about, and opened as they are read. Of somebody who was forgotten there is a stand-in.
///
/// What has no marks is not looked into. Marked events from before they were sealed pass as they
/// are. Names of streams and types, and metadata, are never sealed: nothing personal belongs there.
/// What is appended about somebody who was forgotten already is not kept: it is read as a stand-in
/// too, so that those who were at work then need not fail.
///
/// A field that no key opens, as its key is lost or is another, is left as it is, an object with
/// `$sealed`: who reads the event may well do without it, and whoever takes it for a value fails.
/// Those that were met are in [`PersonalStore::unreadable`]. Nothing is sealed for somebody whose
/// key is lost.
pub struct PersonalStore {
    inner: Arc<dyn EventStore>,
    seals: Seals,
}

impl PersonalStore {
    /// The store over this one.
    pub fn over(inner: Arc<dyn EventStore>, keys: SubjectKeys, marks: Marks) -> Self {
        Self::with(inner, Some(keys), marks)
    }

    /// The store over this one where there are no keys: nothing that is sealed can be opened, and
    /// nothing personal appended.
    pub fn without_keys(inner: Arc<dyn EventStore>, marks: Marks) -> Self {
        Self::with(inner, None, marks)
    }

    fn with(inner: Arc<dyn EventStore>, keys: Option<SubjectKeys>, marks: Marks) -> Self {
        let (unopened, unreadable) = (Unopened::Left, UnreadableFields::default());
        Self { inner, seals: Seals { keys, marks, unopened, unreadable } }
    }

    /// The same, for people to look at: for what can't be opened there is the text `sealed`, which
    /// must never be taken for data.
    #[must_use]
    pub fn showing_sealed(mut self) -> Self {
        self.seals.unopened = Unopened::Shown;
        self
    }

    /// The fields that were met and could not be opened.
    pub fn unreadable(&self) -> UnreadableFields {
        self.seals.unreadable.clone()
    }

    /// Opens an event of a store that is not opened by this, and tells what of it can't be.
    ///
    /// # Errors
    /// When the keys can't be read.
    pub async fn open(
        &self,
        event: &mut RecordedEvent,
    ) -> Result<Vec<UnreadableField>, StoreError> {
        self.seals.open(event).await
    }

    /// The same over another store, with the same keys.
    #[must_use]
    pub fn with_inner(&self, inner: Arc<dyn EventStore>) -> Self {
        Self { inner, seals: self.seals.clone() }
    }

    /// Whether a field of the event is sealed, in a store that is not opened by this.
    pub fn is_sealed(event: &RecordedEvent, marks: Marks) -> bool {
        let marked = marks(&event.event_type);
        !marked.is_empty()
            && Fields::of(&event.data).is_some_and(|data| Seals::has_sealed(&data, marked))
    }

    async fn sealed(
        &self,
        stream: &StreamName,
        events: Vec<NewEvent>,
    ) -> Result<Vec<NewEvent>, StoreError> {
        let (mut sealed, mut at_hand) = (Vec::with_capacity(events.len()), KeysAtHand::new());
        for event in events {
            sealed.push(self.seals.seal(&*self.inner, stream, event, &mut at_hand).await?);
        }
        Ok(sealed)
    }

    /// The same, each opened.
    fn opened<T, E>(
        &self,
        mut items: impl Stream<Item = Result<T, E>> + Send + Unpin + 'static,
    ) -> futures::stream::BoxStream<'static, Result<T, E>>
    where
        T: Openable + Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let seals = self.seals.clone();
        Box::pin(async_stream::try_stream! {
            while let Some(mut item) = items.try_next().await? {
                if let Some(event) = item.event() {
                    seals.open(event).await?;
                }
                yield item;
            }
        })
    }
}

/// What may have an event in it.
trait Openable {
    fn event(&mut self) -> Option<&mut RecordedEvent>;
}

impl Openable for RecordedEvent {
    fn event(&mut self) -> Option<&mut RecordedEvent> {
        Some(self)
    }
}

impl Openable for Indexed {
    fn event(&mut self) -> Option<&mut RecordedEvent> {
        Some(&mut self.event)
    }
}

impl<E: Openable> Openable for Delivery<E> {
    fn event(&mut self) -> Option<&mut RecordedEvent> {
        match self {
            Self::Event(event) => event.event(),
            Self::Checkpoint(_) | Self::CaughtUp | Self::FellBehind => None,
        }
    }
}

#[async_trait]
impl EventStore for PersonalStore {
    async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        events: Vec<NewEvent>,
    ) -> Result<Appended, AppendError> {
        let events = self.sealed(stream, events).await?;
        self.inner.append(stream, expected, events).await
    }

    async fn append_to_streams(
        &self,
        append: MultiAppend,
    ) -> Result<MultiAppended, MultiAppendError> {
        let MultiAppend { events, checks } = append;
        let (mut sealed, mut at_hand) = (Vec::with_capacity(events.len()), KeysAtHand::new());
        for (stream, event) in events {
            let event = self.seals.seal(&*self.inner, &stream, event, &mut at_hand).await?;
            sealed.push((stream, event));
        }
        self.inner.append_to_streams(MultiAppend { events: sealed, checks }).await
    }

    async fn read_stream(&self, read: ReadStream) -> Result<EventReader, ReadError> {
        Ok(self.opened(self.inner.read_stream(read).await?))
    }

    async fn read_all(&self, read: ReadAll) -> Result<EventReader, ReadError> {
        Ok(self.opened(self.inner.read_all(read).await?))
    }

    async fn subscribe_stream(
        &self,
        stream: &StreamName,
        from: SubscribeFrom<Revision>,
    ) -> Result<Subscription, SubscribeError> {
        Ok(self.opened(self.inner.subscribe_stream(stream, from).await?))
    }

    async fn subscribe_all(
        &self,
        from: SubscribeFrom<Position>,
        filter: Option<Filter>,
    ) -> Result<Subscription, SubscribeError> {
        Ok(self.opened(self.inner.subscribe_all(from, filter).await?))
    }

    async fn read_index(&self, read: ReadIndex) -> Result<IndexReader, IndexError> {
        Ok(self.opened(self.inner.read_index(read).await?))
    }

    async fn subscribe_index(
        &self,
        index: &Index,
        from: SubscribeFrom<Ordinal>,
    ) -> Result<IndexSubscription, IndexError> {
        Ok(self.opened(self.inner.subscribe_index(index, from).await?))
    }

    async fn last_event(&self, stream: &StreamName) -> Result<Option<RecordedEvent>, ReadError> {
        let mut last = self.inner.last_event(stream).await?;
        if let Some(event) = &mut last {
            self.seals.open(event).await?;
        }
        Ok(last)
    }

    async fn last_revision(&self, stream: &StreamName) -> Result<Option<Revision>, ReadError> {
        self.inner.last_revision(stream).await
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
