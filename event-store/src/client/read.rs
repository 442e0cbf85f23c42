//! Reads, cut at a moment and filtered here, because the protocol can do neither.

use std::sync::Arc;

use eventstore::{Error, ReadAllOptions, ReadStreamOptions, StreamPosition};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::connection::Connection;
use super::event::received;
use super::{failure, past};
use crate::error::{ReadError, StoreError};
use crate::event::RecordedEvent;
use crate::filter::Matcher;
use crate::position::Position;
use crate::read::{AllStart, AsOf, Direction, EventReader, ReadAll, ReadStream, StreamStart};
use crate::stream::StreamName;

/// How often a read that found the connection broken is begun in all.
const ATTEMPTS_MAX: usize = 3;

/// The last event of a stream that can be read.
pub(super) async fn last_of_stream(
    connection: &Connection,
    name: &StreamName,
) -> Result<Option<RecordedEvent>, ReadError> {
    match stream_now(connection, ReadStream::backward(name.clone()).limit(1)).await {
        Ok(mut reader) => reader.next().await.transpose(),
        Err(ReadError::StreamNotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The position of the last event of the log.
pub(super) async fn head(connection: &Connection) -> Result<Position, StoreError> {
    let last = match all(connection, ReadAll::backward().limit(1)).await {
        Ok(mut reader) => reader.next().await.transpose(),
        Err(error) => Err(error),
    };
    match last {
        Ok(event) => Ok(event.map_or(Position::START, |event| event.position)),
        Err(ReadError::Store(error)) => Err(error),
        Err(other) => Err(StoreError::Unavailable { reason: other.to_string().into() }),
    }
}

/// Reads one stream.
pub(super) async fn stream(
    connection: &Arc<Connection>,
    read: ReadStream,
) -> Result<EventReader, ReadError> {
    match read.as_of {
        Some(moment) => past::stream(connection, read, moment).await,
        None => stream_now(connection, read).await,
    }
}

/// Reads one stream as it is.
pub(super) async fn stream_now(
    connection: &Connection,
    read: ReadStream,
) -> Result<EventReader, ReadError> {
    let read = from_one_end(read);
    let position = match read.start {
        StreamStart::Start => StreamPosition::Start,
        StreamStart::End => StreamPosition::End,
        StreamStart::Revision(revision) => StreamPosition::Position(revision.get()),
    };
    let options = ReadStreamOptions::default().position(position).max_count(count(read.limit));
    let options = match read.direction {
        Direction::Forward => options.forwards(),
        Direction::Backward => options.backwards(),
    };
    let mut asked = 0;
    let (first, rest) = loop {
        asked += 1;
        let begun = connection
            .ask(|client| {
                let (options, name) = (&options, read.stream.as_str());
                async move { begin(client.read_stream(name, options).await?).await }
            })
            .await;
        match begun {
            Ok(begun) => break begun,
            Err(Error::ServerError(_)) if asked < ATTEMPTS_MAX => {}
            Err(error) => return Err(failure::read(&error, Some(&read.stream))),
        }
    };
    let name = read.stream.clone();
    Ok(events(first, rest, Some(name)))
}

/// The protocol reads nothing forward from the end nor, once truncated, backward from the start.
fn from_one_end(read: ReadStream) -> ReadStream {
    let one = Some(read.limit.unwrap_or(1).min(1));
    match (read.direction, read.start) {
        (Direction::Forward, StreamStart::End) => {
            ReadStream { direction: Direction::Backward, limit: one, ..read }
        }
        (Direction::Backward, StreamStart::Start) => {
            ReadStream { direction: Direction::Forward, limit: one, ..read }
        }
        _ => read,
    }
}

/// Reads the log.
pub(super) async fn all(connection: &Connection, read: ReadAll) -> Result<EventReader, ReadError> {
    let filter = read.filter.map(Matcher::new).transpose();
    let filter = filter.map_err(ReadError::BadFilter)?;
    let position = match (read.direction, read.start) {
        (Direction::Forward, AllStart::End) | (Direction::Backward, AllStart::Start) => {
            return Ok(stream::empty().boxed());
        }
        (_, AllStart::Start) => StreamPosition::Start,
        (_, AllStart::End) => StreamPosition::End,
        (_, AllStart::Position(position)) => StreamPosition::Position(eventstore::Position {
            commit: position.get(),
            prepare: position.get(),
        }),
    };
    let every = filter.is_none() && read.as_of.is_none();
    let options =
        ReadAllOptions::default().position(position).max_count(count(read.limit.filter(|_| every)));
    let options = match read.direction {
        Direction::Forward => options.forwards(),
        Direction::Backward => options.backwards(),
    };
    let mut asked = 0;
    let (first, rest) = loop {
        asked += 1;
        let begun = connection
            .ask(|client| {
                let options = &options;
                async move { begin(client.read_all(options).await?).await }
            })
            .await;
        match begun {
            Ok(begun) => break begun,
            Err(Error::ServerError(_)) if asked < ATTEMPTS_MAX => {}
            Err(error) => return Err(failure::read(&error, None)),
        }
    };
    let events = events(first, rest, None);
    let visible =
        move |event: &RecordedEvent| read.as_of.is_none_or(|moment| is_visible(event, moment));
    let events = match read.direction {
        Direction::Forward => {
            events.try_take_while(move |event| std::future::ready(Ok(visible(event)))).boxed()
        }
        Direction::Backward => {
            events.try_skip_while(move |event| std::future::ready(Ok(!visible(event)))).boxed()
        }
    };
    let limit = usize::try_from(read.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    Ok(events
        .try_filter_map(move |event| {
            let kept = filter.as_ref().map_or(Ok(true), |filter| filter.keeps(&event));
            std::future::ready(match kept {
                Ok(kept) => Ok(kept.then_some(event)),
                Err(reason) => Err(ReadError::BadFilter(reason)),
            })
        })
        .take(limit)
        .boxed())
}

/// Whether the event had happened by then.
pub(super) fn is_visible(event: &RecordedEvent, moment: AsOf) -> bool {
    match moment {
        AsOf::Position(position) => event.position <= position,
        AsOf::Time(time) => event.recorded_at <= time,
    }
}

fn count(limit: Option<u64>) -> usize {
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

type Begun = (Option<eventstore::ResolvedEvent>, eventstore::ReadStream);

/// Waits for the first event, because an error may come in its place.
async fn begin(mut read: eventstore::ReadStream) -> eventstore::Result<Begun> {
    let first = read.next().await?;
    Ok((first, read))
}

fn events(
    first: Option<eventstore::ResolvedEvent>,
    mut rest: eventstore::ReadStream,
    name: Option<StreamName>,
) -> EventReader {
    async_stream::try_stream! {
        let mut next = first;
        while let Some(event) = next {
            yield received(event)?;
            next = rest
                .next()
                .await
                .map_err(|error| failure::read(&error, name.as_ref()))?;
        }
    }
    .boxed()
}
