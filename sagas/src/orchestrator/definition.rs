//! What a saga is made of: its ordered steps, what starts it, and what it waits for.

use std::sync::Arc;

use chrono::TimeDelta;
use event_store::RecordedEvent;
use serde_json::Value;
use uuid::Uuid;

use crate::orchestrator::activity::Activity;

/// The name of a step; it is written to the log, so it never changes within a version.
pub type StepName = &'static str;

/// One kind of saga at one version: a run keeps the version it was started with to its end.
pub struct SagaDefinition {
    /// Its kind; streams are named `saga-<kind>-<subject>`.
    pub kind: &'static str,
    /// Its version; the highest one that is registered starts new runs.
    pub version: u32,
    /// What is done, in this order; undone in the reverse.
    pub steps: Vec<Step>,
    /// The categories of the streams whose events start it or are waited for.
    pub categories: Vec<&'static str>,
    /// Whether an event starts a run.
    pub start: fn(&RecordedEvent) -> Option<Start>,
    /// Whether an event is what a step waits for.
    pub signal: fn(&RecordedEvent) -> Option<Signal>,
    /// On whose behalf a run is, by its input: nobody's runs hold up those of others.
    pub owner: fn(&Value) -> Option<&str>,
}

/// An event starts a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// What the run is about; there is at most one run a subject, ever.
    pub subject: Uuid,
    /// What it is started with.
    pub input: Value,
}

/// An event is what a run waits for, or will come to wait for.
#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    /// What the run is about.
    pub subject: Uuid,
    /// The step that waits.
    pub step: StepName,
    /// What came.
    pub payload: Value,
}

/// One step.
pub struct Step {
    /// Its name, unique within the saga.
    pub name: StepName,
    /// What it does.
    pub kind: StepKind,
    /// What takes it back; a step without it leaves nothing that has to be.
    pub undo: Option<Arc<dyn Activity>>,
    /// Whether there is no way back once it is done: a later refusal pauses the saga.
    pub pivot: bool,
}

/// What a step does.
pub enum StepKind {
    /// It acts.
    Action(Arc<dyn Activity>),
    /// It waits for a signal, but not for ever.
    Wait(Wait),
}

/// A step that waits.
#[derive(Clone, Copy)]
pub struct Wait {
    /// Whether this run waits at all, by its input; otherwise the step is passed over.
    pub needed: fn(&Value) -> bool,
    /// How long, from the moment the step is reached.
    pub deadline: TimeDelta,
    /// What to make of nothing having come by then.
    pub timeout: Timeout,
}

/// What a wait that came to nothing means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// The saga goes on.
    GoOn,
    /// The step is refused for this reason, and what was done before is undone.
    Refuse(&'static str),
}

impl Step {
    /// A step that acts.
    pub fn action(name: StepName, activity: impl Activity) -> Self {
        Self::new(name, StepKind::Action(Arc::new(activity)))
    }

    /// A step that waits.
    pub fn wait(name: StepName, wait: Wait) -> Self {
        Self::new(name, StepKind::Wait(wait))
    }

    /// The same, taken back by this.
    #[must_use]
    pub fn undo(self, activity: impl Activity) -> Self {
        let undo: Option<Arc<dyn Activity>> = Some(Arc::new(activity));
        Self { undo, ..self }
    }

    /// The same, with no way back behind it.
    #[must_use]
    pub fn pivot(self) -> Self {
        Self { pivot: true, ..self }
    }

    fn new(name: StepName, kind: StepKind) -> Self {
        Self { name, kind, undo: None, pivot: false }
    }
}

impl SagaDefinition {
    /// The step of this name.
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }
}
