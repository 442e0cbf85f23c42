//! The commands that are being carried out in this process, so that one is not begun twice.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

/// The ids of the commands under way. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct InProgress(Arc<Mutex<HashSet<Uuid>>>);

/// Keeps a command's place until it is dropped.
#[derive(Debug)]
pub struct Place {
    all: InProgress,
    id: Uuid,
}

impl InProgress {
    /// A place for the command; `None` while it is under way already.
    pub fn begin(&self, id: Uuid) -> Option<Place> {
        let began = self.with(|ids| ids.insert(id));
        began.then(|| Place { all: self.clone(), id })
    }

    fn with<T>(&self, change: impl FnOnce(&mut HashSet<Uuid>) -> T) -> T {
        // A set of ids is whole after every step, whoever panicked beside it.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.with(|ids| ids.remove(&self.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_under_way_until_its_place_is_dropped() {
        let all = InProgress::default();
        let id = Uuid::from_u128(1);
        let place = all.begin(id).expect("free");
        assert!(all.begin(id).is_none());
        assert!(all.begin(Uuid::from_u128(2)).is_some());
        drop(place);
        assert!(all.begin(id).is_some());
    }
}
