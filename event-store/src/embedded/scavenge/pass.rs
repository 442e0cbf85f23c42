//! One pass through the sealed segments.

use std::sync::Arc;

use super::hidden::Hidden;
use super::mark::ScavengeMark;
use super::{ScavengeOptions, ScavengeProgress};
use crate::embedded::audit;
use crate::embedded::pace::{Pace, Stop};
use crate::embedded::store::Shared;
use crate::error::StoreError;
use crate::index::Sealed;
use crate::log::{
    ChainEnd, Disk, Rewrite, Segment, discard_segment, replace_segment, try_scan_whole,
};

/// How many streams are asked about in one go.
const STREAMS_AT_ONCE: usize = 1024;

/// What asking about a stream counts as, in bytes.
const STREAM_BYTES: usize = 1024;

/// Why a pass did not come to its end.
pub(super) enum Halt {
    Stopped,
    Failed(StoreError),
}

impl<E: Into<StoreError>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// A pass on its way.
pub(super) struct Pass<'a> {
    shared: &'a Shared,
    disk: &'a dyn Disk,
    options: ScavengeOptions,
    pace: Pace<'a>,
    /// Whom it tells how far it is.
    tell: &'a dyn Fn(ScavengeProgress),
    progress: ScavengeProgress,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        options: ScavengeOptions,
        stop: &'a Stop,
        tell: &'a dyn Fn(ScavengeProgress),
    ) -> Self {
        let pace = Pace::new(stop, options.bytes_per_second);
        let progress = ScavengeProgress::default();
        Self { shared, disk: &*shared.disk, options, pace, tell, progress }
    }

    /// Goes through all segments that are sealed by now, or those that an earlier pass left.
    pub(super) fn run(&mut self) -> Result<ScavengeProgress, Halt> {
        let left = ScavengeMark::read(self.disk)?.filter(|_| !self.options.afresh);
        let mut mark =
            left.unwrap_or_else(|| ScavengeMark { began: self.shared.clock.now(), next: 0 });
        let sealed = self.shared.catalog.sealed();
        let done = sealed.partition_point(|sealed| sealed.segment.first < mark.next);
        self.progress.segments = sealed.len() as u64;
        self.progress.segments_done = done as u64;
        (self.tell)(self.progress);
        mark.write(self.disk)?;
        let mut damage = None;
        for sealed in &sealed[done..] {
            match self.segment(sealed, mark) {
                // It keeps what it has; the others need not.
                Err(Halt::Failed(error @ StoreError::Corrupt { .. })) => {
                    tracing::error!(%error, "a segment can't be scavenged");
                    damage.get_or_insert(error);
                }
                scavenged => scavenged?,
            }
            self.progress.segments_done += 1;
            (self.tell)(self.progress);
            mark.next = sealed.last + 1;
            mark.write(self.disk)?;
        }
        ScavengeMark::remove(self.disk)?;
        match damage {
            Some(error) => Err(Halt::Failed(error)),
            None => Ok(self.progress),
        }
    }

    fn segment(&mut self, sealed: &Arc<Sealed>, mark: ScavengeMark) -> Result<(), Halt> {
        let older = self.shared.catalog.sealed_before(sealed.segment.first);
        sealed.write_index(self.disk, &older);
        if !sealed.is_indexed() {
            // It was said why; the next pass may have more luck.
            return Ok(());
        }
        let hidden = self.hidden(sealed, mark)?;
        if hidden.events == 0 || !self.is_worth_it(&hidden, sealed)? {
            return Ok(());
        }
        let old = &*sealed.segment;
        let chain = self.chain_before(old)?;
        let rewrite = Rewrite::begin(self.disk, old, &self.shared.keys, chain)?;
        let salt_of_key = rewrite.salt_of_key();
        let rewritten = self.rewrite(rewrite, sealed, &older, &hidden);
        if rewritten.is_err()
            && let Err(error) = discard_segment(self.disk, old.first, salt_of_key)
        {
            tracing::warn!(%error, "can't remove a segment that was not written anew whole");
        }
        let renewed = rewritten?;
        let bytes = sealed.length().saturating_sub(renewed.length());
        self.shared.catalog.replace(Arc::new(renewed));
        self.progress.segments_rewritten += 1;
        self.progress.events_reclaimed += hidden.events;
        self.progress.bytes_given_back += bytes;
        metrics::counter!("veza_event_store_events_reclaimed_total").increment(hidden.events);
        metrics::counter!("veza_event_store_given_back_bytes_total").increment(bytes);
        Ok(())
    }

    fn hidden(&mut self, sealed: &Sealed, mark: ScavengeMark) -> Result<Hidden, Halt> {
        let mut hidden = Hidden::none_of(sealed.last + 1 - sealed.segment.first);
        let mut from = 0;
        loop {
            let batch = (from, STREAMS_AT_ONCE);
            let asked = hidden.add_streams(&self.shared.catalog, sealed, batch, mark.began)?;
            if !self.pace.goes_on(asked * STREAM_BYTES) {
                return Err(Halt::Stopped);
            }
            if asked < STREAMS_AT_ONCE {
                return Ok(hidden);
            }
            from += asked;
        }
    }

    fn is_worth_it(&self, hidden: &Hidden, sealed: &Sealed) -> Result<bool, StoreError> {
        let percent = i64::from(self.options.least_percent);
        let length = i64::try_from(sealed.length()).unwrap_or(i64::MAX);
        Ok(percent == 0 || hidden.bytes(sealed)?.saturating_mul(100) >= length * percent)
    }

    /// Writes a segment anew, checks all of it, and puts it in the place of the old one.
    fn rewrite(
        &mut self,
        mut rewrite: Rewrite,
        sealed: &Sealed,
        older: &[Arc<Sealed>],
        hidden: &Hidden,
    ) -> Result<Sealed, Halt> {
        let old = &*sealed.segment;
        let pace = &mut self.pace;
        let scanned = try_scan_whole(old, sealed.length(), |record| {
            if !pace.goes_on(record.bytes.len()) {
                return Err(Halt::Stopped);
            }
            rewrite.add(&record, hidden.has(record.position - old.first))?;
            Ok(old.check_chain_at(&record, rewrite.chain())?)
        });
        if let Err(Halt::Failed(error)) = &scanned {
            old.met(error);
        }
        scanned?;
        old.check_chain_behind(sealed.length(), rewrite.chain(), self.chain_behind(sealed.last))?;
        let names = self.shared.catalog.names();
        // Reads all that was written, and makes the index of it.
        let renewed = Sealed::open(self.disk, Arc::new(rewrite.finish()?), older, names)?;
        if renewed.last != sealed.last {
            let reason = "it was not written anew with as many events as it has";
            return Err(old.corrupt(0, reason).into());
        }
        replace_segment(self.disk, &renewed.segment)?;
        Ok(renewed)
    }

    /// The end of the chain before a segment; one of an older format does not carry it.
    fn chain_before(&self, segment: &Segment) -> Result<ChainEnd, StoreError> {
        if let Some(chain) = segment.chain_before {
            return Ok(chain);
        }
        let before = self.shared.catalog.sealed_before(segment.first);
        audit::chain_after(before.iter().map(|sealed| (&*sealed.segment, sealed.length())))
    }

    /// The end of the chain that the segment behind this position carries.
    fn chain_behind(&self, last: u64) -> Option<ChainEnd> {
        let segments = self.shared.catalog.segments();
        let next = segments.iter().find(|(segment, _)| segment.first == last + 1);
        next.and_then(|(segment, _)| segment.chain_before)
    }
}
