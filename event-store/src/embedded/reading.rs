//! Reads in steps: each takes a page from the log without holding anything in between.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::past::Past;
use super::store::Shared;
use super::window::Window;
use crate::error::{ReadError, StoreError};
use crate::event::RecordedEvent;
use crate::filter::Matcher;
use crate::index::{Catalog, Located, Page, StreamRuns};
use crate::limits::{PAGE_EVENTS_AT_ONCE_MAX, PAGE_EVENTS_MAX};
use crate::log::may_wait;
use crate::position::Position;
use crate::read::{AllStart, AsOf, Direction, EventReader, ReadAll, ReadStream, StreamStart};
use crate::stream::{Revision, StreamName};

/// Something that is read page by page; `None` is the end.
pub(super) trait Pages: Send + 'static {
    type Item: Send + 'static;
    type Error: From<StoreError> + Send + 'static;

    fn next_page(&mut self, shared: &Shared) -> Result<Option<Vec<Self::Item>>, Self::Error>;

    /// Whether nothing is left, which is known without looking: then no page is asked for.
    fn is_done(&self) -> bool;
}

struct StreamPages {
    stream: StreamName,
    runs: StreamRuns,
    window: Window,
    /// Whether it is as of a moment of the past, which is told whole or not at all.
    of_past: bool,
    direction: Direction,
    /// What is left to be looked at, as revisions; the second is excluded.
    left: (u64, u64),
    limit: u64,
}

struct AllPages {
    matcher: Option<Matcher>,
    direction: Direction,
    /// What is left to be looked at, as positions; the second is excluded.
    left: (u64, u64),
    limit: u64,
    /// How many may be looked at yet.
    scan: u64,
    /// Where the last page was empty, the next is looked at whole for however few are wanted.
    sparse: bool,
}

/// Begins to read a stream; blocks.
pub(crate) fn read_stream(
    shared: &Arc<Shared>,
    read: &ReadStream,
) -> Result<EventReader, ReadError> {
    let stream = read.stream.clone();
    let bound = bound(shared, read.as_of)?;
    let of_past = read.as_of.is_some();
    // What is read of the past is told whole or not at all, so it is looked for at once.
    let back_to = if of_past { 0 } else { u64::MAX };
    let mut runs = shared.catalog.runs(stream.as_str(), bound, back_to)?;
    let subject_gone = match stream.metadata_subject() {
        Some(subject) => shared.catalog.runs(subject.as_str(), bound, u64::MAX)?.tail.tombstoned,
        None => false,
    };
    if runs.tail.tombstoned || subject_gone {
        return Err(ReadError::StreamDeleted(stream));
    }
    // To be asked for after what it is to tell of: meanwhile more may have gone.
    let past = || Past::of(&shared.catalog, &stream, bound);
    let Some(last) = runs.tail.last else {
        let gone = of_past && !past()?.is_whole_from(0);
        let error = if gone { ReadError::Reclaimed } else { ReadError::StreamNotFound };
        return Err(error(stream));
    };
    let now = match read.as_of {
        None => shared.clock.now(),
        Some(AsOf::Time(moment)) => moment,
        Some(AsOf::Position(_)) => moment_of(shared, bound)?,
    };
    let window = Window::of(&shared.catalog, &stream, Some(last), bound, now)?;
    if of_past && !past()?.is_whole_from(window.first) {
        return Err(ReadError::Reclaimed(stream));
    }
    if window.deleted {
        return Err(ReadError::StreamNotFound(stream));
    }
    let (visible, asked) = ((window.first, last), (read.start, read.direction));
    let left = asked_for(&shared.catalog, &stream, &mut runs, visible, asked)?;
    let limit = read.limit.unwrap_or(u64::MAX);
    let direction = read.direction;
    let pages = StreamPages { stream, runs, window, of_past, direction, left, limit };
    Ok(reader(shared, pages))
}

/// The last revision of a stream that is there; blocks.
pub(crate) fn last_revision(
    shared: &Shared,
    stream: &StreamName,
) -> Result<Option<Revision>, ReadError> {
    let catalog = &shared.catalog;
    let tail = catalog.tail(stream.as_str())?;
    let subject_gone = match stream.metadata_subject() {
        Some(subject) => catalog.tail(subject.as_str())?.tombstoned,
        None => false,
    };
    if tail.tombstoned || subject_gone {
        return Err(ReadError::StreamDeleted(stream.clone()));
    }
    let window = Window::of(catalog, stream, tail.last, u64::MAX, shared.clock.now())?;
    Ok(tail.last.filter(|_| !window.deleted).map(Revision::new))
}

/// Which of the first to the last revision that may be seen are asked for, the second excluded. Its
/// runs go back that far afterwards; of a read backward the older ones are looked for as they are
/// read.
fn asked_for(
    catalog: &Catalog,
    stream: &StreamName,
    runs: &mut StreamRuns,
    (first, last): (u64, u64),
    (start, direction): (StreamStart, Direction),
) -> Result<(u64, u64), StoreError> {
    let name = stream.as_str();
    let revision_from = |runs: &mut StreamRuns, position| {
        catalog.reach_position(name, runs, position)?;
        catalog.revision_from(name, runs, position)
    };
    let start = match (start, direction) {
        (StreamStart::Start, _) => Some(0),
        (StreamStart::End, _) => Some(last),
        (StreamStart::Revision(revision), _) => Some(revision.get()),
        (StreamStart::Time(time), Direction::Forward) => {
            Some(revision_from(runs, catalog.position_from(time)?)?)
        }
        (StreamStart::Time(time), Direction::Backward) => {
            revision_from(runs, catalog.position_until(time)? + 1)?.checked_sub(1)
        }
    };
    let Some(start) = start else { return Ok((0, 0)) };
    match direction {
        Direction::Forward => {
            catalog.reach(name, runs, start.max(first))?;
            Ok((start.max(first).max(runs.first().unwrap_or_default()), last + 1))
        }
        Direction::Backward => Ok((first, start.min(last) + 1)),
    }
}

/// Begins to read the log; blocks.
pub(crate) fn read_all(shared: &Arc<Shared>, read: &ReadAll) -> Result<EventReader, ReadError> {
    let matcher =
        read.filter.clone().map(Matcher::new).transpose().map_err(ReadError::BadFilter)?;
    let behind = bound(shared, read.as_of)? + 1;
    let left = match (read.direction, read.start) {
        (Direction::Forward, AllStart::Start) | (Direction::Backward, AllStart::End) => (1, behind),
        (Direction::Forward, AllStart::End) | (Direction::Backward, AllStart::Start) => (0, 0),
        (Direction::Forward, AllStart::Position(from)) => (from.get().max(1), behind),
        (Direction::Backward, AllStart::Position(before)) => (1, before.get().min(behind)),
        (Direction::Forward, AllStart::Time(time)) => (shared.catalog.position_from(time)?, behind),
        (Direction::Backward, AllStart::Time(time)) => {
            (1, (shared.catalog.position_until(time)? + 1).min(behind))
        }
    };
    let (direction, limit) = (read.direction, read.limit.unwrap_or(u64::MAX));
    let scan = read.scan.unwrap_or(u64::MAX);
    Ok(reader(shared, AllPages { matcher, direction, left, limit, scan, sparse: false }))
}

/// The last position that a read may see.
pub(super) fn bound(shared: &Shared, as_of: Option<AsOf>) -> Result<u64, StoreError> {
    let head = shared.catalog.head();
    Ok(match as_of {
        None => head,
        Some(AsOf::Position(position)) => position.get().min(head),
        Some(AsOf::Time(moment)) => shared.catalog.position_until(moment)?.min(head),
    })
}

fn moment_of(shared: &Shared, position: u64) -> Result<DateTime<Utc>, StoreError> {
    let recorded = shared.catalog.recorded_at_micros(position)?;
    let moment = recorded.and_then(DateTime::from_timestamp_micros);
    Ok(moment.unwrap_or_else(|| shared.clock.now()))
}

/// How many events are read in one go, by who may wait for the disk and by who may not.
fn page_events_max() -> u64 {
    let most = if may_wait() { PAGE_EVENTS_MAX } else { PAGE_EVENTS_AT_ONCE_MAX };
    most as u64
}

/// Reads the pages one after another: the first at once, which blocks, for most reads want no more;
/// the others each when it is asked for. What goes wrong is told where the page would be.
pub(super) fn reader<P: Pages>(
    shared: &Arc<Shared>,
    mut pages: P,
) -> BoxStream<'static, Result<P::Item, P::Error>> {
    let first = if pages.is_done() { Ok(None) } else { pages.next_page(shared) };
    let state = (Arc::clone(shared), Some(first), pages);
    let pages = stream::try_unfold(state, |(shared, ready, mut pages)| async move {
        let (page, pages) = match ready {
            Some(first) => (first?, pages),
            None if pages.is_done() => return Ok(None),
            None => {
                let read = move |shared: &Shared| pages.next_page(shared).map(|page| (page, pages));
                shared.blocking(read).await?
            }
        };
        Ok::<_, P::Error>(page.map(|page| (page, (shared, None, pages))))
    });
    pages.map_ok(|page| stream::iter(page).map(Ok)).try_flatten().boxed()
}

impl Pages for StreamPages {
    type Item = RecordedEvent;
    type Error = ReadError;

    fn is_done(&self) -> bool {
        self.left.0 >= self.left.1 || self.limit == 0
    }

    fn next_page(&mut self, shared: &Shared) -> Result<Option<Vec<RecordedEvent>>, ReadError> {
        let (low, behind) = self.left;
        let most = self.limit.min(page_events_max()).min(behind - low);
        let name = self.stream.as_str();
        if self.direction == Direction::Backward {
            shared.catalog.reach(name, &mut self.runs, behind - 1)?;
        }
        let from = match self.direction {
            Direction::Forward => low,
            Direction::Backward => {
                let run_start = self.runs.run_start(behind - 1).unwrap_or(low);
                run_start.max(behind - most)
            }
        };
        let count = match self.direction {
            Direction::Forward => most,
            Direction::Backward => behind - from,
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let Located { gone, mut positions } =
            shared.catalog.positions(name, &self.runs, from, count)?;
        if self.direction == Direction::Backward {
            positions.reverse();
        }
        let Page { mut events, looked_at } = shared.catalog.events(&positions)?;
        if self.of_past && (gone > 0 || (events.len() as u64) < looked_at) {
            return Err(ReadError::Reclaimed(self.stream.clone()));
        }
        match self.direction {
            Direction::Forward if gone + looked_at == 0 => return Ok(None),
            Direction::Forward => self.left.0 += gone + looked_at,
            // All that is before what is gone is gone as well.
            Direction::Backward if looked_at == 0 => return Ok(None),
            Direction::Backward => self.left.1 -= looked_at,
        }
        events.retain(|event| self.window.keeps(event));
        self.limit -= events.len() as u64;
        Ok(Some(events))
    }
}

impl Pages for AllPages {
    type Item = RecordedEvent;
    type Error = ReadError;

    fn is_done(&self) -> bool {
        self.left.0 >= self.left.1 || self.limit == 0
    }

    fn next_page(&mut self, shared: &Shared) -> Result<Option<Vec<RecordedEvent>>, ReadError> {
        let (low, behind) = self.left;
        if self.scan == 0 {
            let at = match self.direction {
                Direction::Forward => low,
                Direction::Backward => behind,
            };
            return Err(ReadError::ScanEnded { at: Position::new(at) });
        }
        let most = (behind - low).min(page_events_max()).min(self.scan);
        let every = self.matcher.is_none() && !self.sparse;
        let most = if every { most.min(self.limit) } else { most };
        let Page { events, looked_at: read } = match self.direction {
            Direction::Forward => {
                shared.catalog.page(low, usize::try_from(most).unwrap_or(usize::MAX))?
            }
            Direction::Backward => {
                let positions: Vec<u64> = (behind - most..behind).rev().collect();
                shared.catalog.events(&positions)?
            }
        };
        if read == 0 {
            return Ok(None);
        }
        match self.direction {
            Direction::Forward => self.left.0 += read,
            Direction::Backward => self.left.1 -= read,
        }
        self.scan = self.scan.saturating_sub(read);
        self.sparse = events.is_empty();
        let mut kept = Vec::with_capacity(events.len());
        for event in events {
            let keeps = match &self.matcher {
                Some(matcher) => matcher.keeps(&event).map_err(ReadError::BadFilter)?,
                None => true,
            };
            if keeps && self.limit > 0 {
                self.limit -= 1;
                kept.push(event);
            }
        }
        Ok(Some(kept))
    }
}
