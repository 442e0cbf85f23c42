//! What is visible of a stream: its metadata, applied when it is read.

use chrono::{DateTime, Utc};

use crate::error::StoreError;
use crate::event::RecordedEvent;
use crate::index::Catalog;
use crate::stream::{Revision, StreamMetadata, StreamName, Visibility};

/// The events of a stream that are visible.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// The first revision that may be read.
    pub(crate) first: u64,
    /// Whether the stream was deleted and not written to again.
    pub(crate) deleted: bool,
    /// Only events recorded after this moment may be read.
    pub(crate) recorded_after: Option<DateTime<Utc>>,
}

impl Window {
    /// What of a stream is visible as of a position, at that moment; this is its last revision.
    pub(crate) fn of(
        catalog: &Catalog,
        stream: &StreamName,
        last: Option<u64>,
        bound: u64,
        now: DateTime<Utc>,
    ) -> Result<Self, StoreError> {
        let metadata = match stream.metadata_subject() {
            Some(_) => Visibility::OF_METADATA,
            None => {
                let holder = stream.metadata_stream();
                catalog.visibility(holder.as_str(), bound)?.unwrap_or_default()
            }
        };
        Ok(Self {
            first: metadata.first_of(last.map_or(0, |last| last + 1)),
            deleted: metadata.is_of_deleted(),
            recorded_after: metadata.recorded_after(now),
        })
    }

    /// Whether an event is young enough.
    pub(crate) fn keeps(&self, event: &RecordedEvent) -> bool {
        self.recorded_after.is_none_or(|moment| event.recorded_at > moment)
    }
}

/// The metadata of a stream as of a position, and the revision that holds it.
pub(crate) fn metadata_at(
    catalog: &Catalog,
    stream: &StreamName,
    bound: u64,
) -> Result<Option<(StreamMetadata, Revision)>, StoreError> {
    let event = catalog.last_event(stream.metadata_stream().as_str(), bound)?;
    Ok(event.map(|event| (StreamMetadata::parse(&event.data), event.revision)))
}
