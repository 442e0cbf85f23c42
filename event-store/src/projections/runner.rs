//! The task of a projection: reads its events, has them handled, and writes what comes of that.

mod writing;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::commit::Commit;
use super::definition::{Definition, ProjectionMode};
use super::error::{Ended, Failure};
use super::event::{Incoming, Outcome, Work};
use super::kept::{self, Checkpoint};
use super::live::Live;
use super::names::Names;
use super::partitions::Partition;
use super::place::Place;
use super::script::Stored;
use super::shape::{Partitioning, Shape};
use super::source::{Read, Source};
use super::system::System;
use super::worker::{Batch, Processed, ScriptHandle, States};
use crate::error::StoreError;
use crate::limits::{
    APPEND_STREAMS_MAX, EMITS_MAX, EMITTED_BYTES, PARTITIONS_TRANSIENT_MAX,
    PARTITIONS_UNWRITTEN_MAX, PROJECTION_BATCH_BYTES, PROJECTION_BATCH_EVENTS_MAX,
};
use crate::port::EventStore;
use crate::position::Position;
use crate::stream::{Revision, StreamName};

/// How long states that nothing was emitted with may be unwritten: they can be made again.
const UNWRITTEN_MAX: Duration = Duration::from_secs(1);

/// How long what the system's projections emit may be unwritten: they emit for nearly all streams,
/// and so that many events make one append.
const GATHERING: Duration = Duration::from_millis(200);

/// How many events are handled before their states are written, and how many are passed over.
const UNWRITTEN_EVENTS_MAX: u64 = 4000;
const PASSED_EVENTS_MAX: u64 = 10_000;

/// The pause before the first further attempt, and the longest between two.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How many streams one event may need: those emitted to, and where its state and results go.
const STREAMS_OF_ONE_MAX: usize = EMITS_MAX + 16;

/// What handles events.
pub(super) enum Handler {
    Script(ScriptHandle),
    System(System),
}

/// What a projection is to be.
pub(super) struct Plan {
    pub store: Arc<dyn EventStore>,
    pub definition: Definition,
    pub shape: Arc<Shape>,
    pub names: Names,
    pub handler: Handler,
    pub live: Arc<Live>,
    pub checkpoint: Checkpoint,
}

/// A projection at work. Dropping it ends it as a kill would.
pub(super) struct Running {
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Running {
    /// Sets a projection to work.
    pub(super) fn begin(plan: Plan) -> Self {
        let stop = CancellationToken::new();
        let task: JoinHandle<()> = tokio::spawn(Runner::new(plan, stop.clone()).run());
        Self { stop, task: AbortOnDropHandle::new(task) }
    }

    /// Ends it in peace: with a last checkpoint.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        // It fails only if the task panicked: it has ended either way.
        let _ = self.task.await;
    }

    /// Ends it at once; what was not written is forgotten.
    pub(super) async fn abort(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// Events that were ready at once, and what was said behind them.
#[derive(Default)]
struct Gathered {
    events: Vec<Arc<Incoming>>,
    end: Option<(Place, Position)>,
    passed: u64,
    is_live: Option<bool>,
    failure: Option<Failure>,
}

struct Runner {
    plan: Plan,
    source: Arc<Source>,
    stop: CancellationToken,
    place: Option<Place>,
    commit: Commit,
    after: Option<Revision>,
    /// Handled, and not told yet.
    handled: u64,
    /// Handled, and passed over, since the last commit.
    unwritten: u64,
    passed: u64,
    /// By when they are to be written.
    due: Option<Instant>,
    /// Streams that need not be looked at before they are written.
    known: HashSet<StreamName>,
    /// Streams that are listed as emitted to; none before they are read.
    tracked: Option<HashSet<StreamName>>,
}

impl Runner {
    fn new(mut plan: Plan, stop: CancellationToken) -> Self {
        let checkpoint = std::mem::take(&mut plan.checkpoint);
        let source = Arc::new(Source::of(&plan.shape));
        let commit = Commit::new(plan.names.clone(), plan.definition.life());
        Self {
            source,
            stop,
            place: checkpoint.place,
            commit,
            after: checkpoint.revision,
            handled: 0,
            unwritten: 0,
            passed: 0,
            due: None,
            known: HashSet::new(),
            tracked: None,
            plan,
        }
    }

    async fn run(mut self) {
        let ended = self.work().await;
        if let Some(Ended::Faulted(reason)) = &ended {
            let name = &self.plan.definition.name;
            tracing::warn!(projection.name = name, reason, "a projection has faulted");
        }
        let mut now = self.plan.live.now();
        now.is_live &= ended.is_none();
        now.buffered = 0;
        now.ended = ended;
    }

    /// Works until it is told to stop, or ends by itself.
    async fn work(&mut self) -> Option<Ended> {
        if let Some(place) = self.place.as_ref().filter(|place| !self.source.has(place)) {
            return Some(Ended::Faulted(format!(
                "it stands at {}, which is no place of its source: reset it",
                place.told()
            )));
        }
        let mut pause = PAUSE;
        loop {
            let mut reads = self.source.read(Arc::clone(&self.plan.store), self.place.clone());
            let failed = match self.follow(&mut reads, &mut pause).await {
                Ok(ended) => match self.flush().await {
                    Ok(()) => return ended,
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            };
            let error = match failed {
                Failure::Final(ended) => return Some(ended),
                Failure::Passing(error) => error,
            };
            self.plan.live.now().trouble = Some(error.to_string());
            if self.stop.is_cancelled() {
                return None;
            }
            self.wait(&mut pause).await;
        }
    }

    async fn wait(&self, pause: &mut Duration) {
        tokio::select! {
            () = tokio::time::sleep(*pause) => *pause = (*pause * 2).min(PAUSE_MAX),
            () = self.stop.cancelled() => {}
        }
    }

    /// Handles what comes; ends well when it is told to stop, or has read all that it was to.
    async fn follow(
        &mut self,
        reads: &mut BoxStream<'static, Result<Read, Failure>>,
        pause: &mut Duration,
    ) -> Result<Option<Ended>, Failure> {
        let completes = self.plan.definition.mode == ProjectionMode::OneTime;
        loop {
            let read = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(None),
                () = at(self.due) => {
                    self.flush().await?;
                    continue;
                }
                read = reads.next() => read,
            };
            let gathered = self.gather(read, reads);
            if gathered.failure.is_none() {
                *pause = PAUSE;
                self.plan.live.now().trouble = None;
            }
            let is_live = gathered.is_live;
            if !self.handle(gathered).await? {
                return Ok(None);
            }
            if completes && is_live == Some(true) {
                return Ok(Some(Ended::Completed));
            }
        }
    }

    /// Takes what is ready, up to a batch.
    fn gather(
        &self,
        first: Option<Result<Read, Failure>>,
        reads: &mut BoxStream<'static, Result<Read, Failure>>,
    ) -> Gathered {
        let (mut gathered, mut bytes, mut next) = (Gathered::default(), 0, Some(first));
        while let Some(read) = next {
            match read {
                Some(Ok(Read::Event(incoming))) => {
                    let end = (incoming.place.clone(), incoming.position);
                    if self.wants(&incoming) {
                        bytes += incoming.size();
                        gathered.events.push(Arc::new(*incoming));
                    } else {
                        gathered.passed += 1;
                    }
                    gathered.end = Some(end);
                }
                Some(Ok(Read::Passed(place, position, events))) => {
                    gathered.passed += events;
                    gathered.end = Some((place, position));
                }
                Some(Ok(Read::CaughtUp)) => {
                    gathered.is_live = Some(true);
                    break;
                }
                Some(Ok(Read::FellBehind)) => gathered.is_live = Some(false),
                Some(Err(failure)) => gathered.failure = Some(failure),
                None => gathered.failure = Some(StoreError::Closed.into()),
            }
            let is_full = gathered.events.len() >= PROJECTION_BATCH_EVENTS_MAX
                || gathered.passed >= PASSED_EVENTS_MAX
                || bytes >= PROJECTION_BATCH_BYTES;
            if is_full || gathered.failure.is_some() {
                break;
            }
            next = reads.next().now_or_never();
        }
        gathered
    }

    fn wants(&self, incoming: &Incoming) -> bool {
        if incoming.deleted.is_some() {
            return true;
        }
        let is_script = matches!(self.plan.handler, Handler::Script(_));
        let event = &incoming.event;
        self.plan.shape.wants(event.event_type.as_str()) && !(is_script && incoming.is_blank())
    }

    /// Handles a batch; says whether all of it was, or it was told to stop.
    async fn handle(&mut self, gathered: Gathered) -> Result<bool, Failure> {
        let Gathered { events, end, passed, is_live, failure } = gathered;
        self.plan.live.now().buffered = events.len();
        let mut work = self.partitions(events).await?;
        while !work.is_empty() {
            if self.stop.is_cancelled() {
                return Ok(false);
            }
            let states = self.states(&work).await?;
            let begun = Instant::now();
            let Processed { outcomes, fault } = self.process(&work, states).await;
            let stuck = outcomes.is_empty() && fault.is_none();
            for outcome in outcomes {
                let Some(Work { incoming, partition }) = work.pop_front() else { break };
                self.apply(&incoming, &partition, outcome).await?;
            }
            self.tell(begun.elapsed(), work.len());
            if let Some(reason) = fault {
                self.flush().await?;
                return Err(Failure::Final(Ended::Faulted(reason)));
            }
            if stuck {
                let reason = "nothing became of its events".to_owned();
                return Err(Failure::Final(Ended::Faulted(reason)));
            }
        }
        if let Some((place, position)) = end {
            self.passed += passed;
            self.stand(place, position);
        }
        if let Some(is_live) = is_live {
            self.plan.live.now().is_live = is_live;
        }
        if self.is_due() {
            self.flush().await?;
        }
        self.plan.live.now().handled += std::mem::take(&mut self.handled);
        failure.map_or(Ok(true), Err)
    }

    /// Stands there now.
    fn stand(&mut self, place: Place, position: Position) {
        let mut now = self.plan.live.now();
        now.place = Some(place.clone());
        now.position = Some(position);
        self.place = Some(place);
    }

    fn tell(&self, took: Duration, buffered: usize) {
        let mut now = self.plan.live.now();
        now.busy += took;
        now.buffered = buffered;
    }

    /// Holds a state in memory; returns how many are not written yet.
    fn hold(&self, name: &str, partition: Partition, shared: Option<Arc<str>>) -> usize {
        let mut now = self.plan.live.now();
        now.partitions.put(name, partition);
        now.shared = shared;
        now.partitions.unwritten()
    }

    /// Whether what waits is to be written now.
    fn is_due(&self) -> bool {
        let emits = matches!(self.plan.handler, Handler::Script(_)) && !self.commit.is_empty();
        emits
            || self.unwritten >= UNWRITTEN_EVENTS_MAX
            || self.passed >= PASSED_EVENTS_MAX
            || !self.plan.definition.is_kept()
    }

    /// The partition of each event; events without one are left out.
    async fn partitions(&self, events: Vec<Arc<Incoming>>) -> Result<VecDeque<Work>, Failure> {
        let in_one = |partition: fn(&Incoming) -> String| {
            let events = events.iter();
            let work = events.map(|it| Work { incoming: Arc::clone(it), partition: partition(it) });
            Ok(work.collect())
        };
        match self.plan.shape.partition {
            Partitioning::None => in_one(|_| String::new()),
            Partitioning::Stream => in_one(Incoming::stream_partition),
            Partitioning::Custom => {
                let Handler::Script(script) = &self.plan.handler else {
                    return in_one(|_| String::new());
                };
                let work: VecDeque<Work> = in_one(|_| String::new())?;
                let found = script.partitions(work.iter().cloned().collect()).await;
                let found = found.map_err(|reason| Failure::Final(Ended::Faulted(reason)))?;
                let with = |(work, found): (Work, Option<String>)| {
                    found.map(|partition| Work { partition, ..work })
                };
                Ok(work.into_iter().zip(found).filter_map(with).collect())
            }
        }
    }

    /// What is known of the partitions of these events.
    async fn states(&self, work: &VecDeque<Work>) -> Result<States, Failure> {
        let mut states = States::new();
        for Work { partition, .. } in work {
            if states.contains_key(partition) {
                continue;
            }
            let known = self.plan.live.now().partitions.get(partition).cloned();
            let known = match known {
                Some(known) => known,
                None => self.load(partition).await?,
            };
            let is_there = known.is_known || known.unwritten;
            states.insert(partition.clone(), is_there.then_some(known.stored));
        }
        Ok(states)
    }

    /// Looks a partition up in the store.
    async fn load(&self, partition: &str) -> Result<Partition, Failure> {
        let Plan { store, names, shape, definition, live, .. } = &self.plan;
        let mut loaded = Partition::default();
        if definition.is_kept() {
            let stored = kept::partition(&**store, names, definition.life(), partition).await?;
            loaded.is_known = stored.is_some();
            loaded.stored = stored.unwrap_or_default();
            if !shape.transforms {
                loaded.stored.result = loaded.stored.state.clone();
            }
            if shape.output && !partition.is_empty() {
                let stream =
                    names.partition_result(partition).map_err(|error| kept::named(&error))?;
                loaded.next_result = kept::next_revision(&**store, &stream).await?;
            }
        } else if live.now().partitions.len() >= PARTITIONS_TRANSIENT_MAX {
            return Err(Failure::Final(Ended::Faulted(format!(
                "it has more than {PARTITIONS_TRANSIENT_MAX} partitions, and is transient"
            ))));
        }
        live.now().partitions.put(partition, loaded.clone());
        Ok(loaded)
    }

    async fn process(&self, work: &VecDeque<Work>, states: States) -> Processed {
        match &self.plan.handler {
            Handler::System(system) => {
                let outcome = |work: &Work| Outcome {
                    emitted: system.handle(&work.incoming).into_iter().collect(),
                    ..Outcome::default()
                };
                Processed { outcomes: work.iter().map(outcome).collect(), fault: None }
            }
            Handler::Script(script) => {
                let shared = self.plan.live.now().shared.clone();
                let work = work.iter().cloned().collect();
                script.process(Batch { work, states, shared }).await
            }
        }
    }

    /// Takes what became of an event: into memory, and to what is written next.
    async fn apply(
        &mut self,
        incoming: &Incoming,
        partition: &str,
        outcome: Outcome,
    ) -> Result<(), Failure> {
        let definition = &self.plan.definition;
        if !outcome.emitted.is_empty() && !definition.emit_enabled {
            self.flush().await?;
            let reason = "it emits, which was not enabled".to_owned();
            return Err(Failure::Final(Ended::Faulted(reason)));
        }
        let before = self.plan.live.now().partitions.get(partition).cloned().unwrap_or_default();
        let tracks = definition.track_emitted_streams && !outcome.emitted.is_empty();
        for (number, emitted) in outcome.emitted.into_iter().enumerate() {
            let stream = self.commit.emit(incoming, number, emitted)?;
            if tracks && self.tracked().await?.insert(stream.clone()) {
                self.commit.track(&incoming.place, &stream)?;
            }
        }
        let stored = Stored { state: outcome.state, result: outcome.result };
        let writes_results = self.plan.shape.output && self.plan.definition.is_kept();
        let mut next_result = before.next_result;
        if writes_results && stored.result != before.stored.result {
            let result = stored.result.as_deref();
            self.commit.result(incoming, partition, result, next_result)?;
            next_result = next_result.map(|next| next + 1);
        }
        let is_new = !before.is_known && !before.unwritten;
        let unwritten = before.unwritten || is_new || stored != before.stored;
        let now = Partition { stored, unwritten, next_result, ..before };
        self.handled += 1;
        self.unwritten += 1;
        let within = match self.plan.handler {
            Handler::Script(_) => Some(UNWRITTEN_MAX),
            // There is no state: what nothing was emitted for is passed over again.
            Handler::System(_) => (!self.commit.is_empty()).then_some(GATHERING),
        };
        self.due = self.due.or_else(|| within.map(|within| Instant::now() + within));
        self.stand(incoming.place.clone(), incoming.position);
        let unwritten = self.hold(partition, now, outcome.shared);
        let streams = self.commit.streams().len() + 2 * unwritten + STREAMS_OF_ONE_MAX;
        if streams > APPEND_STREAMS_MAX
            || unwritten >= PARTITIONS_UNWRITTEN_MAX / 2
            || self.commit.bytes() >= EMITTED_BYTES
        {
            self.flush().await?;
        }
        Ok(())
    }
}

/// At this time; never without one.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
