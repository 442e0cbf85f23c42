//! The passes of a store, one at a time, each with an id that its start and end are kept under.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::history::History;
use super::{Maintained, Pass};
use crate::embedded::{ScavengeError, ScavengeOptions};
use crate::port::EventStore;

/// What a pass is called by who does not know its id, or when it has none.
const CURRENT: &str = "current";

/// Scavenging as an operator sees it: passes that are begun and stopped by id, and kept in the
/// streams `$scavenges` and `$scavenges-<id>` as EventStoreDB does.
pub struct Scavenges {
    maintained: Arc<dyn Maintained>,
    history: History,
    passes: Mutex<Passes>,
}

#[derive(Default)]
struct Passes {
    current: Option<Current>,
    /// The id of the one before.
    last: Option<String>,
}

/// The pass that is on its way.
struct Current {
    id: String,
    ended: CancellationToken,
}

/// What became of the wish for a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It is on its way, and this is its id.
    Started(String),
    /// Another is, with this id.
    InProgress(String),
}

impl Scavenges {
    /// Those of this store; `node` is told in the history as who did it.
    pub fn new<S: EventStore + Maintained>(store: Arc<S>, node: String) -> Arc<Self> {
        let history = History::new(Arc::clone(&store) as _, node);
        Arc::new(Self { maintained: store, history, passes: Mutex::default() })
    }

    /// The store that they are of.
    pub(crate) fn maintained(&self) -> &dyn Maintained {
        &*self.maintained
    }

    /// Begins a pass, unless one is on its way. It needs a Tokio runtime around it.
    ///
    /// # Errors
    /// When the store can't; that another pass is on its way is none.
    pub fn start(self: &Arc<Self>, options: ScavengeOptions) -> Result<Begun, ScavengeError> {
        let mut passes = self.passes();
        if let Some(current) = &passes.current {
            return Ok(Begun::InProgress(current.id.clone()));
        }
        let pass = match self.maintained.begin_scavenge(options) {
            Ok(pass) => pass,
            // One that others began, past this.
            Err(ScavengeError::Running) => return Ok(Begun::InProgress(CURRENT.to_owned())),
            Err(error) => return Err(error),
        };
        let id = Uuid::new_v4().to_string();
        let ended = CancellationToken::new();
        passes.current = Some(Current { id: id.clone(), ended: ended.clone() });
        drop(passes);
        let ends = Ends { scavenges: Arc::clone(self), _told: ended.drop_guard() };
        tokio::spawn(follow(ends, id.clone(), pass));
        Ok(Begun::Started(id))
    }

    /// Lets the pass with this id end, and waits until it has; `None` when there is none. That the
    /// last pass has ended by itself is no error: who stops it can't know.
    pub async fn stop(&self, id: &str) -> Option<String> {
        let ended = {
            let passes = self.passes();
            match &passes.current {
                Some(current) if current.id == id || id == CURRENT => {
                    Some((current.id.clone(), current.ended.clone()))
                }
                _ if passes.last.as_deref() == Some(id) => return passes.last.clone(),
                _ => None,
            }
        };
        let Some((id, ended)) = ended else {
            let stops = id == CURRENT && self.maintained.stop_scavenge();
            return stops.then(|| CURRENT.to_owned());
        };
        self.maintained.stop_scavenge();
        ended.cancelled().await;
        Some(id)
    }

    fn passes(&self) -> MutexGuard<'_, Passes> {
        self.passes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Scavenges {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Scavenges").finish_non_exhaustive()
    }
}

/// Sees to it that a pass does not count as on its way when nobody follows it any more.
struct Ends {
    scavenges: Arc<Scavenges>,
    _told: DropGuard,
}

impl Drop for Ends {
    fn drop(&mut self) {
        let mut passes = self.scavenges.passes();
        passes.last = passes.current.take().map(|ended| ended.id);
    }
}

/// Keeps that a pass began, waits for its end, and keeps that.
async fn follow(ends: Ends, id: String, pass: Pass) {
    let since = Instant::now();
    let history = &ends.scavenges.history;
    history.started(&id).await;
    let outcome = pass.await;
    history.completed(&id, &outcome, since.elapsed()).await;
}
