//! What a run does next: a pure function of its state, its definition and the time.

use chrono::{DateTime, Utc};
use event_schemas::saga::{
    SagaCompensated, SagaCompleted, SagaEvent, SagaStepCompleted, SagaStepRefused, SagaTimerFired,
    SagaTimerSet,
};
use serde_json::{Value, json};

use crate::orchestrator::definition::{SagaDefinition, Step, StepKind, StepName, Timeout, Wait};
use crate::orchestrator::state::SagaState;

/// What a run does next.
#[derive(Clone, Debug, PartialEq)]
pub enum NextAction {
    /// Do this step.
    RunStep(StepName),
    /// Undo this step.
    Compensate(StepName),
    /// Record this, which nothing outside has to be done for.
    Record(SagaEvent),
    /// Record this; the run is over then.
    Finish(SagaEvent),
    /// Come back then: a step that failed is due again.
    RetryAt(DateTime<Utc>),
    /// Come back then, or when a signal has come.
    WaitUntil(DateTime<Utc>),
    /// Nothing: it is over, or an operator has to look.
    Nothing,
}

/// What a run does next.
pub fn next(state: &SagaState, saga: &SagaDefinition, now: DateTime<Utc>) -> NextAction {
    if state.end.is_some() || state.pause.is_some() {
        return NextAction::Nothing;
    }
    if let Some(failure) = &state.failure
        && failure.retry_at > now
    {
        return NextAction::RetryAt(failure.retry_at);
    }
    match &state.refusal {
        Some(refusal) => back(state, saga, &refusal.reason),
        None => onwards(state, saga, now),
    }
}

/// Whether a refusal can still be answered by undoing everything.
pub fn can_go_back(state: &SagaState, saga: &SagaDefinition) -> bool {
    !state.done.iter().any(|(name, _)| saga.step(name).is_some_and(|step| step.pivot))
}

fn back(state: &SagaState, saga: &SagaDefinition, reason: &str) -> NextAction {
    let undo = saga.steps.iter().rev().find(|step| {
        step.undo.is_some()
            && state.output(step.name).is_some()
            && !state.undone.iter().any(|name| name == step.name)
    });
    match undo {
        Some(step) => NextAction::Compensate(step.name),
        None => {
            let reason = reason.to_owned();
            NextAction::Finish(SagaCompensated { reason }.into())
        }
    }
}

fn onwards(state: &SagaState, saga: &SagaDefinition, now: DateTime<Utc>) -> NextAction {
    let step = saga.steps.iter().find(|step| state.output(step.name).is_none());
    match step {
        None => NextAction::Finish(SagaCompleted {}.into()),
        Some(step) => match &step.kind {
            StepKind::Action(_) => NextAction::RunStep(step.name),
            StepKind::Wait(wait) => wait_for(state, step, wait, now),
        },
    }
}

fn wait_for(state: &SagaState, step: &Step, wait: &Wait, now: DateTime<Utc>) -> NextAction {
    let timer = state.timer.as_ref().filter(|timer| timer.step == step.name);
    let name = step.name.to_owned();
    if !(wait.needed)(&state.input) {
        return completed(name, json!({ "came": "not needed" }));
    }
    if let Some(signal) = state.signals.get(step.name) {
        return completed(name, json!({ "came": "signal", "signal": signal }));
    }
    match timer {
        None => {
            let due_at = now + wait.deadline;
            NextAction::Record(SagaTimerSet { step: name, due_at }.into())
        }
        Some(timer) if timer.fired => match wait.timeout {
            Timeout::GoOn => completed(name, json!({ "came": "time" })),
            Timeout::Refuse(reason) => {
                let reason = reason.to_owned();
                NextAction::Record(SagaStepRefused { step: name, reason }.into())
            }
        },
        Some(timer) if timer.due_at <= now => {
            NextAction::Record(SagaTimerFired { step: name }.into())
        }
        Some(timer) => NextAction::WaitUntil(timer.due_at),
    }
}

fn completed(step: String, output: Value) -> NextAction {
    NextAction::Record(SagaStepCompleted { step, output }.into())
}

#[cfg(test)]
mod tests;
