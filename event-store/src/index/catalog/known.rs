//! What is in memory of a stream: for followers, who ask after every event, and of whom there may
//! be thousands. Where that does not tell, they ask again as who may wait for the disk.

use super::Catalog;
use super::streams::{Tail, end_of};

impl Catalog {
    /// The end of a stream, as [`Self::tail`] tells it; `None` where the disk has to be asked.
    pub(crate) fn known_tail(&self, stream: &str) -> Option<Tail> {
        let (found, sealed) = {
            let state = self.read();
            (state.index.find(self.key(stream)), state.sealed.len())
        };
        let of_sealed = || {
            let end = self.sealed_ends.get(stream).filter(|end| end.segments >= sealed);
            end.map(|end| end.tail).ok_or(())
        };
        end_of(found, of_sealed).ok()
    }

    /// The positions of a stream's events from this revision on, at most so many, as far as they
    /// are in the active segment; `None` where that one is not there.
    pub(crate) fn known_positions(
        &self,
        stream: &str,
        revision: u64,
        count: usize,
    ) -> Option<Vec<u64>> {
        let (key, state) = (self.key(stream), self.read());
        let extent = state.index.find(key)?;
        let skip = u32::try_from(revision.checked_sub(extent.first)?).ok()?;
        let left = extent.count.checked_sub(skip).filter(|&left| left > 0)?;
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(left);
        Some(state.index.positions(key, skip, count))
    }
}
