//! The command line of `veza-replay`, and what its commands end with.

use std::io;

use event_store::{EventStore, ReadError, StoreError};
use thiserror::Error;

use crate::events::{EventsArgs, events};
use crate::output::Output;
use crate::state::{StateArgs, state};
use crate::streams::{StreamsArgs, streams};
use crate::verify::verify;

/// What can be asked of the log.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum ReplayCommand {
    /// List the streams with their sizes
    Streams(StreamsArgs),
    /// Show the events of a stream, or of the whole log
    Events(EventsArgs),
    /// Show the state that a stream's events add up to, now or at a moment of the past
    State(StateArgs),
    /// Read the whole log and check that nothing is missing, changed or out of order
    Verify,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All as it should be.
    Good,
    /// Something is wrong with the log, and has been printed.
    Bad,
}

/// Why a command could not be carried out.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No aggregate has streams of this category.
    #[error("no aggregate keeps its events in streams of category {0:?}")]
    UnknownCategory(String),
    /// The stream's events do not add up to a state.
    #[error("the events of {stream} can't be folded: {reason}")]
    NotFoldable {
        /// Which stream.
        stream: String,
        /// What is wrong.
        reason: String,
    },
    /// The result could not be printed.
    #[error("the result could not be printed")]
    Output(#[from] io::Error),
}

impl ReplayError {
    /// Whether the store could not be reached, so that nothing is known of the log.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Read(ReadError::Store(StoreError::Unavailable { .. }))
        )
    }
}

/// Carries out a command on a store.
pub async fn run(
    store: &dyn EventStore,
    command: &ReplayCommand,
    output: &mut Output<'_>,
) -> Result<Verdict, ReplayError> {
    match command {
        ReplayCommand::Streams(args) => streams(store, args, output).await?,
        ReplayCommand::Events(args) => events(store, args, output).await?,
        ReplayCommand::State(args) => state(store, args, output).await?,
        ReplayCommand::Verify => return verify(store, output).await,
    }
    Ok(Verdict::Good)
}
