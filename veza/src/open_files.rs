//! How many files, sockets among them, this process may have open at once.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// As many as the process has a use for. More would only make it slow to start others.
const WANTED: u64 = 65_536;

/// More clients than that at once an event store hardly has: each needs one connection.
const EVENT_STORE_CONNECTIONS_MAX: usize = 8_192;

/// Fewer than that are worth a word.
const FEW_CONNECTIONS: usize = 1_024;

/// Files that an event store needs besides, at least: of its log and its indexes.
const EVENT_STORE_FILES: u64 = 256;

/// Raises the limit as far as is wanted and may be: what shells and service managers begin with is
/// kept low for programs that can't count further.
pub fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(u64::MAX).min(WANTED);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = Rlimit { current: Some(wanted), ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, wanted, "the limit of open files could not be raised");
    }
}

/// How many of them the connections to the event store's port may be at once: an eighth of all.
#[must_use]
pub fn event_store_connections() -> usize {
    usize::try_from(limit() / 8).unwrap_or(usize::MAX).clamp(16, EVENT_STORE_CONNECTIONS_MAX)
}

/// How many there may be where the process does nothing else: as many as are asked for, or else
/// half of all files. Warns where files are too few for what is asked for, or for many.
#[must_use]
pub fn connections_alone(asked: Option<usize>) -> usize {
    let limit = limit();
    let half = usize::try_from(limit / 2).unwrap_or(usize::MAX);
    let connections = asked.unwrap_or_else(|| half.clamp(16, EVENT_STORE_CONNECTIONS_MAX));
    let needed = (connections as u64).saturating_add(EVENT_STORE_FILES);
    if limit < needed {
        tracing::warn!(limit, needed, "connections may not all find a place: raise `ulimit -n`");
    } else if asked.is_none() && connections < FEW_CONNECTIONS {
        tracing::warn!(limit, connections, "there can be few connections: raise `ulimit -n`");
    }
    connections
}

/// The limit as it is now.
#[must_use]
pub fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
