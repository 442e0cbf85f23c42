//! Deleting a stream of links, as EventStoreDB does it: what is linked later is read again, and
//! goes on with its numbers.
//!
//! No link is ever appended that could open the stream again. So the deletion says `$tb` as that of
//! any stream does, and hides the links to events that stand before it in the log.

use super::{IndexStreams, Instead};
use crate::error::{AppendError, ReadError, StoreError};
use crate::indexed::{Index, Ordinal};
use crate::port::Appended;
use crate::position::Position;
use crate::read::AsOf;
use crate::stream::{
    ExpectedRevision, Revision, StreamMetadata, StreamName, TRUNCATE_ALL, Visibility,
};

impl IndexStreams {
    /// What the metadata of a stream of links hide, of which this is the last; `None` where all is
    /// deleted.
    pub(super) async fn visibility(
        &self,
        stream: &StreamName,
        index: &Index,
        last: Ordinal,
    ) -> Result<Option<Visibility>, ReadError> {
        let metadata = self.0.last_event(&stream.metadata_stream()).await?;
        let Some(metadata) = metadata else { return Ok(Some(Visibility::default())) };
        let visibility = StreamMetadata::parse(&metadata.data).visibility();
        if !visibility.is_of_deleted() {
            return Ok(Some(visibility));
        }
        let hidden = self.last(index, Some(AsOf::Position(metadata.position))).await?;
        if hidden >= Some(last) {
            return Ok(None);
        }
        let truncate_before = Some(hidden.map_or(0, |hidden| hidden.get() + 1));
        Ok(Some(Visibility { truncate_before, ..visibility }))
    }

    /// Deletes what there is of a stream that nobody has written.
    pub(super) async fn delete_links(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        Instead { index, gate, .. }: &Instead,
    ) -> Result<Appended, AppendError> {
        let last = match gate.opens() {
            Some(until) => self.last(index, until).await.map_err(of_append)?,
            None => None,
        };
        let Some(last) = last else { return self.0.delete_stream(stream, expected).await };
        let deleted = self.visibility(stream, index, last).await.map_err(of_append)?.is_none();
        let last = Revision::new(last.get());
        let is_expected = match expected {
            ExpectedRevision::Any => true,
            ExpectedRevision::NoStream => deleted,
            ExpectedRevision::StreamExists if deleted => {
                return Err(AppendError::StreamDeleted(stream.clone()));
            }
            ExpectedRevision::StreamExists => true,
            ExpectedRevision::Exactly(revision) => revision == last,
        };
        if !is_expected {
            let (stream, actual) = (stream.clone(), Some(last));
            return Err(AppendError::WrongExpectedRevision { stream, expected, actual });
        }
        let position = self.hide_all(stream).await?;
        if let (ExpectedRevision::Exactly(_), Some(at)) = (expected, position) {
            self.show_behind(stream, index, last, at).await?;
        }
        Ok(Appended { last_revision: Some(last), position })
    }

    /// Writes that all is deleted; returns where.
    async fn hide_all(&self, stream: &StreamName) -> Result<Option<Position>, AppendError> {
        // Those of a stream that is deleted already would open it.
        let (none, all) = (ExpectedRevision::NoStream, truncated(TRUNCATE_ALL));
        match self.0.set_stream_metadata(stream, none, all).await {
            Ok(done) => Ok(done.position),
            Err(AppendError::WrongExpectedRevision { .. }) => {
                Ok(self.0.delete_stream(stream, ExpectedRevision::Any).await?.position)
            }
            Err(error) => Err(error),
        }
    }

    /// Shows what was linked between the look at the last link and the deletion of those up to it:
    /// as if that had come behind the deletion.
    async fn show_behind(
        &self,
        stream: &StreamName,
        index: &Index,
        last: Revision,
        deleted_at: Position,
    ) -> Result<(), AppendError> {
        let hidden = self.last(index, Some(AsOf::Position(deleted_at))).await.map_err(of_append)?;
        if hidden.is_none_or(|hidden| hidden.get() <= last.get()) {
            return Ok(());
        }
        let metadata = self.0.last_event(&stream.metadata_stream()).await.map_err(of_append)?;
        let Some(metadata) = metadata.filter(|metadata| metadata.position == deleted_at) else {
            return Ok(());
        };
        let expected = ExpectedRevision::Exactly(metadata.revision);
        let shown = truncated(last.next().get());
        match self.0.set_stream_metadata(stream, expected, shown).await {
            // Metadata that were written since say what is seen.
            Ok(_) | Err(AppendError::WrongExpectedRevision { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn truncated(before: u64) -> StreamMetadata {
    StreamMetadata { truncate_before: Some(before), ..StreamMetadata::default() }
}

pub(super) fn of_append(error: ReadError) -> AppendError {
    match error {
        ReadError::StreamDeleted(stream) => AppendError::StreamDeleted(stream),
        ReadError::Store(error) => error.into(),
        error => StoreError::Unavailable { reason: error.to_string().into() }.into(),
    }
}
