//! The engine of our own: an event store in a folder of this machine.
//!
//! One thread writes, with one sync for all appends that are waiting; readers never wait for it.
//! It is for one process: whoever else wants the events talks to that process. The bytes are in
//! `FORMAT.md`; how an append is decided is in `decide`, what is visible of a stream in `window`,
//! and how what is not goes in `scavenge`; what rots on the disk is found by `scrub`. Beside it:
//! [`backup`] of a store that serves, and putting it back; and [`inspect`], which looks at a folder
//! from outside.

mod audit;
pub mod backup;
mod decide;
mod fullness;
mod indexed;
pub mod inspect;
mod lock;
mod open;
mod pace;
mod past;
mod reading;
mod recent;
mod recorded_at;
mod requests;
mod scavenge;
mod scrub;
mod sealer;
mod staging;
mod store;
mod window;
mod writer;

pub use audit::Verified;
pub use open::{EmbeddedOptions, OpenError};
pub use scavenge::{ScavengeError, ScavengeOptions, ScavengeProgress, ScavengeStatus, Scavenged};
pub use scrub::{ScrubOptions, Scrubbed};
pub use store::EmbeddedStore;

pub(crate) use indexed::{FollowFrom, indexed};
pub(crate) use store::Shared;
pub(crate) use window::Window;
