//! That a segment continues the hash chain, at its beginning, at its records and at its end.

use super::chain::ChainEnd;
use super::recovery::ScannedRecord;
use super::segment::Segment;
use crate::error::StoreError;

impl Segment {
    /// That the chain it begins behind, where it carries that, is this one.
    pub(crate) fn check_chain_before(&self, chain: ChainEnd) -> Result<(), StoreError> {
        if self.chain_before.is_some_and(|before| before != chain) {
            let reason = "the chain before this segment is not that of the segments before it";
            return Err(self.corrupt(0, reason));
        }
        Ok(())
    }

    /// That the chain behind one of its records, where that carries it, is this one.
    pub(crate) fn check_chain_at(
        &self,
        record: &ScannedRecord<'_>,
        chain: ChainEnd,
    ) -> Result<(), StoreError> {
        if record.chain.is_some_and(|carried| carried != chain) {
            let reason = "the events up to this one are not those that were recorded";
            return Err(self.corrupt(u64::from(record.offset), reason));
        }
        Ok(())
    }

    /// That the chain at its end, which is at this offset, is the one that the next segment begins
    /// behind, where that carries it.
    pub(crate) fn check_chain_behind(
        &self,
        end: u64,
        chain: ChainEnd,
        behind: Option<ChainEnd>,
    ) -> Result<(), StoreError> {
        if behind.is_some_and(|behind| behind != chain) {
            let reason = "the chain after this segment is not that before the next one";
            return Err(self.corrupt(end, reason));
        }
        Ok(())
    }
}
