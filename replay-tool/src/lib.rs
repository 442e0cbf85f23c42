//! The commands of `veza-replay`: the log as it is, as it was, and whether it is sound; and read
//! models, made anew from it.
//!
//! It reads the log by the port and never changes what can be read of it: the same commands serve a
//! running store over gRPC and a folder at rest, which alone can be scavenged. Backups are made of
//! the folder itself, at rest or not. It is not the
//! wiring: which store and which database are asked, and which models there are, is chosen by
//! `veza/`.
//!
//! | module | what is there |
//! | --- | --- |
//! | [`command`] | the command line |
//! | [`moment`] | `--at`: a position or a time of the past |
//! | [`streams`], [`events`], [`state`], [`verify`], [`scavenge`] | one file a command on the log |
//! | [`backup`], [`restore`], [`inspect`] | one file a command on folders with a log |
//! | [`models`], [`rebuild`], [`parked`], [`sagas`] | one file a command on the read models |
//! | [`output`] | tables for people, JSON lines for programs |

pub mod backup;
pub mod command;
pub mod events;
pub mod inspect;
pub mod models;
pub mod moment;
pub mod output;
pub mod parked;
pub mod rebuild;
pub mod restore;
pub mod sagas;
pub mod scavenge;
pub mod state;
pub mod streams;
pub mod verify;

pub use backup::LogFiles;
pub use command::{
    FolderCommand, ModelCommand, ReplayCommand, ReplayError, Verdict, run, run_on_folder,
    run_on_models,
};
pub use models::Models;
pub use moment::Moment;
pub use output::{Format, Output, shown};
pub use state::FoldSaga;
pub use verify::corrupt;
