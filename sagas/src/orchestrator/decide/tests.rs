//! The laws of the core, whatever fails, comes and is waited for.

use async_trait::async_trait;
use chrono::TimeDelta;
use event_schemas::saga::{
    SagaSignalled, SagaStarted, SagaStepCompensated, SagaStepFailed, SagaTimerFired,
};
use proptest::prelude::*;

use super::*;
use crate::orchestrator::activity::{Activity, ActivityError, StepCall};
use crate::orchestrator::state::End;

struct Nothing;

#[async_trait]
impl Activity for Nothing {
    async fn run(&self, _: &StepCall<'_>) -> Result<Value, ActivityError> {
        Ok(Value::Null)
    }
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// What one step of a made-up saga is.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Action { undo: bool },
    Wait { needed: bool, go_on: bool },
}

/// What the world answers when it is asked.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Well,
    Fails,
    Refuses,
    SignalFirst,
    TimePasses,
}

fn saga(shapes: &[Shape]) -> SagaDefinition {
    let step = |(index, shape): (usize, &Shape)| match *shape {
        Shape::Action { undo: false } => Step::action(NAMES[index], Nothing),
        Shape::Action { undo: true } => Step::action(NAMES[index], Nothing).undo(Nothing),
        Shape::Wait { needed, go_on } => {
            let wait = Wait {
                needed: if needed { |_| true } else { |_| false },
                deadline: TimeDelta::days(1),
                timeout: if go_on { Timeout::GoOn } else { Timeout::Refuse("late") },
            };
            Step::wait(NAMES[index], wait)
        }
    };
    SagaDefinition {
        kind: "test",
        version: 1,
        steps: shapes.iter().enumerate().map(step).collect(),
        categories: vec![],
        start: |_| None,
        signal: |_| None,
        owner: |_| None,
    }
}

fn started() -> SagaEvent {
    SagaStarted {
        kind: "test".to_owned(),
        version: 1,
        subject: "it".to_owned(),
        input: Value::Null,
    }
    .into()
}

/// Plays a run to its end against these answers, and well once they are used up.
fn play(saga: &SagaDefinition, answers: &[Answer]) -> Vec<SagaEvent> {
    let mut history = vec![started()];
    let mut answers = answers.iter().copied();
    let mut now = DateTime::UNIX_EPOCH;
    for _ in 0..200 {
        let state = SagaState::fold(history.clone()).unwrap();
        let event = match next(&state, saga, now) {
            NextAction::Record(event) | NextAction::Finish(event) => event,
            NextAction::RetryAt(at) => {
                now = at;
                continue;
            }
            NextAction::WaitUntil(at) => {
                let step = state.timer.clone().unwrap().step;
                match answers.next() {
                    Some(Answer::SignalFirst | Answer::Well) => {
                        let signal = json!(1);
                        SagaSignalled { step, signal }.into()
                    }
                    _ => {
                        now = at;
                        continue;
                    }
                }
            }
            NextAction::RunStep(step) => did(step, answers.next(), now, true),
            NextAction::Compensate(step) => did(step, answers.next(), now, false),
            NextAction::Nothing => return history,
        };
        history.push(event);
    }
    panic!("a run of {} steps does not end: {history:?}", saga.steps.len());
}

fn did(step: &str, answer: Option<Answer>, now: DateTime<Utc>, forwards: bool) -> SagaEvent {
    let step = step.to_owned();
    match (answer, forwards) {
        (Some(Answer::Fails), _) => SagaStepFailed {
            step,
            attempt: 1,
            reason: "not now".to_owned(),
            retry_at: now + TimeDelta::seconds(1),
            waiting_since: None,
        }
        .into(),
        (Some(Answer::Refuses), true) => {
            let reason = "no".to_owned();
            SagaStepRefused { step, reason }.into()
        }
        // Late or early, they are of no step that waits.
        (Some(Answer::TimePasses), _) => SagaTimerFired { step }.into(),
        (Some(Answer::SignalFirst), _) => {
            let (step, signal) = ("f".to_owned(), json!(2));
            SagaSignalled { step, signal }.into()
        }
        (_, true) => {
            let output = Value::Null;
            SagaStepCompleted { step, output }.into()
        }
        (_, false) => SagaStepCompensated { step }.into(),
    }
}

fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let shape = prop_oneof![
        3 => any::<bool>().prop_map(|undo| Shape::Action { undo }),
        1 => any::<(bool, bool)>().prop_map(|(needed, go_on)| Shape::Wait { needed, go_on }),
    ];
    proptest::collection::vec(shape, 1..=NAMES.len())
}

fn answers() -> impl Strategy<Value = Vec<Answer>> {
    let answer = prop_oneof![
        4 => Just(Answer::Well),
        2 => Just(Answer::Fails),
        1 => Just(Answer::Refuses),
        1 => Just(Answer::SignalFirst),
        1 => Just(Answer::TimePasses),
    ];
    proptest::collection::vec(answer, 0..24)
}

proptest! {
    #[test]
    fn what_was_done_is_undone_in_reverse_each_once(shapes in shapes(), answers in answers()) {
        let saga = saga(&shapes);
        let history = play(&saga, &answers);
        let state = SagaState::fold(history.clone()).unwrap();
        let done: Vec<_> = state.done.iter().map(|(name, _)| name.as_str()).collect();
        let order: Vec<_> = saga.steps.iter().map(|step| step.name).collect();
        prop_assert_eq!(&done[..], &order[..done.len()], "in order, each once");
        match state.end {
            Some(End::Completed) => {
                prop_assert_eq!(done.len(), order.len());
                prop_assert!(state.undone.is_empty());
            }
            Some(End::Compensated) => {
                let undoable = |name: &&str| saga.step(name).unwrap().undo.is_some();
                let expected: Vec<_> = done.iter().copied().rev().filter(undoable).collect();
                prop_assert_eq!(&state.undone, &expected);
                prop_assert!(state.refusal.is_some());
            }
            None => prop_assert!(false, "it did not end: {history:?}"),
        }
        let refused = history.iter().position(|it| matches!(it, SagaEvent::SagaStepRefused(_)));
        if let Some(refused) = refused {
            let later = &history[refused..];
            let went_on = later.iter().any(|it| matches!(it, SagaEvent::SagaStepCompleted(_)));
            prop_assert!(!went_on, "a step was done after undoing began");
        }
    }

    #[test]
    fn nothing_is_asked_for_before_its_time(answers in answers()) {
        let saga = saga(&[Shape::Action { undo: true }, Shape::Action { undo: false }]);
        let history = play(&saga, &answers);
        for length in 1..=history.len() {
            let state = SagaState::fold(history[..length].iter().cloned()).unwrap();
            if let Some(failure) = &state.failure {
                let early = failure.retry_at - TimeDelta::milliseconds(1);
                prop_assert_eq!(next(&state, &saga, early), NextAction::RetryAt(failure.retry_at));
            }
        }
    }
}

#[test]
fn a_signal_that_comes_early_is_kept() {
    let wait = Shape::Wait { needed: true, go_on: false };
    let saga = saga(&[Shape::Action { undo: false }, wait]);
    let (step, signal) = ("b".to_owned(), json!("yes"));
    let mut state = SagaState::fold([started(), SagaSignalled { step, signal }.into()]).unwrap();
    let now = DateTime::UNIX_EPOCH;
    assert_eq!(next(&state, &saga, now), NextAction::RunStep("a"));
    state.apply(did("a", None, now, true));
    let NextAction::Record(SagaEvent::SagaStepCompleted(completed)) = next(&state, &saga, now)
    else {
        panic!("it waits for what it has");
    };
    assert_eq!(completed.output["signal"], "yes");
}

#[test]
fn what_is_recorded_first_decides() {
    let wait = Shape::Wait { needed: true, go_on: false };
    let saga = saga(&[wait]);
    let due_at = DateTime::UNIX_EPOCH + TimeDelta::days(1);
    let step = || "a".to_owned();
    let set = SagaEvent::from(SagaTimerSet { step: step(), due_at });
    let fired = SagaEvent::from(SagaTimerFired { step: step() });
    let signal = json!(1);
    let signalled = SagaEvent::from(SagaSignalled { step: step(), signal });
    let after = |first: &SagaEvent, second: &SagaEvent| {
        let events = [started(), set.clone(), first.clone(), second.clone()];
        next(&SagaState::fold(events).unwrap(), &saga, due_at)
    };
    let late = after(&fired, &signalled);
    assert!(matches!(late, NextAction::Record(SagaEvent::SagaStepRefused(_))), "{late:?}");
    let early = after(&signalled, &fired);
    assert!(matches!(early, NextAction::Record(SagaEvent::SagaStepCompleted(_))), "{early:?}");
}
