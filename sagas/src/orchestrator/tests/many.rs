//! Many runs at once: none of them stops the others, and those that wait cost nothing.

use std::collections::BTreeSet;

use tokio::sync::watch;

use super::*;

/// Owners of runs; the first one's calls are never answered, until they are.
const SLOW: &str = "slow";
const QUICK: &str = "quick";

/// An outer party that keeps some waiting.
struct Party {
    inside: Arc<AtomicUsize>,
    open: watch::Receiver<bool>,
}

#[async_trait]
impl Activity for Party {
    async fn run(&self, call: &StepCall<'_>) -> Result<Value, ActivityError> {
        if call.state.input["owner"].as_str() == Some(SLOW) {
            self.inside.fetch_add(1, Ordering::SeqCst);
            let mut open = self.open.clone();
            open.wait_for(|open| *open).await.unwrap();
        }
        Ok(Value::Null)
    }

    fn calls_out(&self) -> bool {
        true
    }
}

/// Triggers are events of streams `trigger-<owner>`, signals of `signal-<any>`; both name a run.
fn saga(steps: Vec<Step>) -> SagaDefinition {
    SagaDefinition {
        kind: "many",
        version: 1,
        steps,
        categories: vec!["trigger", "signal"],
        start: |event| {
            let owner = event.stream.as_str().strip_prefix("trigger-")?;
            let subject = serde_json::from_slice(&event.data).ok()?;
            Some(Start { subject, input: json!({ "owner": owner }) })
        },
        signal: |event| {
            event.stream.as_str().strip_prefix("signal-")?;
            let subject = serde_json::from_slice(&event.data).ok()?;
            Some(Signal { subject, step: "wait", payload: Value::Null })
        },
        owner: |input| input["owner"].as_str(),
    }
}

fn waiting() -> Step {
    let deadline = TimeDelta::days(14);
    Step::wait("wait", Wait { needed: |_| true, deadline, timeout: Timeout::GoOn })
}

async fn append(store: &Arc<dyn EventStore>, stream: &str, event_type: &str, data: Value) {
    let event = NewEvent {
        id: EventId(Uuid::new_v4()),
        event_type: EventType::new(event_type).unwrap(),
        content_type: ContentType::Json,
        data: data.to_string().into(),
        metadata: Bytes::new(),
    };
    let stream = StreamName::new(stream).unwrap();
    store.append(&stream, ExpectedRevision::Any, vec![event]).await.unwrap();
}

async fn start(store: &Arc<dyn EventStore>, owner: &str, run: u128) -> StreamName {
    let subject = Uuid::from_u128(run);
    append(store, &format!("trigger-{owner}"), "Triggered", json!(subject)).await;
    journal::stream_of("many", subject)
}

async fn signal(store: &Arc<dyn EventStore>, run: u128) {
    append(store, "signal-1", "Signalled", json!(Uuid::from_u128(run))).await;
}

fn completed(run: &Run) -> bool {
    run.state.end == Some(End::Completed)
}

#[tokio::test]
async fn an_owner_whose_calls_hang_stops_nobody_else() {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let (open, opened) = watch::channel(false);
    let inside = Arc::new(AtomicUsize::new(0));
    let party = Party { inside: inside.clone(), open: opened };
    let clock = SkippingClock::new(TimeDelta::zero());
    let _running =
        Running::start(store.clone(), vec![saga(vec![Step::action("call", party)])], clock);
    let mut slow = Vec::new();
    for run in 0..200 {
        slow.push(start(&store, SLOW, run).await);
    }
    // So many of them are outside as one owner may have there, and the others wait.
    let most = SagaSettings::default().calling_of_owner_max;
    let begin = std::time::Instant::now();
    while inside.load(Ordering::SeqCst) < most {
        assert!(begin.elapsed() < Duration::from_secs(10), "they do not call");
        tokio::time::sleep(Duration::from_millis(1)).await; // poll
    }
    for run in 1_000..1_010 {
        let stream = start(&store, QUICK, run).await;
        until(&store, &stream, completed).await;
    }
    assert_eq!(inside.load(Ordering::SeqCst), most);
    open.send_replace(true);
    for stream in slow {
        until(&store, &stream, completed).await;
    }
}

#[tokio::test]
async fn runs_whose_streams_are_unreadable_stop_nobody_else() {
    let memory = Arc::new(MemoryStore::new());
    let store: Arc<dyn EventStore> = memory.clone();
    let clock = SkippingClock::new(TimeDelta::zero());
    let _running = Running::start(store.clone(), vec![saga(vec![waiting()])], clock);
    let broken = start(&store, QUICK, 1).await;
    until(&store, &broken, |run| run.state.timer.is_some()).await;
    append(&store, broken.as_str(), "SagaSignalled", json!("no object")).await;
    append(&store, "saga-many-00000000-0000-0000-0000-000000000002", "Junk", json!(1)).await;
    for run in 1..=3 {
        signal(&store, run).await;
    }
    let whole = start(&store, QUICK, 4).await;
    signal(&store, 4).await;
    until(&store, &whole, completed).await;
}

/// The time does not pass, and who waits is told to look again all the time, as after a change of
/// the clock on the wall.
struct Nervous;

#[async_trait]
impl Clock for Nervous {
    fn now(&self) -> DateTime<chrono::Utc> {
        DateTime::UNIX_EPOCH
    }

    async fn sleep_until(&self, _: DateTime<chrono::Utc>) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn runs_that_wait_are_not_read_until_something_comes() {
    let memory = Arc::new(MemoryStore::new());
    let store: Arc<dyn EventStore> = memory.clone();
    let _running = Running::start(store.clone(), vec![saga(vec![waiting()])], Arc::new(Nervous));
    let mut streams = BTreeSet::new();
    for run in 0..100 {
        streams.insert(start(&store, QUICK, run).await);
    }
    for stream in &streams {
        until(&store, stream, |run| run.state.timer.is_some()).await;
    }
    // What is signalled last has been taken in after all that was there to do before.
    signal(&store, 0).await;
    let first = journal::stream_of("many", Uuid::from_u128(0));
    until(&store, &first, completed).await;
    let before = memory.reads();
    tokio::time::sleep(Duration::from_millis(100)).await; // what was not read by then, is not
    assert_eq!(memory.reads() - before, 0, "runs are read that wait for days");
    for run in 1..100 {
        signal(&store, run).await;
    }
    for stream in &streams {
        until(&store, stream, completed).await;
    }
}
