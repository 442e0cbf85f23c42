//! What an operator asks of a store beyond the port: that it give back what nobody can see.
//!
//! The port is for all stores; this is for those that have a folder of their own. Whoever serves a
//! store hands it on as [`Scavenges`], or leaves it out, and then the calls are refused.

mod history;
mod scavenges;

use std::path::PathBuf;

use futures::future::BoxFuture;

use crate::embedded::{EmbeddedStore, ScavengeError, ScavengeOptions, Scavenged};

pub use scavenges::{Begun, Scavenges};

/// A pass on its way. It goes on when this is dropped.
pub type Pass = BoxFuture<'static, Result<Scavenged, ScavengeError>>;

/// A store that can be scavenged.
pub trait Maintained: Send + Sync + 'static {
    /// Begins a pass, unless one is on its way.
    ///
    /// # Errors
    /// [`ScavengeError::Running`] when one is.
    fn begin_scavenge(&self, options: ScavengeOptions) -> Result<Pass, ScavengeError>;

    /// Lets a pass that is on its way end soon; returns whether there is one.
    fn stop_scavenge(&self) -> bool;

    /// Where its log is, when that is a folder of this machine.
    fn folder(&self) -> Option<PathBuf>;
}

impl Maintained for EmbeddedStore {
    fn begin_scavenge(&self, options: ScavengeOptions) -> Result<Pass, ScavengeError> {
        EmbeddedStore::begin_scavenge(self, options)
    }

    fn stop_scavenge(&self) -> bool {
        EmbeddedStore::stop_scavenge(self)
    }

    fn folder(&self) -> Option<PathBuf> {
        EmbeddedStore::folder(self)
    }
}
