//! The streams of the catalog: their ends, and where their events are.

use std::sync::Arc;

use super::Catalog;
use crate::error::StoreError;
use crate::event::RecordedEvent;
use crate::index::Extent;
use crate::index::sealed::Sealed;
use crate::stream::{StreamMetadata, Visibility};

/// The end of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The revision of its last event, a tombstone not counted.
    pub(crate) last: Option<u64>,
    /// Whether it was deleted for good.
    pub(crate) tombstoned: bool,
}

/// What is known of a stream among so many sealed segments, which never change.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SealedEnd {
    pub(super) segments: usize,
    pub(super) tail: Tail,
    /// The first position of the newest that has anything of it.
    newest: Option<u64>,
}

/// Where the events of one stream are, as far back as it was looked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamRuns {
    /// From new to old, each with the first position of its segment.
    runs: Vec<(u64, Extent)>,
    /// The end of the stream.
    pub(crate) tail: Tail,
    /// They are as of this position.
    bound: u64,
    /// Segments from this position on were looked into; zero when older ones need not be.
    looked_from: u64,
    /// The revision before which older events must end, or else what is between was reclaimed.
    follows: Option<u64>,
}

/// Where the events of a stream are, from some revision on.
#[derive(Debug, Default)]
pub(crate) struct Located {
    /// How many of the first were reclaimed since the runs were taken.
    pub(crate) gone: u64,
    /// The positions of those behind them.
    pub(crate) positions: Vec<u64>,
}

impl StreamRuns {
    /// The first revision that is left, among those that were looked for.
    pub(crate) fn first(&self) -> Option<u64> {
        self.runs.iter().rev().map(|(_, run)| run).find(|run| run.count > 0).map(|run| run.first)
    }

    /// The first revision of the run that this one is in.
    pub(crate) fn run_start(&self, revision: u64) -> Option<u64> {
        self.run(revision).map(|(_, run)| run.first)
    }

    fn run(&self, revision: u64) -> Option<&(u64, Extent)> {
        self.runs.iter().find(|(_, run)| {
            let edge = u64::from(cfg!(veza_canary = "segment-edge"));
            let behind = run.last_revision().map_or(0, |last| last + 1 - edge);
            (run.first..behind).contains(&revision)
        })
    }

    /// Whether nothing older than what is known is needed for this revision.
    fn reaches(&self, revision: u64) -> bool {
        self.looked_from == 0 || self.first().is_some_and(|first| first <= revision)
    }
}

impl Catalog {
    /// The end of a stream.
    pub(crate) fn tail(&self, stream: &str) -> Result<Tail, StoreError> {
        let (found, sealed) = {
            let state = self.read();
            (state.index.find(self.key(stream)), Arc::clone(&state.sealed))
        };
        end_of(found, || Ok(self.sealed_end(stream, &sealed)?.0.tail))
    }

    /// Where a stream's events are, up to this position, and back to this revision: older segments
    /// are not looked into. Events before others that were reclaimed are none of it any more: they
    /// were hidden as well.
    pub(crate) fn runs(
        &self,
        stream: &str,
        bound: u64,
        back_to: u64,
    ) -> Result<StreamRuns, StoreError> {
        let (active, active_first, sealed) = {
            let state = self.read();
            (state.index.find(self.key(stream)), state.active.first, Arc::clone(&state.sealed))
        };
        let mut runs = StreamRuns { bound, looked_from: active_first, ..StreamRuns::default() };
        if let Some(extent) = active {
            self.add_run(stream, &mut runs, (active_first, u64::MAX), extent)?;
        }
        if runs.follows.is_none() {
            self.begin_sealed(stream, &sealed, &mut runs)?;
        }
        self.look_back(stream, &sealed, &mut runs, |runs| runs.reaches(back_to))?;
        Ok(runs)
    }

    /// Adds the run of the newest sealed segment that has one; that there is none is known of most
    /// that are asked for.
    fn begin_sealed(
        &self,
        stream: &str,
        sealed: &[Arc<Sealed>],
        runs: &mut StreamRuns,
    ) -> Result<(), StoreError> {
        let (end, found) = self.sealed_end(stream, sealed)?;
        let Some(first) = end.newest else {
            runs.looked_from = 0;
            return Ok(());
        };
        let at = sealed.partition_point(|segment| segment.segment.first < first);
        // One that is not among them was the active one when they were taken.
        let Some(newest) = sealed.get(at) else { return Ok(()) };
        runs.looked_from = first;
        let found = match found {
            Some(extent) => Some(extent),
            None => newest.find(self.key(stream))?,
        };
        found.map_or(Ok(()), |extent| self.add_run(stream, runs, (first, newest.last), extent))
    }

    /// Looks for older events of a stream, back to this revision.
    pub(crate) fn reach(
        &self,
        stream: &str,
        runs: &mut StreamRuns,
        back_to: u64,
    ) -> Result<(), StoreError> {
        let sealed = self.sealed();
        self.look_back(stream, &sealed, runs, |runs| runs.reaches(back_to))
    }

    /// Looks for older events of a stream, back to this position.
    pub(crate) fn reach_position(
        &self,
        stream: &str,
        runs: &mut StreamRuns,
        back_to: u64,
    ) -> Result<(), StoreError> {
        let sealed = self.sealed();
        self.look_back(stream, &sealed, runs, |runs| runs.looked_from <= back_to)
    }

    fn look_back(
        &self,
        stream: &str,
        sealed: &[Arc<Sealed>],
        runs: &mut StreamRuns,
        is_enough: impl Fn(&StreamRuns) -> bool,
    ) -> Result<(), StoreError> {
        let key = self.key(stream);
        let older = sealed.partition_point(|older| older.segment.first < runs.looked_from);
        for older in sealed[..older].iter().rev() {
            if is_enough(runs) {
                return Ok(());
            }
            let found = older.find(key)?;
            runs.looked_from = older.segment.first;
            let Some(extent) = found else { continue };
            let reclaimed = runs.follows.zip(extent.last_revision());
            if reclaimed.is_some_and(|(first, last)| first != last + 1) {
                break;
            }
            self.add_run(stream, runs, (older.segment.first, older.last), extent)?;
        }
        if !is_enough(runs) {
            runs.looked_from = 0;
        }
        Ok(())
    }

    /// Adds the run of an older segment, from its first to its last position, without what came
    /// after those that are asked for.
    fn add_run(
        &self,
        stream: &str,
        runs: &mut StreamRuns,
        (segment_first, segment_last): (u64, u64),
        extent: Extent,
    ) -> Result<(), StoreError> {
        if extent.count > 0 {
            runs.follows = Some(extent.first);
        }
        if extent.count > 0 && extent.first == 0 {
            runs.looked_from = 0;
        }
        let kept = if segment_first > runs.bound {
            0
        } else if segment_last <= runs.bound {
            extent.postings()
        } else {
            let behind = runs.bound.saturating_add(1);
            self.count_before(self.key(stream), segment_first, &extent, behind)?
        };
        // By where it began when it was found: so its postings are found there again.
        let run = match kept {
            0 => return Ok(()),
            kept if kept < extent.postings() => Extent { count: kept, tombstone: false, ..extent },
            _ => extent,
        };
        runs.tail.tombstoned |= runs.runs.is_empty() && run.tombstone;
        runs.tail.last = runs.tail.last.or(run.last_revision());
        runs.runs.push((segment_first, run));
        Ok(())
    }

    /// The positions of a stream's events from this revision on, as many as are in one run.
    /// None before the first event or behind the last.
    pub(crate) fn positions(
        &self,
        stream: &str,
        runs: &StreamRuns,
        revision: u64,
        count: usize,
    ) -> Result<Located, StoreError> {
        let Some((segment_first, extent)) = runs.run(revision) else {
            return Ok(Located::default());
        };
        let skip = u32::try_from(revision - extent.first).unwrap_or(u32::MAX);
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(extent.count - skip);
        let key = self.key(stream);
        let positions = self.positions_in(key, *segment_first, extent, skip, count)?;
        Ok(Located { gone: u64::from(count).saturating_sub(positions.len() as u64), positions })
    }

    /// The revision of a stream's first event at this position or behind it, of runs that go back
    /// to it; the one behind the last where there is none.
    pub(crate) fn revision_from(
        &self,
        stream: &str,
        runs: &StreamRuns,
        position: u64,
    ) -> Result<u64, StoreError> {
        let later = runs.runs.partition_point(|(segment_first, _)| *segment_first > position);
        if let Some((segment_first, extent)) = runs.runs.get(later) {
            let key = self.key(stream);
            let before = self.count_before(key, *segment_first, extent, position)?;
            if before < extent.count {
                return Ok(extent.first + u64::from(before));
            }
        }
        let next = runs.runs[..later].iter().rev().find(|(_, extent)| extent.count > 0);
        let behind = runs.tail.last.map_or(0, |last| last + 1);
        Ok(next.map_or(behind, |(_, extent)| extent.first))
    }

    /// The position of a stream's tombstone.
    pub(crate) fn tombstone(
        &self,
        stream: &str,
        runs: &StreamRuns,
    ) -> Result<Option<u64>, StoreError> {
        match runs.runs.first() {
            Some((first, extent)) if extent.tombstone => {
                Ok(self.positions_in(self.key(stream), *first, extent, extent.count, 1)?.pop())
            }
            _ => Ok(None),
        }
    }

    /// The last event of a stream up to this position.
    pub(crate) fn last_event(
        &self,
        stream: &str,
        bound: u64,
    ) -> Result<Option<RecordedEvent>, StoreError> {
        let runs = self.runs(stream, bound, u64::MAX)?;
        let Some(last) = runs.tail.last else {
            return Ok(None);
        };
        Ok(self.events(&self.positions(stream, &runs, last, 1)?.positions)?.events.pop())
    }

    /// What is seen of a stream by the last event up to this position of the one that holds its
    /// metadata; `None` where there is none. It is kept in memory, for it is asked for again and
    /// again and to read and parse the metadata may take long.
    pub(crate) fn visibility(
        &self,
        holder: &str,
        bound: u64,
    ) -> Result<Option<Visibility>, StoreError> {
        let last = match bound {
            u64::MAX => self.tail(holder)?.last,
            bound => self.runs(holder, bound, u64::MAX)?.tail.last,
        };
        let Some(last) = last else {
            return Ok(None);
        };
        if let Some((revision, known)) = self.visibilities.get(holder)
            && revision == last
        {
            return Ok(Some(known));
        }
        let Some(event) = self.last_event(holder, bound)? else {
            return Ok(None);
        };
        let found = StreamMetadata::parse(&event.data).visibility();
        self.visibilities.insert(holder.into(), (event.revision.get(), found));
        Ok(Some(found))
    }

    /// The end of a stream among the sealed segments; and its run in the newest that has one, where
    /// it had to be looked for.
    fn sealed_end(
        &self,
        stream: &str,
        sealed: &[Arc<Sealed>],
    ) -> Result<(SealedEnd, Option<Extent>), StoreError> {
        let known = self.sealed_ends.get(stream).unwrap_or_default();
        if known.segments >= sealed.len() {
            return Ok((known, None));
        }
        let key = self.key(stream);
        let (mut newer, mut newest) = (Tail::default(), None);
        for segment in sealed[known.segments..].iter().rev() {
            if let Some(extent) = segment.find(key)? {
                newest = newest.or(Some((segment.segment.first, extent)));
                newer.tombstoned |= extent.tombstone;
                newer.last = extent.last_revision();
            }
            if newer.last.is_some() {
                break;
            }
        }
        let tail = Tail {
            last: newer.last.or(known.tail.last),
            tombstoned: newer.tombstoned || known.tail.tombstoned,
        };
        let (first, found) = newest.unzip();
        let end = SealedEnd { segments: sealed.len(), tail, newest: first.or(known.newest) };
        self.sealed_ends.insert(stream.into(), end);
        Ok((end, found))
    }
}

/// The end of a stream by its run in the active segment, and by its end among the sealed ones,
/// which is asked for where that run alone does not tell.
pub(super) fn end_of<E>(
    active: Option<Extent>,
    of_sealed: impl FnOnce() -> Result<Tail, E>,
) -> Result<Tail, E> {
    let Some(active) = active else { return of_sealed() };
    let last = match active.last_revision() {
        None if active.tombstone => of_sealed()?.last,
        last => last,
    };
    Ok(Tail { last, tombstoned: active.tombstone })
}
