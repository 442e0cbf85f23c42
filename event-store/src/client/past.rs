//! A stream as it was at a moment of the past.
//!
//! The protocol reads streams as they are: what was truncated or deleted since is hidden. The log
//! still has it, so where a stream is not read from its first event on, it is gathered from there,
//! with the metadata that was in force.

use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};

use super::connection::Connection;
use super::read::{count, is_before, is_visible, stream_now};
use super::subscribe;
use crate::error::{ReadError, SubscribeError};
use crate::event::RecordedEvent;
use crate::filter::Filter;
use crate::position::Position;
use crate::read::{AsOf, Direction, EventReader, ReadStream, StreamStart};
use crate::stream::{Revision, StreamMetadata, StreamName};
use crate::subscription::{Delivery, SubscribeFrom};

/// Reads a stream as of the moment.
pub(super) async fn stream(
    connection: &Arc<Connection>,
    read: ReadStream,
    moment: AsOf,
) -> Result<EventReader, ReadError> {
    let whole = ReadStream::forward(read.stream.clone()).limit(1);
    let first = match stream_now(connection, whole).await {
        Ok(mut reader) => reader.next().await.transpose()?,
        Err(ReadError::Store(error)) => return Err(error.into()),
        Err(_) => None,
    };
    match first {
        Some(first) if first.revision == Revision::FIRST => {
            if !is_visible(&first, moment) {
                return Err(ReadError::StreamNotFound(read.stream));
            }
            cut(connection, read, moment).await
        }
        _ => gathered(connection, read, moment).await,
    }
}

/// Nothing is hidden now: the events as they are, without those after the moment.
async fn cut(
    connection: &Arc<Connection>,
    mut read: ReadStream,
    moment: AsOf,
) -> Result<EventReader, ReadError> {
    let limit = count(read.limit);
    read.limit = None;
    // The last event now need not have been the last then.
    let from_last = read.direction == Direction::Forward && read.start == StreamStart::End;
    if from_last {
        read.direction = Direction::Backward;
    }
    let is_single =
        from_last || (read.direction == Direction::Backward && read.start == StreamStart::Start);
    let limit = if is_single { limit.min(1) } else { limit };
    let direction = read.direction;
    let events = stream_now(connection, read).await?;
    let visible = move |event: &RecordedEvent| is_visible(event, moment);
    let events = match direction {
        Direction::Forward => {
            events.try_take_while(move |event| std::future::ready(Ok(visible(event)))).boxed()
        }
        Direction::Backward => {
            events.try_skip_while(move |event| std::future::ready(Ok(!visible(event)))).boxed()
        }
    };
    Ok(events.take(limit).boxed())
}

/// The stream's events and metadata, gathered from the log up to the moment.
async fn gathered(
    connection: &Arc<Connection>,
    read: ReadStream,
    moment: AsOf,
) -> Result<EventReader, ReadError> {
    let name = &read.stream;
    let (mut events, metadata) = history(connection, name, moment).await?;
    if events.last().is_some_and(|last| last.revision == Revision::TOMBSTONE) {
        return Err(ReadError::StreamDeleted(name.clone()));
    }
    let hidden_before = metadata.truncate_before.unwrap_or(0);
    if events.is_empty() || metadata.is_of_deleted() {
        return Err(ReadError::StreamNotFound(name.clone()));
    }
    let last = events.last().map_or(0, |last| last.revision.get());
    let kept = metadata.max_count.unwrap_or(u64::MAX);
    let first = hidden_before.max((last + 1).saturating_sub(kept));
    let is_before = |event: &RecordedEvent| {
        let start = match read.start {
            StreamStart::Start => first,
            StreamStart::End => last,
            StreamStart::Revision(revision) => revision.get(),
            StreamStart::Time(time) => return is_before(event, time, read.direction),
        };
        match read.direction {
            Direction::Forward => event.revision.get() < start,
            Direction::Backward => event.revision.get() > start,
        }
    };
    events.retain(|event| event.revision.get() >= first && !is_before(event));
    if read.direction == Direction::Backward {
        events.reverse();
    }
    events.truncate(count(read.limit));
    Ok(stream::iter(events.into_iter().map(Ok)).boxed())
}

/// All that the log has of a stream up to the moment, and its metadata at the moment.
async fn history(
    connection: &Arc<Connection>,
    name: &StreamName,
    moment: AsOf,
) -> Result<(Vec<RecordedEvent>, StreamMetadata), ReadError> {
    let holder = name.metadata_stream();
    let filter = Filter::stream_prefixes([name.as_str(), holder.as_str()]);
    let followed = subscribe::to_all(connection, SubscribeFrom::Start, Some(filter)).await;
    let mut followed = followed.map_err(of_read)?;
    let (mut events, mut metadata) = (Vec::new(), StreamMetadata::default());
    while let Some(delivery) = followed.next().await {
        match delivery.map_err(of_read)? {
            Delivery::Event(event) if !is_visible(&event, moment) => break,
            Delivery::Event(event) if event.stream == *name => events.push(event),
            Delivery::Event(event) if event.stream == holder => {
                metadata = serde_json::from_slice(&event.data).unwrap_or_default();
            }
            Delivery::Checkpoint(position) if is_past(position, moment) => break,
            Delivery::CaughtUp => break,
            Delivery::Event(_) | Delivery::Checkpoint(_) | Delivery::FellBehind => {}
        }
    }
    Ok((events, metadata))
}

fn is_past(position: Position, moment: AsOf) -> bool {
    matches!(moment, AsOf::Position(moment) if moment <= position)
}

fn of_read(error: SubscribeError) -> ReadError {
    match error {
        SubscribeError::StreamDeleted(stream) => ReadError::StreamDeleted(stream),
        SubscribeError::BadFilter(reason) => ReadError::BadFilter(reason),
        SubscribeError::Store(error) => ReadError::Store(error),
    }
}
