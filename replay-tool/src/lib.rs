//! The commands of `veza-replay`: the log as it is, as it was, and whether it is sound.
//!
//! It reads by the port and changes nothing: the same commands serve a running store over gRPC and
//! a folder at rest. It is not the wiring: which store is read is chosen by `veza/`.
//!
//! | module | what is there |
//! | --- | --- |
//! | [`command`] | the command line |
//! | [`moment`] | `--at`: a position or a time of the past |
//! | [`streams`], [`events`], [`state`], [`verify`] | one file a command |
//! | [`output`] | tables for people, JSON lines for programs |

pub mod command;
pub mod events;
pub mod moment;
pub mod output;
pub mod state;
pub mod streams;
pub mod verify;

pub use command::{ReplayCommand, ReplayError, Verdict, run};
pub use moment::Moment;
pub use output::{Format, Output};
