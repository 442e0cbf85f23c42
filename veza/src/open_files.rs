//! How many files, sockets among them, this process may have open at once.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// As many as the process has a use for. More would only make it slow to start others.
const WANTED: u64 = 65_536;

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

/// The limit as it is now.
#[must_use]
pub fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
