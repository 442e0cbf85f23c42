//! The streams of the catalog: their ends, and where their events are.

use std::sync::Arc;

use super::Catalog;
use crate::error::StoreError;
use crate::event::RecordedEvent;
use crate::index::sealed::Sealed;
use crate::index::{Extent, Key};

/// The end of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The revision of its last event, a tombstone not counted.
    pub(crate) last: Option<u64>,
    /// Whether it was deleted for good.
    pub(crate) tombstoned: bool,
}

/// Where all events of one stream are, from old to new.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamRuns {
    runs: Vec<(u64, Extent)>,
    /// The end of the stream.
    pub(crate) tail: Tail,
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
    /// The revision of the first event that is left.
    pub(crate) fn first(&self) -> Option<u64> {
        self.runs.iter().map(|(_, run)| run).find(|run| run.count > 0).map(|run| run.first)
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
}

impl Catalog {
    /// The end of a stream.
    pub(crate) fn tail(&self, stream: &str) -> Result<Tail, StoreError> {
        let (found, sealed) = {
            let state = self.read();
            (state.index.find(Key::Stream(stream)), Arc::clone(&state.sealed))
        };
        match found.map(tail_of) {
            Some(tail) if !tail.tombstoned => Ok(tail),
            Some(tail) => {
                Ok(Tail { last: tail.last.or(self.sealed_tail(stream, &sealed)?.last), ..tail })
            }
            None => self.sealed_tail(stream, &sealed),
        }
    }

    /// Where a stream's events are, up to this position. Events before others that were reclaimed
    /// are none of it any more: they were hidden as well.
    pub(crate) fn runs(&self, stream: &str, bound: u64) -> Result<StreamRuns, StoreError> {
        let (active, active_first, sealed) = {
            let state = self.read();
            (state.index.find(Key::Stream(stream)), state.active.first, Arc::clone(&state.sealed))
        };
        let mut runs: Vec<(u64, Extent)> = Vec::new();
        runs.extend(active.map(|extent| (active_first, extent)));
        if self.sealed_tail(stream, &sealed)? != Tail::default() {
            for segment in sealed.iter().rev() {
                if runs.last().is_some_and(|(_, run)| run.count > 0 && run.first == 0) {
                    break;
                }
                let Some(extent) = segment.find(Key::Stream(stream))? else { continue };
                let newer = runs.iter().rev().find(|(_, run)| run.count > 0);
                let reclaimed = newer.zip(extent.last_revision());
                if reclaimed.is_some_and(|((_, newer), last)| newer.first != last + 1) {
                    break;
                }
                runs.push((segment.segment.first, extent));
            }
        }
        runs.reverse();
        self.cut_at(stream, &mut runs, bound)?;
        let tail = Tail {
            last: runs.iter().rev().find_map(|(_, run)| run.last_revision()),
            tombstoned: runs.last().is_some_and(|(_, run)| run.tombstone),
        };
        Ok(StreamRuns { runs, tail })
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
        let key = Key::Stream(stream);
        let positions = self.positions_in(key, *segment_first, extent, skip, count)?;
        Ok(Located { gone: u64::from(count).saturating_sub(positions.len() as u64), positions })
    }

    /// The revision of a stream's first event at this position or behind it; the one behind the
    /// last where there is none.
    pub(crate) fn revision_from(
        &self,
        stream: &str,
        runs: &StreamRuns,
        position: u64,
    ) -> Result<u64, StoreError> {
        let later = runs.runs.partition_point(|(segment_first, _)| *segment_first <= position);
        if let Some((segment_first, extent)) = later.checked_sub(1).map(|at| &runs.runs[at]) {
            let key = Key::Stream(stream);
            let before = self.count_before(key, *segment_first, extent, position)?;
            if before < extent.count {
                return Ok(extent.first + u64::from(before));
            }
        }
        let next = runs.runs[later..].iter().find(|(_, extent)| extent.count > 0);
        let behind = runs.tail.last.map_or(0, |last| last + 1);
        Ok(next.map_or(behind, |(_, extent)| extent.first))
    }

    /// The position of a stream's tombstone.
    pub(crate) fn tombstone(
        &self,
        stream: &str,
        runs: &StreamRuns,
    ) -> Result<Option<u64>, StoreError> {
        match runs.runs.last() {
            Some((first, extent)) if extent.tombstone => {
                Ok(self.positions_in(Key::Stream(stream), *first, extent, extent.count, 1)?.pop())
            }
            _ => Ok(None),
        }
    }

    /// The last event of a stream up to this position, kept in memory afterwards: for streams whose
    /// last event is asked for again and again.
    pub(crate) fn last_event(
        &self,
        stream: &str,
        bound: u64,
    ) -> Result<Option<RecordedEvent>, StoreError> {
        let known =
            |last: u64| self.last_events.get(stream).filter(|event| event.revision.get() == last);
        if bound == u64::MAX {
            match self.tail(stream)?.last.map(known) {
                None => return Ok(None),
                Some(Some(event)) => return Ok(Some(event)),
                Some(None) => {}
            }
        }
        let runs = self.runs(stream, bound)?;
        let Some(last) = runs.tail.last else {
            return Ok(None);
        };
        if let Some(event) = known(last) {
            return Ok(Some(event));
        }
        let event = self.events(&self.positions(stream, &runs, last, 1)?.positions)?.events.pop();
        if let Some(event) = &event {
            self.last_events.insert(stream.into(), event.clone());
        }
        Ok(event)
    }

    /// Leaves away what came after this position.
    fn cut_at(
        &self,
        stream: &str,
        runs: &mut Vec<(u64, Extent)>,
        bound: u64,
    ) -> Result<(), StoreError> {
        runs.retain(|(segment_first, _)| *segment_first <= bound);
        let Some((segment_first, extent)) = runs.last().copied() else {
            return Ok(());
        };
        let behind = bound.saturating_add(1);
        let kept = self.count_before(Key::Stream(stream), segment_first, &extent, behind)?;
        if kept < extent.postings() {
            runs.pop();
        }
        if (1..extent.postings()).contains(&kept) {
            // By where it began when it was found: so its postings are found there again.
            runs.push((segment_first, Extent { count: kept, tombstone: false, ..extent }));
        }
        Ok(())
    }

    fn sealed_tail(&self, stream: &str, sealed: &[Arc<Sealed>]) -> Result<Tail, StoreError> {
        let (known, mut tail) = self.sealed_tails.get(stream).unwrap_or_default();
        if known >= sealed.len() {
            return Ok(tail);
        }
        let mut newer = Tail::default();
        for segment in sealed[known..].iter().rev() {
            if let Some(extent) = segment.find(Key::Stream(stream))? {
                newer.tombstoned |= extent.tombstone;
                newer.last = extent.last_revision();
            }
            if newer.last.is_some() {
                break;
            }
        }
        tail = Tail {
            last: newer.last.or(tail.last),
            tombstoned: newer.tombstoned || tail.tombstoned,
        };
        self.sealed_tails.insert(stream.into(), (sealed.len(), tail));
        Ok(tail)
    }
}

fn tail_of(extent: Extent) -> Tail {
    Tail { last: extent.last_revision(), tombstoned: extent.tombstone }
}
