//! What a group keeps in streams of its own: its checkpoint, and its parked messages.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use futures::TryStreamExt;
use serde_json::json;
use uuid::Uuid;

use super::error::PersistentError;
use super::group::{GroupId, Place};
use super::machine::ParkedRange;
use super::message::{LINK_TYPE, Message, resolve};
use crate::error::{AppendError, ReadError};
use crate::event::{ContentType, EventId, NewEvent};
use crate::port::EventStore;
use crate::read::{EventReader, ReadStream};
use crate::stream::{ExpectedRevision, Revision, StreamMetadata, StreamName};

const CHECKPOINT_TYPE: &str = "$SubscriptionCheckpoint";

/// `$maxCount` of a stream of checkpoints. Only the last is read; one more, as the server has it.
const CHECKPOINTS_KEPT: u64 = 2;

/// One read of parked messages takes no further one beyond this, in bytes.
const PARKED_PAGE_BYTES: usize = 1024 * 1024;

/// The streams of one group.
#[derive(Clone)]
pub(super) struct GroupStreams {
    store: Arc<dyn EventStore>,
    group: GroupId,
    checkpoints: StreamName,
    parked: StreamName,
}

impl GroupStreams {
    pub(super) fn new(store: Arc<dyn EventStore>, group: GroupId) -> Self {
        let (checkpoints, parked) = (group.checkpoint_stream(), group.parked_stream());
        Self { store, group, checkpoints, parked }
    }

    /// The place up to which the group has finished all.
    pub(super) async fn checkpoint(&self) -> Result<Option<u64>, PersistentError> {
        let Some(event) = self.store.last_event(&self.checkpoints).await? else { return Ok(None) };
        let corrupt = |reason: String| PersistentError::Corrupt {
            stream: self.checkpoints.to_string(),
            reason,
        };
        let text: String =
            serde_json::from_slice(&event.data).map_err(|error| corrupt(error.to_string()))?;
        let place = Place::parse(self.group.source(), &text)
            .ok_or_else(|| corrupt(format!("{text} is no place of {}", self.group.source())))?;
        Ok(Some(place.number()))
    }

    /// Keeps the place up to which the group has finished all.
    pub(super) async fn keep_checkpoint(
        &self,
        place: u64,
        id: Uuid,
    ) -> Result<(), PersistentError> {
        let data = json!(self.group.source().place(place).to_string());
        let data = data.to_string();
        let event = NewEvent::system(EventId(id), CHECKPOINT_TYPE, ContentType::Json, data);
        self.store.append(&self.checkpoints, ExpectedRevision::Any, vec![event]).await?;
        Ok(())
    }

    /// Sees to it that checkpoints do not grow. After the first one: what opens a deleted stream
    /// again leaves metadata of its own.
    pub(super) async fn bound_checkpoints(&self) -> Result<(), PersistentError> {
        let (metadata, _) = self.store.stream_metadata(&self.checkpoints).await?;
        if metadata.max_count == Some(CHECKPOINTS_KEPT) {
            return Ok(());
        }
        let metadata = StreamMetadata { max_count: Some(CHECKPOINTS_KEPT), ..metadata };
        self.set_metadata(&self.checkpoints, metadata).await
    }

    /// The parked messages that are there.
    pub(super) async fn parked(&self) -> Result<Option<ParkedRange>, PersistentError> {
        let Some(last) = self.store.last_event(&self.parked).await? else { return Ok(None) };
        let Some(mut reader) = self.read(ReadStream::forward(self.parked.clone()).limit(1)).await?
        else {
            return Ok(None);
        };
        let first = reader.try_next().await?;
        Ok(first.map(|first| ParkedRange {
            first: first.revision.get(),
            next: last.revision.next().get(),
            oldest: first.recorded_at,
        }))
    }

    /// The link that parks a message.
    pub(super) fn parking(message: &Message, reason: &str, now: DateTime<Utc>) -> NewEvent {
        let metadata = json!({
            "added": now.to_rfc3339_opts(SecondsFormat::Micros, true),
            "reason": reason,
            "subscriptionEventNumber": message.original().revision.get(),
        });
        let (id, data) = (Uuid::new_v4(), message.link_data());
        NewEvent::system(EventId(id), LINK_TYPE, ContentType::Binary, data)
            .with_metadata(metadata.to_string())
    }

    /// Parks messages; returns the revision of the first.
    pub(super) async fn park(&self, links: Vec<NewEvent>) -> Result<u64, PersistentError> {
        let count = links.len() as u64;
        let appended = self.store.append(&self.parked, ExpectedRevision::Any, links).await?;
        let behind = appended.last_revision.map_or(0, |last| last.next().get());
        Ok(behind.saturating_sub(count))
    }

    /// Reads at most so many parked messages from this revision on, and says where to go on.
    pub(super) async fn read_parked(
        &self,
        from: u64,
        count: u64,
    ) -> Result<(Vec<(u64, Message)>, u64), PersistentError> {
        let until = from.saturating_add(count);
        let read = ReadStream::forward(self.parked.clone()).from(Revision::new(from)).limit(count);
        let (mut messages, mut bytes) = (Vec::new(), 0);
        let Some(mut reader) = self.read(read).await? else { return Ok((messages, until)) };
        while let Some(link) = reader.try_next().await? {
            let revision = link.revision.get();
            if revision >= until {
                break;
            }
            let message = resolve(&*self.store, link).await?;
            bytes += message.size();
            messages.push((revision, message));
            if bytes >= PARKED_PAGE_BYTES {
                return Ok((messages, revision + 1));
            }
        }
        Ok((messages, until))
    }

    /// Lets parked messages before this revision go; returns when the oldest left was parked.
    pub(super) async fn truncate_parked(
        &self,
        before: u64,
    ) -> Result<Option<DateTime<Utc>>, PersistentError> {
        let (metadata, _) = self.store.stream_metadata(&self.parked).await?;
        if metadata.truncate_before.is_none_or(|now| now < before) {
            let metadata = StreamMetadata { truncate_before: Some(before), ..metadata };
            self.set_metadata(&self.parked, metadata).await?;
        }
        Ok(self.parked().await?.map(|range| range.oldest))
    }

    /// Deletes what is kept for a group that is not there, or not there any more.
    pub(super) async fn forget(&self) -> Result<(), PersistentError> {
        for stream in [&self.checkpoints, &self.parked] {
            if self.store.last_event(stream).await?.is_some() {
                self.store.delete_stream(stream, ExpectedRevision::Any).await?;
            }
        }
        Ok(())
    }

    async fn set_metadata(
        &self,
        stream: &StreamName,
        metadata: StreamMetadata,
    ) -> Result<(), PersistentError> {
        let set = self.store.set_stream_metadata(stream, ExpectedRevision::Any, metadata).await;
        set.map(drop).map_err(AppendError::into)
    }

    async fn read(&self, read: ReadStream) -> Result<Option<EventReader>, PersistentError> {
        match self.store.read_stream(read).await {
            Ok(reader) => Ok(Some(reader)),
            Err(ReadError::StreamNotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
