//! How much of the log is whose: the largest streams and categories, in bounded memory.

use std::collections::HashMap;

use crate::indexed::category_of;
use crate::limits::INSPECTED_NAMES_MAX;
use crate::log::ScannedRecord;

/// How many of the largest are told.
const LARGEST: usize = 10;

/// What is in a log. Events that were reclaimed are counted apart, and in no stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// How many events it has, those that were reclaimed not counted.
    pub events: u64,
    /// How many were reclaimed.
    pub reclaimed: u64,
    /// How many bytes their records take.
    pub bytes: u64,
    /// How many streams have events; at least so many when not all were counted.
    pub streams: u64,
    /// Whether every stream was counted: there may be more than memory is taken for.
    pub all_streams_counted: bool,
    /// Those with the most bytes among the streams that were counted, the largest first.
    pub largest_streams: Vec<Largest>,
    /// The same of categories.
    pub largest_categories: Vec<Largest>,
}

/// The share of a stream or a category.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Largest {
    /// Its name.
    pub name: String,
    /// How many events it has.
    pub events: u64,
    /// How many bytes their records take.
    pub bytes: u64,
}

#[derive(Default)]
pub(super) struct Counting {
    statistics: Statistics,
    streams: Shares,
    categories: Shares,
}

/// Events and bytes by name, of as many names as there is memory for: the first that come.
#[derive(Default)]
struct Shares {
    of: HashMap<Box<str>, (u64, u64)>,
    incomplete: bool,
}

impl Counting {
    pub(super) fn add(&mut self, record: &ScannedRecord<'_>) {
        let bytes = record.head.length as u64;
        self.statistics.bytes += bytes;
        if record.head.reclaimed {
            self.statistics.reclaimed += 1;
            return;
        }
        self.statistics.events += 1;
        self.streams.add(record.stream, bytes);
        if let Some(category) = category_of(record.stream) {
            self.categories.add(category, bytes);
        }
    }

    pub(super) fn done(self) -> Statistics {
        Statistics {
            streams: self.streams.of.len() as u64,
            all_streams_counted: !self.streams.incomplete,
            largest_streams: self.streams.largest(),
            largest_categories: self.categories.largest(),
            ..self.statistics
        }
    }
}

impl Shares {
    fn add(&mut self, name: &str, bytes: u64) {
        if let Some(share) = self.of.get_mut(name) {
            *share = (share.0 + 1, share.1 + bytes);
        } else if self.of.len() < INSPECTED_NAMES_MAX {
            self.of.insert(name.into(), (1, bytes));
        } else {
            self.incomplete = true;
        }
    }

    fn largest(self) -> Vec<Largest> {
        let all = self.of.into_iter();
        let mut all: Vec<Largest> = all
            .map(|(name, (events, bytes))| Largest { name: name.into(), events, bytes })
            .collect();
        all.sort_unstable_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        all.truncate(LARGEST);
        all
    }
}
