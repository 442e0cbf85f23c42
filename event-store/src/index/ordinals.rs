//! Ordinals: how many events of a category or a type the log has before a segment.

use std::sync::Arc;

use super::memory::MemoryIndex;
use super::sealed::Sealed;
use super::secondary::Secondary;
use crate::error::StoreError;

/// The first ordinal of each category and of each type that a segment has, by its hash.
pub(crate) struct Ordinals([Vec<(u64, u64)>; 2]);

impl Ordinals {
    /// Those of the segment with this index, which comes behind these segments.
    pub(crate) fn behind(older: &[Arc<Sealed>], index: &MemoryIndex) -> Result<Self, StoreError> {
        let [categories, types] = Secondary::ALL.map(|of| {
            let hashes = index.secondary(of).hashes();
            let totals = totals(older, of, &hashes)?;
            Ok::<_, StoreError>(hashes.into_iter().zip(totals).collect())
        });
        Ok(Self([categories?, types?]))
    }

    /// Hashes and their first ordinals, from low to high.
    pub(crate) fn of(&self, of: Secondary) -> &[(u64, u64)] {
        let [categories, types] = &self.0;
        match of {
            Secondary::Category => categories,
            Secondary::EventType => types,
        }
    }
}

/// How many events of each of these hashes, which rise, the segments have. A hash is looked for
/// from the newest segment back to the first that has it: a new one in all of them, most of which
/// their filters deny.
pub(crate) fn totals(
    segments: &[Arc<Sealed>],
    of: Secondary,
    hashes: &[u64],
) -> Result<Vec<u64>, StoreError> {
    let mut totals = vec![0; hashes.len()];
    let mut left: Vec<usize> = (0..hashes.len()).collect();
    for segment in segments.iter().rev() {
        if left.is_empty() {
            break;
        }
        let wanted: Vec<u64> = left.iter().map(|&at| hashes[at]).collect();
        let mut found = segment.find_each(of, &wanted)?.into_iter();
        left.retain(|&at| {
            let Some(extent) = found.next().flatten() else {
                return true;
            };
            totals[at] += u64::from(extent.count) + extent.first_ordinal().unwrap_or(0);
            extent.first_ordinal().is_none()
        });
    }
    Ok(totals)
}
