//! What has come of an append to several streams, within the limits from the first byte on.

use std::collections::HashMap;

use tonic::Status;

use super::super::arriving::{Arriving, Held};
use super::super::proto::event_store::client::StreamIdentifier;
use super::super::proto::kurrentdb::protocol::v2::streams::AppendRecord;
use super::super::wire::stream_name;
use super::{record, refusal};
use crate::error::{AppendError, TooLarge};
use crate::limits::{APPEND_STREAMS_MAX, EVENT_BYTES_MAX};
use crate::multi::{ExpectedState, MultiAppend, StreamCheck};
use crate::size::at_most;
use crate::stream::StreamName;

/// What a stream costs besides its name, which is there four times at most: as it came, as a key,
/// as a name, and in the store.
const STREAM_BYTES: usize = 256;

/// The events, their streams, and what is expected of those.
pub(super) struct Gathered {
    arriving: Arriving,
    /// The stream of each event.
    targets: Vec<StreamName>,
    /// All streams that are named, by what they are told apart by.
    known: HashMap<String, StreamName>,
    /// The same, in the order in which they were named.
    streams: Vec<StreamName>,
    checks: Vec<StreamCheck>,
}

impl Gathered {
    pub(super) fn new(arriving: Arriving) -> Self {
        let (targets, streams, checks) = (Vec::new(), Vec::new(), Vec::new());
        Self { arriving, targets, known: HashMap::new(), streams, checks }
    }

    /// A stream of a session, which may be named once, in whatever case.
    pub(super) fn begin(&mut self, name: &str) -> Result<StreamName, Status> {
        let stream = named(name)?;
        let key = name.to_lowercase();
        if self.known.contains_key(&key) {
            return Err(refusal::already_in_session(&stream));
        }
        self.remember(key, stream.clone())?;
        Ok(stream)
    }

    /// A stream that may be named often.
    pub(super) fn stream(&mut self, name: &str) -> Result<StreamName, Status> {
        if let Some(stream) = self.known.get(name) {
            return Ok(stream.clone());
        }
        let stream = named(name)?;
        self.remember(name.to_owned(), stream.clone())?;
        Ok(stream)
    }

    fn remember(&mut self, key: String, stream: StreamName) -> Result<(), Status> {
        self.arriving
            .hold(STREAM_BYTES + 4 * stream.as_str().len())
            .map_err(refusal::of_problem)?;
        self.streams.push(stream.clone());
        self.known.insert(key, stream);
        at_most(self.known.len(), APPEND_STREAMS_MAX, "streams")
            .map_err(|error| refusal::of_problem(AppendError::from(error).into()))
    }

    /// Takes one more record.
    pub(super) fn add(&mut self, stream: &StreamName, sent: AppendRecord) -> Result<(), Status> {
        let event = record::event(sent)?;
        let (id, size, max) = (event.id, event.size(), EVENT_BYTES_MAX);
        if size > max {
            return Err(refusal::of_size(stream.as_str(), &TooLarge::Event { id, size, max }));
        }
        self.targets.push(stream.clone());
        self.arriving.hold(size_of::<StreamName>()).map_err(refusal::of_problem)?;
        self.arriving.add(event).map_err(refusal::of_problem)
    }

    pub(super) fn check(&mut self, stream: &StreamName, expected: ExpectedState) {
        self.checks.push(StreamCheck { stream: stream.clone(), expected });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// The append; the streams that it names, in order; and what is held, to be kept until the
    /// store has answered.
    pub(super) fn into_append(self) -> (MultiAppend, Vec<StreamName>, Option<Held>) {
        let (events, held) = self.arriving.into_events();
        let events = self.targets.into_iter().zip(events).collect();
        (MultiAppend { events, checks: self.checks }, self.streams, held)
    }
}

fn named(name: &str) -> Result<StreamName, Status> {
    let name = StreamIdentifier { stream_name: name.into() };
    stream_name(Some(name)).map_err(refusal::of_problem)
}
