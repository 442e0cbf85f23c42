//! Trying again until the store does its work, and telling meanwhile what keeps it from it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::PersistentError;
use super::group::GroupId;
use crate::error::StoreError;

/// The pause before the first further attempt, and the longest between two.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Pauses that grow.
pub(super) struct Pauses(Duration);

impl Pauses {
    pub(super) fn new() -> Self {
        Self(PAUSE)
    }

    /// Waits, and makes the next pause longer.
    pub(super) async fn next(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(PAUSE_MAX);
    }
}

/// What keeps a group from its work, by what it tries to do.
#[derive(Clone)]
pub(super) struct Failures {
    group: GroupId,
    now: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl Failures {
    pub(super) fn new(group: GroupId) -> Self {
        Self { group, now: Arc::default() }
    }

    fn now(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something fails; logged when it begins to.
    pub(super) fn set(&self, what: &'static str, error: &dyn std::fmt::Display) {
        let error = error.to_string();
        if self.now().insert(what, error.clone()).is_none() {
            tracing::warn!(group.id = %self.group, error, "a persistent subscription can't {what}");
        }
    }

    /// Something works.
    pub(super) fn clear(&self, what: &'static str) {
        if self.now().remove(what).is_some() {
            tracing::info!(group.id = %self.group, "a persistent subscription can {what} again");
        }
    }

    /// All that fails, in one line.
    pub(super) fn told(&self) -> Option<String> {
        let now = self.now();
        let lines: Vec<_> =
            now.iter().map(|(what, error)| format!("can't {what}: {error}")).collect();
        (!lines.is_empty()).then(|| lines.join("; "))
    }
}

/// The store was closed: there is nothing more to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

/// Does something again and again until it succeeds.
pub(super) async fn until_done<T, F>(
    failures: &Failures,
    what: &'static str,
    mut attempt: impl FnMut() -> F,
) -> Result<T, Closed>
where
    F: Future<Output = Result<T, PersistentError>>,
{
    let mut pauses = Pauses::new();
    loop {
        match attempt().await {
            Ok(done) => {
                failures.clear(what);
                return Ok(done);
            }
            Err(PersistentError::Store(StoreError::Closed)) => return Err(Closed),
            Err(error) => failures.set(what, &error),
        }
        pauses.next().await;
    }
}
