//! Where a run stands: a pure fold of what its stream records.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use event_schemas::saga::{SagaEvent, SagaStarted};
use serde::Serialize;
use serde_json::Value;

/// Where a run of a saga stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SagaState {
    /// Which kind of saga.
    pub kind: String,
    /// The version of its definition.
    pub version: u32,
    /// What it is about.
    pub subject: String,
    /// What it was started with.
    pub input: Value,
    /// The steps that were done, in order, each with what came of it.
    pub done: Vec<(String, Value)>,
    /// The steps that were undone, in order.
    pub undone: Vec<String>,
    /// Why everything is being undone, when it is.
    pub refusal: Option<Refusal>,
    /// How the step it is at has failed until now.
    pub failure: Option<Failure>,
    /// Until when it waits.
    pub timer: Option<Timer>,
    /// What has come for which waiting step, be it early.
    pub signals: BTreeMap<String, Value>,
    /// Why it waits for an operator, when it does.
    pub pause: Option<Pause>,
    /// Whether it is over.
    pub end: Option<End>,
}

/// A step was refused for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Which step.
    pub step: String,
    /// Why.
    pub reason: String,
}

/// A step, or its undoing, has failed and will be tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Which step.
    pub step: String,
    /// How often it has failed.
    pub attempt: u32,
    /// Why, the last time.
    pub reason: String,
    /// Not tried again before this.
    pub retry_at: DateTime<Utc>,
    /// Since when somebody is waited for who can't be reached, where that is why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<DateTime<Utc>>,
}

/// A step waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Timer {
    /// Which step.
    pub step: String,
    /// Until when.
    pub due_at: DateTime<Utc>,
    /// Whether that time has come before the signal.
    pub fired: bool,
}

/// The run waits for an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pause {
    /// At which step.
    pub step: String,
    /// Why.
    pub reason: String,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Every step was done.
    Completed,
    /// Everything done was undone.
    Compensated,
}

impl SagaState {
    /// The state of a run that has just started.
    pub fn started(started: SagaStarted) -> Self {
        Self {
            kind: started.kind,
            version: started.version,
            subject: started.subject,
            input: started.input,
            done: Vec::new(),
            undone: Vec::new(),
            refusal: None,
            failure: None,
            timer: None,
            signals: BTreeMap::new(),
            pause: None,
            end: None,
        }
    }

    /// The state after these events; `None` when they do not begin with the start.
    pub fn fold(events: impl IntoIterator<Item = SagaEvent>) -> Option<Self> {
        let mut events = events.into_iter();
        let SagaEvent::SagaStarted(started) = events.next()? else {
            return None;
        };
        let mut state = Self::started(started);
        for event in events {
            state.apply(event);
        }
        Some(state)
    }

    /// Takes in one more event.
    pub fn apply(&mut self, event: SagaEvent) {
        match event {
            // A second start can't be appended: the first expects no stream.
            SagaEvent::SagaStarted(_) => {}
            SagaEvent::SagaStepCompleted(it) => {
                self.failure = None;
                self.timer = None;
                self.done.push((it.step, it.output));
            }
            SagaEvent::SagaStepFailed(it) => {
                let (attempt, retry_at) = (it.attempt, it.retry_at);
                let (step, reason, waiting_since) = (it.step, it.reason, it.waiting_since);
                self.failure = Some(Failure { step, attempt, reason, retry_at, waiting_since });
            }
            SagaEvent::SagaStepRefused(it) => {
                self.failure = None;
                self.timer = None;
                let (step, reason) = (it.step, it.reason);
                self.refusal = Some(Refusal { step, reason });
            }
            SagaEvent::SagaTimerSet(it) => {
                let (step, due_at) = (it.step, it.due_at);
                self.timer = Some(Timer { step, due_at, fired: false });
            }
            SagaEvent::SagaTimerFired(it) => self.fire(&it.step),
            SagaEvent::SagaSignalled(it) => self.receive(it.step, it.signal),
            SagaEvent::SagaStepCompensated(it) => {
                self.failure = None;
                self.undone.push(it.step);
            }
            SagaEvent::SagaCompleted(_) => self.end = Some(End::Completed),
            SagaEvent::SagaCompensated(_) => self.end = Some(End::Compensated),
            SagaEvent::SagaPaused(it) => {
                let (step, reason) = (it.step, it.reason);
                self.pause = Some(Pause { step, reason });
            }
            SagaEvent::SagaResumed(_) => {
                self.pause = None;
                self.failure = None;
            }
        }
    }

    /// What came of a step that was done.
    pub fn output(&self, step: &str) -> Option<&Value> {
        self.done.iter().find(|(name, _)| name == step).map(|(_, output)| output)
    }

    /// How often this step, or its undoing, has failed in a row.
    pub fn attempts(&self, step: &str) -> u32 {
        self.failure
            .as_ref()
            .filter(|failure| failure.step == step)
            .map_or(0, |failure| failure.attempt)
    }

    /// Since when somebody is waited for without whom this step can't be done.
    pub fn waiting_since(&self, step: &str) -> Option<DateTime<Utc>> {
        self.failure.as_ref().filter(|failure| failure.step == step)?.waiting_since
    }

    // Whichever of signal and timer was recorded first has decided; the other comes too late.
    fn fire(&mut self, step: &str) {
        if self.signals.contains_key(step) {
            return;
        }
        if let Some(timer) = self.timer.as_mut().filter(|timer| timer.step == step) {
            timer.fired = true;
        }
    }

    fn receive(&mut self, step: String, signal: Value) {
        let fired = self.timer.as_ref().is_some_and(|timer| timer.step == step && timer.fired);
        if !fired {
            self.signals.entry(step).or_insert(signal);
        }
    }
}
