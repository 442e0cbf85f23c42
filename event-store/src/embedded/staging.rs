//! The appends that will be made durable together, as the ones after them must see them already.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::recent::RecentIds;
use super::window::metadata_at;
use crate::error::StoreError;
use crate::event::{EventId, NewEvent, RecordedEvent};
use crate::index::{Catalog, TOMBSTONE_REVISION, Tail};
use crate::index_streams::index_of;
use crate::limits::PAGE_EVENTS_MAX;
use crate::log::{Entropy, FrameBuilder, new_id};
use crate::port::Appended;
use crate::position::Position;
use crate::read::Direction;
use crate::stream::{Revision, StreamMetadata, StreamName, Visibility};

/// Where an event is: its revision and its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) revision: u64,
    pub(crate) position: u64,
}

impl From<&RecordedEvent> for Found {
    fn from(event: &RecordedEvent) -> Self {
        Self { revision: event.revision.get(), position: event.position.get() }
    }
}

impl From<Found> for Appended {
    fn from(found: Found) -> Self {
        Self {
            last_revision: Some(Revision::new(found.revision)),
            position: Some(Position::new(found.position)),
        }
    }
}

/// How many ids were found where they are asked for.
struct Matched<'a> {
    from: u64,
    ids: &'a [EventId],
    count: usize,
    last: Option<Found>,
}

impl Matched<'_> {
    /// The revision that the event with the next id would have.
    fn next(&self) -> u64 {
        self.from.saturating_add(self.count as u64)
    }

    /// Whether this is the event with the next id, which is counted then.
    fn add(&mut self, event: &RecordedEvent) -> bool {
        let is_next = self.ids.get(self.count) == Some(&event.id);
        let is_there = is_next && event.revision.get() == self.next();
        if is_there {
            (self.count, self.last) = (self.count + 1, Some(event.into()));
        }
        is_there
    }
}

/// The log as it will be once what is staged is durable.
pub(crate) struct Staging<'a> {
    catalog: &'a Catalog,
    recent: &'a RecentIds,
    entropy: &'a dyn Entropy,
    recorded_at: DateTime<Utc>,
    head: u64,
    events: Vec<RecordedEvent>,
    bytes: usize,
    by_stream: HashMap<StreamName, Vec<usize>>,
    /// By id and stream, for one id may be in several streams: those that were looked for so far.
    /// Who appends much at once and expects a revision looks for none.
    by_id: RefCell<HashMap<(EventId, StreamName), usize>>,
    /// How many events these are of.
    known_ids: Cell<usize>,
    /// By staged metadata's own stream: what these hide.
    visibilities: HashMap<StreamName, Visibility>,
}

impl<'a> Staging<'a> {
    /// Nothing staged yet.
    pub(crate) fn new(
        catalog: &'a Catalog,
        recent: &'a RecentIds,
        entropy: &'a dyn Entropy,
        recorded_at: DateTime<Utc>,
    ) -> Self {
        Self {
            catalog,
            recent,
            entropy,
            recorded_at,
            head: catalog.head(),
            events: Vec::new(),
            bytes: 0,
            by_stream: HashMap::new(),
            by_id: RefCell::default(),
            known_ids: Cell::default(),
            visibilities: HashMap::new(),
        }
    }

    /// An id that no event has.
    pub(crate) fn new_id(&self) -> EventId {
        EventId(new_id(self.entropy))
    }

    /// The size of what is staged, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is staged.
    pub(crate) fn into_events(self) -> Vec<RecordedEvent> {
        self.events
    }

    /// Stages what this stages, or nothing when it fails.
    pub(crate) fn all_or_none<T, E>(
        &mut self,
        stage: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let before = self.events.len();
        let outcome = stage(self);
        if outcome.is_err() && self.events.len() > before {
            let kept = self.events.drain(..before).collect();
            self.events.clear();
            self.by_stream.clear();
            self.by_id.get_mut().clear();
            self.known_ids.set(0);
            self.visibilities.clear();
            self.bytes = 0;
            for event in Vec::into_iter(kept) {
                self.push(event);
                self.find_from(self.events.len() - 1);
            }
        }
        outcome
    }

    /// Stages an event; returns where it is.
    pub(crate) fn add(&mut self, stream: &StreamName, revision: u64, event: NewEvent) -> Found {
        let last = self.add_all(stream, revision, [event]);
        last.expect("it is one")
    }

    /// Stages events of a stream from this revision on; returns where the last of them is.
    pub(crate) fn add_all(
        &mut self,
        stream: &StreamName,
        first_revision: u64,
        events: impl IntoIterator<Item = NewEvent>,
    ) -> Option<Found> {
        let from = self.events.len();
        for (revision, event) in (first_revision..).zip(events) {
            let position = self.head + self.events.len() as u64 + 1;
            self.push(RecordedEvent {
                id: event.id,
                stream: stream.clone(),
                revision: Revision::new(revision),
                position: Position::new(position),
                event_type: event.event_type,
                content_type: event.content_type,
                data: event.data,
                metadata: event.metadata,
                recorded_at: self.recorded_at,
            });
        }
        self.find_from(from);
        self.events.get(from..)?.last().map(Found::from)
    }

    fn push(&mut self, event: RecordedEvent) {
        self.bytes += FrameBuilder::record_bytes(&event);
        self.events.push(event);
    }

    /// Lets those of one stream be found that were staged from here on.
    fn find_from(&mut self, from: usize) {
        let Some(last) = self.events.get(from..).and_then(<[_]>::last) else { return };
        let places = from..self.events.len();
        self.by_stream.entry(last.stream.clone()).or_default().extend(places);
        if last.stream.metadata_subject().is_some() {
            let visibility = StreamMetadata::parse(&last.data).visibility();
            self.visibilities.insert(last.stream.clone(), visibility);
        }
    }

    /// The end of a stream.
    pub(crate) fn tail(&self, stream: &StreamName) -> Result<Tail, StoreError> {
        let mut tail = self.catalog.tail(stream.as_str())?;
        for event in self.staged(stream) {
            if event.revision.get() == TOMBSTONE_REVISION {
                tail.tombstoned = true;
            } else {
                tail.last = Some(event.revision.get());
            }
        }
        Ok(tail)
    }

    /// The metadata of a stream, if there is any.
    pub(crate) fn metadata(
        &self,
        stream: &StreamName,
    ) -> Result<Option<StreamMetadata>, StoreError> {
        if let Some(event) = self.staged(&stream.metadata_stream()).last() {
            return Ok(Some(StreamMetadata::parse(&event.data)));
        }
        Ok(metadata_at(self.catalog, stream, u64::MAX)?.map(|(metadata, _)| metadata))
    }

    /// What the metadata of a stream hide; `None` where there are none.
    pub(crate) fn visibility(&self, stream: &StreamName) -> Result<Option<Visibility>, StoreError> {
        let holder = stream.metadata_stream();
        match self.visibilities.get(&holder) {
            Some(&staged) => Ok(Some(staged)),
            None => self.catalog.visibility(holder.as_str(), u64::MAX),
        }
    }

    /// Behind how many of its events a deleted stream is opened again by metadata: behind all that
    /// were appended. Nobody appends links to categories and types: behind those that were there.
    pub(crate) fn hidden_by_deletion(&self, stream: &StreamName) -> Result<u64, StoreError> {
        if let Some(last) = self.tail(stream)?.last {
            return Ok(last + 1);
        }
        let Some(index) = index_of(stream.as_str()) else { return Ok(0) };
        let holder = stream.metadata_stream();
        let deleted_at = match self.staged(&holder).last() {
            Some(event) => event.position.get(),
            None => {
                let event = self.catalog.last_event(holder.as_str(), u64::MAX)?;
                event.map_or(0, |event| event.position.get())
            }
        };
        let key = self.catalog.index_key(&index);
        let last = self.catalog.indexed(key, (1, deleted_at), Direction::Backward, 1)?;
        let staged = self.events.iter().filter(|it| it.position.get() < deleted_at);
        let staged = staged.filter(|it| index.has(it)).count() as u64;
        Ok(last.first().map_or(0, |last| last.ordinal + 1) + staged)
    }

    /// How many of these ids the events of a stream have from this revision on, one after the
    /// other, and where the last of those is. The events are read a page at a time, but for the
    /// first: most often that tells.
    pub(crate) fn in_place(
        &self,
        stream: &StreamName,
        from: u64,
        ids: &[EventId],
    ) -> Result<(usize, Option<Found>), StoreError> {
        let mut matched = Matched { from, ids, count: 0, last: None };
        let runs = self.catalog.runs(stream.as_str(), u64::MAX, from)?;
        while matched.count < ids.len() {
            let most = if matched.count == 0 { 1 } else { PAGE_EVENTS_MAX };
            let most = most.min(ids.len() - matched.count);
            let found = self.catalog.positions(stream.as_str(), &runs, matched.next(), most)?;
            let events = self.catalog.events(&found.positions)?.events;
            if events.is_empty() {
                break;
            }
            if !events.iter().all(|event| matched.add(event)) {
                return Ok((matched.count, matched.last));
            }
        }
        let staged = self.by_stream.get(stream).map_or(&[][..], Vec::as_slice);
        let revision = |&at: &usize| self.events[at].revision.get();
        let first = staged.partition_point(|at| revision(at) < matched.next());
        staged[first..].iter().all(|&at| matched.add(&self.events[at]));
        Ok((matched.count, matched.last))
    }

    /// Where an event with this id is, if it is among the last and of this stream.
    pub(crate) fn recent(
        &self,
        stream: &StreamName,
        id: EventId,
    ) -> Result<Option<Found>, StoreError> {
        if let Some(at) = self.staged_at(stream, id) {
            return Ok(Some((&self.events[at]).into()));
        }
        let hash = self.catalog.names().of_stream(stream.as_str());
        for position in self.recent.candidates(id, hash) {
            // Hashes may agree by chance; what is in the log does not.
            let event = self.catalog.events(&[position])?.events.pop();
            if let Some(event) = event.filter(|event| event.id == id && event.stream == *stream) {
                return Ok(Some((&event).into()));
            }
        }
        Ok(None)
    }

    /// Where an event with this id is among those that are staged for the stream.
    fn staged_at(&self, stream: &StreamName, id: EventId) -> Option<usize> {
        let mut by_id = self.by_id.borrow_mut();
        let known = self.known_ids.replace(self.events.len());
        let new = (known..).zip(&self.events[known..]);
        by_id.extend(new.map(|(at, event)| ((event.id, event.stream.clone()), at)));
        by_id.get(&(id, stream.clone())).copied()
    }

    fn staged(&self, stream: &StreamName) -> impl DoubleEndedIterator<Item = &RecordedEvent> {
        let staged = self.by_stream.get(stream).map_or(&[][..], Vec::as_slice);
        staged.iter().map(|&at| &self.events[at])
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;
    use crate::event::{ContentType, EventType};
    use crate::index::{MemoryIndex, NameKey};
    use crate::log::{ChainEnd, NewSegment, SegmentKeys, SimDisk, SystemEntropy};

    /// The catalog of an empty log.
    pub(crate) fn catalog() -> Catalog {
        let (disk, chain, keys) = (SimDisk::new(), ChainEnd::START, SegmentKeys::to_read(None));
        let segment = NewSegment::open(&disk, 1, &keys).unwrap();
        let segment = segment.create(&disk, &keys, chain, DateTime::UNIX_EPOCH).unwrap();
        let length = segment.length().unwrap();
        let index = MemoryIndex::new(1, NameKey::new(&SystemEntropy));
        Catalog::new(Vec::new(), Arc::new(segment), index, length, chain)
    }

    pub(crate) fn id(number: u128) -> EventId {
        EventId(Uuid::from_u128(number))
    }

    pub(crate) fn event(number: u128, data: String) -> NewEvent {
        NewEvent {
            id: id(number),
            event_type: EventType::new("Numbered").unwrap(),
            content_type: ContentType::Json,
            data: data.into(),
            metadata: Bytes::new(),
        }
    }

    /// Given one event in two streams, then it is found in each of them.
    #[test]
    fn an_id_is_found_in_each_of_two_streams() {
        let names = ["track-1", "track-2"];
        let (catalog, recent) = (catalog(), RecentIds::new(16));
        let mut staging = Staging::new(&catalog, &recent, &SystemEntropy, DateTime::UNIX_EPOCH);
        let streams = names.map(|name| StreamName::new(name).unwrap());
        for stream in &streams {
            staging.add(stream, 0, event(7, "{}".to_owned()));
        }
        for (stream, position) in streams.iter().zip(1..) {
            let found = staging.recent(stream, id(7)).unwrap();
            assert_eq!(found.map(|found| found.position), Some(position), "{stream}");
        }
    }

    #[test]
    fn what_fails_half_way_leaves_nothing_staged() {
        let (catalog, recent) = (catalog(), RecentIds::new(16));
        let mut staging = Staging::new(&catalog, &recent, &SystemEntropy, DateTime::UNIX_EPOCH);
        let (one, other) = (StreamName::new("track-1").unwrap(), StreamName::new("a").unwrap());
        staging.add(&one, 0, event(0, "{}".to_owned()));
        let bytes = staging.bytes();
        let failed = staging.all_or_none(|staging| {
            staging.add(&one, 1, event(1, "{}".to_owned()));
            staging.add(&other, 0, event(0, "{}".to_owned()));
            Err::<(), StoreError>(StoreError::StorageFull)
        });
        assert!(failed.is_err());
        assert_eq!(staging.tail(&one).unwrap().last, Some(0));
        assert_eq!(staging.tail(&other).unwrap().last, None);
        assert_eq!(staging.recent(&one, id(0)).unwrap().map(|found| found.position), Some(1));
        assert_eq!(staging.recent(&one, id(1)).unwrap(), None);
        assert_eq!(staging.recent(&other, id(0)).unwrap(), None);
        assert_eq!((staging.bytes(), staging.into_events().len()), (bytes, 1));
    }
}
