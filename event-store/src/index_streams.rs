//! Categories and types as streams of links, as EventStoreDB's system projections write them:
//! `$ce-<category>` and `$et-<type>`, served from the indexes of the store.
//!
//! They look like links that were written (`$>`, data `<revision>@<stream>`, lasting numbers), and
//! are there from when their projection is enabled on, as the last event of its definition says.
//! Their metadata hide links as those of any stream hide events: `$maxCount`, `$maxAge` and `$tb`
//! say where it begins for who reads, and a deletion hides those that are there. A stream of that
//! name that somebody has written is read as it is.

mod deletion;

use std::sync::Arc;

use async_stream::try_stream;
use async_trait::async_trait;
use chrono::Utc;
use futures::future::{Either, ready};
use futures::stream::{StreamExt, TryStreamExt};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use self::deletion::of_append;
use crate::error::{
    AppendError, IndexError, MultiAppendError, ReadError, StoreError, SubscribeError,
};
use crate::event::{ContentType, EventId, EventType, NewEvent, RecordedEvent};
use crate::filter::Filter;
use crate::indexed::{
    Index, IndexReader, IndexStart, IndexSubscription, Indexed, Ordinal, ReadIndex,
};
use crate::multi::{MultiAppend, MultiAppended};
use crate::persistent::LINK_TYPE;
use crate::port::{Appended, EventStore};
use crate::position::Position;
use crate::read::{AsOf, Direction, EventReader, ReadAll, ReadStream, StreamStart};
use crate::stream::{ExpectedRevision, Revision, StreamMetadata, StreamName};
use crate::subscription::{Delivery, SubscribeFrom, Subscription};

const CATEGORY_PREFIX: &str = "$ce-";
const TYPE_PREFIX: &str = "$et-";
/// The longest of them, in bytes.
pub(crate) const LINK_PREFIX_BYTES_MAX: usize = 4;
const _: () = assert!(CATEGORY_PREFIX.len() <= LINK_PREFIX_BYTES_MAX);
const _: () = assert!(TYPE_PREFIX.len() <= LINK_PREFIX_BYTES_MAX);

/// What the ids of links are made from.
const NAMESPACE: Uuid = Uuid::from_u128(0x4b1f_3a52_77c0_4a6e_9d0e_51f3_0c5b_a2d7);

/// What stands before the category or the type in the name of a stream of links; nothing in others.
pub(crate) fn link_prefix(stream: &str) -> &'static str {
    let prefixes = [CATEGORY_PREFIX, TYPE_PREFIX];
    prefixes.into_iter().find(|prefix| stream.starts_with(prefix)).unwrap_or("")
}

/// The index that a stream of this name has the links of.
pub(crate) fn index_of(stream: &str) -> Option<Index> {
    if let Some(category) = stream.strip_prefix(CATEGORY_PREFIX) {
        return (!category.is_empty()).then(|| Index::category(category));
    }
    let event_type = stream.strip_prefix(TYPE_PREFIX)?;
    // Links are not links to links.
    let event_type = EventType::new(event_type).ok().filter(|it| it.as_str() != LINK_TYPE)?;
    Some(Index::EventType(event_type))
}

/// What the definition of a system projection says of whether its streams are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Gate {
    enabled: bool,
    /// Where it was stopped, after it was enabled.
    stopped_at: Option<Position>,
}

impl Gate {
    fn of(definition: Option<&RecordedEvent>) -> Self {
        definition.and_then(|event| serde_json::from_slice(&event.data).ok()).unwrap_or_default()
    }

    /// Whether an event came after it was stopped.
    fn ends_before(self, event: &RecordedEvent) -> bool {
        !self.enabled && self.stopped_at.is_none_or(|stopped_at| event.position > stopped_at)
    }

    /// Whether there is anything; and up to where, if it does not grow.
    fn opens(self) -> Option<Option<AsOf>> {
        match (self.enabled, self.stopped_at) {
            (true, _) => Some(None),
            (false, Some(position)) => Some(Some(AsOf::Position(position))),
            (false, None) => None,
        }
    }
}

/// The stream with the definition of the projection that an index belongs to.
fn definition_of(index: &Index) -> StreamName {
    StreamName::recorded(match index {
        Index::Category(_) => "$projections-$by_category",
        Index::EventType(_) => "$projections-$by_event_type",
    })
}

/// A store with streams of links to what is in its indexes.
pub(crate) struct IndexStreams(Arc<dyn EventStore>);

/// The index that stands for a stream.
struct Instead {
    index: Index,
    gate: Gate,
    /// The revision of the definition that the gate is of.
    defined: Option<Revision>,
}

impl IndexStreams {
    pub(crate) fn over(store: Arc<dyn EventStore>) -> Self {
        Self(store)
    }

    /// The index that stands for a stream that nobody has written.
    async fn instead(&self, stream: &StreamName) -> Result<Option<Instead>, ReadError> {
        let Some(index) = index_of(stream.as_str()) else { return Ok(None) };
        if self.0.last_event(stream).await?.is_some() {
            return Ok(None);
        }
        let definition = self.0.last_event(&definition_of(&index)).await?;
        let gate = Gate::of(definition.as_ref());
        Ok(Some(Instead { index, gate, defined: definition.map(|event| event.revision) }))
    }

    async fn follow(
        &self,
        stream: &StreamName,
        from: SubscribeFrom<Revision>,
        instead: Instead,
    ) -> Result<Subscription, ReadError> {
        let Instead { index, gate, defined } = instead;
        let from = match from {
            SubscribeFrom::Start => SubscribeFrom::Start,
            SubscribeFrom::After(revision) => SubscribeFrom::After(Ordinal::new(revision.get())),
            // What is there when the projection is enabled is new to who waited for it.
            SubscribeFrom::End if gate.opens().is_none() => SubscribeFrom::Start,
            SubscribeFrom::End => {
                let last = self.last(&index, gate.opens().flatten()).await?;
                last.map_or(SubscribeFrom::Start, SubscribeFrom::After)
            }
        };
        let until = gate.opens().flatten();
        let hidden = match self.first(stream, &index, until).await? {
            Some(first) => first.get().checked_sub(1).map(Ordinal::new),
            // Of what is deleted there is nothing to be seen but what comes.
            None => self.last(&index, until).await?,
        };
        let from = match (from, hidden) {
            (SubscribeFrom::Start, Some(hidden)) => SubscribeFrom::After(hidden),
            (SubscribeFrom::After(seen), Some(hidden)) => SubscribeFrom::After(seen.max(hidden)),
            (from, _) => from,
        };
        let (store, stream) = (Arc::clone(&self.0), stream.clone());
        Ok(Followed { store, stream, index, gate, defined, from }.deliveries())
    }

    async fn read_links(
        &self,
        read: ReadStream,
        Instead { index, gate, .. }: Instead,
    ) -> Result<EventReader, ReadError> {
        let missing = || ReadError::StreamNotFound(read.stream.clone());
        let until = gate.opens().ok_or_else(missing)?;
        let as_of = match (read.as_of, until) {
            (Some(AsOf::Position(asked)), Some(AsOf::Position(until))) => {
                Some(AsOf::Position(asked.min(until)))
            }
            (asked, until) => asked.or(until),
        };
        let first = self.first(&read.stream, &index, as_of).await?.ok_or_else(missing)?;
        let start = match (read.start, read.direction) {
            (StreamStart::Start, Direction::Forward) => IndexStart::Ordinal(first),
            (StreamStart::Start, Direction::Backward) => IndexStart::Start,
            (StreamStart::End, _) => IndexStart::End,
            (StreamStart::Revision(revision), direction) => {
                let asked = Ordinal::new(revision.get());
                let is_forward = direction == Direction::Forward;
                IndexStart::Ordinal(if is_forward { asked.max(first) } else { asked })
            }
            (StreamStart::Time(time), _) => IndexStart::Time(time),
        };
        // Of what is read from a time on, some may be hidden.
        let limit = read.limit.filter(|_| !matches!(start, IndexStart::Time(_)));
        let asked = ReadIndex { index, direction: read.direction, start, limit, as_of };
        let seen = self.0.read_index(asked).await.map_err(of_index)?;
        let seen = match read.direction {
            Direction::Forward => {
                seen.try_skip_while(move |it| ready(Ok(it.ordinal < first))).boxed()
            }
            Direction::Backward => {
                seen.try_take_while(move |it| ready(Ok(it.ordinal >= first))).boxed()
            }
        };
        let limit = read.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let stream = read.stream;
        let links = seen.map_ok(move |indexed| link(&stream, &indexed)).map_err(of_index);
        Ok(links.take(limit).boxed())
    }

    /// The first ordinal that the stream's metadata do not hide; none where there is no event, or
    /// all were deleted.
    async fn first(
        &self,
        stream: &StreamName,
        index: &Index,
        as_of: Option<AsOf>,
    ) -> Result<Option<Ordinal>, ReadError> {
        let Some(last) = self.last(index, as_of).await? else { return Ok(None) };
        let Some(visibility) = self.visibility(stream, index, last).await? else {
            return Ok(None);
        };
        let behind = last.get() + 1;
        let first = visibility.first_of(behind);
        let Some(moment) = visibility.recorded_after(Utc::now()) else {
            return Ok(Some(Ordinal::new(first)));
        };
        let young = ReadIndex::forward(index.clone()).from_time(moment).limit(1);
        let young = self.ordinal(ReadIndex { as_of, ..young }).await?;
        Ok(Some(Ordinal::new(first.max(young.map_or(behind, Ordinal::get)))))
    }

    /// The last ordinal.
    async fn last(&self, index: &Index, as_of: Option<AsOf>) -> Result<Option<Ordinal>, ReadError> {
        let read = ReadIndex::backward(index.clone()).limit(1);
        self.ordinal(ReadIndex { as_of, ..read }).await
    }

    /// The ordinal of the first event that is read so.
    async fn ordinal(&self, read: ReadIndex) -> Result<Option<Ordinal>, ReadError> {
        let mut events = self.0.read_index(read).await.map_err(of_index)?;
        Ok(events.try_next().await.map_err(of_index)?.map(|indexed| indexed.ordinal))
    }
}

fn of_index(error: IndexError) -> ReadError {
    ReadError::Store(match error {
        IndexError::Store(error) => error,
        error @ IndexError::Unsupported => {
            StoreError::Unavailable { reason: error.to_string().into() }
        }
    })
}

/// The link to an event of an index; what is a link itself is led on.
fn link(stream: &StreamName, indexed: &Indexed) -> RecordedEvent {
    let Indexed { ordinal, event } = indexed;
    let data = match event.event_type.as_str() {
        LINK_TYPE => event.data.clone(),
        _ => format!("{}@{}", event.revision, event.stream).into(),
    };
    let position = event.position.get();
    let metadata = json!({
        "$c": position,
        "$p": position,
        "$o": event.stream.as_str(),
        "$causedBy": event.id.to_string(),
    });
    let id = Uuid::new_v5(&NAMESPACE, format!("{ordinal}@{stream}").as_bytes());
    RecordedEvent {
        id: EventId(id),
        stream: stream.clone(),
        revision: Revision::new(ordinal.get()),
        position: event.position,
        event_type: EventType::new(LINK_TYPE).expect("it is short"),
        content_type: ContentType::Binary,
        data,
        metadata: metadata.to_string().into(),
        recorded_at: event.recorded_at,
    }
}

/// A stream of links that is followed.
struct Followed {
    store: Arc<dyn EventStore>,
    stream: StreamName,
    index: Index,
    gate: Gate,
    /// The revision of the definition that says so.
    defined: Option<Revision>,
    from: SubscribeFrom<Ordinal>,
}

impl Followed {
    /// Follows an index while its projection is enabled; without end.
    fn deliveries(self) -> Subscription {
        let Self { store, stream, index, mut gate, defined, mut from } = self;
        try_stream! {
            let since = defined.map_or(SubscribeFrom::Start, SubscribeFrom::After);
            let mut definitions = store.subscribe_stream(&definition_of(&index), since).await?;
            let (mut told, mut stopped) = (false, false);
            let mut open: Option<IndexSubscription> = None;
            loop {
                stopped = gate.opens().is_none() || (stopped && !gate.enabled);
                if stopped {
                    open = None;
                    if !told {
                        told = true;
                        yield Delivery::CaughtUp;
                    }
                } else if open.is_none() {
                    open = Some(store.subscribe_index(&index, from).await.map_err(of_follow)?);
                }
                let next = match &mut open {
                    Some(open) => Either::Left(open.next()),
                    None => Either::Right(std::future::pending()),
                };
                let next = tokio::select! {
                    biased;
                    definition = definitions.next() => Either::Left(definition),
                    delivery = next => Either::Right(delivery),
                };
                match next {
                    Either::Left(Some(definition)) => {
                        if let Delivery::Event(event) = definition? {
                            gate = Gate::of(Some(&event));
                        }
                    }
                    Either::Right(Some(delivery)) => match delivery.map_err(of_follow)? {
                        Delivery::Event(indexed) if gate.ends_before(&indexed.event) => {
                            stopped = true;
                        }
                        Delivery::Event(indexed) => {
                            from = SubscribeFrom::After(indexed.ordinal);
                            yield Delivery::Event(link(&stream, &indexed));
                        }
                        Delivery::CaughtUp => {
                            told = true;
                            yield Delivery::CaughtUp;
                        }
                        Delivery::FellBehind => yield Delivery::FellBehind,
                        Delivery::Checkpoint(_) => {}
                    },
                    Either::Left(None) | Either::Right(None) => break,
                }
            }
        }
        .boxed()
    }
}

fn of_follow(error: IndexError) -> SubscribeError {
    of_read(of_index(error))
}

fn of_read(error: ReadError) -> SubscribeError {
    SubscribeError::Store(match error {
        ReadError::Store(error) => error,
        error => StoreError::Unavailable { reason: error.to_string().into() },
    })
}

#[async_trait]
impl EventStore for IndexStreams {
    async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        events: Vec<NewEvent>,
    ) -> Result<Appended, AppendError> {
        self.0.append(stream, expected, events).await
    }

    async fn append_to_streams(
        &self,
        append: MultiAppend,
    ) -> Result<MultiAppended, MultiAppendError> {
        self.0.append_to_streams(append).await
    }

    async fn read_stream(&self, read: ReadStream) -> Result<EventReader, ReadError> {
        match self.instead(&read.stream).await? {
            Some(instead) => self.read_links(read, instead).await,
            None => self.0.read_stream(read).await,
        }
    }

    async fn read_all(&self, read: ReadAll) -> Result<EventReader, ReadError> {
        self.0.read_all(read).await
    }

    async fn subscribe_stream(
        &self,
        stream: &StreamName,
        from: SubscribeFrom<Revision>,
    ) -> Result<Subscription, SubscribeError> {
        let followed = match self.instead(stream).await {
            Ok(Some(instead)) => self.follow(stream, from, instead).await,
            Ok(None) | Err(ReadError::StreamDeleted(_)) => {
                return self.0.subscribe_stream(stream, from).await;
            }
            Err(error) => Err(error),
        };
        followed.map_err(of_read)
    }

    async fn subscribe_all(
        &self,
        from: SubscribeFrom<Position>,
        filter: Option<Filter>,
    ) -> Result<Subscription, SubscribeError> {
        self.0.subscribe_all(from, filter).await
    }

    async fn read_index(&self, read: ReadIndex) -> Result<IndexReader, IndexError> {
        self.0.read_index(read).await
    }

    async fn subscribe_index(
        &self,
        index: &Index,
        from: SubscribeFrom<Ordinal>,
    ) -> Result<IndexSubscription, IndexError> {
        self.0.subscribe_index(index, from).await
    }

    async fn last_event(&self, stream: &StreamName) -> Result<Option<RecordedEvent>, ReadError> {
        let Some(instead) = self.instead(stream).await? else {
            return self.0.last_event(stream).await;
        };
        let read = ReadStream::backward(stream.clone()).limit(1);
        match self.read_links(read, instead).await {
            Ok(mut links) => links.try_next().await,
            Err(ReadError::StreamNotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn last_revision(&self, stream: &StreamName) -> Result<Option<Revision>, ReadError> {
        let Some(Instead { index, gate, .. }) = self.instead(stream).await? else {
            return self.0.last_revision(stream).await;
        };
        let Some(until) = gate.opens() else { return Ok(None) };
        let Some(last) = self.last(&index, until).await? else { return Ok(None) };
        let is_there = self.visibility(stream, &index, last).await?.is_some();
        Ok(is_there.then(|| Revision::new(last.get())))
    }

    async fn head(&self) -> Result<Position, StoreError> {
        self.0.head().await
    }

    async fn stream_metadata(
        &self,
        stream: &StreamName,
    ) -> Result<(StreamMetadata, Option<Revision>), ReadError> {
        self.0.stream_metadata(stream).await
    }

    async fn set_stream_metadata(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        metadata: StreamMetadata,
    ) -> Result<Appended, AppendError> {
        self.0.set_stream_metadata(stream, expected, metadata).await
    }

    async fn delete_stream(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
    ) -> Result<Appended, AppendError> {
        match self.instead(stream).await {
            Ok(Some(instead)) => self.delete_links(stream, expected, &instead).await,
            Ok(None) | Err(ReadError::StreamDeleted(_)) => {
                self.0.delete_stream(stream, expected).await
            }
            Err(error) => Err(of_append(error)),
        }
    }

    async fn tombstone_stream(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
    ) -> Result<Appended, AppendError> {
        self.0.tombstone_stream(stream, expected).await
    }
}
