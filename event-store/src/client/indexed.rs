//! Categories and types, read from the links that the server's system projections make of them.
//!
//! A server whose projections do not run has no links, and can't be told from one that has no such
//! events; one that says that it does not serve them is believed.

use std::future::ready;

use eventstore::{Error, ReadStreamOptions, ResolvedEvent, StreamPosition};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::connection::Connection;
use super::event::received;
use super::failure;
use super::read::{Begun, begin_stream, count, is_before, is_visible};
use crate::error::{IndexError, StoreError};
use crate::indexed::{Index, IndexReader, IndexStart, Indexed, Ordinal, ReadIndex};
use crate::read::Direction;

/// Reads a category or a type.
pub(super) async fn read(
    connection: &Connection,
    read: ReadIndex,
) -> Result<IndexReader, IndexError> {
    let ReadIndex { index, direction, start, limit, as_of } = read.turned();
    let position = match (start, direction) {
        (IndexStart::Ordinal(ordinal), _) => StreamPosition::Position(ordinal.get()),
        (_, Direction::Forward) => StreamPosition::Start,
        (_, Direction::Backward) => StreamPosition::End,
    };
    let options = ReadStreamOptions::default().position(position).resolve_link_tos();
    let begun = match begin_stream(connection, &links_of(&index), options, direction).await {
        Ok(begun) => begun,
        Err(Error::ResourceNotFound) => return Ok(stream::empty().boxed()),
        Err(Error::UnsupportedFeature) => return Err(IndexError::Unsupported),
        Err(error) => return Err(failure::store(&error).into()),
    };
    let is_passed = move |read_event: &Indexed| {
        let event = &read_event.event;
        let unseen = as_of.is_some_and(|moment| !is_visible(event, moment));
        let before = match start {
            IndexStart::Time(time) => is_before(event, time, direction),
            _ => false,
        };
        before || (unseen && direction == Direction::Backward)
    };
    let is_seen = move |read_event: &Indexed| {
        as_of.is_none_or(|moment| is_visible(&read_event.event, moment))
    };
    Ok(resolved(begun, index)
        .try_skip_while(move |event| ready(Ok(is_passed(event))))
        .try_take_while(move |event| ready(Ok(is_seen(event))))
        .take(count(limit))
        .boxed())
}

/// The stream of links to the events of an index.
fn links_of(index: &Index) -> String {
    match index {
        Index::Category(name) => format!("$ce-{name}"),
        Index::EventType(name) => format!("$et-{name}"),
    }
}

/// The events that the links point to; those that point to nothing any more are left away.
fn resolved((first, mut rest): Begun, index: Index) -> IndexReader {
    async_stream::try_stream! {
        let mut next = first;
        while let Some(event) = next {
            let event = indexed(event)?;
            if index.has(&event.event) {
                yield event;
            }
            next = rest.next().await.map_err(|error| failure::store(&error))?;
        }
    }
    .boxed()
}

fn indexed(resolved: ResolvedEvent) -> Result<Indexed, StoreError> {
    let link = resolved.link.as_ref().or(resolved.event.as_ref());
    let ordinal = Ordinal::new(link.map_or(0, |link| link.revision));
    Ok(Indexed { ordinal, event: received(resolved)? })
}
