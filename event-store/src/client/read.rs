//! Reads, cut at a moment and filtered here, because the protocol can do neither.

use std::future::ready;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use eventstore::{Error, ReadAllOptions, ReadEvent, ReadStreamOptions, StreamPosition};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::connection::Connection;
use super::event::received;
use super::{failure, past};
use crate::error::{ReadError, StoreError};
use crate::event::RecordedEvent;
use crate::filter::Matcher;
use crate::position::Position;
use crate::read::{AllStart, AsOf, Direction, EventReader, ReadAll, ReadStream, StreamStart};
use crate::stream::{Revision, StreamName};

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

/// The last revision of a stream, which a read of it tells at its end.
pub(super) async fn last_revision(
    connection: &Connection,
    name: &StreamName,
) -> Result<Option<Revision>, ReadError> {
    let options = ReadStreamOptions::default().position(StreamPosition::End);
    let options = &options.max_count(1).backwards();
    let mut asked = 0;
    let told = loop {
        asked += 1;
        let told = connection.ask(|client| async move {
            last_told(client.read_stream(name.as_str(), options).await?).await
        });
        match told.await {
            Err(Error::ServerError(_)) if asked < ATTEMPTS_MAX => {}
            told => break told,
        }
    };
    match told.map_err(|error| failure::read(&error, Some(name))) {
        Err(ReadError::StreamNotFound(_)) => Ok(None),
        told => told,
    }
}

async fn last_told(mut read: eventstore::ReadStream) -> eventstore::Result<Option<Revision>> {
    let mut last = None;
    while let Some(told) = read.next_read_event().await? {
        if let ReadEvent::LastStreamPosition(revision) = told {
            last = Some(Revision::new(revision));
        }
    }
    Ok(last)
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
    let (position, time) = match (read.start, read.direction) {
        (StreamStart::Start, _) => (StreamPosition::Start, None),
        (StreamStart::End, _) => (StreamPosition::End, None),
        (StreamStart::Revision(revision), _) => (StreamPosition::Position(revision.get()), None),
        (StreamStart::Time(time), Direction::Forward) => (StreamPosition::Start, Some(time)),
        (StreamStart::Time(time), Direction::Backward) => (StreamPosition::End, Some(time)),
    };
    // What comes before the time is passed over here.
    let sent = if time.is_none() { count(read.limit) } else { usize::MAX };
    let options = ReadStreamOptions::default().position(position).max_count(sent);
    let name = read.stream;
    let begun = begin_stream(connection, name.as_str(), options, read.direction).await;
    let (first, rest) = begun.map_err(|error| failure::read(&error, Some(&name)))?;
    let events = events(first, rest, Some(name));
    Ok(match time {
        Some(time) => events
            .try_skip_while(move |event| ready(Ok(is_before(event, time, read.direction))))
            .take(count(read.limit))
            .boxed(),
        None => events,
    })
}

/// Begins to read a stream, and again where the connection turns out to be broken.
pub(super) async fn begin_stream(
    connection: &Connection,
    name: &str,
    options: ReadStreamOptions,
    direction: Direction,
) -> eventstore::Result<Begun> {
    let options = match direction {
        Direction::Forward => options.forwards(),
        Direction::Backward => options.backwards(),
    };
    let mut asked = 0;
    loop {
        asked += 1;
        let begun = connection.ask(|client| {
            let options = &options;
            async move { begin(client.read_stream(name, options).await?).await }
        });
        match begun.await {
            Err(Error::ServerError(_)) if asked < ATTEMPTS_MAX => {}
            begun => return begun,
        }
    }
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
    let time = match read.start {
        AllStart::Time(time) => Some(time),
        _ => None,
    };
    let position = match (read.direction, read.start) {
        (Direction::Forward, AllStart::Time(_)) => StreamPosition::Start,
        (Direction::Backward, AllStart::Time(_)) => StreamPosition::End,
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
    let every = filter.is_none() && read.as_of.is_none() && time.is_none();
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
    let before = move |event: &RecordedEvent| {
        time.is_some_and(|time| is_before(event, time, read.direction))
    };
    let events = events(first, rest, None).try_skip_while(move |event| ready(Ok(before(event))));
    let visible =
        move |event: &RecordedEvent| read.as_of.is_none_or(|moment| is_visible(event, moment));
    let events = match read.direction {
        Direction::Forward => events.try_take_while(move |event| ready(Ok(visible(event)))).boxed(),
        Direction::Backward => {
            events.try_skip_while(move |event| ready(Ok(!visible(event)))).boxed()
        }
    };
    Ok(scanned(events, read.scan, read.direction)
        .try_filter_map(move |event| {
            let kept = filter.as_ref().map_or(Ok(true), |filter| filter.keeps(&event));
            ready(match kept {
                Ok(kept) => Ok(kept.then_some(event)),
                Err(reason) => Err(ReadError::BadFilter(reason)),
            })
        })
        .take(count(read.limit))
        .boxed())
}

/// So many of the events, and then where they go on.
fn scanned(mut events: EventReader, scan: Option<u64>, direction: Direction) -> EventReader {
    let Some(mut left) = scan else { return events };
    async_stream::try_stream! {
        while let Some(event) = events.next().await.transpose()? {
            if left == 0 {
                let at = match direction {
                    Direction::Forward => event.position,
                    Direction::Backward => Position::new(event.position.get() + 1),
                };
                Err(ReadError::ScanEnded { at })?;
            }
            left -= 1;
            yield event;
        }
    }
    .boxed()
}

/// Whether the event had happened by then.
pub(super) fn is_visible(event: &RecordedEvent, moment: AsOf) -> bool {
    match moment {
        AsOf::Position(position) => event.position <= position,
        AsOf::Time(time) => event.recorded_at <= time,
    }
}

/// Whether a read in this direction comes past the event before it comes to the time.
pub(super) fn is_before(event: &RecordedEvent, time: DateTime<Utc>, direction: Direction) -> bool {
    match direction {
        Direction::Forward => event.recorded_at < time,
        Direction::Backward => event.recorded_at > time,
    }
}

/// How many events that is, where there may be no limit.
pub(super) fn count(limit: Option<u64>) -> usize {
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

pub(super) type Begun = (Option<eventstore::ResolvedEvent>, eventstore::ReadStream);

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
