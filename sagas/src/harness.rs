//! What every saga is put through: each step fails, repeats, and has the process die around it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use event_store::{EventStore, StreamName};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) mod crashing;
pub(crate) mod memory_store;

use crashing::{Crash, CrashingActivity, CrashingStore};
use memory_store::MemoryStore;

use crate::orchestrator::{
    Activity, ActivityError, Clock, End, Held, Journal, RetryPolicy, Run, SagaDefinition,
    SagaRuntime, SagaSettings, StepCall, StepKind, Way, resume,
};

/// Longest that a run may take in a test.
const RUN_MAX: Duration = Duration::from_secs(20);

/// One saga in a world of its own.
#[async_trait]
pub(crate) trait Scenario: Sync {
    /// An empty store.
    async fn store(&self) -> Arc<dyn EventStore> {
        Arc::new(MemoryStore::new())
    }

    /// The saga, acting on this store.
    fn saga(&self, store: Arc<dyn EventStore>) -> SagaDefinition;

    /// How it ends when no step is refused by the test.
    fn end(&self) -> End {
        End::Completed
    }

    /// Brings the world to where the saga starts.
    async fn begin(&self, store: Arc<dyn EventStore>);

    /// The run's stream.
    fn stream(&self) -> StreamName;

    /// Checks that everything is as the saga leaves it.
    async fn is_done(&self, store: Arc<dyn EventStore>);

    /// Checks that nothing is left of it.
    async fn is_clean(&self, store: Arc<dyn EventStore>);
}

/// A clock that does not wait, unless it were for longer than a test means to skip.
pub(crate) struct SkippingClock {
    now: Mutex<DateTime<Utc>>,
    skip_max: TimeDelta,
}

impl SkippingClock {
    pub(crate) fn new(skip_max: TimeDelta) -> Arc<Self> {
        let now = Mutex::new(DateTime::UNIX_EPOCH + TimeDelta::days(20_000));
        Arc::new(Self { now, skip_max })
    }
}

#[async_trait]
impl Clock for SkippingClock {
    fn now(&self) -> DateTime<Utc> {
        *self.now.lock().unwrap()
    }

    async fn sleep_until(&self, at: DateTime<Utc>) {
        if at - self.now() > self.skip_max {
            std::future::pending::<()>().await;
        }
        let mut now = self.now.lock().unwrap();
        *now = at.max(*now);
    }
}

/// A runtime at work; dropping it is a crash.
pub(crate) struct Running {
    task: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
    held: watch::Receiver<Held>,
}

impl Running {
    pub(crate) fn start(
        store: Arc<dyn EventStore>,
        sagas: Vec<SagaDefinition>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        // Each look for somebody who is away is a place to crash in.
        let outage_max = Duration::from_secs(10 * 60);
        let retry = RetryPolicy { outage_max, ..RetryPolicy::default() };
        Self::retrying(store, sagas, clock, retry)
    }

    /// The same, with another policy of trying again.
    pub(crate) fn retrying(
        store: Arc<dyn EventStore>,
        sagas: Vec<SagaDefinition>,
        clock: Arc<dyn Clock>,
        retry: RetryPolicy,
    ) -> Self {
        let checkpoint_every = Duration::from_millis(2);
        let settings = SagaSettings { checkpoint_every, retry, ..SagaSettings::default() };
        let runtime = SagaRuntime::new(store, sagas, settings).clock(clock);
        let held = runtime.held();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move { runtime.run(stopped).await.unwrap() });
        Self { task, stop, held }
    }

    /// How many runs wait for others.
    pub(crate) fn held(&self) -> watch::Receiver<Held> {
        self.held.clone()
    }

    pub(crate) async fn drain(mut self) {
        self.stop.cancel();
        timeout(RUN_MAX, &mut self.task).await.expect("it drains").unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The run, when it has come to what is waited for.
pub(crate) async fn until(
    store: &Arc<dyn EventStore>,
    stream: &StreamName,
    what: impl Fn(&Run) -> bool,
) -> Run {
    let journal = Journal::new(store.clone());
    let mut last = None;
    let begin = std::time::Instant::now();
    while begin.elapsed() < RUN_MAX {
        last = journal.load(stream).await.unwrap();
        if let Some(run) = last.as_ref().filter(|run| what(run)) {
            return run.clone();
        }
        tokio::time::sleep(Duration::from_millis(1)).await; // poll
    }
    panic!("it never came to that: {last:?}");
}

/// A year: every wait of a saga is skipped.
const ANY_WAIT: TimeDelta = TimeDelta::days(365);

async fn to_its_end(scenario: &dyn Scenario, store: &Arc<dyn EventStore>) -> End {
    let saga = scenario.saga(store.clone());
    let running = Running::start(store.clone(), vec![saga], SkippingClock::new(ANY_WAIT));
    let run = until(store, &scenario.stream(), |run| run.state.end.is_some()).await;
    running.drain().await;
    run.state.end.expect("it was waited for")
}

/// The steps of a saga that act.
fn actions(scenario: &dyn Scenario) -> Vec<&'static str> {
    let saga = scenario.saga(Arc::new(MemoryStore::new()));
    let acts = saga.steps.iter().filter(|step| matches!(step.kind, StepKind::Action(_)));
    acts.map(|step| step.name).collect()
}

/// Whichever step is refused, nothing is left; behind the pivot, the run pauses and can go on.
pub(crate) async fn every_step_can_fail<S: Scenario>(world: impl Fn() -> S) {
    for refused in actions(&world()) {
        let scenario = world();
        let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
        scenario.begin(store.clone()).await;
        let mut saga = scenario.saga(store.clone());
        let pivot = saga.steps.iter().position(|step| step.pivot);
        let place = saga.steps.iter().position(|step| step.name == refused);
        replace(&mut saga, |name, way, inner| match (name, way) {
            (name, Way::Do) if name == refused => Arc::new(Refusing),
            _ => inner,
        });
        let running = Running::start(store.clone(), vec![saga], SkippingClock::new(ANY_WAIT));
        let stream = scenario.stream();
        let run =
            until(&store, &stream, |run| run.state.end.is_some() || run.state.pause.is_some())
                .await;
        running.drain().await;
        if pivot.is_some() && place > pivot {
            assert_eq!(run.state.end, None, "{refused} can't be taken back");
            resume(store.clone(), &stream, Utc::now()).await.unwrap();
            assert_eq!(to_its_end(&scenario, &store).await, End::Completed);
            scenario.is_done(store).await;
        } else {
            assert_eq!(run.state.end, Some(End::Compensated), "{refused} is refused");
            assert_eq!(run.state.refusal.map(|it| it.step), Some(refused.to_owned()));
            scenario.is_clean(store).await;
        }
    }
}

/// Everything that is done is done twice, and it makes no difference.
pub(crate) async fn every_step_can_repeat<S: Scenario>(world: impl Fn() -> S) {
    let scenario = world();
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    scenario.begin(store.clone()).await;
    let mut saga = scenario.saga(store.clone());
    replace(&mut saga, |_, _, inner| Arc::new(Twice(inner)));
    let _running = Running::start(store.clone(), vec![saga], SkippingClock::new(ANY_WAIT));
    let over = |run: &Run| run.state.end.is_some() || run.state.pause.is_some();
    let run = until(&store, &scenario.stream(), over).await;
    assert_eq!(run.state.end, Some(End::Completed), "{:?}", run.state);
    scenario.is_done(store).await;
}

/// Everything that is undone is undone twice, and it makes no difference.
pub(crate) async fn undo_is_idempotent<S: Scenario>(world: impl Fn() -> S) {
    let saga = world().saga(Arc::new(MemoryStore::new()));
    // The last step that can be refused with a way back is the pivot itself.
    let last = saga.steps.iter().find(|step| step.pivot).or(saga.steps.last());
    let last = last.expect("it has steps").name;
    let scenario = world();
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    scenario.begin(store.clone()).await;
    let mut saga = scenario.saga(store.clone());
    replace(&mut saga, |name, way, inner| match way {
        Way::Do if name == last => Arc::new(Refusing),
        Way::Do => inner,
        Way::Undo => Arc::new(Twice(inner)),
    });
    let _running = Running::start(store.clone(), vec![saga], SkippingClock::new(ANY_WAIT));
    let over = |run: &Run| run.state.end.is_some() || run.state.pause.is_some();
    let run = until(&store, &scenario.stream(), over).await;
    assert_eq!(run.state.end, Some(End::Compensated), "{:?}", run.state);
    scenario.is_clean(store).await;
}

/// The process dies before and after every append and every activity, and each time another goes
/// on; tells in how many places it died. `refused` has that step refused, for the way back.
pub(crate) async fn survives_every_crash<S: Scenario>(
    world: impl Fn() -> S,
    refused: Option<&'static str>,
) -> usize {
    for place in 1.. {
        let scenario = world();
        let store = scenario.store().await;
        scenario.begin(store.clone()).await;
        let crash = Crash::at(place);
        let refuse = |saga: &mut SagaDefinition| {
            replace(saga, |name, way, inner| match way {
                Way::Do if Some(name) == refused => Arc::new(Refusing),
                _ => inner,
            });
        };
        let dying: Arc<dyn EventStore> =
            Arc::new(CrashingStore { inner: store.clone(), crash: crash.clone() });
        let mut saga = scenario.saga(dying.clone());
        refuse(&mut saga);
        replace(&mut saga, |_, _, inner| {
            let crash = crash.clone();
            Arc::new(CrashingActivity { inner, crash })
        });
        let running = Running::start(dying, vec![saga], SkippingClock::new(ANY_WAIT));
        let stream = scenario.stream();
        let survived = tokio::select! {
            () = crash.died() => false,
            _ = until(&store, &stream, |run| run.state.end.is_some()) => true,
        };
        drop(running);
        let mut saga = scenario.saga(store.clone());
        refuse(&mut saga);
        let running = Running::start(store.clone(), vec![saga], SkippingClock::new(ANY_WAIT));
        let run = until(&store, &stream, |run| run.state.end.is_some()).await;
        running.drain().await;
        recorded_once(&run);
        let end = refused.map_or(scenario.end(), |_| End::Compensated);
        assert_eq!(run.state.end, Some(end), "{:?}", run.state);
        match end {
            End::Completed => scenario.is_done(store).await,
            End::Compensated => scenario.is_clean(store).await,
        }
        if survived {
            return crash.passed();
        }
    }
    unreachable!("a run passes so many places and no more")
}

fn recorded_once(run: &Run) {
    let done: BTreeSet<_> = run.state.done.iter().map(|(name, _)| name).collect();
    assert_eq!(done.len(), run.state.done.len(), "{:?}", run.state.done);
    let undone: BTreeSet<_> = run.state.undone.iter().collect();
    assert_eq!(undone.len(), run.state.undone.len(), "{:?}", run.state.undone);
}

/// Puts other activities in the place of a saga's own.
pub(crate) fn replace(
    saga: &mut SagaDefinition,
    by: impl Fn(&'static str, Way, Arc<dyn Activity>) -> Arc<dyn Activity>,
) {
    for step in &mut saga.steps {
        if let StepKind::Action(activity) = &mut step.kind {
            *activity = by(step.name, Way::Do, activity.clone());
        }
        step.undo = step.undo.take().map(|undo| by(step.name, Way::Undo, undo));
    }
}

/// Refuses.
pub(crate) struct Refusing;

#[async_trait]
impl Activity for Refusing {
    async fn run(&self, _: &StepCall<'_>) -> Result<Value, ActivityError> {
        Err(ActivityError::Refused("refused by the test".to_owned()))
    }
}

/// Does what it does twice, and sees that it comes to the same.
struct Twice(Arc<dyn Activity>);

#[async_trait]
impl Activity for Twice {
    async fn run(&self, call: &StepCall<'_>) -> Result<Value, ActivityError> {
        let first = self.0.run(call).await;
        let second = self.0.run(call).await;
        match (&first, &second) {
            (Ok(first), Ok(second)) if first != second => {
                let change = format!("first {first}, then {second}");
                Err(ActivityError::Refused(change))
            }
            (Ok(_), Err(error)) => Err(ActivityError::Refused(format!("repeated: {error}"))),
            _ => second,
        }
    }

    async fn find(&self, call: &StepCall<'_>) -> Result<Option<Value>, ActivityError> {
        self.0.find(call).await
    }

    async fn give_up(&self, call: &StepCall<'_>) -> Result<Option<Value>, ActivityError> {
        self.0.give_up(call).await
    }

    fn calls_out(&self) -> bool {
        self.0.calls_out()
    }

    fn time_max(&self) -> Option<Duration> {
        self.0.time_max()
    }
}
