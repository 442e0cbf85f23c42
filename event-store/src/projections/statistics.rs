//! How projections are doing, in the words of the protocol.

use super::definition::ProjectionMode;

/// Which projections are asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one of this name.
    Named(String),
    /// Those that live so long.
    Mode(ProjectionMode),
    /// All.
    All,
}

/// How a projection is doing.
#[derive(Clone, Debug, PartialEq)]
pub struct ProjectionStatistics {
    /// Its name.
    pub name: String,
    /// How long it lives.
    pub mode: ProjectionMode,
    /// `Running`, `Stopped`, `Faulted`, … with what is known of that behind it.
    pub status: String,
    /// Why it has faulted, or what keeps it from its work.
    pub state_reason: String,
    /// How often its definition was changed.
    pub version: i64,
    /// The version that it was begun anew with; -1 when it never was.
    pub epoch: i64,
    /// Where in its source it stands.
    pub position: String,
    /// Up to where what it made is written.
    pub last_checkpoint: String,
    /// How much of the log it has behind it, in percent.
    pub progress: f32,
    /// How many events it has handled since it was started.
    pub events_processed_after_restart: u64,
    /// How long that took, in milliseconds.
    pub core_processing_millis: u64,
    /// Events that wait to be handled.
    pub buffered_events: u64,
    /// States in memory.
    pub partitions_cached: u64,
    /// Writes under way.
    pub writes_in_progress: u64,
    /// Reads under way.
    pub reads_in_progress: u64,
}
