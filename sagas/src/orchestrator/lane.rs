//! How many runs of one kind are at work at once, and how many wait for the outer world.
//!
//! The two are apart, because an outer party may take half a minute where work here takes
//! milliseconds: runs that wait for it hold up neither those that work nor, beyond a few, those of
//! somebody else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::orchestrator::outages::Outages;
use crate::orchestrator::runtime::SagaSettings;

/// The limits of one kind of saga.
pub(crate) struct Lane {
    beginning: Semaphore,
    /// Those that come back from outside have a limit of their own, and so do not queue behind
    /// what has not begun: what was begun is ended first.
    returning: Semaphore,
    calling: Semaphore,
    calling_of_owner_max: usize,
    owners: Mutex<HashMap<String, Arc<Semaphore>>>,
    /// Who is away that steps of this kind need.
    pub(crate) outages: Outages,
}

/// Leave to call the outer world, until it is dropped.
pub(crate) struct Turn<'a> {
    _of_owner: Option<OwnedSemaphorePermit>,
    _calling: SemaphorePermit<'a>,
}

impl Lane {
    pub(crate) fn new(settings: &SagaSettings) -> Self {
        Self {
            beginning: Semaphore::new(settings.running_max),
            returning: Semaphore::new(settings.running_max),
            calling: Semaphore::new(settings.calling_max),
            calling_of_owner_max: settings.calling_of_owner_max,
            owners: Mutex::default(),
            outages: Outages::default(),
        }
    }

    /// Leave to work, for one that begins.
    pub(crate) async fn begin(&self) -> SemaphorePermit<'_> {
        self.beginning.acquire().await.expect("it is never closed")
    }

    /// Leave to work, for one that was outside.
    pub(crate) async fn come_back(&self) -> SemaphorePermit<'_> {
        self.returning.acquire().await.expect("it is never closed")
    }

    /// Leave to call the outer world on somebody's behalf.
    pub(crate) async fn call(&self, owner: Option<&str>) -> Turn<'_> {
        // The owner's own queue first: who waits in it takes no place in the common one.
        let of_owner = match owner.map(|owner| self.of_owner(owner)) {
            Some(limit) => Some(limit.acquire_owned().await.expect("it is never closed")),
            None => None,
        };
        let calling = self.calling.acquire().await.expect("it is never closed");
        Turn { _of_owner: of_owner, _calling: calling }
    }

    fn of_owner(&self, owner: &str) -> Arc<Semaphore> {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(limit) = owners.get(owner) {
            return limit.clone();
        }
        // Those that nobody holds or waits for are as good as new ones.
        owners.retain(|_, limit| Arc::strong_count(limit) > 1);
        let limit = Arc::new(Semaphore::new(self.calling_of_owner_max));
        owners.insert(owner.to_owned(), limit.clone());
        limit
    }
}
