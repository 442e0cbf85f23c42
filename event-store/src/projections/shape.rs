//! What a projection says of itself: where its events come from, and what it does with them.

use serde::Deserialize;

use crate::indexed::category_of;

/// How the events of a projection are divided; each part has a state of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Partitioning {
    /// They are not.
    None,
    /// By the stream that they are in.
    Stream,
    /// By what a function of the script says.
    Custom,
}

/// A projection, as its script has described it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shape {
    /// How many sources were named; one is right.
    pub sources: u32,
    /// Whether its events are those of the log.
    pub all: bool,
    /// The streams that its events are in.
    pub streams: Vec<String>,
    /// The category, where it is one.
    pub category: Option<String>,
    /// Whether events of any type are handled.
    pub any: bool,
    /// The types that have handlers of their own.
    pub types: Vec<String>,
    pub partition: Partitioning,
    /// Whether each change of a state is written.
    pub output: bool,
    /// Whether results are made of states.
    pub transforms: bool,
    /// Whether there is a state that all partitions share.
    pub bi_state: bool,
    /// Whether what links lead to counts in the log too.
    pub include_links: bool,
    /// Where results are written, unless where they are by default.
    pub result_stream: Option<String>,
    /// The same of partitions; `{0}` stands for the partition.
    pub partition_result: Option<String>,
    /// Whether it is told of deleted streams.
    pub deleted: bool,
    /// Whether it is told of new partitions.
    pub created: bool,
}

impl Shape {
    /// Why there can be no such projection.
    pub(super) fn problem(&self) -> Option<&'static str> {
        if self.sources == 0 || (!self.all && self.streams.is_empty()) {
            return Some("the script names no source: fromAll, fromStream, fromCategory, …");
        }
        (self.deleted && self.partition != Partitioning::Stream)
            .then_some("$deleted can be handled of each stream only: foreachStream()")
    }

    /// Whether events of this type are handled.
    pub(super) fn wants(&self, event_type: &str) -> bool {
        self.any || self.types.iter().any(|one| one == event_type)
    }

    /// Whether there is more than one state.
    pub(super) fn is_partitioned(&self) -> bool {
        self.partition != Partitioning::None
    }
}

/// The category that a script is told of a stream.
pub(super) fn told_category(stream: &str) -> Option<&str> {
    category_of(stream)
}
