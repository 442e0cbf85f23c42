//! What was met in the log that no key opens, for whoever tells operators.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::PersonalError;
use crate::limits::UNREADABLE_FIELDS_MAX;
use crate::position::Position;

/// A personal field that no key opens here.
#[derive(Clone, Debug)]
pub struct UnreadableField {
    /// The id of the person, as the event says it; none where it does not.
    pub person: Option<Box<str>>,
    /// Whether the person's key is lost, so that to forget them loses nothing more. Else their key
    /// is there and opens other fields, or the event does not say whose it is.
    pub key_is_lost: bool,
    /// Which field it is, and what is wrong.
    pub why: PersonalError,
}

/// The fields that a store met since it was opened and could not open, each once; one that opens
/// later is none of them any more. Clones are the same.
#[derive(Clone, Default)]
pub struct UnreadableFields(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// So that whoever opens a field need not wait for the lock.
    is_any: AtomicBool,
    met: Mutex<BTreeMap<(Position, &'static str), PersonalError>>,
}

impl UnreadableFields {
    /// How many there are, no more than [`UNREADABLE_FIELDS_MAX`], and what is wrong with the first
    /// of them in the log; none where there are none.
    pub fn first(&self) -> Option<(usize, PersonalError)> {
        let met = self.met();
        let why = met.values().next()?.clone();
        Some((met.len(), why))
    }

    pub(super) fn meet(&self, position: Position, field: &'static str, why: &PersonalError) {
        let mut met = self.met();
        let is_known = met.contains_key(&(position, field));
        if !is_known && met.len() >= UNREADABLE_FIELDS_MAX {
            return;
        }
        met.insert((position, field), why.clone());
        self.0.is_any.store(true, Ordering::Release);
    }

    pub(super) fn opened(&self, position: Position, field: &'static str) {
        if self.0.is_any.load(Ordering::Acquire) {
            let mut met = self.met();
            met.remove(&(position, field));
            self.0.is_any.store(!met.is_empty(), Ordering::Release);
        }
    }

    fn met(&self) -> MutexGuard<'_, BTreeMap<(Position, &'static str), PersonalError>> {
        self.0.met.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
