//! What a projection writes at once, all or none: what it emitted, its results, its states, and how
//! far it is. So whatever is killed, nothing is emitted twice, and nothing is left out.

use std::collections::HashSet;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::error::{Ended, Failure};
use super::event::{Emitted, Incoming};
use super::kept::{CHECKPOINT_TYPE, PARTITION_CHECKPOINT_TYPE, named, write_states};
use super::names::Names;
use super::place::{Life, Place};
use super::script::Stored;
use crate::event::{ContentType, EventId, EventType, NewEvent, RecordedEvent};
use crate::limits::EVENT_BYTES_MAX;
use crate::multi::{ExpectedState, MultiAppend};
use crate::persistent::LINK_TYPE;
use crate::stream::{Revision, StreamName};

/// What the ids of events are made from that projections write: the same again, should a projection
/// do the same again.
const NAMESPACE: Uuid = Uuid::from_u128(0x0d3c_8f51_2b6e_4f0a_8d44_9a7e_6c1b_3e90);

const RESULT_TYPE: &str = "Result";
const RESULT_REMOVED_TYPE: &str = "ResultRemoved";
const TRACKED_TYPE: &str = "$StreamTracked";
const PARTITION_TYPE: &str = "$partition";
const METADATA_TYPE: &str = "$metadata";

/// `$maxCount` of streams of checkpoints: only the last is read.
const CHECKPOINTS_KEPT: u64 = 2;

/// What waits to be written.
#[derive(Debug)]
pub(super) struct Commit {
    names: Names,
    life: Life,
    events: Vec<(StreamName, NewEvent)>,
    streams: HashSet<StreamName>,
    bytes: usize,
}

impl Commit {
    pub(super) fn new(names: Names, life: Life) -> Self {
        Self { names, life, events: Vec::new(), streams: HashSet::new(), bytes: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The streams that are written.
    pub(super) fn streams(&self) -> &HashSet<StreamName> {
        &self.streams
    }

    /// The same of a projection that goes on with nothing to be written.
    pub(super) fn take(&mut self) -> Self {
        let next = Self::new(self.names.clone(), self.life);
        std::mem::replace(self, next)
    }

    fn push(&mut self, stream: StreamName, event: NewEvent) -> Result<(), Failure> {
        let size = event.size();
        if size > EVENT_BYTES_MAX {
            return Err(Failure::Final(Ended::Faulted(format!(
                "an event for {stream} has {size} bytes, more than {EVENT_BYTES_MAX}"
            ))));
        }
        self.bytes += size;
        self.streams.insert(stream.clone());
        self.events.push((stream, event));
        Ok(())
    }

    fn id(&self, place: &Place, what: &str) -> EventId {
        let Life { registration, epoch, .. } = self.life;
        let name = self.names.projection();
        let text = format!("{name}/{registration}/{epoch}/{}/{what}", place.told());
        EventId(Uuid::new_v5(&NAMESPACE, text.as_bytes()))
    }

    /// What is known of an event that one of the source has caused.
    fn metadata(
        &self,
        place: &Place,
        cause: Option<&RecordedEvent>,
        extra: Option<&str>,
    ) -> String {
        let mut metadata: Map<String, Value> =
            extra.and_then(|extra| serde_json::from_str(extra).ok()).unwrap_or_default();
        metadata.insert("$v".to_owned(), json!(self.life.told()));
        place.write(&mut metadata);
        if let Some(cause) = cause {
            metadata.insert("$causedBy".to_owned(), json!(cause.id.to_string()));
            let known: Option<Map<String, Value>> = serde_json::from_slice(&cause.metadata).ok();
            if let Some(id) = known.and_then(|mut known| known.remove("$correlationId")) {
                metadata.entry("$correlationId").or_insert(id);
            }
        }
        Value::Object(metadata).to_string()
    }

    /// Adds the nth event that was emitted for one of the source; returns its stream.
    pub(super) fn emit(
        &mut self,
        incoming: &Incoming,
        number: usize,
        emitted: Emitted,
    ) -> Result<StreamName, Failure> {
        let stream = StreamName::new(&emitted.stream).map_err(|error| named(&error))?;
        let event_type = EventType::new(&emitted.event_type).map_err(|error| named(&error))?;
        let extra = emitted.metadata.as_deref();
        let event = NewEvent {
            id: self.id(&incoming.place, &number.to_string()),
            event_type,
            content_type: if emitted.is_json { ContentType::Json } else { ContentType::Binary },
            data: emitted.data.into(),
            metadata: self.metadata(&incoming.place, Some(&incoming.event), extra).into(),
        };
        self.push(stream.clone(), event)?;
        Ok(stream)
    }

    /// Adds the changed result of a partition, and a link to it, where its revision is known.
    pub(super) fn result(
        &mut self,
        incoming: &Incoming,
        partition: &str,
        result: Option<&str>,
        revision: Option<u64>,
    ) -> Result<(), Failure> {
        let stream = self.names.partition_result(partition).map_err(|error| named(&error))?;
        let kind = if result.is_some() { RESULT_TYPE } else { RESULT_REMOVED_TYPE };
        let (place, cause) = (&incoming.place, Some(&incoming.event));
        let event = NewEvent::system(
            self.id(place, "result"),
            kind,
            ContentType::Json,
            result.unwrap_or_default().to_owned(),
        )
        .with_metadata(self.metadata(place, cause, None));
        let all = self.names.result().map_err(|error| named(&error))?;
        let link = revision.filter(|_| !partition.is_empty()).map(|revision| {
            NewEvent::system(
                self.id(place, "result link"),
                LINK_TYPE,
                ContentType::Binary,
                format!("{revision}@{stream}"),
            )
            .with_metadata(self.metadata(place, cause, None))
        });
        self.push(stream, event)?;
        link.map_or(Ok(()), |link| self.push(all, link))
    }

    /// Adds the name of a stream that was emitted to.
    pub(super) fn track(&mut self, place: &Place, stream: &StreamName) -> Result<(), Failure> {
        let event = NewEvent::system(
            self.id(place, &format!("track {stream}")),
            TRACKED_TYPE,
            ContentType::Binary,
            stream.as_str().to_owned(),
        );
        self.push(self.names.emitted_streams(), event)
    }

    /// Adds the state of a partition; of one that nobody knows yet its name too.
    pub(super) fn partition(
        &mut self,
        place: &Place,
        partition: &str,
        stored: &Stored,
        is_known: bool,
    ) -> Result<(), Failure> {
        let stream = self.names.partition_checkpoint(partition).map_err(|error| named(&error))?;
        if !is_known {
            let event = NewEvent::system(
                self.id(place, &format!("partition {partition}")),
                PARTITION_TYPE,
                ContentType::Binary,
                partition.to_owned(),
            );
            self.push(self.names.catalog(), event)?;
            self.bound(place, &stream)?;
        }
        let event = NewEvent::system(
            self.id(place, &format!("state {partition}")),
            PARTITION_CHECKPOINT_TYPE,
            ContentType::Json,
            write_states(stored, None),
        )
        .with_metadata(self.metadata(place, None, None));
        self.push(stream, event)
    }

    /// Sees to it that a stream of checkpoints does not grow.
    fn bound(&mut self, place: &Place, stream: &StreamName) -> Result<(), Failure> {
        let event = NewEvent::system(
            self.id(place, &format!("metadata {stream}")),
            METADATA_TYPE,
            ContentType::Json,
            json!({ "$maxCount": CHECKPOINTS_KEPT }).to_string(),
        );
        self.push(stream.metadata_stream(), event)
    }

    /// All of it, with the place up to which it is; the checkpoint follows the one before it, so
    /// that nobody else writes for the same projection.
    pub(super) fn finish(
        mut self,
        place: &Place,
        root: &Stored,
        shared: Option<&str>,
        after: Option<Revision>,
    ) -> Result<MultiAppend, Failure> {
        let stream = self.names.checkpoint();
        let event = NewEvent::system(
            self.id(place, "checkpoint"),
            CHECKPOINT_TYPE,
            ContentType::Json,
            write_states(root, shared),
        )
        .with_metadata(self.metadata(place, None, None));
        if after.is_none() {
            self.bound(place, &stream)?;
        }
        self.push(stream.clone(), event)?;
        let expected = after.map_or(ExpectedState::NoStream, ExpectedState::Exactly);
        let append = MultiAppend { events: self.events, checks: Vec::new() };
        Ok(append.check(&stream, expected))
    }
}
