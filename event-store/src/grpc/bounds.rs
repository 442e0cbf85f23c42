//! What a reader of a stream is told beside its events, as EventStoreDB tells it: where the stream
//! can be read from, ahead of the events of a read forward that found none where it began; and the
//! last revision, behind them, be its event read or hidden.

use std::sync::Arc;

use tonic::Status;

use super::problem::of_read;
use super::sending::{Room, Sending};
use super::source::{Asked, NotOpened, Source, Told};
use crate::port::EventStore;
use crate::read::{Direction, ReadStream, StreamStart};
use crate::stream::{Revision, StreamName, Visibility};

/// EventStoreDB reads so many revisions at a time, and judges by the first of these pages.
const PAGE_REVISIONS: u64 = 32;

/// What a read is begun with.
pub(super) struct Opening {
    pub store: Arc<dyn EventStore>,
    pub asked: Asked,
    pub sending: Sending,
    pub room: Room,
}

impl Opening {
    /// Begins to read, and waits for what is told first.
    pub(super) async fn begin(&self) -> Result<(Source, Option<Told>), NotOpened> {
        let (store, asked) = (Arc::clone(&self.store), self.asked.clone());
        let mut source =
            Source::begin(store, asked, self.sending.clone(), self.room.clone()).await?;
        let told = source.told().await?;
        Ok((source, told))
    }
}

/// What is known of the bounds of a stream when a read of it has begun.
#[derive(Default)]
pub(super) struct Bounds {
    /// What is told ahead of the events.
    pub first: Option<Revision>,
    /// The last revision, where no event will tell it.
    pub last: Option<Revision>,
}

impl Bounds {
    /// Begins to read a stream, as [`Opening::begin`], and looks for its bounds where they are to
    /// be told ahead.
    pub(super) async fn begin(
        opening: &Opening,
        read: &ReadStream,
    ) -> Result<(Source, Option<Told>, Self), NotOpened> {
        let (mut source, mut told) = opening.begin().await?;
        let Some(page) = Page::first(read).filter(|page| !page.has(told.as_ref())) else {
            return Ok((source, told, Self::default()));
        };
        let store = &*opening.store;
        let Some(last) = last_revision(store, &read.stream).await? else {
            return Ok((source, told, Self::default()));
        };
        let lowest = lowest_revision(store, &read.stream, last).await?;
        // What was appended before the look and after the read would be passed over by whoever
        // goes on behind what they are told: it is read first.
        if told.is_none() && page.from.max(lowest) <= last.get() {
            drop(source);
            (source, told) = opening.begin().await?;
        }
        let first = page.first_position(told.as_ref(), lowest, last).map(Revision::new);
        let last = told.is_none().then_some(last);
        Ok((source, told, Self { first, last }))
    }
}

/// The last revision of a stream, though its event be hidden.
pub(super) async fn last_revision(
    store: &dyn EventStore,
    stream: &StreamName,
) -> Result<Option<Revision>, Status> {
    store.last_revision(stream).await.map_err(|error| of_read(&error))
}

/// The first revision that metadata leave, however old it is; it may be behind the last.
async fn lowest_revision(
    store: &dyn EventStore,
    stream: &StreamName,
    last: Revision,
) -> Result<u64, Status> {
    let visibility = match stream.metadata_subject() {
        Some(_) => Visibility::OF_METADATA,
        None => {
            let read = store.stream_metadata(stream).await;
            let (metadata, _) = read.map_err(|error| of_read(&error))?;
            metadata.visibility()
        }
    };
    // Links that came since the deletion of others are there: where, only reading them tells.
    let truncate_before = visibility.truncate_before.filter(|_| !visibility.is_of_deleted());
    Ok(Visibility { truncate_before, ..visibility }.first_of(last.get() + 1))
}

/// The revisions that EventStoreDB would look at first.
#[derive(Clone, Copy)]
struct Page {
    from: u64,
    to: u64,
}

impl Page {
    /// That of a read forward; who reads backward is told nothing ahead.
    fn first(read: &ReadStream) -> Option<Self> {
        let from = match (read.direction, read.start) {
            (Direction::Forward, StreamStart::Start) => 0,
            (Direction::Forward, StreamStart::Revision(revision)) => revision.get(),
            _ => return None,
        };
        let revisions = read.limit.unwrap_or(PAGE_REVISIONS).min(PAGE_REVISIONS);
        let to = from.saturating_add(revisions.checked_sub(1)?);
        Some(Self { from, to })
    }

    /// Whether what is told first is in it.
    fn has(self, told: Option<&Told>) -> bool {
        revision(told).is_some_and(|revision| revision <= self.to)
    }

    /// What is told ahead: where something can be read, or could be next, unless it is known.
    fn first_position(self, told: Option<&Told>, lowest: u64, last: Revision) -> Option<u64> {
        if self.has(told) {
            return None;
        }
        let found = revision(told);
        let first = match found {
            // More may have been hidden since it was read.
            _ if self.to < lowest => lowest.min(found.unwrap_or(lowest)),
            found => found.unwrap_or(last.get() + 1),
        };
        (first != self.from).then_some(first)
    }
}

fn revision(told: Option<&Told>) -> Option<u64> {
    match told {
        Some(Told::Event(event)) => Some(event.revision.get()),
        Some(Told::Reached(_)) | None => None,
    }
}
