//! The threads that run scripts, one for each: an engine stays on the thread that made it.
//!
//! An engine is interrupted between the steps of its script, and not inside of a function of its
//! own, such as one that copies a large list. So whoever waits for a script looks at how long it
//! has had a processor. One that had far more than it may is given up: its projection faults, and
//! nobody waits for it any more. Its thread ends when the engine comes back, if it does; until then
//! it has what others leave of the processors. With too many of these no script is begun.

use std::collections::HashMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, setpriority_process};
use rustix::thread::gettid;
use tokio::sync::{mpsc, oneshot};

use super::event::{Outcome, Work};
use super::script::{IDLE, Script, Stored};
use super::shape::Shape;
use crate::limits::{EMITTED_BYTES, SCRIPT_LOST_MILLIS, SCRIPTS_LOST_MAX};

/// How long a script works before its projection looks up: what it emitted is written, and it may
/// be told to stop.
const TURN: Duration = Duration::from_millis(50);

/// The stack of a thread, in bytes: what scripts may have, and what runs them.
const STACK_BYTES: usize = 2 * 1024 * 1024;

/// How often whoever waits looks at what a script has had of the processors.
const LOOK: Duration = Duration::from_millis(500);

/// How long an answer may take where the system does not tell that.
const UNTOLD_MAX: Duration = Duration::from_secs(20);

/// The priority of a thread that was given up: the lowest.
const LOST_NICENESS: i32 = 19;

/// What is known of the partitions of a batch; of a new one nothing.
pub(super) type States = HashMap<String, Option<Stored>>;

enum Request {
    Prepare { name: String, source: String, reply: Reply<Shape> },
    Partitions { work: Vec<Work>, reply: Reply<Vec<Option<String>>> },
    Process { batch: Batch, reply: oneshot::Sender<Processed> },
}

type Reply<T> = oneshot::Sender<Result<T, String>>;

/// Events to be handled, and what is known of their partitions.
pub(super) struct Batch {
    pub work: Vec<Work>,
    pub states: States,
    pub shared: Option<Arc<str>>,
}

/// What became of the first of them; and why there is no more, if that is a fault.
pub(super) struct Processed {
    pub outcomes: Vec<Outcome>,
    pub fault: Option<String>,
}

/// What begins scripts.
#[derive(Default)]
pub(super) struct Workers {
    /// How many threads were given up, and have not ended.
    lost: Arc<AtomicUsize>,
}

impl Workers {
    /// Has a script describe itself.
    pub(super) async fn prepare(
        &self,
        name: &str,
        source: &str,
    ) -> Result<(ScriptHandle, Shape), String> {
        if self.lost.load(Ordering::Relaxed) >= SCRIPTS_LOST_MAX {
            return Err(format!(
                "{SCRIPTS_LOST_MAX} scripts that were given up have not come back: the server has \
                 to be started again before another is begun"
            ));
        }
        let handle = spawn(Arc::clone(&self.lost))?;
        let (name, source) = (name.to_owned(), source.to_owned());
        let shape = handle.ask(|reply| Request::Prepare { name, source, reply }).await??;
        Ok((handle, shape))
    }
}

/// A script at work. Dropping it ends its engine.
pub(super) struct ScriptHandle {
    requests: mpsc::UnboundedSender<Request>,
    engine: Arc<Engine>,
}

/// What is known of a thread from outside.
struct Engine {
    /// The number that the system knows it by; 0 before it runs.
    thread: AtomicI32,
    /// When its script's present step began, in nanoseconds of the processor's time that the thread
    /// has had; [`IDLE`] between two.
    step: Arc<AtomicU64>,
    state: AtomicU8,
    lost: Arc<AtomicUsize>,
}

/// The states of a thread.
const RUNS: u8 = 0;
const LOST: u8 = 1;
const ENDED: u8 = 2;

impl Engine {
    /// Whether its script has had far more of a processor in one step than it may.
    fn is_lost(&self, waited: Duration) -> bool {
        let step = self.step.load(Ordering::Relaxed);
        match spent(self.thread.load(Ordering::Relaxed)) {
            _ if step == IDLE => false,
            Some(spent) => {
                Duration::from_nanos(spent.saturating_sub(step)).as_millis()
                    >= u128::from(SCRIPT_LOST_MILLIS)
            }
            None => waited >= UNTOLD_MAX,
        }
    }

    fn give_up(&self) {
        let given_up =
            self.state.compare_exchange(RUNS, LOST, Ordering::Relaxed, Ordering::Relaxed);
        if given_up.is_ok() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            self.step_back();
        }
    }

    /// Leaves the processors to others. The system has the priority of a thread by its number;
    /// where it refuses, the thread merely goes on as it did.
    fn step_back(&self) {
        let thread = Pid::from_raw(self.thread.load(Ordering::Relaxed));
        let _ = setpriority_process(thread, LOST_NICENESS);
    }
}

/// Tells that a thread has ended, however it has.
struct Ends(Arc<Engine>);

impl Drop for Ends {
    fn drop(&mut self) {
        if self.0.state.swap(ENDED, Ordering::Relaxed) == LOST {
            self.0.lost.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// How long a thread has had a processor, in nanoseconds.
fn spent(thread: i32) -> Option<u64> {
    let told = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    told.split(' ').next()?.parse().ok()
}

impl Drop for ScriptHandle {
    fn drop(&mut self) {
        if self.engine.step.load(Ordering::Relaxed) != IDLE {
            self.engine.step_back();
        }
    }
}

const GONE: &str = "the thread of the script is gone";

impl ScriptHandle {
    /// Asks the thread, and waits for as long as it does what it may.
    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, String> {
        let (reply, mut answer) = oneshot::channel();
        let since = Instant::now();
        self.requests.send(request(reply)).map_err(|_| GONE.to_owned())?;
        loop {
            match tokio::time::timeout(LOOK, &mut answer).await {
                Ok(answered) => return answered.map_err(|_| GONE.to_owned()),
                Err(_elapsed) if self.engine.is_lost(since.elapsed()) => {
                    self.engine.give_up();
                    return Err(format!(
                        "the script took more than {SCRIPT_LOST_MILLIS} ms in a function that \
                         can't be interrupted"
                    ));
                }
                Err(_elapsed) => {}
            }
        }
    }

    /// The partitions that the script's own function puts these events in.
    pub(super) async fn partitions(&self, work: Vec<Work>) -> Result<Vec<Option<String>>, String> {
        self.ask(|reply| Request::Partitions { work, reply }).await?
    }

    /// Handles the first of these events, as many as there is time for.
    pub(super) async fn process(&self, batch: Batch) -> Processed {
        let processed = self.ask(|reply| Request::Process { batch, reply }).await;
        processed.unwrap_or_else(|reason| Processed { outcomes: Vec::new(), fault: Some(reason) })
    }
}

fn spawn(lost: Arc<AtomicUsize>) -> Result<ScriptHandle, String> {
    let (requests, mut receiver) = mpsc::unbounded_channel::<Request>();
    let step = Arc::new(AtomicU64::new(IDLE));
    let (thread, state) = (AtomicI32::new(0), AtomicU8::new(RUNS));
    let engine = Arc::new(Engine { thread, step, state, lost });
    let ends = Ends(Arc::clone(&engine));
    let work = move || {
        let engine = &ends.0;
        engine.thread.store(gettid().as_raw_nonzero().get(), Ordering::Relaxed);
        let mut script = None;
        while let Some(request) = receiver.blocking_recv() {
            // A panic would be a bug of ours; it ends one projection, and not the process.
            let answered =
                catch_unwind(AssertUnwindSafe(|| answer(&mut script, &engine.step, request)));
            if answered.is_err() {
                tracing::error!("the thread of a projection's script panicked");
                return;
            }
        }
    };
    let named = thread::Builder::new().name("projection".to_owned()).stack_size(STACK_BYTES);
    named.spawn(work).map_err(|error| format!("there is no thread for the script: {error}"))?;
    Ok(ScriptHandle { requests, engine })
}

/// Answers one request; nobody may wait for the answer any more.
fn answer(script: &mut Option<Script>, step: &Arc<AtomicU64>, request: Request) {
    let gone = || "the engine of the script is gone".to_owned();
    match request {
        Request::Prepare { name, source, reply } => {
            let told = Script::new(&name, &source, Arc::clone(step));
            let _ = reply.send(told.map(|made| script.insert(made).shape().clone()));
        }
        Request::Partitions { work, reply } => {
            let told = script.as_mut().ok_or_else(gone).and_then(|script| {
                work.iter().map(|work| script.partition(&work.incoming)).collect()
            });
            let _ = reply.send(told);
        }
        Request::Process { batch, reply } => {
            let told = match script {
                Some(script) => process(script, batch),
                None => Processed { outcomes: Vec::new(), fault: Some(gone()) },
            };
            let _ = reply.send(told);
        }
    }
}

fn process(script: &mut Script, batch: Batch) -> Processed {
    let Batch { work, mut states, mut shared } = batch;
    let begun = Instant::now();
    let (mut outcomes, mut emitted_bytes, mut fault) = (Vec::new(), 0, None);
    for Work { incoming, partition } in work {
        let stored = states.get(&partition).and_then(Option::as_ref);
        match script.step(&incoming, &partition, stored, shared.as_deref()) {
            Ok(outcome) => {
                let now = Stored { state: outcome.state.clone(), result: outcome.result.clone() };
                states.insert(partition, Some(now));
                shared.clone_from(&outcome.shared);
                emitted_bytes += outcome.emitted.iter().map(|it| it.size()).sum::<usize>();
                outcomes.push(outcome);
            }
            Err(reason) => {
                let event = &incoming.event;
                fault = Some(format!(
                    "event {}@{}, {}: {reason}",
                    event.revision, event.stream, event.event_type
                ));
                break;
            }
        }
        if begun.elapsed() >= TURN || emitted_bytes >= EMITTED_BYTES {
            break;
        }
    }
    Processed { outcomes, fault }
}
