//! The states of a projection that are in memory: all that are not written yet, and of the others
//! those that were used last, within bounds.

use std::collections::HashMap;
use std::sync::Arc;

use super::script::Stored;
use crate::limits::{PARTITIONS_CACHED_BYTES, PARTITIONS_CACHED_MAX};

/// A partition, or the whole of a projection that has none: its name is empty then.
#[derive(Clone, Debug, Default)]
pub(super) struct Partition {
    pub stored: Stored,
    /// Whether the store does not have this state yet.
    pub unwritten: bool,
    /// Whether anything of it was ever written.
    pub is_known: bool,
    /// The revision that its next result gets, where that is known.
    pub next_result: Option<u64>,
    /// When it was used last, as the partitions count.
    pub used: u64,
}

impl Partition {
    fn bytes(&self) -> usize {
        let size = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len());
        size(&self.stored.state) + size(&self.stored.result)
    }
}

/// The partitions in memory.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    by_name: HashMap<String, Partition>,
    bytes: usize,
    unwritten: usize,
    clock: u64,
}

impl Partitions {
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn unwritten(&self) -> usize {
        self.unwritten
    }

    pub(super) fn get(&self, name: &str) -> Option<&Partition> {
        self.by_name.get(name)
    }

    pub(super) fn put(&mut self, name: &str, partition: Partition) {
        self.clock += 1;
        self.bytes += partition.bytes() + name.len();
        self.unwritten += usize::from(partition.unwritten);
        let partition = Partition { used: self.clock, ..partition };
        if let Some(before) = self.by_name.insert(name.to_owned(), partition) {
            self.bytes -= before.bytes() + name.len();
            self.unwritten -= usize::from(before.unwritten);
        }
    }

    /// The names of those that are not written yet.
    pub(super) fn unwritten_names(&self) -> Vec<String> {
        let unwritten = self.by_name.iter().filter(|(_, partition)| partition.unwritten);
        unwritten.map(|(name, _)| name.clone()).collect()
    }

    /// All that were not are written now.
    pub(super) fn written(&mut self) {
        for partition in self.by_name.values_mut().filter(|partition| partition.unwritten) {
            partition.unwritten = false;
            partition.is_known = true;
        }
        self.unwritten = 0;
    }

    /// Lets go of those that were used longest ago, where there are too many.
    pub(super) fn shrink(&mut self) {
        if self.by_name.len() <= PARTITIONS_CACHED_MAX && self.bytes <= PARTITIONS_CACHED_BYTES {
            return;
        }
        let mut written: Vec<(u64, String)> = self
            .by_name
            .iter()
            .filter(|(name, partition)| !partition.unwritten && !name.is_empty())
            .map(|(name, partition)| (partition.used, name.clone()))
            .collect();
        written.sort_unstable();
        // Half at once, so that this is seldom.
        for (_, name) in written {
            if self.by_name.len() <= PARTITIONS_CACHED_MAX / 2
                && self.bytes <= PARTITIONS_CACHED_BYTES / 2
            {
                return;
            }
            if let Some(gone) = self.by_name.remove(&name) {
                self.bytes -= gone.bytes() + name.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_let_go_and_the_rest_stays() {
        let mut partitions = Partitions::default();
        let state = |text: &str| Stored { state: Some(text.into()), result: None };
        for number in 0..=PARTITIONS_CACHED_MAX {
            let unwritten = number == 0;
            let partition = Partition { stored: state("{}"), unwritten, ..Partition::default() };
            partitions.put(&number.to_string(), partition);
        }
        partitions.put("", Partition { stored: state("root"), ..Partition::default() });
        assert_eq!(partitions.unwritten(), 1);
        partitions.shrink();
        assert!(partitions.len() <= PARTITIONS_CACHED_MAX / 2 + 2, "{}", partitions.len());
        assert!(partitions.get("0").is_some() && partitions.get("").is_some());
        assert!(partitions.get("1").is_none());
        partitions.written();
        assert_eq!((partitions.unwritten(), partitions.unwritten_names().len()), (0, 0));
    }
}
