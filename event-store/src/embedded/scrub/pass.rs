//! One scrub through the sealed segments.

use std::sync::Arc;

use super::mark::ScrubMark;
use super::{Rot, Scrubbed};
use crate::embedded::pace::{Pace, Stop};
use crate::embedded::store::Shared;
use crate::error::StoreError;
use crate::index::Sealed;
use crate::limits::ROT_REMEMBERED_MAX;
use crate::log::{ChainEnd, try_scan_whole};
use crate::position::Position;

/// Why a segment was not read to its end.
enum Halt {
    Stopped,
    Failed(StoreError),
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

pub(super) struct Pass<'a> {
    shared: &'a Shared,
    pace: Pace<'a>,
    scrubbed: Scrubbed,
}

impl<'a> Pass<'a> {
    pub(super) fn new(shared: &'a Shared, stop: &'a Stop, bytes_per_second: u64) -> Self {
        let pace = Pace::new(stop, bytes_per_second);
        Self { shared, pace, scrubbed: Scrubbed::default() }
    }

    /// Reads all segments that are sealed by now, from where the last scrub was.
    pub(super) fn run(&mut self) -> Result<Scrubbed, StoreError> {
        let disk = &*self.shared.disk;
        let from = ScrubMark::read(disk)?.next;
        let sealed = self.shared.catalog.sealed();
        let done = sealed.partition_point(|sealed| sealed.segment.first < from);
        for (number, one) in sealed.iter().enumerate().skip(done) {
            let behind = sealed.get(number + 1).map(|next| &next.segment);
            match self.segment(one, behind.and_then(|next| next.chain_before)) {
                Err(Halt::Stopped) => return Ok(self.scrubbed),
                Err(Halt::Failed(error @ StoreError::Corrupt { .. })) => self.rotten(one, &error),
                Err(Halt::Failed(error)) => return Err(error),
                Ok(()) => self.whole(one),
            }
            self.scrubbed.segments += 1;
            self.scrubbed.bytes += one.length();
            metrics::counter!("veza_event_store_scrubbed_bytes_total").increment(one.length());
            if self.scrubbed.rotten == 0 {
                self.mark(one.last + 1)?;
            }
        }
        if self.scrubbed.rotten == 0 {
            self.mark(0)?;
        }
        self.scrubbed.completed = true;
        tracing::info!(scrubbed = ?self.scrubbed, "the log was scrubbed");
        Ok(self.scrubbed)
    }

    /// Keeps how far it is. Not beyond a segment that is damaged: so the first scrub after a
    /// restart finds it at once.
    fn mark(&self, next: u64) -> Result<(), StoreError> {
        Ok(ScrubMark::new(self.shared.clock.now(), next).write(&*self.shared.disk)?)
    }

    /// Reads a segment; the chain after it must be this one, where that is known.
    fn segment(&mut self, sealed: &Sealed, behind: Option<ChainEnd>) -> Result<(), Halt> {
        let segment = &*sealed.segment;
        segment.check(&*self.shared.disk, &self.shared.keys)?;
        let mut chain = segment.chain_before;
        let pace = &mut self.pace;
        try_scan_whole(segment, sealed.length(), |record| {
            if !pace.goes_on(record.head.length) {
                return Err(Halt::Stopped);
            }
            chain = chain.map(|chain| chain.after(&record.digest()));
            if let Some(chain) = chain {
                segment.check_chain_at(&record, chain)?;
            }
            Ok(())
        })?;
        if let Some(chain) = chain {
            segment.check_chain_behind(sealed.length(), chain, behind)?;
        }
        Ok(())
    }

    fn rotten(&mut self, sealed: &Arc<Sealed>, error: &StoreError) {
        tracing::error!(%error, "a segment has rotted on the disk: restore it from a backup");
        self.whole(sealed);
        self.scrubbed.rotten += 1;
        let mut state = self.shared.scrubber.lock();
        if state.rot.len() < ROT_REMEMBERED_MAX {
            let segment = Position::new(sealed.segment.first);
            state.rot.push(Rot { segment, what: error.to_string().into() });
        }
        metrics::gauge!("veza_event_store_rotten_segments").set(state.rot.len() as f64);
    }

    /// Forgets what was wrong with a segment before.
    fn whole(&self, sealed: &Sealed) {
        let mut state = self.shared.scrubber.lock();
        state.rot.retain(|rot| rot.segment.get() != sealed.segment.first);
        metrics::gauge!("veza_event_store_rotten_segments").set(state.rot.len() as f64);
    }
}
