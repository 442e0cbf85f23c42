//! Events as the entries of a feed: AtomPub, but in JSON, as EventStoreDB writes it.
//!
//! A page has the newest event first. Its links lead on: `next` to what is older, `previous` to
//! what is newer, which may be yet to come.

use chrono::{DateTime, SecondsFormat, Utc};
use futures::TryStreamExt;
use serde_json::{Map, Value, json};

use super::super::caller::Caller;
use super::asked::{Page, escaped, position_text};
use super::refusal::Refusal;
use crate::error::ReadError;
use crate::event::{ContentType, RecordedEvent};
use crate::persistent::{LINK_TYPE, Message, resolve};
use crate::port::EventStore;
use crate::position::Position;
use crate::read::{AllStart, Direction, EventReader, ReadAll, ReadStream, StreamStart};
use crate::stream::{Revision, StreamName};

/// Who has written all entries.
const AUTHOR: &str = "EventStore";

/// A page takes no further entry once those that it has hold so many bytes of events.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How much of an event an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Embed {
    /// Where it is.
    None,
    /// All of it, as one value.
    Content,
    /// All but data and metadata.
    Rich,
    /// These too, as texts.
    Body,
    /// The same of data that is no JSON.
    TryHarder,
}

impl Embed {
    /// The one of this name; none where there is no such.
    pub(super) fn named(name: Option<&str>) -> Self {
        match name.unwrap_or_default().to_ascii_lowercase().as_str() {
            "content" => Self::Content,
            "rich" => Self::Rich,
            "body" | "pretty" => Self::Body,
            "tryharder" => Self::TryHarder,
            _ => Self::None,
        }
    }
}

/// How pages are written.
pub(super) struct Writing<'a> {
    pub store: &'a dyn EventStore,
    /// Who will see them.
    pub caller: &'a Caller,
    /// How addresses begin.
    pub base: String,
    pub embed: Embed,
    /// Whether links are followed.
    pub resolve: bool,
}

/// What was read for a page, in the order of the read.
struct Collected {
    entries: Vec<Value>,
    bytes: usize,
    /// Where the first and the last entry are.
    ends: Option<[(Revision, Position); 2]>,
    /// Whether there is more behind the last.
    more: bool,
    updated: DateTime<Utc>,
}

impl Writing<'_> {
    /// A page of a stream, and how many bytes of events are in it.
    pub(super) async fn stream(
        &self,
        stream: &StreamName,
        page: Page<Revision>,
    ) -> Result<(Value, usize), Refusal> {
        let start = page.from.map_or(StreamStart::End, StreamStart::Revision);
        let read = match page.direction {
            Direction::Forward => ReadStream::forward(stream.clone()),
            Direction::Backward => ReadStream::backward(stream.clone()),
        };
        let read = ReadStream { start, ..read.limit(page.count + 1) };
        let collected = self.collect(self.store.read_stream(read).await?, page.count).await?;
        let self_url = format!("{}/streams/{}", self.base, escaped(stream.as_str()));
        let (older, newer) = match (page.direction, collected.ends) {
            (Direction::Backward, Some([(newest, _), (oldest, _)])) => {
                (collected.more.then(|| oldest.get() - 1), newest.next().get())
            }
            (Direction::Forward, Some([(oldest, _), (newest, _)])) => {
                (oldest.get().checked_sub(1), newest.next().get())
            }
            (_, None) => {
                let from = page.from.map_or(0, Revision::get);
                (from.checked_sub(1), from)
            }
        };
        let at_head = match page.direction {
            Direction::Forward => !collected.more,
            Direction::Backward => page.from.is_none(),
        };
        let mut links = vec![
            link("self", self_url.clone()),
            link("first", format!("{self_url}/head/backward/{}", page.count)),
        ];
        if let Some(older) = older {
            links.push(link("last", format!("{self_url}/0/forward/{}", page.count)));
            links.push(link("next", format!("{self_url}/{older}/backward/{}", page.count)));
        }
        links.push(link("previous", format!("{self_url}/{newer}/forward/{}", page.count)));
        links.push(link("metadata", format!("{self_url}/metadata")));
        let title = format!("Event stream '{stream}'");
        let (mut feed, bytes) = collected.feed(page.direction, title, &self_url, links);
        feed.insert("streamId".to_owned(), json!(stream.as_str()));
        feed.insert("headOfStream".to_owned(), json!(at_head));
        Ok((Value::Object(feed), bytes))
    }

    /// A page of the log, and how many bytes of events are in it.
    pub(super) async fn all(&self, page: Page<Position>) -> Result<(Value, usize), Refusal> {
        let start = page.from.map_or(AllStart::End, AllStart::Position);
        let read = match page.direction {
            Direction::Forward => ReadAll::forward(),
            Direction::Backward => ReadAll::backward(),
        };
        let read = ReadAll { start, ..read.limit(page.count + 1) };
        let collected = self.collect(self.store.read_all(read).await?, page.count).await?;
        let self_url = format!("{}/streams/{}", self.base, escaped("$all"));
        // Backward begins before a position, and forward at it.
        let behind = |position: Position| Position::new(position.get() + 1);
        let (older, newer) = match (page.direction, collected.ends) {
            (Direction::Backward, Some([(_, newest), (_, oldest)])) => {
                (collected.more.then_some(oldest), behind(newest))
            }
            (Direction::Forward, Some([(_, oldest), (_, newest)])) => {
                (page.from.filter(|from| *from > Position::START).and(Some(oldest)), behind(newest))
            }
            (_, None) => (page.from, page.from.unwrap_or(Position::START)),
        };
        let at_head = match page.direction {
            Direction::Forward => !collected.more,
            Direction::Backward => page.from.is_none(),
        };
        let place = |position, way| format!("{self_url}/{}/{way}", position_text(position));
        let mut links = vec![
            link("self", self_url.clone()),
            link("first", format!("{self_url}/head/backward/{}", page.count)),
        ];
        if let Some(older) = older {
            let first = place(Position::START, "forward");
            links.push(link("last", format!("{first}/{}", page.count)));
            links.push(link("next", format!("{}/{}", place(older, "backward"), page.count)));
        }
        links.push(link("previous", format!("{}/{}", place(newer, "forward"), page.count)));
        links.push(link("metadata", format!("{self_url}/metadata")));
        let title = "All events".to_owned();
        let (mut feed, bytes) = collected.feed(page.direction, title, &self_url, links);
        feed.insert("headOfStream".to_owned(), json!(at_head));
        Ok((Value::Object(feed), bytes))
    }

    async fn collect(&self, mut reader: EventReader, count: u64) -> Result<Collected, Refusal> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let mut ends: Option<[(Revision, Position); 2]> = None;
        let (mut more, mut updated) = (false, DateTime::UNIX_EPOCH);
        while let Some(event) = reader.try_next().await? {
            if entries.len() as u64 >= count || bytes >= PAGE_BYTES_MAX {
                more = true;
                break;
            }
            let place = (event.revision, event.position);
            let first = ends.map_or(place, |[first, _]| first);
            ends = Some([first, place]);
            updated = updated.max(event.recorded_at);
            let message = self.followed(event).await?;
            let (entry, size) = self.entry(&message, false);
            bytes += size;
            entries.push(entry);
        }
        Ok(Collected { entries, bytes, ends, more, updated })
    }

    /// An event, or what it links to where that is to be followed and may be seen.
    pub(super) async fn followed(&self, event: RecordedEvent) -> Result<Message, Refusal> {
        if !self.resolve {
            return Ok(Message::event(event));
        }
        let message = resolve(self.store, event).await.map_err(ReadError::from)?;
        let shows = self.caller.may_see(&message).await?;
        Ok(if shows { message } else { Message::event(message.original().clone()) })
    }

    /// An event as an entry, and how many bytes of it are in there. An entry that stands alone has
    /// all of it.
    pub(super) fn entry(&self, message: &Message, alone: bool) -> (Value, usize) {
        let (event, original) = (message.content(), message.original());
        let shown = event.unwrap_or(original);
        let mut entry = Map::new();
        let mut set = |name: &str, value: Value| {
            entry.insert(name.to_owned(), value);
        };
        let stream = shown.stream.as_str();
        let url = format!("{}/streams/{}/{}", self.base, escaped(stream), shown.revision);
        set("title", json!(format!("{}@{stream}", shown.revision)));
        set("id", json!(url));
        set("updated", json!(time(original.recorded_at)));
        set("author", json!({"name": AUTHOR}));
        let is_link = message.resolved_link().is_some();
        set("summary", json!(if is_link { LINK_TYPE } else { shown.event_type.as_str() }));
        set("links", json!([link("edit", url.clone()), link("alternate", url)]));
        let Some(event) = event else { return (Value::Object(entry), 0) };
        let mut bytes = 0;
        if alone || self.embed == Embed::Content {
            set("content", content(event));
            bytes += event.data.len() + event.metadata.len();
        }
        if self.embed >= Embed::Rich {
            set("eventId", json!(event.id.0));
            set("eventType", json!(event.event_type.as_str()));
            set("eventNumber", json!(event.revision.get()));
            set("streamId", json!(event.stream.as_str()));
            set("isJson", json!(event.content_type == ContentType::Json));
            set("isMetaData", json!(!event.metadata.is_empty()));
            set("isLinkMetaData", json!(is_link && !original.metadata.is_empty()));
            set("positionEventNumber", json!(original.revision.get()));
            set("positionStreamId", json!(original.stream.as_str()));
        }
        if self.embed >= Embed::Body {
            let is_json = event.content_type == ContentType::Json;
            let data = (is_json || self.embed == Embed::TryHarder).then_some(&event.data);
            let link_metadata = is_link.then_some(&original.metadata);
            for (name, value) in [
                ("data", data),
                ("metaData", Some(&event.metadata)),
                ("linkMetaData", link_metadata),
            ] {
                if let Some(value) = value.filter(|value| !value.is_empty()) {
                    bytes += value.len();
                    set(name, json!(String::from_utf8_lossy(value)));
                }
            }
        }
        (Value::Object(entry), bytes)
    }
}

impl Collected {
    /// The feed but for what is of its kind alone, and how many bytes of events are in it.
    fn feed(
        mut self,
        direction: Direction,
        title: String,
        self_url: &str,
        links: Vec<Value>,
    ) -> (Map<String, Value>, usize) {
        if direction == Direction::Forward {
            self.entries.reverse();
        }
        let feed = json!({
            "title": title,
            "id": self_url,
            "updated": time(self.updated),
            "author": {"name": AUTHOR},
            "selfUrl": self_url,
            "links": links,
        });
        let mut feed = match feed {
            Value::Object(feed) => feed,
            _ => Map::new(),
        };
        feed.insert("entries".to_owned(), Value::Array(self.entries));
        (feed, self.bytes)
    }
}

/// An event as one value: data and metadata as what they are, or else as texts.
pub(super) fn content(event: &RecordedEvent) -> Value {
    let is_json = event.content_type == ContentType::Json;
    let value = |bytes: &[u8]| {
        let parsed = is_json.then(|| serde_json::from_slice(bytes).ok()).flatten();
        parsed.unwrap_or_else(|| json!(String::from_utf8_lossy(bytes)))
    };
    json!({
        "eventStreamId": event.stream.as_str(),
        "eventNumber": event.revision.get(),
        "eventType": event.event_type.as_str(),
        "eventId": event.id.0,
        "data": value(&event.data),
        "metadata": value(&event.metadata),
    })
}

fn link(relation: &str, uri: String) -> Value {
    json!({"uri": uri, "relation": relation})
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}
