//! The events of a category or a type over all segments, by position and by ordinal.

use std::sync::Arc;

use super::Catalog;
use crate::error::StoreError;
use crate::index::ordinals::totals;
use crate::index::sealed::Sealed;
use crate::index::{Extent, IndexKey, Key};
use crate::read::Direction;

/// An event of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) ordinal: u64,
    pub(crate) position: u64,
}

/// A run of an index's events, and the first position of the segment that it is in.
#[derive(Clone, Copy)]
struct Run {
    segment_first: u64,
    extent: Extent,
}

/// All segments at one moment.
struct Snapshot {
    sealed: Arc<Vec<Arc<Sealed>>>,
    /// What the active segment has.
    active: Option<Run>,
}

impl Catalog {
    /// The events of an index whose positions are in `low..behind`, from either end of them: so
    /// many, and fewer only when there are no more.
    pub(crate) fn indexed(
        &self,
        key: IndexKey,
        (low, behind): (u64, u64),
        direction: Direction,
        count: usize,
    ) -> Result<Vec<Place>, StoreError> {
        let snapshot = self.snapshot(key);
        let sealed = &snapshot.sealed;
        let first = sealed.partition_point(|segment| segment.last < low);
        let end = sealed.partition_point(|segment| segment.segment.first < behind);
        // The active segment is behind the sealed ones.
        let mut numbers = first..end.max(first);
        if snapshot.active.is_some_and(|active| active.segment_first < behind) {
            numbers.end = sealed.len() + 1;
        }
        let mut places: Vec<Place> = Vec::new();
        while places.len() < count {
            let number = match direction {
                Direction::Forward => numbers.next(),
                Direction::Backward => numbers.next_back(),
            };
            let Some(number) = number else { break };
            if let Some(run) = snapshot.run(key, number)? {
                let left = count - places.len();
                let first = match (places.last(), direction) {
                    (None, _) => self.first_ordinal(key, &snapshot.sealed, number, &run)?,
                    (Some(last), Direction::Forward) => last.ordinal + 1,
                    (Some(last), Direction::Backward) => {
                        last.ordinal.saturating_sub(u64::from(run.extent.count))
                    }
                };
                places.extend(self.places_in(key, &run, first, (low, behind), direction, left)?);
            }
        }
        Ok(places)
    }

    /// The position of the event with this ordinal; `None` when there is none yet.
    pub(crate) fn position_of(
        &self,
        key: IndexKey,
        ordinal: u64,
    ) -> Result<Option<u64>, StoreError> {
        let snapshot = self.snapshot(key);
        let in_run = |run: &Run, first: u64| {
            let skip = ordinal.checked_sub(first).and_then(|skip| u32::try_from(skip).ok());
            let Some(skip) = skip.filter(|&skip| skip < run.extent.count) else {
                return Ok(None);
            };
            let found =
                self.positions_in(Key::Index(key), run.segment_first, &run.extent, skip, 1)?;
            Ok(found.first().copied())
        };
        let sealed_total = self.sealed_total(key, &snapshot.sealed)?;
        if ordinal >= sealed_total {
            return snapshot.active.map_or(Ok(None), |run| in_run(&run, sealed_total));
        }
        // The segment is among these.
        let (mut low, mut high) = (0, snapshot.sealed.len());
        while low < high {
            let middle = low.midpoint(high);
            let Some((number, run)) = snapshot.last_run(key, low, middle)? else {
                low = middle + 1;
                continue;
            };
            let first = self.first_ordinal(key, &snapshot.sealed, number, &run)?;
            if ordinal < first {
                high = number;
            } else if let Some(position) = in_run(&run, first)? {
                return Ok(Some(position));
            } else {
                low = middle + 1;
            }
        }
        Ok(None)
    }

    /// The places of a run that are in these positions, from either end.
    fn places_in(
        &self,
        key: IndexKey,
        run: &Run,
        first: u64,
        (low, behind): (u64, u64),
        direction: Direction,
        count: usize,
    ) -> Result<Vec<Place>, StoreError> {
        let (key, Run { segment_first, extent }) = (Key::Index(key), run);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let start = self.count_before(key, *segment_first, extent, low)?;
        let (skip, count) = match direction {
            Direction::Forward => (start, count.min(extent.count.saturating_sub(start))),
            Direction::Backward => {
                let end = self.count_before(key, *segment_first, extent, behind)?;
                let skip = start.max(end.saturating_sub(count));
                (skip, end.saturating_sub(skip))
            }
        };
        let positions = self.positions_in(key, *segment_first, extent, skip, count)?;
        let places = (first + u64::from(skip)..)
            .zip(positions)
            .take_while(|&(_, position)| position < behind)
            .map(|(ordinal, position)| Place { ordinal, position });
        let mut places: Vec<Place> = places.collect();
        if direction == Direction::Backward {
            places.reverse();
        }
        Ok(places)
    }

    /// The ordinal of the first event of the run in the segment with this number.
    fn first_ordinal(
        &self,
        key: IndexKey,
        sealed: &[Arc<Sealed>],
        number: usize,
        run: &Run,
    ) -> Result<u64, StoreError> {
        match run.extent.first_ordinal() {
            Some(first) => Ok(first),
            None if number == sealed.len() => self.sealed_total(key, sealed),
            None => Ok(totals(&sealed[..number], key.of, &[key.hash])?.pop().unwrap_or(0)),
        }
    }

    /// How many events of an index the sealed segments have.
    fn sealed_total(&self, key: IndexKey, sealed: &[Arc<Sealed>]) -> Result<u64, StoreError> {
        if let Some((known, total)) = self.sealed_totals.get(&key)
            && known == sealed.len()
        {
            return Ok(total);
        }
        let total = totals(sealed, key.of, &[key.hash])?.pop().unwrap_or(0);
        self.sealed_totals.insert(key, (sealed.len(), total));
        Ok(total)
    }

    fn snapshot(&self, key: IndexKey) -> Snapshot {
        let state = self.read();
        let segment_first = state.active.first;
        let active = state.index.find(Key::Index(key)).map(|extent| Run { segment_first, extent });
        Snapshot { sealed: Arc::clone(&state.sealed), active }
    }
}

impl Snapshot {
    /// The run in the segment with this number.
    fn run(&self, key: IndexKey, number: usize) -> Result<Option<Run>, StoreError> {
        let Some(sealed) = self.sealed.get(number) else {
            return Ok(self.active);
        };
        let segment_first = sealed.segment.first;
        let extent = sealed.find(Key::Index(key))?;
        Ok(extent.map(|extent| Run { segment_first, extent }))
    }

    /// The run in the last of these segments that has one, and its number.
    fn last_run(
        &self,
        key: IndexKey,
        first: usize,
        last: usize,
    ) -> Result<Option<(usize, Run)>, StoreError> {
        for number in (first..=last).rev() {
            if let Some(run) = self.run(key, number)? {
                return Ok(Some((number, run)));
            }
        }
        Ok(None)
    }
}
