//! One scrub through the sealed segments.

use std::sync::Arc;

use super::Scrubbed;
use crate::embedded::pace::{Pace, Stop};
use crate::embedded::store::Shared;
use crate::error::StoreError;
use crate::index::Sealed;
use crate::log::{ChainEnd, try_scan_whole};

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

    /// Reads all segments that are sealed by now: those that were found damaged, which may have
    /// been restored, then the others from where the last scrub was.
    pub(super) fn run(&mut self) -> Result<Scrubbed, StoreError> {
        let findings = &self.shared.findings;
        let sealed = self.shared.catalog.sealed();
        let all = 0..sealed.len();
        let known: Vec<_> = all.filter(|&at| findings.has(sealed[at].segment.first)).collect();
        for &at in &known {
            if !self.look_at(&sealed, at)? {
                return Ok(self.scrubbed);
            }
        }
        let from = findings.next();
        let done = sealed.partition_point(|sealed| sealed.segment.first < from);
        for at in (done..sealed.len()).filter(|at| !known.contains(at)) {
            if !self.look_at(&sealed, at)? {
                return Ok(self.scrubbed);
            }
            findings.reached(self.shared.clock.now(), sealed[at].last + 1)?;
        }
        findings.reached(self.shared.clock.now(), 0)?;
        self.scrubbed.completed = true;
        tracing::info!(scrubbed = ?self.scrubbed, "the log was scrubbed");
        Ok(self.scrubbed)
    }

    /// Looks at the segment with this number, and keeps how it is; returns whether to go on.
    fn look_at(&mut self, sealed: &[Arc<Sealed>], at: usize) -> Result<bool, StoreError> {
        let (one, findings) = (&sealed[at], &self.shared.findings);
        let behind = sealed.get(at + 1).map(|next| &next.segment);
        match self.segment(one, behind.and_then(|next| next.chain_before)) {
            Err(Halt::Stopped) => return Ok(false),
            Err(Halt::Failed(error @ StoreError::Corrupt { .. })) => {
                findings.rotten(one.segment.first, &error)?;
                self.scrubbed.rotten += 1;
            }
            Err(Halt::Failed(error)) => return Err(error),
            Ok(()) => findings.whole(one.segment.first)?,
        }
        self.scrubbed.segments += 1;
        self.scrubbed.bytes += one.length();
        metrics::counter!("veza_event_store_scrubbed_bytes_total").increment(one.length());
        Ok(true)
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
}
