//! All groups, as they are kept in one event.
//!
//! The last event of `$persistentSubscriptionConfig` holds them all as JSON, under the names that
//! EventStoreDB gives them (version 2 of that document). Two things are our own: `startAfter` says
//! where the end was when a group was made that begins there, and filters are written as
//! `{"subject": "streamName" | "eventType", "prefixes": […] | "regex": "…"}`.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::PersistentError;
use super::group::{EventSource, GroupId, Place};
use super::settings::{Settings, StartFrom};
use super::source::Begin;
use crate::error::AppendError;
use crate::event::{ContentType, EventId, NewEvent, RecordedEvent};
use crate::filter::{Filter, FilterSubject, Pattern};
use crate::port::EventStore;
use crate::stream::{ExpectedRevision, Revision, StreamName};

const CONFIG_STREAM: &str = "$persistentSubscriptionConfig";
const CONFIG_TYPE: &str = "$PersistentConfig";
const VERSION: &str = "2";

/// The place before the first of a stream.
pub(super) const BEFORE_ALL: i64 = -1;

/// A group, as it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Definition {
    pub filter: Option<Filter>,
    pub settings: Settings,
    /// The last place that there was when it was made, for one that begins at the end;
    /// [`BEFORE_ALL`] where there was none.
    pub start_after: Option<i64>,
}

impl Definition {
    /// Where the group begins without a checkpoint.
    pub(super) fn begin(&self) -> Begin {
        match self.settings.start_from {
            StartFrom::Start => Begin::Start,
            StartFrom::At(place) => Begin::At(place.number()),
            StartFrom::End => match self.start_after.map(u64::try_from) {
                Some(Ok(place)) => Begin::After(place),
                Some(Err(_)) | None => Begin::Start,
            },
        }
    }
}

/// All groups.
pub(super) type Definitions = BTreeMap<GroupId, Definition>;

/// The groups that are kept, and the revision that keeps them.
pub(super) async fn load(
    store: &dyn EventStore,
) -> Result<(Definitions, Option<Revision>), PersistentError> {
    let Some(event) = store.last_event(&config_stream()).await? else {
        return Ok((Definitions::new(), None));
    };
    let revision = event.revision;
    let definitions = parse(&event)
        .map_err(|reason| PersistentError::Corrupt { stream: CONFIG_STREAM.to_owned(), reason })?;
    Ok((definitions, Some(revision)))
}

/// Keeps the groups, if nobody else has changed them since that revision.
pub(super) async fn keep(
    store: &dyn EventStore,
    definitions: &Definitions,
    since: Option<Revision>,
) -> Result<Option<Revision>, PersistentError> {
    let document = Document {
        version: VERSION.to_owned(),
        updated: Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true),
        entries: definitions.iter().map(|(group, it)| Entry::of(group, it)).collect(),
    };
    let json = serde_json::to_string(&document).expect("plain structs are always JSON");
    let id = EventId(Uuid::new_v4());
    let event = NewEvent::system(id, CONFIG_TYPE, ContentType::Json, json);
    let expected = since.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exactly);
    match store.append(&config_stream(), expected, vec![event]).await {
        Ok(appended) => Ok(appended.last_revision),
        Err(AppendError::WrongExpectedRevision { .. }) => Err(PersistentError::ChangedElsewhere),
        Err(error) => Err(error.into()),
    }
}

fn config_stream() -> StreamName {
    StreamName::recorded(CONFIG_STREAM)
}

fn parse(event: &RecordedEvent) -> Result<Definitions, String> {
    let document: Document =
        serde_json::from_slice(&event.data).map_err(|error| error.to_string())?;
    if document.version != VERSION {
        return Err(format!("version {} is not known", document.version));
    }
    document.entries.into_iter().map(Entry::read).collect()
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: String,
    updated: String,
    entries: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    stream: String,
    group: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    filter: Option<FilterEntry>,
    resolve_link_tos: bool,
    extra_statistics: bool,
    /// In milliseconds.
    message_timeout: u64,
    start_position: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_after: Option<i64>,
    live_buffer_size: u32,
    history_buffer_size: u32,
    max_retry_count: u32,
    read_batch_size: u32,
    /// In milliseconds.
    check_point_after: u64,
    min_check_point_count: u32,
    max_check_point_count: u32,
    max_subscriber_count: u32,
    named_consumer_strategy: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FilterEntry {
    subject: SubjectEntry,
    #[serde(flatten)]
    pattern: PatternEntry,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum SubjectEntry {
    StreamName,
    EventType,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum PatternEntry {
    Prefixes(Vec<String>),
    Regex(String),
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Entry {
    fn of(group: &GroupId, definition: &Definition) -> Self {
        let settings = &definition.settings;
        Self {
            stream: group.source().to_string(),
            group: group.name().to_owned(),
            filter: definition.filter.as_ref().map(FilterEntry::of),
            resolve_link_tos: settings.resolve_links,
            extra_statistics: settings.extra_statistics,
            message_timeout: millis(settings.message_timeout),
            start_position: settings.start_text(group.source()),
            start_after: definition.start_after,
            live_buffer_size: settings.live_buffer_size,
            history_buffer_size: settings.history_buffer_size,
            max_retry_count: settings.max_retry_count,
            read_batch_size: settings.read_batch_size,
            check_point_after: millis(settings.checkpoint_after),
            min_check_point_count: settings.min_checkpoint_count,
            max_check_point_count: settings.max_checkpoint_count,
            max_subscriber_count: settings.max_subscriber_count,
            named_consumer_strategy: settings.strategy.name().to_owned(),
        }
    }

    fn read(self) -> Result<(GroupId, Definition), String> {
        let source = EventSource::new(&self.stream).map_err(|error| error.to_string())?;
        let settings = Settings {
            resolve_links: self.resolve_link_tos,
            extra_statistics: self.extra_statistics,
            start_from: start_from(&source, &self.start_position)?,
            message_timeout: Duration::from_millis(self.message_timeout),
            max_retry_count: self.max_retry_count,
            min_checkpoint_count: self.min_check_point_count,
            max_checkpoint_count: self.max_check_point_count,
            checkpoint_after: Duration::from_millis(self.check_point_after),
            live_buffer_size: self.live_buffer_size,
            read_batch_size: self.read_batch_size,
            history_buffer_size: self.history_buffer_size,
            max_subscriber_count: self.max_subscriber_count,
            strategy: self.named_consumer_strategy.parse()?,
        };
        settings.check(&source)?;
        let group = GroupId::new(source, self.group).map_err(|error| error.to_string())?;
        let filter = self.filter.map(FilterEntry::read);
        Ok((group, Definition { filter, settings, start_after: self.start_after }))
    }
}

fn start_from(source: &EventSource, text: &str) -> Result<StartFrom, String> {
    match text {
        "0" | "C:0/P:0" => Ok(StartFrom::Start),
        "-1" | "C:-1/P:-1" => Ok(StartFrom::End),
        text => match Place::parse(source, text) {
            Some(place) => Ok(StartFrom::At(place)),
            None => Err(format!("{text} is no place of {source}")),
        },
    }
}

impl FilterEntry {
    fn of(filter: &Filter) -> Self {
        let subject = match filter.subject {
            FilterSubject::StreamName => SubjectEntry::StreamName,
            FilterSubject::EventType => SubjectEntry::EventType,
        };
        let pattern = match &filter.pattern {
            Pattern::Prefixes(prefixes) => PatternEntry::Prefixes(prefixes.clone()),
            Pattern::Regex(regex) => PatternEntry::Regex(regex.clone()),
        };
        Self { subject, pattern }
    }

    fn read(self) -> Filter {
        let subject = match self.subject {
            SubjectEntry::StreamName => FilterSubject::StreamName,
            SubjectEntry::EventType => FilterSubject::EventType,
        };
        let pattern = match self.pattern {
            PatternEntry::Prefixes(prefixes) => Pattern::Prefixes(prefixes),
            PatternEntry::Regex(regex) => Pattern::Regex(regex),
        };
        Filter { subject, pattern, checkpoint_events: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Position;

    #[test]
    fn a_group_is_read_as_it_was_kept() {
        let stream = EventSource::new("orders").unwrap();
        let at = |place| Settings { start_from: StartFrom::At(place), ..Settings::default() };
        let definitions = [
            (stream.clone(), None, Settings::default(), Some(7)),
            (stream, None, at(Place::Revision(Revision::new(3))), None),
            (EventSource::All, Some(Filter::type_prefixes(["Order"])), Settings::default(), None),
            (EventSource::All, None, at(Place::Position(Position::new(9))), None),
        ];
        for (number, (source, filter, settings, start_after)) in definitions.into_iter().enumerate()
        {
            let group = GroupId::new(source, format!("group {number}")).unwrap();
            let definition = Definition { filter, settings, start_after };
            let json = serde_json::to_string(&Entry::of(&group, &definition)).unwrap();
            let read: Entry = serde_json::from_str(&json).unwrap();
            assert_eq!(read.read().unwrap(), (group, definition), "{json}");
        }
    }
}
