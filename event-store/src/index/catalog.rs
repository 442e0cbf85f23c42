//! All segments together: the state that readers see, changed by the writer after each commit.
//!
//! Readers hold the lock only to copy offsets out of the active segment's index, and the writer
//! only to publish what is durable already: nobody holds it across input or output.

mod indexed;
mod known;
mod streams;

use std::mem;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use chrono::{DateTime, Utc};
use moka::sync::Cache;

pub(crate) use indexed::Place;
use streams::SealedEnd;
pub(crate) use streams::{Located, StreamRuns, Tail};

use super::sealed::{Sealed, places};
use super::{Extent, Hashes, IndexKey, Key, MemoryIndex, NameKey};
use crate::error::StoreError;
use crate::event::RecordedEvent;
use crate::indexed::Index;
use crate::limits::{INDEX_CACHE_ENTRIES_MAX, PAGE_BYTES, STREAM_CACHE_ENTRIES_MAX};
use crate::log::{ChainEnd, Findings, FrameBuilder, RecordPlace, Segment};
use crate::stream::Visibility;

/// How far apart events may be for their places to be read in one go: what a block of an index
/// holds.
const NEAR_POSITIONS: u64 = 1023;

/// Of how few postings all are read to find one of them.
const NEAR_POSTINGS: u32 = 1023;

/// What is at positions that were asked for.
#[derive(Debug)]
pub(crate) struct Page {
    /// The events there, without those that were reclaimed.
    pub(crate) events: Vec<RecordedEvent>,
    /// How many of the positions were looked at.
    pub(crate) looked_at: u64,
}

impl Page {
    /// The last of these positions, which were asked for, that was looked at.
    pub(crate) fn last_of<'a>(&self, positions: &'a [u64]) -> Option<&'a u64> {
        let looked_at = usize::try_from(self.looked_at).unwrap_or(usize::MAX);
        positions.get(looked_at.checked_sub(1)?)
    }
}

/// The sealed segments, from old to new.
type AllSealed = Arc<Vec<Arc<Sealed>>>;

/// Every segment, and the end of the log.
pub(crate) struct Catalog {
    state: RwLock<State>,
    /// What the hashes in all indexes are made with.
    names: NameKey,
    sealed_ends: Cache<Box<str>, SealedEnd>,
    /// How many events of a category or a type there are among so many sealed segments.
    sealed_totals: Cache<IndexKey, (usize, u64)>,
    /// By streams that hold metadata: what these say, and the revision of the event that says so.
    visibilities: Cache<Box<str>, (u64, Visibility)>,
}

struct State {
    sealed: Arc<Vec<Arc<Sealed>>>,
    active: Arc<Segment>,
    index: MemoryIndex,
    length: u64,
    chain: ChainEnd,
}

impl State {
    fn head(&self) -> u64 {
        self.active.first + self.index.events() as u64 - 1
    }
}

impl Catalog {
    /// The catalog of a log that was just opened.
    pub(crate) fn new(
        sealed: Vec<Arc<Sealed>>,
        active: Arc<Segment>,
        index: MemoryIndex,
        length: u64,
        chain: ChainEnd,
    ) -> Self {
        let (sealed, names) = (Arc::new(sealed), index.names());
        Self {
            names,
            state: RwLock::new(State { sealed, active, index, length, chain }),
            sealed_ends: Cache::new(STREAM_CACHE_ENTRIES_MAX),
            sealed_totals: Cache::new(INDEX_CACHE_ENTRIES_MAX),
            visibilities: Cache::new(STREAM_CACHE_ENTRIES_MAX),
        }
    }

    /// What the hashes in its indexes are made with.
    pub(crate) fn names(&self) -> NameKey {
        self.names
    }

    /// What the runs of the stream with this name are found by.
    pub(crate) fn key<'a>(&self, stream: &'a str) -> Key<'a> {
        Key::stream(self.names, stream)
    }

    /// What those of a category or a type are found by.
    pub(crate) fn index_key(&self, index: &Index) -> IndexKey {
        IndexKey::of(self.names, index)
    }

    /// From now on damage that reads meet, of whichever segment, is told to these.
    pub(crate) fn tell(&self, findings: &Arc<Findings>) {
        self.segments().iter().for_each(|(segment, _)| segment.tell(findings));
    }

    /// The position of the last event; zero when there is none.
    pub(crate) fn head(&self) -> u64 {
        self.read().head()
    }

    /// The position of the last event, and the end of the chain after it.
    pub(crate) fn chain(&self) -> (u64, ChainEnd) {
        let state = self.read();
        (state.head(), state.chain)
    }

    /// The active segment and its length, in bytes.
    pub(crate) fn active(&self) -> (Arc<Segment>, u64) {
        let state = self.read();
        (Arc::clone(&state.active), state.length)
    }

    /// Every segment and its length now, in bytes, from old to new.
    pub(crate) fn segments(&self) -> Vec<(Arc<Segment>, u64)> {
        let state = self.read();
        let sealed = state.sealed.iter();
        sealed
            .map(|sealed| (Arc::clone(&sealed.segment), sealed.length()))
            .chain([(Arc::clone(&state.active), state.length)])
            .collect()
    }

    /// The sealed segments, from old to new, and the active one with its length, all of one moment:
    /// segments that are asked for one after the other may have been written anew in between.
    pub(crate) fn at_once(&self) -> (AllSealed, Arc<Segment>, u64) {
        let state = self.read();
        (Arc::clone(&state.sealed), Arc::clone(&state.active), state.length)
    }

    /// The sealed segments, from old to new.
    pub(crate) fn sealed(&self) -> Arc<Vec<Arc<Sealed>>> {
        Arc::clone(&self.read().sealed)
    }

    /// The sealed segments before this position, from old to new.
    pub(crate) fn sealed_before(&self, position: u64) -> Vec<Arc<Sealed>> {
        let sealed = self.sealed();
        let before = sealed.iter().take_while(|sealed| sealed.last < position);
        before.map(Arc::clone).collect()
    }

    /// How many events the active segment has.
    pub(crate) fn active_events(&self) -> usize {
        self.read().index.events()
    }

    /// How much memory the index of the active segment takes, in bytes.
    pub(crate) fn active_index_bytes(&self) -> usize {
        self.read().index.bytes()
    }

    /// When the last event was recorded, in microseconds since 1970.
    pub(crate) fn last_recorded_at_micros(&self) -> Option<i64> {
        let state = self.read();
        if state.index.events() > 0 {
            return Some(state.index.last_recorded_at_micros());
        }
        state.sealed.last().map(|sealed| sealed.last_recorded_at_micros)
    }

    /// Makes events visible that are durable, with what each is indexed by: a frame at the end of
    /// the active segment.
    pub(crate) fn publish(
        &self,
        events: &[RecordedEvent],
        hashes: &[Hashes],
        frame: &FrameBuilder,
    ) {
        let mut state = self.write();
        let frame_start = u32::try_from(state.length).expect("a segment is below 4 GiB");
        for ((event, &hashes), offset) in events.iter().zip(hashes).zip(frame.record_offsets()) {
            let at_micros = event.recorded_at.timestamp_micros();
            let (stream, revision) = (event.stream.as_str(), event.revision.get());
            state.index.add(stream, revision, hashes, frame_start + offset, at_micros);
        }
        state.length += frame.bytes().len() as u64;
        state.chain = frame.chain();
    }

    /// Goes on in the next segment, which is empty, and seals the active one, unless that is empty
    /// too: then the next has taken its place. The index of the last of the sealed ones that are
    /// returned is in memory until it is written.
    pub(crate) fn roll(
        &self,
        next: Arc<Segment>,
        next_length: u64,
    ) -> Option<Arc<Vec<Arc<Sealed>>>> {
        let mut state = self.write();
        next.tell_as(&state.active);
        let index = mem::replace(&mut state.index, MemoryIndex::new(next.first, self.names));
        let segment = mem::replace(&mut state.active, next);
        let length = mem::replace(&mut state.length, next_length);
        if index.events() == 0 {
            return None;
        }
        Arc::make_mut(&mut state.sealed).push(Arc::new(Sealed::new(segment, length, index)));
        Some(Arc::clone(&state.sealed))
    }

    /// Puts a sealed segment that was written anew in the place of the old one. Whoever reads the
    /// old one goes on reading it.
    pub(crate) fn replace(&self, renewed: Arc<Sealed>) {
        let first = renewed.segment.first;
        let mut state = self.write();
        let at = state.sealed.partition_point(|sealed| sealed.segment.first < first);
        renewed.segment.tell_as(&state.active);
        Arc::make_mut(&mut state.sealed)[at] = renewed;
    }

    /// Whether any event was ever reclaimed.
    pub(crate) fn has_reclaimed(&self) -> bool {
        self.read().sealed.iter().any(|sealed| sealed.segment.reclaimed)
    }

    /// The events at these positions, which rise or fall: as many as fit a page, at least one
    /// position.
    pub(crate) fn events(&self, positions: &[u64]) -> Result<Page, StoreError> {
        let mut found: Vec<(Arc<Segment>, RecordPlace)> = Vec::new();
        let mut bytes = 0;
        let mut near: Option<(Arc<Segment>, Vec<RecordPlace>)> = None;
        for (at, &position) in positions.iter().enumerate() {
            let known =
                near.as_ref().and_then(|(segment, places)| place(segment, places, position));
            let known = match known {
                Some(known) => Some(known),
                None => {
                    let (segment, places) = near.insert(self.near(&positions[at..])?);
                    place(segment, places, position)
                }
            };
            let Some((segment, place)) = known else { break };
            bytes += u64::from(place.end - place.offset);
            if bytes > PAGE_BYTES && !found.is_empty() {
                break;
            }
            found.push((segment, place));
        }
        let falling = positions.len() > 1 && positions[0] > positions[1];
        if falling {
            found.reverse();
        }
        let mut events = Vec::with_capacity(found.len());
        for run in found.chunk_by(|(one, _), (other, _)| Arc::ptr_eq(one, other)) {
            let places: Vec<RecordPlace> = run.iter().map(|&(_, place)| place).collect();
            events.extend(run[0].0.events(&places)?);
        }
        if falling {
            events.reverse();
        }
        Ok(Page { events, looked_at: found.len() as u64 })
    }

    /// The events from this position on: at least one position unless the log ends, at most so
    /// many, and no more when a page's bytes are full.
    pub(crate) fn page(&self, from: u64, count: usize) -> Result<Page, StoreError> {
        if from == 0 || from > self.head() {
            return Ok(Page { events: Vec::new(), looked_at: 0 });
        }
        let (segment, mut places) = self.places(from, count)?;
        let start = places.first().map_or(0, |place| u64::from(place.offset));
        let fitting =
            places.iter().take_while(|place| u64::from(place.end) <= start + PAGE_BYTES).count();
        places.truncate(fitting.max(1));
        Ok(Page { events: segment.events(&places)?, looked_at: places.len() as u64 })
    }

    /// When the event at this position was recorded, in microseconds since 1970, also when it was
    /// reclaimed.
    pub(crate) fn recorded_at_micros(&self, position: u64) -> Result<Option<i64>, StoreError> {
        if position == 0 || position > self.head() {
            return Ok(None);
        }
        let (segment, places) = self.places(position, 1)?;
        places.first().map(|place| segment.recorded_at_micros(place)).transpose()
    }

    /// The position of the last event recorded up to this time; zero when there is none.
    pub(crate) fn position_until(&self, time: DateTime<Utc>) -> Result<u64, StoreError> {
        self.position_at(time.timestamp_micros())
    }

    /// The position of the first event recorded at this time or later; the one behind the last
    /// when there is none.
    pub(crate) fn position_from(&self, time: DateTime<Utc>) -> Result<u64, StoreError> {
        let is_between = !time.timestamp_subsec_nanos().is_multiple_of(1000);
        let from_micros = time.timestamp_micros().saturating_add(i64::from(is_between));
        Ok(self.position_at(from_micros.saturating_sub(1))? + 1)
    }

    /// The position of the last event recorded up to this moment: looked for among the segments,
    /// then among the events of one.
    fn position_at(&self, at_micros: i64) -> Result<u64, StoreError> {
        let (mut low, mut high) = {
            let state = self.read();
            let later =
                state.sealed.partition_point(|sealed| sealed.last_recorded_at_micros <= at_micros);
            match state.sealed.get(later) {
                Some(sealed) => (sealed.segment.first - 1, sealed.last),
                None => (state.active.first - 1, state.head()),
            }
        };
        while low < high {
            let middle = low.midpoint(high) + 1;
            let middle = middle.min(high);
            if self.recorded_at_micros(middle)?.is_some_and(|recorded| recorded <= at_micros) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Ok(low)
    }

    /// The places of the first of these positions, and of those near it in its segment.
    fn near(&self, positions: &[u64]) -> Result<(Arc<Segment>, Vec<RecordPlace>), StoreError> {
        let first = positions[0];
        let near =
            positions.iter().take_while(|position| position.abs_diff(first) < NEAR_POSITIONS);
        let (low, high) = near
            .fold((first, first), |(low, high), &position| (low.min(position), high.max(position)));
        let low = low.max(self.segment_first(first));
        let count = usize::try_from(high - low + 1).unwrap_or(usize::MAX);
        self.places(low, count)
    }

    /// The first position of the segment that this one is in.
    fn segment_first(&self, position: u64) -> u64 {
        let state = self.read();
        if position >= state.active.first {
            return state.active.first;
        }
        let at = state.sealed.partition_point(|sealed| sealed.last < position);
        state.sealed[at].segment.first
    }

    fn places(
        &self,
        from: u64,
        count: usize,
    ) -> Result<(Arc<Segment>, Vec<RecordPlace>), StoreError> {
        let sealed = {
            let state = self.read();
            if from >= state.active.first {
                let skip = usize::try_from(from - state.active.first).unwrap_or(usize::MAX);
                let behind = skip.saturating_add(count).min(state.index.events());
                let offsets: Vec<u32> =
                    (skip..=behind).map_while(|place| state.index.offset(place)).collect();
                let places = places(from, count, &offsets, state.length);
                return Ok((Arc::clone(&state.active), places));
            }
            let at = state.sealed.partition_point(|sealed| sealed.last < from);
            Arc::clone(&state.sealed[at])
        };
        Ok((Arc::clone(&sealed.segment), sealed.places(from, count)?))
    }

    fn positions_in(
        &self,
        key: Key<'_>,
        segment_first: u64,
        extent: &Extent,
        skip: u32,
        count: u32,
    ) -> Result<Vec<u64>, StoreError> {
        let sealed = {
            let state = self.read();
            if segment_first == state.active.first {
                return Ok(state.index.positions(key, skip, count));
            }
            let at = state.sealed.partition_point(|sealed| sealed.segment.first < segment_first);
            Arc::clone(&state.sealed[at])
        };
        // What was the active segment when the runs were taken may be sealed by now.
        sealed.positions(key, extent, skip, count)
    }

    /// How many events of a run stand before this position.
    fn count_before(
        &self,
        key: Key<'_>,
        segment_first: u64,
        extent: &Extent,
        position: u64,
    ) -> Result<u32, StoreError> {
        if position <= segment_first {
            return Ok(0);
        }
        let (mut low, mut high) = (0, extent.postings());
        // Most often that is all of them.
        let last = self.positions_in(key, segment_first, extent, high.saturating_sub(1), 1)?;
        if last.first().is_none_or(|&last| last < position) {
            return Ok(high);
        }
        while high - low > NEAR_POSTINGS {
            let middle = low.midpoint(high);
            let found = self.positions_in(key, segment_first, extent, middle, 1)?;
            // What was reclaimed meanwhile was among the first.
            if found.first().is_none_or(|&found| found < position) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let rest = self.positions_in(key, segment_first, extent, low, high - low)?;
        let gone = ((high - low) as usize).saturating_sub(rest.len());
        let before = gone + rest.partition_point(|&found| found < position);
        Ok(low + u32::try_from(before).unwrap_or(u32::MAX))
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a position among those that follow one another.
fn place(
    segment: &Arc<Segment>,
    places: &[RecordPlace],
    position: u64,
) -> Option<(Arc<Segment>, RecordPlace)> {
    let at = position.checked_sub(places.first()?.position)?;
    let place = places.get(usize::try_from(at).ok()?)?;
    Some((Arc::clone(segment), *place))
}
