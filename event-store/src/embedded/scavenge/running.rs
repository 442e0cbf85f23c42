//! The thread of a pass: one at a time, and none that outlives its store.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use super::pass::{Halt, Pass};
use super::{ScavengeError, ScavengeOptions, ScavengeProgress, ScavengeStatus, Scavenged};
use crate::embedded::pace::Stop;
use crate::embedded::store::Shared;
use crate::error::StoreError;

/// What there is to know of scavenging in a store.
pub(crate) struct Scavenger {
    state: Mutex<State>,
    stop: Stop,
}

struct State {
    status: ScavengeStatus,
    thread: Option<JoinHandle<()>>,
    closed: bool,
}

type Outcome = Result<Scavenged, ScavengeError>;

/// Starts a pass on a thread of its own.
pub(super) fn start(
    shared: &Arc<Shared>,
    options: ScavengeOptions,
) -> Result<oneshot::Receiver<Outcome>, ScavengeError> {
    let scavenger = &shared.scavenger;
    let mut state = scavenger.lock();
    if state.closed {
        return Err(StoreError::Closed.into());
    }
    if matches!(state.status, ScavengeStatus::Running(_)) {
        return Err(ScavengeError::Running);
    }
    scavenger.stop.set(false);
    let (reply, outcome) = oneshot::channel();
    let shared = Arc::clone(shared);
    let work = move || {
        let told = Told(&shared.scavenger);
        let done = told.0.work(&shared, options);
        drop(told);
        // Whoever asked may have gone.
        drop(reply.send(done));
    };
    let thread = thread::Builder::new().name("event-store-scavenger".to_owned());
    state.thread = Some(thread.spawn(work).map_err(StoreError::from)?);
    state.status = ScavengeStatus::Running(ScavengeProgress::default());
    Ok(outcome)
}

/// What is said of a thread that did not say anything itself.
pub(super) fn panicked() -> StoreError {
    io::Error::other("the thread that scavenges panicked").into()
}

/// Sees to it that a pass does not count as running when its thread is gone.
struct Told<'a>(&'a Scavenger);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if let ScavengeStatus::Running(progress) = state.status {
            let reason = panicked().to_string().into();
            state.status = ScavengeStatus::Failed { progress, reason };
        }
    }
}

impl Scavenger {
    /// One that was never asked for anything.
    pub(crate) fn new() -> Self {
        let state = State { status: ScavengeStatus::Idle, thread: None, closed: false };
        Self { state: Mutex::new(state), stop: Stop::default() }
    }

    /// Lets a pass that is on its way end soon; returns whether there is one.
    pub(crate) fn stop(&self) -> bool {
        let runs = matches!(self.lock().status, ScavengeStatus::Running(_));
        if runs {
            self.stop.set(true);
        }
        runs
    }

    /// Stops for good; the thread that is returned must have ended before the folder is let go of.
    pub(crate) fn close(&self) -> Option<JoinHandle<()>> {
        let mut state = self.lock();
        state.closed = true;
        self.stop.set(true);
        state.thread.take()
    }

    pub(crate) fn status(&self) -> ScavengeStatus {
        self.lock().status.clone()
    }

    fn work(&self, shared: &Shared, options: ScavengeOptions) -> Outcome {
        let tell = |progress| self.lock().status = ScavengeStatus::Running(progress);
        let ended = Pass::new(shared, options, &self.stop, &tell).run();
        let mut state = self.lock();
        let progress = match state.status {
            ScavengeStatus::Running(progress) => progress,
            _ => ScavengeProgress::default(),
        };
        let (status, outcome) = match ended {
            Ok(progress) => {
                tracing::info!(?progress, "the log was scavenged");
                (ScavengeStatus::Completed(progress), Ok(Scavenged { progress, completed: true }))
            }
            Err(Halt::Stopped) => {
                tracing::info!(?progress, "scavenging was stopped");
                (ScavengeStatus::Stopped(progress), Ok(Scavenged { progress, completed: false }))
            }
            Err(Halt::Failed(error)) => {
                tracing::warn!(%error, "scavenging failed");
                let reason = error.to_string().into();
                (ScavengeStatus::Failed { progress, reason }, Err(error.into()))
            }
        };
        state.status = status;
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
