//! Places for the sockets of one account: a client that opens one after the other takes those of
//! nobody else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use uuid::Uuid;

use crate::limits::ACCOUNT_SOCKETS_MAX;

/// How many sockets each account has. Cheap to clone.
#[derive(Clone, Default)]
pub struct Places(Arc<Mutex<HashMap<Uuid, usize>>>);

/// Keeps a socket's place until it is dropped.
pub struct Place {
    places: Places,
    account: Uuid,
}

impl Places {
    /// One more for an account; none when it has as many as it may.
    pub fn take(&self, account: Uuid) -> Option<Place> {
        let mut taken = self.0.lock().expect("nobody panics while holding it");
        let count = taken.entry(account).or_default();
        if *count == ACCOUNT_SOCKETS_MAX {
            return None;
        }
        *count += 1;
        Some(Place { places: self.clone(), account })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().expect("nobody panics while holding it");
        match taken.get_mut(&self.account) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(&self.account)),
        }
    }
}
