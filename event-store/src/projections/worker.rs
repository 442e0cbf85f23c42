//! The threads that run scripts: an engine stays on the thread that made it.
//!
//! They are few, whatever the number of projections; each is asked for a little at a time, so that
//! a script that takes its time delays others by that, and no more.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::event::{Outcome, Work};
use super::script::{Script, Stored};
use super::shape::Shape;
use crate::limits::{EMITTED_BYTES, SCRIPT_THREADS_MAX};

/// How long a thread works for one projection before others have their turn.
const TURN: Duration = Duration::from_millis(50);

/// The stack of a thread, in bytes: what scripts may have, and what runs them.
const STACK_BYTES: usize = 2 * 1024 * 1024;

/// What is known of the partitions of a batch; of a new one nothing.
pub(super) type States = HashMap<String, Option<Stored>>;

enum Request {
    Prepare { id: u64, name: String, source: String, reply: Reply<Shape> },
    Partitions { id: u64, work: Vec<Work>, reply: Reply<Vec<Option<String>>> },
    Process { id: u64, batch: Batch, reply: oneshot::Sender<Processed> },
    Forget { id: u64 },
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

/// The threads. There are none before the first script.
///
/// What waits for them is bounded by the number of projections: each asks for one thing at a time.
#[derive(Default)]
pub(super) struct Workers {
    threads: std::sync::OnceLock<Vec<mpsc::UnboundedSender<Request>>>,
    next: AtomicUsize,
    ids: AtomicU64,
}

impl Workers {
    fn threads(&self) -> &[mpsc::UnboundedSender<Request>] {
        self.threads.get_or_init(|| {
            let wanted = thread::available_parallelism().map_or(1, usize::from);
            (0..wanted.min(SCRIPT_THREADS_MAX)).filter_map(|_| spawn().ok()).collect()
        })
    }

    /// Has a script describe itself.
    pub(super) async fn prepare(
        &self,
        name: &str,
        source: &str,
    ) -> Result<(ScriptHandle, Shape), String> {
        let threads = self.threads();
        if threads.is_empty() {
            return Err("there are no threads to run scripts".to_owned());
        }
        let at = self.next.fetch_add(1, Ordering::Relaxed) % threads.len();
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let handle = ScriptHandle { thread: threads[at].clone(), id };
        let (name, source) = (name.to_owned(), source.to_owned());
        let shape = handle.ask(|reply| Request::Prepare { id, name, source, reply }).await?;
        Ok((handle, shape))
    }
}

/// A script at work. Dropping it ends its engine.
pub(super) struct ScriptHandle {
    thread: mpsc::UnboundedSender<Request>,
    id: u64,
}

impl Drop for ScriptHandle {
    fn drop(&mut self) {
        // Where the thread is gone, so is the engine.
        let _ = self.thread.send(Request::Forget { id: self.id });
    }
}

const GONE: &str = "the thread of the script is gone";

impl ScriptHandle {
    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, String> {
        let (reply, answer) = oneshot::channel();
        let sent = self.thread.send(request(reply));
        sent.map_err(|_| GONE.to_owned())?;
        answer.await.map_err(|_| GONE.to_owned())?
    }

    /// The partitions that the script's own function puts these events in.
    pub(super) async fn partitions(&self, work: Vec<Work>) -> Result<Vec<Option<String>>, String> {
        self.ask(|reply| Request::Partitions { id: self.id, work, reply }).await
    }

    /// Handles the first of these events, as many as there is time for.
    pub(super) async fn process(&self, batch: Batch) -> Processed {
        let (reply, answer) = oneshot::channel();
        let sent = self.thread.send(Request::Process { id: self.id, batch, reply });
        let gone = Processed { outcomes: Vec::new(), fault: Some(GONE.to_owned()) };
        if sent.is_err() {
            return gone;
        }
        answer.await.unwrap_or(gone)
    }
}

fn spawn() -> io::Result<mpsc::UnboundedSender<Request>> {
    let (sender, mut receiver) = mpsc::unbounded_channel::<Request>();
    let work = move || {
        let mut scripts = HashMap::new();
        while let Some(request) = receiver.blocking_recv() {
            let id = request.id();
            // A panic would be a bug of ours; it ends one projection, not all of this thread.
            let answered = catch_unwind(AssertUnwindSafe(|| answer(&mut scripts, request)));
            if answered.is_err() {
                tracing::error!("the thread of a projection's script panicked");
                scripts.remove(&id);
            }
        }
    };
    thread::Builder::new().name("projections".to_owned()).stack_size(STACK_BYTES).spawn(work)?;
    Ok(sender)
}

impl Request {
    fn id(&self) -> u64 {
        match self {
            Self::Prepare { id, .. }
            | Self::Partitions { id, .. }
            | Self::Process { id, .. }
            | Self::Forget { id } => *id,
        }
    }
}

/// Answers one request; nobody may wait for the answer any more.
fn answer(scripts: &mut HashMap<u64, Script>, request: Request) {
    match request {
        Request::Prepare { id, name, source, reply } => {
            let told = Script::new(&name, &source).map(|script| {
                let shape = script.shape().clone();
                scripts.insert(id, script);
                shape
            });
            let _ = reply.send(told);
        }
        Request::Partitions { id, work, reply } => {
            let told = script(scripts, id).and_then(|script| {
                work.iter().map(|work| script.partition(&work.incoming)).collect()
            });
            let _ = reply.send(told);
        }
        Request::Process { id, batch, reply } => {
            let told = match script(scripts, id) {
                Ok(script) => process(script, batch),
                Err(gone) => Processed { outcomes: Vec::new(), fault: Some(gone) },
            };
            let _ = reply.send(told);
        }
        Request::Forget { id } => drop(scripts.remove(&id)),
    }
}

fn script(scripts: &mut HashMap<u64, Script>, id: u64) -> Result<&mut Script, String> {
    scripts.get_mut(&id).ok_or_else(|| "the engine of the script is gone".to_owned())
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
