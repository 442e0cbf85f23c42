//! The five projections that every store has, stopped at first.
//!
//! Two of them are served from the index of the store and write nothing; three write links of their
//! own. What they are called, and what their links say, are facts of the protocol.

use serde_json::{Map, Value, json};

use super::event::{Emitted, Incoming};
use super::shape::{Partitioning, Shape};
use crate::indexed::category_of;
use crate::persistent::LINK_TYPE;
use crate::stream::Revision;

/// The type of an event that points to a stream.
const STREAM_REFERENCE_TYPE: &str = "$@";

/// The stream of the first events of all streams.
const STREAMS: &str = "$streams";

/// One of the system's projections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum System {
    /// `$ce-<category>`: the events of the streams of a category; from the index.
    ByCategory,
    /// `$et-<type>`: the events of a type; from the index.
    ByEventType,
    /// `$bc-<id>`: the events that have the same `$correlationId` in their metadata.
    ByCorrelationId,
    /// `$category-<category>`: the streams of a category.
    StreamByCategory,
    /// `$streams`: all streams.
    Streams,
}

impl System {
    pub(super) const ALL: [Self; 5] = [
        Self::Streams,
        Self::StreamByCategory,
        Self::ByCategory,
        Self::ByEventType,
        Self::ByCorrelationId,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ByCategory => "$by_category",
            Self::ByEventType => "$by_event_type",
            Self::ByCorrelationId => "$by_correlation_id",
            Self::StreamByCategory => "$stream_by_category",
            Self::Streams => STREAMS,
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// How its definition names what handles its events.
    pub(super) fn handler_type(self) -> String {
        format!("native:{}", self.name())
    }

    /// Whether its streams are those of the store's index, so that there is nothing to be written.
    pub(super) fn is_indexed(self) -> bool {
        matches!(self, Self::ByCategory | Self::ByEventType)
    }

    /// All events, as they stand in the log.
    pub(super) fn shape(self) -> Shape {
        Shape {
            sources: 1,
            all: true,
            streams: Vec::new(),
            category: None,
            any: true,
            types: Vec::new(),
            partition: Partitioning::None,
            output: false,
            transforms: false,
            bi_state: false,
            include_links: true,
            result_stream: None,
            partition_result: None,
            deleted: false,
            created: false,
        }
    }

    /// What it emits for an event.
    pub(super) fn handle(self, incoming: &Incoming) -> Option<Emitted> {
        let original = incoming.original();
        let stream = original.stream.as_str();
        let begins = original.revision == Revision::FIRST;
        match self {
            Self::ByCategory | Self::ByEventType => None,
            Self::ByCorrelationId => correlated(incoming),
            Self::StreamByCategory if begins => {
                let category = category_of(stream)?;
                let streams = format!("$category-{category}");
                Some(emitted(streams, STREAM_REFERENCE_TYPE, stream.to_owned(), None))
            }
            Self::Streams if begins && stream != STREAMS => {
                Some(emitted(STREAMS.to_owned(), LINK_TYPE, format!("0@{stream}"), None))
            }
            Self::StreamByCategory | Self::Streams => None,
        }
    }
}

/// A link to an event that says what it belongs to; links do not count.
fn correlated(incoming: &Incoming) -> Option<Emitted> {
    let event = &incoming.event;
    if incoming.link.is_some() || event.event_type.as_str() == LINK_TYPE {
        return None;
    }
    let metadata: Map<String, Value> = serde_json::from_slice(&event.metadata).ok()?;
    let id = metadata.get("$correlationId")?.as_str().filter(|id| !id.is_empty())?;
    let at = event.recorded_at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    let told = json!({ "$eventTimestamp": at }).to_string();
    let target = format!("{}@{}", event.revision, event.stream);
    Some(emitted(format!("$bc-{id}"), LINK_TYPE, target, Some(told)))
}

fn emitted(stream: String, kind: &str, data: String, metadata: Option<String>) -> Emitted {
    Emitted { stream, event_type: kind.to_owned(), data, metadata, is_json: false }
}
