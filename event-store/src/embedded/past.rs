//! What of a stream's past can't be told any more, because events were reclaimed.

use crate::error::StoreError;
use crate::index::Catalog;
use crate::stream::StreamName;

/// What is left of a stream's past, as of a position. A read of the past gives what was to be seen
/// then, or says that it can't; where it can't be known it says so too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    /// Whether the metadata that counted then may be gone.
    metadata_gone: bool,
    /// Events of the stream before this revision are gone.
    first: u64,
}

impl Past {
    pub(super) fn of(
        catalog: &Catalog,
        stream: &StreamName,
        bound: u64,
    ) -> Result<Self, StoreError> {
        if !catalog.has_reclaimed() {
            return Ok(Self { metadata_gone: false, first: 0 });
        }
        let deleted = |stream: &StreamName| -> Result<bool, StoreError> {
            Ok(catalog.tail(stream.as_str())?.tombstoned)
        };
        let subject = stream.metadata_subject();
        let holder = stream.metadata_stream();
        let goes_with = subject.as_ref().map_or(Ok(false), deleted)?;
        let first = first_left(catalog, stream, goes_with)?;
        // The metadata of what holds metadata does not count for readers.
        let metadata_gone = subject.is_none()
            && catalog.runs(holder.as_str(), bound, 0)?.first().is_none()
            && first_left(catalog, &holder, deleted(stream)?)? > 0;
        Ok(Self { metadata_gone, first })
    }

    /// Whether all is there that a read from this revision on gave then.
    pub(super) fn is_whole_from(&self, revision: u64) -> bool {
        !self.metadata_gone && revision >= self.first
    }
}

/// The first revision of a stream that is left; behind all of them where nothing is left of one
/// that was deleted for good, or goes with one that was: scavenging left nothing of such metadata
/// once.
fn first_left(catalog: &Catalog, stream: &StreamName, goes_with: bool) -> Result<u64, StoreError> {
    let runs = catalog.runs(stream.as_str(), u64::MAX, 0)?;
    let all_gone = if goes_with || runs.tail.tombstoned { u64::MAX } else { 0 };
    Ok(runs.first().unwrap_or(all_gone))
}
