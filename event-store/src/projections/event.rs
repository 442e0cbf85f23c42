//! The events that projections are given, and those that they give.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::place::Place;
use crate::event::{ContentType, RecordedEvent};
use crate::position::Position;

/// An event of a projection's source.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    /// The event, or what the link leads to.
    pub event: RecordedEvent,
    /// The link that led to it.
    pub link: Option<RecordedEvent>,
    pub place: Place,
    pub position: Position,
    /// The stream that this says was deleted.
    pub deleted: Option<String>,
}

impl Incoming {
    /// What stands in the source.
    pub(super) fn original(&self) -> &RecordedEvent {
        self.link.as_ref().unwrap_or(&self.event)
    }

    /// What holding it costs, about.
    pub(super) fn size(&self) -> usize {
        let of = |event: &RecordedEvent| event.data.len() + event.metadata.len() + 256;
        of(&self.event) + self.link.as_ref().map_or(0, of)
    }

    /// The partition that it is in when each stream is one: a link of a category says which stream
    /// it stands for.
    pub(super) fn stream_partition(&self) -> String {
        if let Some(deleted) = &self.deleted {
            return deleted.clone();
        }
        let named = self.link.as_ref().and_then(|link| {
            let metadata: Map<String, Value> = serde_json::from_slice(&link.metadata).ok()?;
            metadata.get("$o")?.as_str().map(str::to_owned)
        });
        named.unwrap_or_else(|| {
            let stream = self.event.stream.as_str();
            stream.strip_prefix("$$").unwrap_or(stream).to_owned()
        })
    }

    /// Whether it is a JSON event without any: no handler is asked about those.
    pub(super) fn is_blank(&self) -> bool {
        let is_json = self.event.content_type == ContentType::Json;
        is_json && self.event.data.iter().all(u8::is_ascii_whitespace)
    }
}

/// An event that a projection emits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Emitted {
    pub stream: String,
    pub event_type: String,
    pub data: String,
    /// A JSON object.
    pub metadata: Option<String>,
    pub is_json: bool,
}

impl Emitted {
    pub(super) fn size(&self) -> usize {
        self.data.len() + self.metadata.as_ref().map_or(0, String::len) + 256
    }
}

/// What handling one event came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The state of its partition.
    pub state: Option<Arc<str>>,
    /// The state that all partitions share.
    pub shared: Option<Arc<str>>,
    /// The result that is made of the state.
    pub result: Option<Arc<str>>,
    pub emitted: Vec<Emitted>,
}

/// An event with the partition that it is in.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub incoming: Arc<Incoming>,
    pub partition: String,
}
