//! The runtime with steps that hang, panic, lose their answers and stay away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta};
use event_store::{
    ContentType, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadStream, StreamName,
};
use futures::StreamExt as _;
use serde_json::{Value, json};
use uuid::Uuid;

use super::operator::{ResumeError, resume};
use super::*;
use crate::harness::memory_store::MemoryStore;
use crate::harness::{Running, SkippingClock, until};

mod exchanged;
mod foreign;
mod many;

const SUBJECT: Uuid = Uuid::from_u128(77);

/// How a step behaves, the first so many times; then it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Hangs,
    Panics,
    LosesItsAnswer,
    Fails,
    IsAway,
}

/// An activity with an outer world of its own: what was done there, by key.
struct Faulty {
    fault: Fault,
    times: usize,
    calls: AtomicUsize,
    world: std::sync::Mutex<BTreeMap<IdempotencyKey, u32>>,
}

impl Faulty {
    fn new(fault: Fault, times: usize) -> Arc<Self> {
        Arc::new(Self { fault, times, calls: AtomicUsize::new(0), world: Default::default() })
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

struct Shared(Arc<Faulty>);

#[async_trait]
impl Activity for Shared {
    async fn run(&self, call: &StepCall<'_>) -> Result<Value, ActivityError> {
        if self.0.calls.fetch_add(1, Ordering::SeqCst) >= self.0.times {
            return Ok(json!("done"));
        }
        match self.0.fault {
            Fault::Hangs => std::future::pending().await,
            Fault::Panics => panic!("as the test wants it"),
            Fault::LosesItsAnswer => {
                *self.0.world.lock().unwrap().entry(call.key()).or_default() += 1;
                Err(ActivityError::Ambiguous("no answer".to_owned()))
            }
            Fault::Fails => Err(ActivityError::Transient("not now".to_owned())),
            Fault::IsAway => Err(ActivityError::Unavailable("away".to_owned())),
        }
    }

    async fn find(&self, call: &StepCall<'_>) -> Result<Option<Value>, ActivityError> {
        let done = self.0.world.lock().unwrap().contains_key(&call.key());
        Ok(done.then(|| json!("found")))
    }

    fn calls_out(&self) -> bool {
        true
    }

    fn time_max(&self) -> Option<Duration> {
        Some(Duration::from_millis(20))
    }
}

fn saga(faulty: &Arc<Faulty>) -> SagaDefinition {
    SagaDefinition {
        kind: "faulty",
        version: 1,
        steps: vec![Step::action("only", Shared(faulty.clone()))],
        categories: vec!["trigger"],
        start: |event| {
            let input = Value::Null;
            let is_trigger = event.stream.category() == "trigger";
            is_trigger.then_some(Start { subject: SUBJECT, input })
        },
        signal: |_| None,
        owner: |_| None,
    }
}

/// What begins a run.
fn triggered() -> NewEvent {
    NewEvent {
        id: EventId(Uuid::new_v4()),
        event_type: EventType::new("Triggered").unwrap(),
        content_type: ContentType::Json,
        data: Bytes::from_static(b"{}"),
        metadata: Bytes::new(),
    }
}

async fn begin(faulty: &Arc<Faulty>) -> (Arc<dyn EventStore>, StreamName, Running) {
    begin_saga(saga(faulty)).await
}

async fn begin_saga(saga: SagaDefinition) -> (Arc<dyn EventStore>, StreamName, Running) {
    begin_skipping(saga, TimeDelta::days(1)).await
}

/// The same, with waits of this length skipped at most.
async fn begin_skipping(
    saga: SagaDefinition,
    skip_max: TimeDelta,
) -> (Arc<dyn EventStore>, StreamName, Running) {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let stream = StreamName::new("trigger-1").unwrap();
    store.append(&stream, ExpectedRevision::Any, vec![triggered()]).await.unwrap();
    let clock = SkippingClock::new(skip_max);
    let running = Running::retrying(store.clone(), vec![saga], clock, RetryPolicy::default());
    (store, journal::stream_of("faulty", SUBJECT), running)
}

#[tokio::test]
async fn a_step_that_fails_a_few_times_is_done_in_the_end() {
    for fault in [Fault::Hangs, Fault::Panics, Fault::Fails, Fault::IsAway] {
        let faulty = Faulty::new(fault, 3);
        let (store, stream, _running) = begin(&faulty).await;
        let run = until(&store, &stream, |run| run.state.end == Some(End::Completed)).await;
        assert_eq!(run.state.output("only"), Some(&json!("done")), "{fault:?}");
        assert_eq!(faulty.calls(), 4, "{fault:?}");
    }
}

#[tokio::test]
async fn a_run_that_breaks_outside_of_its_activities_is_tried_again() {
    static BROKEN: AtomicUsize = AtomicUsize::new(0);
    let faulty = Faulty::new(Fault::IsAway, 0);
    let owner = |_: &Value| {
        assert!(BROKEN.fetch_add(1, Ordering::SeqCst) >= 3, "as the test wants it");
        None
    };
    let (store, stream, running) = begin_saga(SagaDefinition { owner, ..saga(&faulty) }).await;
    until(&store, &stream, |run| run.state.end == Some(End::Completed)).await;
    assert_eq!((BROKEN.load(Ordering::SeqCst), faulty.calls()), (4, 1));
    running.drain().await;
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_and_nothing_is_done_again() {
    let faulty = Faulty::new(Fault::LosesItsAnswer, usize::MAX);
    let (store, stream, _running) = begin(&faulty).await;
    let run = until(&store, &stream, |run| run.state.end == Some(End::Completed)).await;
    assert_eq!(run.state.output("only"), Some(&json!("found")));
    assert_eq!(faulty.calls(), 1);
}

#[tokio::test]
async fn a_step_that_goes_on_failing_pauses_until_an_operator_resumes_it() {
    let attempts = RetryPolicy::default().attempts_max as usize;
    let faulty = Faulty::new(Fault::Fails, attempts);
    let (store, stream, _running) = begin(&faulty).await;
    let now = DateTime::UNIX_EPOCH;
    until(&store, &stream, |run| run.state.pause.is_some()).await;
    assert_eq!(faulty.calls(), attempts);
    resume(store.clone(), &stream, now).await.unwrap();
    until(&store, &stream, |run| run.state.end == Some(End::Completed)).await;
    let again = resume(store.clone(), &stream, now).await;
    assert!(matches!(again, Err(ResumeError::NotPaused(_))), "{again:?}");
    let nobody = StreamName::new("saga-faulty-nobody").unwrap();
    let nobody = resume(store, &nobody, now).await;
    assert!(matches!(nobody, Err(ResumeError::NotThere(_))), "{nobody:?}");
}

#[tokio::test]
async fn somebody_who_is_away_or_silent_is_waited_for_and_no_operator_is_needed() {
    let attempts = RetryPolicy::default().attempts_max as usize;
    for fault in [Fault::IsAway, Fault::Hangs] {
        let faulty = Faulty::new(fault, 3 * attempts);
        let (store, stream, running) = begin(&faulty).await;
        let over = |run: &Run| run.state.end.is_some() || run.state.pause.is_some();
        let run = until(&store, &stream, over).await;
        assert_eq!((run.state.end, run.state.pause), (Some(End::Completed), None), "{fault:?}");
        assert_eq!(faulty.calls(), 3 * attempts + 1, "{fault:?}");
        let mut held = running.held();
        held.wait_for(|held| *held == Held::default()).await.unwrap();
        running.drain().await;
    }
}

#[tokio::test]
async fn who_waits_for_somebody_is_counted() {
    let faulty = Faulty::new(Fault::IsAway, 1);
    let (_, _, running) = begin_skipping(saga(&faulty), TimeDelta::zero()).await;
    let mut held = running.held();
    held.wait_for(|held| *held == Held { paused: 0, outside: 1 }).await.unwrap();
    running.drain().await;
}

#[tokio::test]
async fn somebody_who_stays_away_for_a_day_is_left_to_an_operator() {
    let faulty = Faulty::new(Fault::IsAway, usize::MAX);
    let (store, stream, running) = begin(&faulty).await;
    let run = until(&store, &stream, |run| run.state.pause.is_some()).await;
    assert_eq!(run.state.pause.unwrap().reason, "away");
    let calls = faulty.calls();
    assert!((280..700).contains(&calls), "{calls}");
    let mut held = running.held();
    held.wait_for(|held| *held == Held { paused: 1, outside: 0 }).await.unwrap();
    running.drain().await;
}

#[tokio::test]
async fn a_trigger_seen_twice_starts_one_run() {
    let faulty = Faulty::new(Fault::IsAway, 0);
    let (store, stream, running) = begin(&faulty).await;
    until(&store, &stream, |run| run.state.end.is_some()).await;
    running.drain().await;
    let checkpoints = StreamName::new("sagacheckpoint-platform").unwrap();
    checkpoint::Checkpoint::START.save(&*store, &checkpoints).await.unwrap();
    let clock = SkippingClock::new(TimeDelta::days(1));
    let running = Running::start(store.clone(), vec![saga(&faulty)], clock);
    let begin = std::time::Instant::now();
    loop {
        let seen = checkpoint::Checkpoint::load(&*store, &checkpoints).await.unwrap();
        // It has taken the trigger in once more when it has come past it.
        if seen.position > event_store::Position::START {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "it does not follow the log");
        tokio::time::sleep(Duration::from_millis(1)).await; // poll
    }
    running.drain().await;
    let run = until(&store, &stream, |run| run.state.end.is_some()).await;
    assert_eq!((run.revision.get(), faulty.calls()), (2, 1));
}
