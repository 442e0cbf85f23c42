//! Reads of a category or a type.

use std::sync::Arc;

use super::reading::{Pages, bound, reader};
use super::store::Shared;
use crate::error::{IndexError, StoreError};
use crate::event::RecordedEvent;
use crate::index::{IndexKey, Place};
use crate::indexed::{Index, IndexReader, IndexStart, Indexed, Ordinal, ReadIndex};
use crate::limits::PAGE_EVENTS_MAX;
use crate::read::Direction;
use crate::subscription::SubscribeFrom;

struct IndexPages {
    index: Index,
    key: IndexKey,
    direction: Direction,
    /// What is left to be looked at, as positions; the second is excluded.
    left: (u64, u64),
    limit: u64,
}

/// Begins to read an index; blocks.
pub(super) fn read_index(shared: &Arc<Shared>, read: ReadIndex) -> Result<IndexReader, IndexError> {
    let ReadIndex { index, direction, start, limit, as_of } = read.turned();
    let key = shared.catalog.index_key(&index);
    let behind = bound(shared, as_of)? + 1;
    let limit = limit.unwrap_or(u64::MAX);
    let catalog = &shared.catalog;
    let left = match (start, direction) {
        (IndexStart::Start | IndexStart::End, _) => (1, behind),
        (IndexStart::Ordinal(ordinal), _) => {
            let found = catalog.position_of(key, ordinal.get())?;
            match direction {
                Direction::Forward => (found.unwrap_or(behind), behind),
                Direction::Backward => (1, found.map_or(behind, |found| behind.min(found + 1))),
            }
        }
        (IndexStart::Time(time), Direction::Forward) => (catalog.position_from(time)?, behind),
        (IndexStart::Time(time), Direction::Backward) => {
            (1, behind.min(catalog.position_until(time)? + 1))
        }
    };
    Ok(reader(shared, IndexPages { index, key, direction, left, limit }))
}

/// Where a subscription begins: behind this position, and behind this ordinal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FollowFrom {
    pub(crate) position: u64,
    /// An ordinal that is not there yet may be named.
    pub(crate) ordinal: Option<Ordinal>,
}

/// Looks up where a subscription begins; blocks.
pub(super) fn start(
    shared: &Shared,
    index: &Index,
    from: SubscribeFrom<Ordinal>,
) -> Result<FollowFrom, StoreError> {
    let head = shared.catalog.head();
    Ok(match from {
        SubscribeFrom::Start => FollowFrom { position: 0, ordinal: None },
        SubscribeFrom::End => FollowFrom { position: head, ordinal: None },
        SubscribeFrom::After(ordinal) => {
            let found =
                shared.catalog.position_of(shared.catalog.index_key(index), ordinal.get())?;
            FollowFrom { position: found.unwrap_or(head), ordinal: Some(ordinal) }
        }
    })
}

impl Pages for IndexPages {
    type Item = Indexed;
    type Error = IndexError;

    fn is_done(&self) -> bool {
        self.left.0 >= self.left.1 || self.limit == 0
    }

    fn next_page(&mut self, shared: &Shared) -> Result<Option<Vec<Indexed>>, IndexError> {
        let count = usize::try_from(self.limit).unwrap_or(usize::MAX).min(PAGE_EVENTS_MAX);
        let places = shared.catalog.indexed(self.key, self.left, self.direction, count)?;
        let positions: Vec<u64> = places.iter().map(|place| place.position).collect();
        let page = shared.catalog.events(&positions)?;
        // A page has room for some of them; what has none is read by the next.
        let Some(&last) = page.last_of(&positions) else {
            return Ok(None);
        };
        match self.direction {
            Direction::Forward => self.left.0 = last + 1,
            Direction::Backward => self.left.1 = last,
        }
        let indexed = indexed(&self.index, &places, page.events);
        self.limit -= indexed.len() as u64;
        Ok(Some(indexed))
    }
}

/// The events of an index with their ordinals: without those of another name that has the same
/// hash, and without places whose events are not there any more.
pub(crate) fn indexed(index: &Index, places: &[Place], events: Vec<RecordedEvent>) -> Vec<Indexed> {
    let mut places = places.iter();
    let of_index = events.into_iter().filter_map(|event| {
        let place = places.find(|place| place.position == event.position.get())?;
        let ordinal = Ordinal::new(place.ordinal);
        index.has(&event).then_some(Indexed { ordinal, event })
    });
    of_index.collect()
}
