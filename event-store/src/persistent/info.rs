//! What is told of a group: its settings, and how it is doing.

use std::fmt;

use chrono::{DateTime, Utc};

use super::group::{GroupId, Place};
use super::settings::Settings;

/// What a group is about. Its text is that of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is finding out where it stands.
    NotReady,
    /// It reads the past.
    Behind,
    /// It follows what is appended.
    Live,
    /// It reads parked messages back, beside what else it does.
    ReplayingParkedMessages,
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotReady => "NotReady",
            Self::Behind => "Behind",
            Self::Live => "Live",
            Self::ReplayingParkedMessages => "ReplayingParkedMessages",
        })
    }
}

/// A group, as it is at the moment.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupInfo {
    /// Which group.
    pub group: GroupId,
    /// Its settings.
    pub settings: Settings,
    /// What it is about.
    pub status: Status,
    /// What keeps it from its work, while something does: the store, or a deleted stream.
    pub failure: Option<String>,
    /// Its consumers.
    pub consumers: Vec<ConsumerInfo>,
    /// How many messages were processed in a second, on average since it began.
    pub average_per_second: u64,
    /// How many messages were processed since it began.
    pub total_items: u64,
    /// How many since it was last asked.
    pub count_since_last_measurement: u64,
    /// The place of its last checkpoint.
    pub last_checkpointed: Option<Place>,
    /// The place of the last event that it has read.
    pub last_known: Option<Place>,
    /// Messages read from the past that are ready to be delivered.
    pub read_buffer_count: u64,
    /// Messages read live that are ready to be delivered.
    pub live_buffer_count: u64,
    /// Messages that are ready to be delivered once more.
    pub retry_buffer_count: u64,
    /// Messages that consumers have and did not acknowledge.
    pub in_flight_count: u64,
    /// Messages that are parked; one that is replayed counts until it is finished.
    pub parked_count: u64,
    /// When the oldest of them was parked.
    pub oldest_parked: Option<DateTime<Utc>>,
}

/// A consumer, as it is at the moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerInfo {
    /// The name of its connection.
    pub name: String,
    /// Where it comes from.
    pub from: String,
    /// Which user it is.
    pub user: String,
    /// How many messages it processed in a second, on average since it came.
    pub average_per_second: u64,
    /// How many messages it processed.
    pub total_items: u64,
    /// How many since it was last asked.
    pub count_since_last_measurement: u64,
    /// How many messages it takes beside those in flight.
    pub available_slots: u64,
    /// How many messages it has and did not acknowledge.
    pub in_flight_count: u64,
    /// Its latencies, with extra statistics.
    pub measurements: Vec<Measurement>,
}

/// A figure about latencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measurement {
    /// The name that the protocol has for it.
    pub key: &'static str,
    /// In milliseconds.
    pub millis: u64,
}
