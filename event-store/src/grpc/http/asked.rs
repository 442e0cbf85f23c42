//! Which part of which stream a path means, and what the headers of a request say.

use ::http::{HeaderMap, Method};
use uuid::Uuid;

use super::super::proto::event_store::client::StreamIdentifier;
use super::super::wire::stream_name;
use super::refusal::Refusal;
use crate::access::StreamAction;
use crate::event::EventId;
use crate::position::Position;
use crate::read::Direction;
use crate::stream::{ExpectedRevision, Revision, StreamName};

/// The name that stands for the log.
const ALL: &str = "$all";

/// How a page begins that was not asked for otherwise, and how many entries it has.
const HEAD: &str = "head";
const PAGE_EVENTS: u64 = 20;

/// Most entries of a page, however many are asked for: the rest is behind the link to the next.
const PAGE_EVENTS_MAX: u64 = 4096;

/// How the names of the protocol's headers begin, the older way first.
const PREFIXES: [&str; 2] = ["es", "kurrent"];

/// What a path means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A stream as a whole: its last page, or where to append.
    Stream(StreamName),
    /// What to append goes under this id, so that it can be sent again.
    Incoming(StreamName, EventId),
    /// The metadata of a stream, by the stream that has it.
    Metadata(StreamName),
    /// A page of a stream.
    Page(StreamName, Page<Revision>),
    /// One event of a stream; `None` is the last.
    Event(StreamName, Option<Revision>),
    /// A page of the log.
    AllPage(Page<Position>),
}

/// A part of a stream or of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page<T> {
    /// Where it begins; `None` is the end.
    pub from: Option<T>,
    pub direction: Direction,
    pub count: u64,
}

impl<T> Page<T> {
    /// The last page, of the length that pages have.
    pub(super) fn last() -> Self {
        Self { from: None, direction: Direction::Backward, count: PAGE_EVENTS }
    }
}

impl Asked {
    /// What the path means behind `/streams/`.
    pub(super) fn read(path: &str) -> Result<Self, Refusal> {
        let mut parts = path.trim_end_matches('/').split('/');
        let name = decoded(parts.next().unwrap_or_default())?;
        let parts: Vec<&str> = parts.collect();
        // The log has metadata as a stream of that name would.
        if name == ALL && parts.first() != Some(&"metadata") {
            let page = match parts.as_slice() {
                [] => Page::last(),
                rest => page(rest, position)?.ok_or_else(Refusal::not_found)?,
            };
            return Ok(Self::AllPage(page));
        }
        let stream = stream_name(Some(StreamIdentifier { stream_name: name.into_bytes() }))?;
        match parts.as_slice() {
            [] => Ok(Self::Stream(stream)),
            ["incoming", id] => {
                let id = Uuid::parse_str(id).ok().filter(|id| !id.is_nil());
                let id = id.ok_or_else(|| Refusal::bad("the id of the event is no UUID"))?;
                Ok(Self::Incoming(stream, EventId(id)))
            }
            ["metadata", rest @ ..] => {
                if stream.metadata_subject().is_some() {
                    return Err(Refusal::bad("metadata has no metadata"));
                }
                match rest {
                    [] => Ok(Self::Metadata(stream)),
                    rest => Self::part(stream.metadata_stream(), rest),
                }
            }
            rest => Self::part(stream, rest),
        }
    }

    /// What it takes to ask that in this manner: a right to do something with a stream.
    pub(super) fn means(&self, method: &Method) -> (StreamName, StreamAction) {
        let action = match *method {
            Method::POST => StreamAction::Write,
            Method::DELETE => StreamAction::Delete,
            _ => StreamAction::Read,
        };
        let stream = match self {
            Self::Stream(stream) | Self::Incoming(stream, _) => stream.clone(),
            Self::Page(stream, _) | Self::Event(stream, _) => stream.clone(),
            Self::Metadata(stream) => stream.metadata_stream(),
            Self::AllPage(_) => StreamName::all(),
        };
        (stream, action)
    }

    fn part(stream: StreamName, parts: &[&str]) -> Result<Self, Refusal> {
        if let [at] = parts {
            return Ok(Self::Event(stream, start(at, revision)?));
        }
        let page = page(parts, revision)?.ok_or_else(Refusal::not_found)?;
        Ok(Self::Page(stream, page))
    }
}

fn page<T>(
    parts: &[&str],
    place: impl Fn(&str) -> Result<T, Refusal>,
) -> Result<Option<Page<T>>, Refusal> {
    let (from, direction, count) = match parts {
        [from, count] | [from, "backward", count] => {
            (start(from, place)?, Direction::Backward, count)
        }
        [from, "forward", count] => (Some(place(from)?), Direction::Forward, count),
        _ => return Ok(None),
    };
    let bad = || Refusal::bad(format!("'{count}' is no number of events"));
    let count = count.parse::<u64>().ok().filter(|count| *count > 0).ok_or_else(bad)?;
    Ok(Some(Page { from, direction, count: count.min(PAGE_EVENTS_MAX) }))
}

fn start<T>(text: &str, place: impl Fn(&str) -> Result<T, Refusal>) -> Result<Option<T>, Refusal> {
    if text == HEAD { Ok(None) } else { place(text).map(Some) }
}

fn revision(text: &str) -> Result<Revision, Refusal> {
    let number = text.parse::<i64>().ok().and_then(|number| u64::try_from(number).ok());
    let bad = || Refusal::bad(format!("'{text}' is no revision of an event"));
    number.map(Revision::new).ok_or_else(bad)
}

/// A position of the log: twice, in sixteen digits each.
fn position(text: &str) -> Result<Position, Refusal> {
    let bad = || Refusal::bad(format!("'{text}' is no position"));
    if text.len() != 32 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(bad());
    }
    let commit = u64::from_str_radix(&text[..16], 16).map_err(|_| bad())?;
    if commit > i64::MAX.cast_unsigned() { Err(bad()) } else { Ok(Position::new(commit)) }
}

/// The same, written.
pub(super) fn position_text(position: Position) -> String {
    format!("{:016X}{:016X}", position.get(), position.get())
}

/// A part of a path without its escapes.
pub(super) fn decoded(part: &str) -> Result<String, Refusal> {
    let bad = || Refusal::bad("a name is not escaped as it must be");
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(rest.next()), digit(rest.next()));
        let (Some(high), Some(low)) = (high, low) else { return Err(bad()) };
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| bad())?);
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

/// A name as a part of a path.
pub(super) fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// A header of the protocol by either of its names.
pub(super) fn named<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Refusal> {
    let value = PREFIXES.iter().find_map(|prefix| headers.get(format!("{prefix}-{name}")));
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes());
    text.map(Some).map_err(|_| Refusal::bad(format!("the header {name} is not UTF-8")))
}

/// A header that says yes or no.
pub(super) fn switch(headers: &HeaderMap, name: &str) -> Result<Option<bool>, Refusal> {
    match named(headers, name)?.map(str::to_ascii_lowercase).as_deref() {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => Err(Refusal::bad(format!("the header {name} is neither True nor False"))),
    }
}

/// What a writer expects of the stream; nothing unless it is said.
pub(super) fn expected(headers: &HeaderMap) -> Result<ExpectedRevision, Refusal> {
    let Some(text) = named(headers, "expectedversion")? else { return Ok(ExpectedRevision::Any) };
    match text.parse::<i64>() {
        Ok(-1) => Ok(ExpectedRevision::NoStream),
        Ok(-2) => Ok(ExpectedRevision::Any),
        Ok(-4) => Ok(ExpectedRevision::StreamExists),
        Ok(number) if number >= 0 => {
            Ok(ExpectedRevision::Exactly(Revision::new(number.cast_unsigned())))
        }
        _ => Err(Refusal::bad(format!("'{text}' is no version that a stream may have"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(name: &str) -> StreamName {
        StreamName::new(name).unwrap()
    }

    #[test]
    fn paths_mean_streams_and_parts_of_them() {
        let read = |path| Asked::read(path).unwrap();
        assert_eq!(read("track-1"), Asked::Stream(stream("track-1")));
        assert_eq!(read("a%2Fb%20%C3%A9/"), Asked::Stream(stream("a/b é")));
        assert_eq!(read("s/7"), Asked::Event(stream("s"), Some(Revision::new(7))));
        assert_eq!(read("s/head"), Asked::Event(stream("s"), None));
        let page = Page { from: None, direction: Direction::Backward, count: 3 };
        assert_eq!(read("s/head/backward/3"), Asked::Page(stream("s"), page));
        let page = Page { from: Some(Revision::new(2)), direction: Direction::Forward, count: 9 };
        assert_eq!(read("s/2/forward/9"), Asked::Page(stream("s"), page));
        assert_eq!(read("s/metadata"), Asked::Metadata(stream("s")));
        assert_eq!(read("s/metadata/0"), Asked::Event(stream("$$s"), Some(Revision::FIRST)));
        assert_eq!(read("%24all"), Asked::AllPage(Page::last()));
        assert_eq!(read("$all/metadata"), Asked::Metadata(stream("$all")));
        let from = Position::new(255);
        let path = format!("$all/{}/forward/1000000", position_text(from));
        let direction = Direction::Forward;
        let page = Page { from: Some(from), direction, count: PAGE_EVENTS_MAX };
        assert_eq!(read(&path), Asked::AllPage(page));
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let paths = [
            "",
            "%",
            "%4",
            "%zz",
            "%ff",
            "s/-1",
            "s/x",
            "s/0/forward/0",
            "s/0/forward/-1",
            "s/head/forward/1",
            "s/0/sideways/1",
            "s/1/2/3/4",
            "s/incoming/x",
            "$$s/metadata",
            "$all/7/forward/1",
            "$all/head",
            "s/9223372036854775808",
            "$all/FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF/forward/1",
            "s/é",
        ];
        for path in paths {
            assert!(Asked::read(path).is_err(), "{path}");
        }
    }

    #[test]
    fn names_are_escaped_as_they_are_read() {
        for name in ["track-1", "a/b c", "100%", "é$?#"] {
            assert_eq!(decoded(&escaped(name)).unwrap(), name);
        }
    }
}
