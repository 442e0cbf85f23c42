//! Reads: what is asked, and the events that answer it.

use std::num::NonZeroU64;
use std::sync::Arc;

use futures::stream::{self, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::bounds::{Bounds, Opening, last_revision};
use super::caller::Caller;
use super::carried::Carried;
use super::encoded::{Encoded, encode};
use super::problem::{exception, of_read, of_store};
use super::proto::event_store::client::streams::ReadResp;
use super::proto::event_store::client::streams::read_req::Options;
use super::proto::event_store::client::streams::read_req::options::all_options::AllOption;
use super::proto::event_store::client::streams::read_req::options::filter_options;
use super::proto::event_store::client::streams::read_req::options::stream_options::RevisionOption;
use super::proto::event_store::client::streams::read_req::options::{
    self as asked, CountOption, FilterOption, FilterOptions, ReadDirection, StreamOption,
};
use super::proto::event_store::client::streams::read_resp::{Checkpoint, Content, StreamNotFound};
use super::sending::{Room, Sending};
use super::source::{Asked, Followed, NotOpened, Source, Told, payload_bytes};
use super::streams::Replies;
use super::subscribe;
use super::wire::{UuidForm, now, stream_identifier, stream_name};
use crate::access::StreamAction;
use crate::error::{ReadError, StoreError};
use crate::event::RecordedEvent;
use crate::filter::{Filter, FilterSubject, Pattern};
use crate::limits::{FILTER_PATTERN_BYTES_MAX, FILTER_PREFIXES_MAX};
use crate::persistent::LINK_TYPE;
use crate::port::EventStore;
use crate::position::Position;
use crate::read::{AllStart, Direction, EventReader, ReadAll, ReadStream, StreamStart};
use crate::stream::{Revision, StreamName};
use crate::subscription::SubscribeFrom;

/// The sign between the two parts of the data of an event that points to another.
const LINK_SEPARATOR: char = '@';

/// How the names begin that later servers have for indexes of their own, which are not here:
/// categories and types are read as streams of links.
const SECONDARY_INDEX_PREFIX: &str = "$idx-";

/// The window of a filter whose client names none.
const DEFAULT_WINDOW: u32 = 32;

/// Behind every revision that a stream can have.
const REVISION_END: u64 = i64::MAX as u64;

/// A question that makes sense.
pub(super) struct Question {
    pub asked: Asked,
    /// Whether the first and last revisions of the stream are asked for too.
    pub bounds: bool,
    pub form: UuidForm,
    pub resolve_links: bool,
}

impl Question {
    /// What it is about, as what is said of rights calls it.
    pub(super) fn stream(&self) -> StreamName {
        match &self.asked {
            Asked::Stream(read) => read.stream.clone(),
            Asked::Follow(Followed::Stream(stream, _)) => stream.clone(),
            Asked::All(_) | Asked::Follow(Followed::All(..)) => StreamName::all(),
        }
    }
}

/// Checks the combination that a client asks for.
pub(super) fn question(options: Options) -> Result<Question, Status> {
    let direction = match ReadDirection::try_from(options.read_direction) {
        Ok(ReadDirection::Forwards) => Direction::Forward,
        Ok(ReadDirection::Backwards) => Direction::Backward,
        Err(_) => return Err(Status::invalid_argument("the read direction is unknown")),
    };
    let form = UuidForm::asked(options.uuid_option)?;
    let bounds = options.control_option.is_some_and(|control| control.compatibility >= 1);
    let combination =
        (options.stream_option, direction, options.count_option, options.filter_option);
    use {CountOption as Count, FilterOption as Kept, StreamOption as Of};
    let asked = match combination {
        (Some(Of::Stream(of)), _, Some(Count::Count(count)), Some(Kept::NoFilter(_))) => {
            Asked::Stream(stream_read(of, direction, count)?)
        }
        (
            Some(Of::Stream(of)),
            Direction::Forward,
            Some(Count::Subscription(_)),
            Some(Kept::NoFilter(_)),
        ) => {
            let from = follow_stream(of.revision_option)?;
            Asked::Follow(Followed::Stream(stream_name(of.stream_identifier)?, from))
        }
        (Some(Of::All(of)), _, Some(Count::Count(count)), Some(kept)) => Asked::All(ReadAll {
            direction,
            start: all_start(of.all_option, direction)?,
            limit: limit(count),
            filter: filter(kept, false)?,
            scan: None,
            as_of: None,
        }),
        (Some(Of::All(of)), Direction::Forward, Some(Count::Subscription(_)), Some(kept)) => {
            let from = follow_all(of.all_option)?;
            Asked::Follow(Followed::All(from, filter(kept, true)?))
        }
        _ => {
            return Err(Status::invalid_argument("the options of the read do not go together"));
        }
    };
    let resolve_links = options.resolve_links;
    Ok(Question { asked, bounds, form, resolve_links })
}

/// Clients that want everything ask for the largest number.
fn limit(count: u64) -> Option<u64> {
    (count < REVISION_END).then_some(count)
}

fn stream_read(
    of: asked::StreamOptions,
    direction: Direction,
    count: u64,
) -> Result<ReadStream, Status> {
    let start = match (of.revision_option, direction) {
        (Some(RevisionOption::Start(_)), Direction::Forward) => StreamStart::Start,
        (Some(RevisionOption::Start(_)), Direction::Backward) => {
            StreamStart::Revision(Revision::FIRST)
        }
        (Some(RevisionOption::End(_)), Direction::Backward) => StreamStart::End,
        // Nothing comes after the end.
        (Some(RevisionOption::End(_)), Direction::Forward) => {
            StreamStart::Revision(Revision::new(REVISION_END))
        }
        (Some(RevisionOption::Revision(number)), Direction::Backward) if number >= REVISION_END => {
            StreamStart::End
        }
        (Some(RevisionOption::Revision(number)), _) => {
            StreamStart::Revision(Revision::new(number.min(REVISION_END)))
        }
        (None, _) => return Err(Status::invalid_argument("the start of the read is missing")),
    };
    Ok(ReadStream {
        stream: stream_name(of.stream_identifier)?,
        direction,
        start,
        limit: limit(count),
        as_of: None,
    })
}

fn all_start(option: Option<AllOption>, direction: Direction) -> Result<AllStart, Status> {
    match (option, direction) {
        (Some(AllOption::Start(_)), Direction::Forward) => Ok(AllStart::Start),
        // Nothing comes before the start.
        (Some(AllOption::Start(_)), Direction::Backward) => Ok(AllStart::Position(Position::START)),
        (Some(AllOption::End(_)), _) => Ok(AllStart::End),
        (Some(AllOption::Position(asked)), _) => Ok(match position(asked)? {
            Some(position) => AllStart::Position(position),
            None => AllStart::End,
        }),
        (None, _) => Err(Status::invalid_argument("the start of the read is missing")),
    }
}

/// A position of the log; `None` is its end.
fn position(asked: asked::Position) -> Result<Option<Position>, Status> {
    if asked.prepare_position > asked.commit_position {
        let reason = "Trying to read from an invalid position.";
        return Err(Status::invalid_argument(reason));
    }
    let commit = asked.commit_position;
    Ok((commit < REVISION_END).then_some(Position::new(commit)))
}

fn follow_stream(option: Option<RevisionOption>) -> Result<SubscribeFrom<Revision>, Status> {
    match option {
        Some(RevisionOption::Start(_)) => Ok(SubscribeFrom::Start),
        Some(RevisionOption::End(_)) => Ok(SubscribeFrom::End),
        Some(RevisionOption::Revision(number)) if number >= REVISION_END => Ok(SubscribeFrom::End),
        Some(RevisionOption::Revision(number)) => Ok(SubscribeFrom::After(Revision::new(number))),
        None => Err(Status::invalid_argument("the start of the subscription is missing")),
    }
}

fn follow_all(option: Option<AllOption>) -> Result<SubscribeFrom<Position>, Status> {
    match option {
        Some(AllOption::Start(_)) => Ok(SubscribeFrom::Start),
        Some(AllOption::End(_)) => Ok(SubscribeFrom::End),
        Some(AllOption::Position(asked)) => Ok(match position(asked)? {
            Some(Position::START) => SubscribeFrom::Start,
            Some(position) => SubscribeFrom::After(position),
            None => SubscribeFrom::End,
        }),
        None => Err(Status::invalid_argument("the start of the subscription is missing")),
    }
}

fn filter(option: FilterOption, following: bool) -> Result<Option<Filter>, Status> {
    match option {
        FilterOption::Filter(options) => kept(options, following).map(Some),
        FilterOption::NoFilter(_) => Ok(None),
    }
}

/// What a filter keeps; who follows is told how far it has come, and says how often.
pub(super) fn kept(options: FilterOptions, following: bool) -> Result<Filter, Status> {
    let FilterOptions { filter, window, .. } = options;
    let multiplier = options.checkpoint_interval_multiplier;
    if window == Some(filter_options::Window::Max(0)) || (following && multiplier == 0) {
        let reason = "the filter's window and checkpoint interval must not be zero";
        return Err(Status::invalid_argument(reason));
    }
    let (subject, expression) = match filter {
        Some(filter_options::Filter::StreamIdentifier(expression)) => {
            (FilterSubject::StreamName, expression)
        }
        Some(filter_options::Filter::EventType(expression)) => {
            (FilterSubject::EventType, expression)
        }
        None => return Err(Status::invalid_argument("the filter says nothing")),
    };
    let (regex, prefixes) = (expression.regex, expression.prefix);
    if regex.len() > FILTER_PATTERN_BYTES_MAX || prefixes.len() > FILTER_PREFIXES_MAX {
        return Err(Status::invalid_argument("the filter is too large"));
    }
    let pattern = match (regex.is_empty(), prefixes.is_empty()) {
        (false, _) => Pattern::Regex(regex),
        // So clients ask for secondary indexes.
        (true, false)
            if subject == FilterSubject::StreamName
                && prefixes[0].starts_with(SECONDARY_INDEX_PREFIX) =>
        {
            let reason = format!("Index '{}' does not exist.", prefixes[0]);
            let name = prefixes.into_iter().next().unwrap_or_default();
            return Err(exception(
                Code::NotFound,
                reason,
                "index-not-found",
                &[("index-name", name)],
            ));
        }
        (true, false) => Pattern::Prefixes(prefixes),
        (true, true) => return Err(Status::invalid_argument("the filter says nothing")),
    };
    let window = match window {
        Some(filter_options::Window::Max(max)) => max,
        Some(filter_options::Window::Count(_)) | None => DEFAULT_WINDOW,
    };
    let checkpoint_events = NonZeroU64::new(u64::from(window) * u64::from(multiplier));
    Ok(Filter { subject, pattern, checkpoint_events })
}

/// Answers; an error that is known before the first event is the call's own.
pub(super) async fn answer(
    store: Arc<dyn EventStore>,
    (question, caller): (Question, Caller),
    (sending, encoded): (Sending, Encoded),
    carried: Carried,
    shutdown: CancellationToken,
) -> Result<Replies, Status> {
    let room = Room::new(sending.clone(), carried);
    let links = Links {
        store: Arc::clone(&store),
        caller,
        form: question.form,
        resolve: question.resolve_links,
        room: room.clone(),
        encoded,
    };
    let asked = match question.asked {
        Asked::Follow(followed) => {
            return subscribe::answer(store, followed, links, sending, room, shutdown).await;
        }
        asked => asked,
    };
    let bounded = match &asked {
        Asked::Stream(read) if question.bounds => Some(read.clone()),
        _ => None,
    };
    let opening = Opening { store: Arc::clone(&store), asked, sending, room };
    let begun = match &bounded {
        Some(read) => Bounds::begin(&opening, read).await,
        None => opening.begin().await.map(|(source, told)| (source, told, Bounds::default())),
    };
    match begun {
        Ok(begun) => Ok(replies(store, links, begun, bounded)),
        Err(NotOpened::Other(status)) => Err(status),
        Err(NotOpened::StreamNotFound(stream)) => {
            let stream_identifier = Some(stream_identifier(&stream));
            let missing = reply(Content::StreamNotFound(StreamNotFound { stream_identifier }));
            Ok(stream::once(async { Ok(missing) }).boxed())
        }
    }
}

/// The events of a read that has begun, between the bounds of its stream where they are asked for.
fn replies(
    store: Arc<dyn EventStore>,
    links: Links,
    (mut source, first, bounds): (Source, Option<Told>, Bounds),
    bounded: Option<ReadStream>,
) -> Replies {
    async_stream::try_stream! {
        if let Some(first) = bounds.first {
            yield reply(Content::FirstStreamPosition(first.get()));
        }
        let (mut sent, mut last) = (0, None);
        let mut next = first;
        while let Some(told) = next {
            match told {
                Told::Event(event) => {
                    sent += 1;
                    last = Some(event.revision);
                    yield links.reply(event).await?;
                }
                Told::Reached(position) => yield checkpoint(position),
            }
            next = source.told().await?;
        }
        drop(source);
        if let Some(read) = bounded {
            // A forward read that ran out has seen the last event.
            let ran_out = read.direction == Direction::Forward && Some(sent) != read.limit;
            let last = match last.filter(|_| ran_out).or(bounds.last) {
                Some(last) => Some(last),
                None => last_revision(&*store, &read.stream).await?,
            };
            if let Some(last) = last {
                yield reply(Content::LastStreamPosition(last.get()));
            }
        }
    }
    .boxed()
}

/// How far a filter has come.
pub(super) fn checkpoint(position: Position) -> ReadResp {
    reply(Content::Checkpoint(Checkpoint {
        commit_position: position.get(),
        prepare_position: position.get(),
        timestamp: now(),
    }))
}

pub(super) fn reply(content: Content) -> ReadResp {
    ReadResp { content: Some(content) }
}

async fn next_event(reader: &mut EventReader) -> Result<Option<RecordedEvent>, Status> {
    reader.next().await.transpose().map_err(|e| of_read(&e))
}

/// How events are written, and whether links among them are followed.
#[derive(Clone)]
pub(super) struct Links {
    store: Arc<dyn EventStore>,
    /// Who reads: they see nothing through a link that they may not see without it.
    caller: Caller,
    form: UuidForm,
    resolve: bool,
    room: Room,
    encoded: Encoded,
}

impl Links {
    /// The reply that carries this event.
    pub(super) async fn reply(&self, event: RecordedEvent) -> Result<ReadResp, Status> {
        let position = event.position.get();
        let is_link = self.follows(&event);
        let (event, link) =
            if is_link { (self.target(&event).await?, Some(event)) } else { (Some(event), None) };
        Ok(reply(Content::Event(encode(event, link, position, self.form))))
    }

    /// The same for who follows it beside others.
    pub(super) async fn shared_reply(&self, event: RecordedEvent) -> Result<ReadResp, Status> {
        if self.follows(&event) {
            return self.reply(event).await;
        }
        Ok(reply(Content::Event(self.encoded.of(event, self.form))))
    }

    /// Whether it is a link, and those are followed.
    fn follows(&self, event: &RecordedEvent) -> bool {
        self.resolve && event.event_type.as_str() == LINK_TYPE
    }

    /// What a link points to, when that can be read: `<revision>@<stream>`.
    async fn target(&self, link: &RecordedEvent) -> Result<Option<RecordedEvent>, Status> {
        let target = std::str::from_utf8(&link.data)
            .ok()
            .and_then(|text| text.split_once(LINK_SEPARATOR))
            .and_then(|(revision, stream)| {
                let revision = Revision::new(revision.parse().ok()?);
                Some((revision, StreamName::new(stream).ok()?))
            });
        let Some((revision, stream)) = target else {
            return Ok(None);
        };
        match self.caller.may_with(&stream, StreamAction::Read).await {
            Ok(()) => {}
            Err(StoreError::AccessDenied) => return Ok(None),
            Err(error) => return Err(of_store(&error)),
        }
        let read = ReadStream::forward(stream).from(revision).limit(1);
        let mut waited = None;
        loop {
            let found = match self.store.read_stream(read.clone()).await {
                Ok(mut reader) => next_event(&mut reader).await?,
                Err(ReadError::Store(error)) => return Err(of_store(&error)),
                Err(_) => return Ok(None),
            };
            let Some(event) = found.filter(|event| event.revision == revision) else {
                return Ok(None);
            };
            let bytes = payload_bytes(&event);
            if self.room.admits(bytes, &mut waited) {
                return Ok(Some(event));
            }
            drop(event);
            waited = Some(self.room.wait(bytes).await?);
        }
    }
}
