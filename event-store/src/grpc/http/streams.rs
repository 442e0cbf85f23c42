//! `/streams`: streams and the log for who has no client at hand, in JSON.

use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use futures::TryStreamExt;
use hyper::body::Incoming;
use tonic::Status;
use tonic::body::Body;
use uuid::Uuid;

use super::super::append::WRITE_SECONDS_MAX;
use super::super::caller::Caller;
use super::super::carried::Carried;
use super::super::problem::Problem;
use super::super::sending::{Room, Share};
use super::asked::{Asked, Page, escaped, expected, switch};
use super::feed::{Embed, Writing, content};
use super::offered::{Form, event_id, event_type, form, list, one};
use super::received::receive;
use super::refusal::Refusal;
use super::{Door, empty, parameter, typed};
use crate::error::{AppendError, StoreError};
use crate::event::{ContentType, EventId, EventType, NewEvent};
use crate::read::{ReadStream, StreamStart};
use crate::stream::{ExpectedRevision, Revision, StreamName};

/// The type of the events that metadata are.
const METADATA: &str = "$metadata";

/// What answers are.
const ATOM: &str = "application/vnd.eventstore.atom+json; charset=utf-8";
const EVENT: &str = "application/vnd.eventstore.event+json; charset=utf-8";
const JSON: &str = "application/json; charset=utf-8";
const BYTES: &str = "application/octet-stream";

/// As what an answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A feed, or an entry of one.
    Atom,
    /// An event with all that belongs to it.
    Event,
    /// Of a feed the same; of an event its data alone.
    Json,
    /// The data of an event, as the bytes that they are.
    Bytes,
}

/// Answers a request about a stream or the log.
pub(super) async fn answer(
    door: &Door,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let path = request.uri().path();
    let asked = Asked::read(path.strip_prefix("/streams/").unwrap_or_default())?;
    if matches!(asked, Asked::AllPage(_))
        && !matches!(*request.method(), Method::GET | Method::HEAD)
    {
        return Err(Refusal::method("GET, HEAD"));
    }
    let caller = request.extensions().get::<Caller>().cloned().ok_or(StoreError::AccessDenied)?;
    let (stream, action) = asked.means(request.method());
    caller.may_with(&stream, action).await?;
    match request.method().clone() {
        Method::GET | Method::HEAD => {
            let (headers, query) = (request.headers().clone(), request.uri().query());
            get(door, asked, &caller, (&headers, query)).await
        }
        Method::POST => match asked {
            Asked::Stream(stream) => post(door, &stream, None, request).await,
            Asked::Incoming(stream, id) => post(door, &stream, Some(id), request).await,
            Asked::Metadata(stream) => post_metadata(door, &stream, request).await,
            _ => Err(Refusal::method("GET, HEAD")),
        },
        Method::DELETE => match asked {
            Asked::Stream(stream) => delete(door, &stream, request.headers()).await,
            _ => Err(Refusal::method("GET, HEAD")),
        },
        _ => Err(Refusal::method("GET, HEAD, POST, DELETE")),
    }
}

async fn get(
    door: &Door,
    asked: Asked,
    caller: &Caller,
    (headers, query): (&HeaderMap, Option<&str>),
) -> Result<Response<Body>, Refusal> {
    let kind = wanted(headers)?;
    let writing = Writing {
        store: &*door.store,
        caller,
        base: door.base(headers),
        embed: Embed::named(parameter(query, "embed")),
        resolve: switch(headers, "resolvelinktos")?.unwrap_or(true),
    };
    let place = door.sending.place().map_err(full)?;
    // It is never closed. It is kept until there is room for the page, so that only so many wait.
    let _building = door.pages.acquire().await;
    let (media_type, bytes) = match asked {
        Asked::Event(stream, at) => event(&writing, kind, stream, at).await?,
        Asked::Metadata(stream) => event(&writing, kind, stream.metadata_stream(), None).await?,
        Asked::Stream(stream) => feed(kind, writing.stream(&stream, Page::last()).await?)?,
        Asked::Page(stream, page) => feed(kind, writing.stream(&stream, page).await?)?,
        Asked::AllPage(page) => feed(kind, writing.all(page).await?)?,
        Asked::Incoming(..) => return Err(Refusal::method("POST")),
    };
    let mut response = sent(door, media_type, bytes, place).await?;
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    let stale = HeaderValue::from_static("max-age=0, no-cache, must-revalidate");
    response.headers_mut().insert(header::CACHE_CONTROL, stale);
    Ok(response)
}

/// The bytes of an answer, and the place of its call until they are sent.
struct Answer {
    bytes: Bytes,
    _place: Share,
}

impl AsRef<[u8]> for Answer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// An answer that has its share of what may be on its way to slow readers.
async fn sent(
    door: &Door,
    media_type: &'static str,
    bytes: Bytes,
    place: Share,
) -> Result<Response<Body>, Refusal> {
    let carried = Carried::default();
    let room = Room::new(door.sending.clone(), carried.clone());
    let mut waited = None;
    while !room.admits(bytes.len(), &mut waited) {
        waited = Some(room.wait(bytes.len()).await.map_err(full)?);
    }
    let answer = Bytes::from_owner(Answer { bytes, _place: place });
    Ok(typed(media_type, answer).map(|body| carried.body(body)))
}

fn full(status: Status) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, status.message())
}

/// As what the client wants its answer, if that can be.
fn wanted(headers: &HeaderMap) -> Result<Kind, Refusal> {
    let mut accepted = headers.get_all(header::ACCEPT).iter().peekable();
    if accepted.peek().is_none() {
        return Ok(Kind::Atom);
    }
    let kinds = accepted.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let kind = |kind: &str| match kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
        .as_str()
    {
        "*/*" | "application/*" => Some(Kind::Atom),
        "application/vnd.eventstore.atom+json" | "application/vnd.kurrent.atom+json" => {
            Some(Kind::Atom)
        }
        "application/vnd.eventstore.event+json" | "application/vnd.kurrent.event+json" => {
            Some(Kind::Event)
        }
        "application/json" => Some(Kind::Json),
        "application/octet-stream" => Some(Kind::Bytes),
        _ => None,
    };
    let refused = || Refusal::new(StatusCode::NOT_ACCEPTABLE, "streams are told in JSON only");
    let mut kinds = kinds.filter_map(kind);
    kinds.next().ok_or_else(refused)
}

fn feed(
    kind: Kind,
    (feed, _): (serde_json::Value, usize),
) -> Result<(&'static str, Bytes), Refusal> {
    let media_type = match kind {
        Kind::Atom => ATOM,
        Kind::Json => JSON,
        Kind::Event | Kind::Bytes => {
            let reason = "a page is told as application/vnd.eventstore.atom+json";
            return Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, reason));
        }
    };
    Ok((media_type, feed.to_string().into()))
}

/// One event; a link that leads nowhere is none.
async fn event(
    writing: &Writing<'_>,
    kind: Kind,
    stream: StreamName,
    at: Option<Revision>,
) -> Result<(&'static str, Bytes), Refusal> {
    let read = match at {
        Some(revision) => ReadStream::forward(stream).from(revision).limit(1),
        None => ReadStream { start: StreamStart::End, ..ReadStream::backward(stream).limit(1) },
    };
    let found = writing.store.read_stream(read).await?.try_next().await?;
    let found = found.filter(|event| at.is_none_or(|at| event.revision == at));
    let message = writing.followed(found.ok_or_else(Refusal::not_found)?).await?;
    let event = message.content().ok_or_else(Refusal::not_found)?;
    Ok(match kind {
        Kind::Atom => (ATOM, writing.entry(&message, true).0.to_string().into()),
        Kind::Event => (EVENT, content(event).to_string().into()),
        Kind::Json if event.content_type == ContentType::Json => (JSON, event.data.clone()),
        Kind::Json => {
            let reason = "the event is not JSON; ask for application/octet-stream";
            return Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, reason));
        }
        Kind::Bytes => (BYTES, event.data.clone()),
    })
}

async fn post(
    door: &Door,
    stream: &StreamName,
    incoming: Option<EventId>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let (parts, body) = request.into_parts();
    let (form, expected) = (form(&parts.headers)?, expected(&parts.headers)?);
    let id = match incoming {
        Some(id) => Some(id),
        None => event_id(&parts.headers)?,
    };
    let base = door.base(&parts.headers);
    let events = match form {
        Form::List => list(&receive(body, &door.reception).await?.bytes)?,
        Form::One(content_type) => {
            let missing = || Refusal::bad("the type of the event is missing: ES-EventType");
            let event_type = event_type(&parts.headers)?.ok_or_else(missing)?;
            let Some(id) = id else { return Ok(elsewhere(&base, stream)) };
            let received = receive(body, &door.reception).await?;
            vec![one(id, event_type, content_type, received.bytes)?]
        }
    };
    created(door, &base, stream, expected, events).await
}

/// Where to send an event that has no id: a place of its own, so that it can be sent again there.
fn elsewhere(base: &str, stream: &StreamName) -> Response<Body> {
    let name = escaped(stream.as_str());
    let place = format!("{base}/streams/{name}/incoming/{}", Uuid::new_v4());
    located(StatusCode::TEMPORARY_REDIRECT, &place)
}

fn located(code: StatusCode, place: &str) -> Response<Body> {
    let mut response = empty(code);
    // A host that is advertised may be anything.
    if let Ok(place) = HeaderValue::from_str(place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

/// Appends; tells where the first of the events is.
async fn created(
    door: &Door,
    base: &str,
    stream: &StreamName,
    expected: ExpectedRevision,
    events: Vec<NewEvent>,
) -> Result<Response<Body>, Refusal> {
    let count = events.len() as u64;
    let appended = in_time(door.store.append(stream, expected, events)).await?;
    let behind = appended.last_revision.map_or(0, |last| last.next().get());
    let first = behind.saturating_sub(count);
    let place = format!("{base}/streams/{}/{first}", escaped(stream.as_str()));
    Ok(located(StatusCode::CREATED, &place))
}

async fn in_time<T>(asked: impl Future<Output = Result<T, AppendError>>) -> Result<T, Refusal> {
    let limit = Duration::from_secs(WRITE_SECONDS_MAX);
    let answer = tokio::time::timeout(limit, asked).await.map_err(|_| Problem::Timeout)?;
    answer.map_err(Refusal::from)
}

async fn post_metadata(
    door: &Door,
    stream: &StreamName,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let (parts, body) = request.into_parts();
    let (form, expected) = (form(&parts.headers)?, expected(&parts.headers)?);
    let said = event_type(&parts.headers)?;
    if said.is_some_and(|said| said.as_str() != METADATA) {
        return Err(Refusal::bad("metadata has a type of its own, which need not be said"));
    }
    let id = event_id(&parts.headers)?.unwrap_or_else(|| EventId(Uuid::new_v4()));
    let received = receive(body, &door.reception).await?;
    let event = match form {
        Form::One(_) => {
            let event_type = EventType::new(METADATA)
                .map_err(|error| Refusal::bad(format!("event type: {error}")))?;
            one(id, event_type, ContentType::Json, received.bytes)?
        }
        Form::List => match <[NewEvent; 1]>::try_from(list(&received.bytes)?) {
            Ok([event]) if event.event_type.as_str() == METADATA => event,
            _ => return Err(Refusal::bad("metadata is one event of the type $metadata")),
        },
    };
    let object = serde_json::from_slice::<serde_json::Map<_, serde_json::Value>>(&event.data);
    object.map_err(|error| Refusal::bad(format!("metadata is an object of JSON: {error}")))?;
    let base = door.base(&parts.headers);
    created(door, &base, &stream.metadata_stream(), expected, vec![event]).await
}

async fn delete(
    door: &Door,
    stream: &StreamName,
    headers: &HeaderMap,
) -> Result<Response<Body>, Refusal> {
    let expected = expected(headers)?;
    if switch(headers, "harddelete")?.unwrap_or(false) {
        in_time(door.store.tombstone_stream(stream, expected)).await?;
    } else {
        in_time(door.store.delete_stream(stream, expected)).await?;
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_kind_that_can_be_is_taken() {
        let wanted = |accepted: &'static str| {
            let accepted = (header::ACCEPT, HeaderValue::from_static(accepted));
            super::wanted(&HeaderMap::from_iter([accepted])).ok()
        };
        assert_eq!(wanted("text/html, application/json;q=0.9"), Some(Kind::Json));
        assert_eq!(wanted("text/html, */*;q=0.1"), Some(Kind::Atom));
        assert_eq!(wanted("application/vnd.kurrent.event+json"), Some(Kind::Event));
        assert_eq!(wanted("application/atom+xml"), None);
    }
}
