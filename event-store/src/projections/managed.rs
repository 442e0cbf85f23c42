//! One projection: what it is, and whether it is at work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as AsyncMutex, watch};

use super::definition::{Definition, ProjectionMode};
use super::error::{Ended, Failure, ProjectionError};
use super::kept::{self, Checkpoint};
use super::live::Live;
use super::names::Names;
use super::partitions::Partition;
use super::place::Place;
use super::runner::{Handler, Plan, Running};
use super::script::Stored;
use super::shape::Shape;
use super::statistics::ProjectionStatistics;
use super::worker::Workers;
use crate::error::StoreError;
use crate::port::EventStore;
use crate::position::Position;

/// How long a state is waited for that a projection does not have, as it could not begin.
const STATE_WAIT: Duration = Duration::from_secs(20);

/// How long a transient projection is there when nobody asks for it.
const TRANSIENT_IDLE_MAX: Duration = Duration::from_secs(5 * 60);

/// Why a projection is not at work.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rest {
    Stopped,
    Aborted,
    /// It could not begin.
    Faulted(String),
}

/// A projection. Each thing that is asked of it is done before the next.
pub(super) struct Managed {
    store: Arc<dyn EventStore>,
    workers: Arc<Workers>,
    work: AsyncMutex<Managing>,
    /// Rings when it was started.
    begun: watch::Sender<()>,
    used: Mutex<Instant>,
}

struct Managing {
    definition: Definition,
    rest: Rest,
    running: Option<Running>,
    live: Arc<Live>,
    /// What its script says; none before it was started.
    shape: Option<Arc<Shape>>,
}

/// What is asked of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    State,
    Result,
}

impl Managed {
    pub(super) fn new(
        store: Arc<dyn EventStore>,
        workers: Arc<Workers>,
        definition: Definition,
    ) -> Self {
        let (rest, running, live, shape) = (Rest::Stopped, None, Arc::default(), None);
        let work = AsyncMutex::new(Managing { definition, rest, running, live, shape });
        let (begun, _) = watch::channel(());
        Self { store, workers, work, begun, used: Mutex::new(Instant::now()) }
    }

    fn used(&self) -> MutexGuard<'_, Instant> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is transient, and nobody has asked for it for long.
    pub(super) async fn is_idle(&self) -> bool {
        let mode = self.work.lock().await.definition.mode;
        mode == ProjectionMode::Transient && self.used().elapsed() >= TRANSIENT_IDLE_MAX
    }

    /// Sets it to work, if it is enabled. A script that can't be run is no error: it faults.
    pub(super) async fn begin(&self) -> Result<(), ProjectionError> {
        let mut work = self.work.lock().await;
        self.start(&mut work).await
    }

    async fn start(&self, work: &mut Managing) -> Result<(), ProjectionError> {
        *self.used() = Instant::now();
        work.rest = Rest::Stopped;
        if !work.definition.enabled {
            return Ok(());
        }
        let definition = work.definition.clone();
        let (handler, shape) = match definition.system() {
            Some(system) if system.is_indexed() => return Ok(()),
            Some(system) => (Handler::System(system), system.shape()),
            None => match self.workers.prepare(&definition.name, &definition.query).await {
                Ok((script, shape)) => (Handler::Script(script), shape),
                Err(reason) => {
                    let name = &definition.name;
                    tracing::warn!(projection.name = name, reason, "a projection can't begin");
                    work.rest = Rest::Faulted(reason);
                    work.shape = None;
                    return Ok(());
                }
            },
        };
        let names = Names::of_shape(&definition.name, &shape);
        let shape = Arc::new(shape);
        let live = Arc::new(Live::default());
        let store = Arc::clone(&self.store);
        let checkpoint = match self.checkpoint(&definition, &names).await {
            Ok(checkpoint) => checkpoint,
            Err(reason) => {
                work.rest = Rest::Faulted(reason);
                return Ok(());
            }
        };
        fill(&live, &checkpoint, &shape);
        (work.live, work.shape) = (Arc::clone(&live), Some(Arc::clone(&shape)));
        let plan = Plan { store, definition, shape, names, handler, live, checkpoint };
        work.running = Some(Running::begin(plan));
        self.begun.send_replace(());
        Ok(())
    }

    async fn checkpoint(
        &self,
        definition: &Definition,
        names: &Names,
    ) -> Result<Checkpoint, String> {
        if !definition.is_kept() {
            return Ok(Checkpoint::default());
        }
        let read = kept::checkpoint(&*self.store, names, definition.life()).await;
        read.map_err(|failure| match failure {
            Failure::Passing(error) => error.to_string(),
            Failure::Final(Ended::Faulted(reason)) => reason,
            Failure::Final(Ended::Closed | Ended::Completed) => "the store is closed".to_owned(),
        })
    }

    /// Changes what it is.
    async fn change(
        &self,
        work: &mut Managing,
        change: impl FnOnce(&mut Definition),
    ) -> Result<(), ProjectionError> {
        *self.used() = Instant::now();
        let mut changed = work.definition.clone();
        changed.version += 1;
        change(&mut changed);
        changed.keep(&*self.store).await?;
        work.definition = changed;
        Ok(())
    }

    pub(super) async fn enable(&self) -> Result<(), ProjectionError> {
        let mut work = self.work.lock().await;
        let is_indexed = work.definition.system().is_some_and(|system| system.is_indexed());
        let is_at_work = work.definition.enabled && (work.is_running() || is_indexed);
        if is_at_work {
            return Ok(());
        }
        self.change(&mut work, |definition| {
            definition.enabled = true;
            definition.stopped_at = None;
        })
        .await?;
        work.end(true).await;
        self.start(&mut work).await
    }

    /// Stops it: in peace, with a last checkpoint, or at once.
    pub(super) async fn disable(&self, in_peace: bool) -> Result<(), ProjectionError> {
        let mut work = self.work.lock().await;
        let is_indexed = work.definition.system().is_some_and(|system| system.is_indexed());
        let stopped_at = if is_indexed && work.definition.enabled {
            Some(self.store.head().await?)
        } else {
            work.definition.stopped_at
        };
        self.change(&mut work, |definition| {
            definition.enabled = false;
            definition.stopped_at = stopped_at;
        })
        .await?;
        let was_running = work.is_running();
        work.end(in_peace).await;
        work.rest = if was_running && !in_peace { Rest::Aborted } else { Rest::Stopped };
        Ok(())
    }

    pub(super) async fn update(
        &self,
        query: String,
        emit_enabled: Option<bool>,
    ) -> Result<(), ProjectionError> {
        let mut work = self.work.lock().await;
        if let Some(system) = work.definition.system() {
            let reason = format!("{} is the system's own, and stays as it is", system.name());
            return Err(ProjectionError::Refused(reason));
        }
        let is_over = work.live.now().ended == Some(Ended::Completed);
        self.change(&mut work, |definition| {
            definition.query = query;
            definition.emit_enabled = emit_enabled.unwrap_or(definition.emit_enabled);
            if is_over {
                definition.epoch = definition.version;
            }
        })
        .await?;
        work.end(true).await;
        self.start(&mut work).await
    }

    /// Begins it anew, with no state, at the start of its source; a stopped one stays so.
    pub(super) async fn reset(&self) -> Result<(), ProjectionError> {
        let mut work = self.work.lock().await;
        self.change(&mut work, |definition| definition.epoch = definition.version).await?;
        work.end(false).await;
        work.live = Arc::default();
        self.start(&mut work).await
    }

    /// Ends it with the service; it goes on where it is when that is started again.
    pub(super) async fn close(&self) {
        self.work.lock().await.end(true).await;
    }

    /// Ends it for good; refused while it is at work. Returns what it was.
    pub(super) async fn end(&self) -> Result<Definition, ProjectionError> {
        let mut work = self.work.lock().await;
        let may_run = work.definition.mode == ProjectionMode::Transient;
        if work.definition.system().is_some() {
            let reason = "a projection of the system can't be deleted".to_owned();
            return Err(ProjectionError::Refused(reason));
        }
        if work.is_running() && !may_run {
            let reason = "a projection that is at work can't be deleted: disable it".to_owned();
            return Err(ProjectionError::Refused(reason));
        }
        work.end(false).await;
        Ok(work.definition.clone())
    }

    /// The state of a partition as JSON, or its result; none where there is none.
    pub(super) async fn ask(
        &self,
        asked: Asked,
        partition: &str,
    ) -> Result<Option<Arc<str>>, ProjectionError> {
        *self.used() = Instant::now();
        let mut begun = self.begun.subscribe();
        begun.mark_unchanged();
        let until = tokio::time::Instant::now() + STATE_WAIT;
        loop {
            let work = self.work.lock().await;
            if !matches!(work.rest, Rest::Faulted(_)) || work.shape.is_some() {
                return self.look(&work, asked, partition).await;
            }
            let name = work.definition.name.clone();
            drop(work);
            // It may be given a script that can be run, which clients wait for.
            match tokio::time::timeout_at(until, begun.changed()).await {
                Ok(Ok(())) => {}
                _ => return Err(ProjectionError::NoState(name)),
            }
        }
    }

    async fn look(
        &self,
        work: &Managing,
        asked: Asked,
        partition: &str,
    ) -> Result<Option<Arc<str>>, ProjectionError> {
        let of = |stored: Stored| match (asked, &work.shape) {
            (Asked::State, _) => stored.state,
            (Asked::Result, Some(shape)) if shape.transforms => stored.result,
            (Asked::Result, _) => stored.result.or(stored.state),
        };
        let bi_state = work.shape.as_ref().is_some_and(|shape| shape.bi_state);
        let cached = {
            let now = work.live.now();
            match partition {
                // What all partitions share is told as the state of the whole.
                "" if bi_state => now.shared.clone().map(Stored::shared),
                partition => now.partitions.get(partition).map(|it| it.stored.clone()),
            }
        };
        if let Some(stored) = cached {
            return Ok(of(stored));
        }
        if !work.definition.is_kept() {
            return Ok(None);
        }
        let names = Names::new(&work.definition.name);
        let life = work.definition.life();
        let stored = match partition {
            "" => {
                let kept = kept::checkpoint(&*self.store, &names, life).await;
                kept.map(|it| it.shared.map(Stored::shared).or(it.stored))
            }
            partition => kept::partition(&*self.store, &names, life, partition).await,
        };
        match stored {
            Ok(stored) => Ok(stored.and_then(of)),
            Err(Failure::Passing(error)) => Err(error.into()),
            Err(Failure::Final(Ended::Faulted(reason))) => Err(ProjectionError::Refused(reason)),
            Err(Failure::Final(_)) => Err(StoreError::Closed.into()),
        }
    }

    /// How it is doing; `head` is the end of the log.
    pub(super) async fn statistics(&self, head: Position) -> ProjectionStatistics {
        let work = self.work.lock().await;
        let definition = &work.definition;
        let (status, state_reason) = work.status();
        let now = work.live.now();
        let is_indexed = definition.system().is_some_and(|system| system.is_indexed());
        let told = |place: &Option<Place>| place.as_ref().map(Place::told).unwrap_or_default();
        let indexed = Place::Log(definition.stopped_at.unwrap_or(head)).told();
        let was_enabled = definition.enabled || definition.stopped_at.is_some();
        let (position, last_checkpoint) = match is_indexed {
            true if was_enabled => (indexed.clone(), indexed),
            true => (String::new(), String::new()),
            false => (told(&now.place), told(&now.checkpoint)),
        };
        let millis = u64::try_from(now.busy.as_millis()).unwrap_or(u64::MAX);
        ProjectionStatistics {
            name: definition.name.clone(),
            mode: definition.mode,
            status,
            state_reason,
            version: definition.version,
            epoch: definition.epoch,
            position,
            last_checkpoint,
            progress: match is_indexed && definition.enabled || now.is_live {
                true => 100.0,
                false => progress(now.position, head),
            },
            events_processed_after_restart: now.handled,
            core_processing_millis: millis,
            buffered_events: now.buffered as u64,
            partitions_cached: now.partitions.len() as u64,
            writes_in_progress: u64::from(now.is_writing),
            reads_in_progress: u64::from(work.running.is_some() && !now.is_live),
        }
    }
}

/// How much of the log is behind a position, in percent.
fn progress(position: Option<Position>, head: Position) -> f32 {
    let Some(position) = position.filter(|_| head != Position::START) else { return 0.0 };
    #[expect(clippy::cast_precision_loss, reason = "people look at it")]
    let percent = position.get() as f32 * 100.0 / head.get() as f32;
    percent.min(100.0)
}

/// Lets others see what a projection has kept, before it goes on.
fn fill(live: &Live, checkpoint: &Checkpoint, shape: &Shape) {
    let mut now = live.now();
    now.place.clone_from(&checkpoint.place);
    now.checkpoint.clone_from(&checkpoint.place);
    now.shared.clone_from(&checkpoint.shared);
    let has_root = !shape.is_partitioned();
    let stored = checkpoint.stored.clone().filter(|_| has_root);
    if let Some(mut stored) = stored {
        if !shape.transforms {
            stored.result.clone_from(&stored.state);
        }
        let is_known = true;
        now.partitions.put("", Partition { stored, is_known, ..Partition::default() });
    }
}

impl Managing {
    /// Whether it is at work, and has not ended by itself.
    fn is_running(&self) -> bool {
        self.running.is_some() && self.live.now().ended.is_none()
    }

    async fn end(&mut self, in_peace: bool) {
        match self.running.take() {
            Some(running) if in_peace => running.stop().await,
            Some(running) => running.abort().await,
            None => {}
        }
    }

    /// Its status as the protocol has it, and why it is so.
    fn status(&self) -> (String, String) {
        let now = self.live.now();
        let enabled = if self.definition.enabled { " (Enabled)" } else { "" };
        let trouble = now.trouble.clone().unwrap_or_default();
        let is_indexed = self.definition.system().is_some_and(|system| system.is_indexed());
        match (&self.running, &now.ended, &self.rest) {
            (Some(_), None, _) => ("Running".to_owned(), trouble),
            (Some(_), Some(Ended::Faulted(reason)), _) => {
                (format!("Faulted{enabled}"), reason.clone())
            }
            (Some(_), Some(Ended::Completed), _) => ("Completed".to_owned(), String::new()),
            (None, _, Rest::Faulted(reason)) => (format!("Faulted{enabled}"), reason.clone()),
            (None, _, Rest::Stopped) if is_indexed && self.definition.enabled => {
                ("Running".to_owned(), String::new())
            }
            (None, _, Rest::Aborted) => ("Aborted/Stopped".to_owned(), String::new()),
            (Some(_), Some(Ended::Closed), _) | (None, _, Rest::Stopped) => {
                (format!("Stopped{enabled}"), trouble)
            }
        }
    }
}
