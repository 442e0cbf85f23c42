//! One run, driven step by step until it is over, has to wait, or the runtime stops.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use event_schemas::saga::{
    SagaEvent, SagaPaused, SagaStepCompensated, SagaStepCompleted, SagaStepFailed, SagaStepRefused,
};
use event_store::StreamName;
use futures::FutureExt;
use serde_json::Value;
use tokio::sync::SemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::orchestrator::activity::{Activity, ActivityError, StepCall, Way};
use crate::orchestrator::agenda::Pace;
use crate::orchestrator::clock::Clock;
use crate::orchestrator::decide::{NextAction, can_go_back, next};
use crate::orchestrator::definition::{SagaDefinition, Step, StepKind, StepName};
use crate::orchestrator::journal::{Journal, JournalError, Run};
use crate::orchestrator::lane::Lane;
use crate::orchestrator::outages::Outages;
use crate::orchestrator::runtime::{SagaSettings, parked};

/// First and longest wait after the store failed; it doubles between them.
const STORE_RETRY_FIRST: Duration = Duration::from_millis(50);
const STORE_RETRY_LONGEST: Duration = Duration::from_secs(5);

/// What is said of an activity that panicked.
const PANICKED: &str = "the activity panicked";

/// How long a run rests that broke outside of its activities.
const BROKEN_REST: TimeDelta = TimeDelta::minutes(1);

/// One run.
pub(crate) struct Instance {
    pub(crate) stream: StreamName,
    pub(crate) journal: Journal,
    pub(crate) sagas: Arc<[SagaDefinition]>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Arc<SagaSettings>,
    pub(crate) lane: Arc<Lane>,
    pub(crate) of_store: Arc<Outages>,
    pub(crate) stop: CancellationToken,
}

impl Instance {
    /// Drives the run as far as it goes without waiting for anything but the store.
    ///
    /// It always comes back: a run whose task were lost would count as at work for good.
    pub(crate) async fn drive(self) -> (StreamName, Pace) {
        let driven = AssertUnwindSafe(self.drive_on()).catch_unwind().await;
        let pace = driven.unwrap_or_else(|_| {
            tracing::error!(saga = %self.stream, "the run broke; it is tried again later");
            Pace::Until(self.clock.now() + BROKEN_REST)
        });
        (self.stream, pace)
    }

    async fn drive_on(&self) -> Pace {
        let mut pause = STORE_RETRY_FIRST;
        while !self.stop.is_cancelled() {
            let Some(permit) = self.stop.run_until_cancelled(self.lane.begin()).await else {
                break;
            };
            // Many may wait for their turn, so what is large is made when it has come.
            match Box::pin(self.advance(permit)).await {
                Ok(pace) => {
                    self.of_store.store_answered();
                    return pace;
                }
                Err(JournalError::Conflict(_)) => {}
                Err(error) if error.is_of_the_stream() => {
                    // It is looked at again when something comes in, or with the next start.
                    let _ = parked(&self.stream, Err(error));
                    return Pace::Asleep;
                }
                Err(error) => {
                    self.of_store.store_failed(&error);
                    let wait = tokio::time::sleep(pause);
                    let _ = self.stop.run_until_cancelled(wait).await;
                    pause = (pause * 2).min(STORE_RETRY_LONGEST);
                }
            }
        }
        Pace::Asleep
    }

    /// Goes on as far as it can without waiting.
    async fn advance<'a>(&'a self, permit: SemaphorePermit<'a>) -> Result<Pace, JournalError> {
        let mut permit = Some(permit);
        let Some(mut run) = self.journal.load(&self.stream).await? else {
            return Ok(Pace::Over);
        };
        let Some(saga) = definition(&self.sagas, &run) else {
            let (kind, version) = (&run.state.kind, run.state.version);
            tracing::error!(saga = %self.stream, kind, version, "no such saga is known here");
            return Ok(Pace::Asleep);
        };
        while !self.stop.is_cancelled() {
            let now = self.clock.now();
            match next(&run.state, saga, now) {
                NextAction::RunStep(step) => {
                    self.step(&mut permit, &mut run, saga, (step, Way::Do)).await?;
                }
                NextAction::Compensate(step) => {
                    self.step(&mut permit, &mut run, saga, (step, Way::Undo)).await?;
                }
                NextAction::Record(event) | NextAction::Finish(event) => {
                    self.journal.record(&mut run, event, now).await?;
                }
                NextAction::RetryAt(at) if is_waited_for(&run) => return Ok(Pace::Outside(at)),
                NextAction::RetryAt(at) | NextAction::WaitUntil(at) => return Ok(Pace::Until(at)),
                NextAction::Nothing if run.state.end.is_some() => return Ok(Pace::Over),
                NextAction::Nothing => return Ok(Pace::Paused),
            }
        }
        Ok(Pace::Asleep)
    }

    /// Does or undoes a step, and records what came of it.
    async fn step<'a>(
        &'a self,
        permit: &mut Option<SemaphorePermit<'a>>,
        run: &mut Run,
        saga: &SagaDefinition,
        (name, way): (StepName, Way),
    ) -> Result<(), JournalError> {
        let step = saga.step(name).expect("the step to do is one of the saga's");
        let outcome = match activity(step, way) {
            None => Ok(Value::Null),
            Some(activity) if activity.calls_out() => {
                // Others work while this one waits outside.
                drop(permit.take());
                let turn = self.lane.call((saga.owner)(&run.state.input));
                let Some(turn) = self.stop.run_until_cancelled(turn).await else {
                    return Ok(());
                };
                let outcome = self.attempt(activity, run, saga, (name, way)).await;
                drop(turn);
                *permit = Some(self.lane.come_back().await);
                outcome
            }
            Some(activity) => self.attempt(activity, run, saga, (name, way)).await,
        };
        self.tell(saga, name, &outcome);
        count(saga, (name, way), &outcome);
        loop {
            let now = self.clock.now();
            let event = self.verdict(run, saga, (name, way), &outcome, now);
            let pause = match &event {
                SagaEvent::SagaPaused(pause) => Some(pause.reason.clone()),
                _ => None,
            };
            match self.journal.record(run, event, now).await {
                Err(JournalError::Conflict(stream)) => {
                    // Most likely a signal came in: what was done here still stands.
                    let Some(newer) = self.journal.load(&stream).await? else {
                        return Err(JournalError::NotASaga(stream));
                    };
                    *run = newer;
                    let asked = match way {
                        Way::Do => NextAction::RunStep(name),
                        Way::Undo => NextAction::Compensate(name),
                    };
                    if next(&run.state, saga, now) != asked {
                        return Ok(());
                    }
                }
                recorded => {
                    if let (Ok(()), Some(reason)) = (&recorded, pause) {
                        tracing::error!(
                            saga = %run.stream, step = name, reason,
                            "a run waits for an operator: `veza-replay resume`, of all `--all`"
                        );
                    }
                    return recorded;
                }
            }
        }
    }

    /// Says that somebody can't be reached any more, or can again.
    fn tell(&self, saga: &SagaDefinition, step: StepName, outcome: &Result<Value, ActivityError>) {
        match outcome {
            Err(ActivityError::Unavailable(reason)) => {
                if self.lane.outages.failed(step, Instant::now()) {
                    tracing::warn!(
                        saga = saga.kind,
                        step,
                        reason,
                        "somebody who is needed is away; runs of this kind wait for them"
                    );
                }
            }
            Ok(_) | Err(ActivityError::Refused(_)) => {
                if let Some(away) = self.lane.outages.answered(step, Instant::now()) {
                    let away_seconds = away.as_secs();
                    tracing::info!(saga = saga.kind, step, away_seconds, "they answer again");
                }
            }
            Err(_) => {}
        }
    }

    /// Calls the activity; where the outcome is not known, finds out. Who is outside and does not
    /// answer counts as away.
    async fn act(
        &self,
        activity: &dyn Activity,
        run: &Run,
        step: StepName,
        way: Way,
    ) -> Result<Value, ActivityError> {
        let call = self.call(run, step, way);
        let time_max = self.time_max(activity);
        let outcome = match self.bounded(time_max, activity.run(&call)).await {
            Err(ActivityError::Ambiguous(reason)) => {
                tracing::warn!(saga = %run.stream, step, reason, "the outcome is not known");
                let found = self.bounded(time_max, activity.find(&call)).await;
                match found {
                    Ok(Some(output)) => Ok(output),
                    Ok(None) if reason == PANICKED => Err(ActivityError::Transient(reason)),
                    Ok(None) => Err(ActivityError::Ambiguous(reason)),
                    Err(error) => Err(error),
                }
            }
            outcome => outcome,
        };
        match outcome {
            Err(ActivityError::Ambiguous(reason)) if reason != PANICKED => {
                Err(if activity.calls_out() {
                    ActivityError::Unavailable(reason)
                } else {
                    ActivityError::Transient(reason)
                })
            }
            outcome => outcome,
        }
    }

    /// Does or undoes a step.
    ///
    /// While there is a way back, one that failed too often is given up rather than left to an
    /// operator: what others can have meanwhile, such as an exclusive licence, is set free. Where
    /// it can't be made sure that it is never done, the outcome stays what it was.
    async fn attempt(
        &self,
        activity: &dyn Activity,
        run: &Run,
        saga: &SagaDefinition,
        (name, way): (StepName, Way),
    ) -> Result<Value, ActivityError> {
        let outcome = self.act(activity, run, name, way).await;
        let failed = match &outcome {
            Ok(_) | Err(ActivityError::Refused(_)) => return outcome,
            Err(error) => error.to_string(),
        };
        let retry = &self.settings.retry;
        let last = match &outcome {
            Err(ActivityError::Unavailable(_)) => {
                let since = run.state.waiting_since(name);
                since.is_some_and(|since| retry.is_given_up(since, self.clock.now()))
            }
            _ => retry.is_last(run.state.attempts(name) + 1),
        };
        if way == Way::Undo || !last || !can_go_back(&run.state, saga) {
            return outcome;
        }
        let call = self.call(run, name, way);
        match self.bounded(self.time_max(activity), activity.give_up(&call)).await {
            Ok(Some(output)) => Ok(output),
            Ok(None) => Err(ActivityError::Refused(format!("given up: {failed}"))),
            Err(error @ ActivityError::Refused(_)) => Err(error),
            Err(_) => outcome,
        }
    }

    fn call<'a>(&self, run: &'a Run, step: StepName, way: Way) -> StepCall<'a> {
        StepCall {
            stream: &run.stream,
            step,
            way,
            state: &run.state,
            now: self.clock.now(),
            correlation_id: run.correlation_id,
            causation_id: run.last_event_id,
            traceparent: run.traceparent.as_deref(),
        }
    }

    fn time_max(&self, activity: &dyn Activity) -> Duration {
        activity.time_max().unwrap_or(self.settings.activity_timeout)
    }

    // Neither a call that hangs nor one that panics takes the run down with it.
    async fn bounded<T>(
        &self,
        time_max: Duration,
        call: impl Future<Output = Result<T, ActivityError>>,
    ) -> Result<T, ActivityError> {
        let call = AssertUnwindSafe(call).catch_unwind();
        match tokio::time::timeout(time_max, call).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(ActivityError::Ambiguous(PANICKED.to_owned())),
            Err(_) => Err(ActivityError::Ambiguous("no answer in time".to_owned())),
        }
    }

    /// What is recorded of an outcome.
    fn verdict(
        &self,
        run: &Run,
        saga: &SagaDefinition,
        (name, way): (StepName, Way),
        outcome: &Result<Value, ActivityError>,
        now: DateTime<Utc>,
    ) -> SagaEvent {
        let step = name.to_owned();
        let reason = match outcome {
            Ok(output) => {
                let output = output.clone();
                return match way {
                    Way::Do => SagaStepCompleted { step, output }.into(),
                    Way::Undo => SagaStepCompensated { step }.into(),
                };
            }
            Err(ActivityError::Refused(reason)) => {
                let reason = reason.clone();
                // With no way back, or the way back barred, a person has to look.
                return if way == Way::Do && can_go_back(&run.state, saga) {
                    SagaStepRefused { step, reason }.into()
                } else {
                    SagaPaused { step, reason }.into()
                };
            }
            Err(error) => error.to_string(),
        };
        let (state, retry) = (&run.state, &self.settings.retry);
        let key = StepCall::key_of(&run.stream, name, way);
        let (attempt, waiting_since, retry_at) = match outcome {
            Err(ActivityError::Unavailable(_)) => {
                let since = state.waiting_since(name).unwrap_or(now);
                (state.attempts(name), Some(since), retry.look_at(key, since, now))
            }
            _ => {
                let attempt = state.attempts(name) + 1;
                (attempt, None, retry.retry_at(key, attempt, now))
            }
        };
        match retry_at {
            Some(retry_at) => {
                SagaStepFailed { step, attempt, reason, retry_at, waiting_since }.into()
            }
            None => SagaPaused { step, reason }.into(),
        }
    }
}

/// Whether the run waits for somebody who can't be reached.
fn is_waited_for(run: &Run) -> bool {
    run.state.failure.as_ref().is_some_and(|failure| failure.waiting_since.is_some())
}

fn definition<'a>(sagas: &'a [SagaDefinition], run: &Run) -> Option<&'a SagaDefinition> {
    sagas.iter().find(|saga| saga.kind == run.state.kind && saga.version == run.state.version)
}

fn activity(step: &Step, way: Way) -> Option<&dyn Activity> {
    match (way, &step.kind) {
        (Way::Undo, _) => step.undo.as_deref(),
        (Way::Do, StepKind::Action(activity)) => Some(activity.as_ref()),
        (Way::Do, StepKind::Wait(_)) => None,
    }
}

/// Counts a step that was tried.
fn count(
    saga: &SagaDefinition,
    (name, way): (StepName, Way),
    outcome: &Result<Value, ActivityError>,
) {
    let label = match outcome {
        Ok(_) => "done",
        Err(ActivityError::Refused(_)) => "refused",
        Err(ActivityError::Unavailable(_)) => "unavailable",
        Err(_) => "failed",
    };
    let direction = match way {
        Way::Do => "forward",
        Way::Undo => "back",
    };
    metrics::counter!("veza_saga_steps_total", "saga" => saga.kind, "step" => name,
        "way" => direction, "outcome" => label)
    .increment(1);
}
