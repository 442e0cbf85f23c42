//! Follows the log: starts runs, hands signals over, keeps one task a run at work, drains.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use event_schemas::EventFamily;
use event_schemas::saga::SagaEvent;
use event_store::{
    Delivery, EventStore, Filter, Position, ReadError, RecordedEvent, StreamName, SubscribeError,
    SubscribeFrom, has_event,
};
use futures::StreamExt;
use futures::future::try_join_all;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::orchestrator::agenda::{Agenda, Held, Pace};
use crate::orchestrator::checkpoint::{CheckpointError, Keeper};
use crate::orchestrator::clock::{Clock, SystemClock};
use crate::orchestrator::definition::SagaDefinition;
use crate::orchestrator::foreign::Foreign;
use crate::orchestrator::instance::Instance;
use crate::orchestrator::journal::{Journal, JournalError, begins_a_run, stream_of};
use crate::orchestrator::lane::Lane;
use crate::orchestrator::outages::Outages;
use crate::orchestrator::retry::RetryPolicy;

/// Most deliveries that are taken in at once.
const DELIVERIES_AT_ONCE_MAX: usize = 64;

/// How long to wait after the log could not be followed.
const FOLLOW_RETRY: Duration = Duration::from_millis(500);

/// How the runtime behaves.
#[derive(Clone, Debug)]
pub struct SagaSettings {
    /// Its name; each has its own checkpoint.
    pub name: String,
    /// How many runs of one kind begin to act at once, and how many more go on that come back
    /// from outside; those that wait are not counted.
    pub running_max: usize,
    /// How many runs of one kind wait for outer parties at once.
    pub calling_max: usize,
    /// How many of these may be on behalf of the same owner.
    pub calling_of_owner_max: usize,
    /// How long an activity may take before its outcome counts as not known.
    pub activity_timeout: Duration,
    /// How often a checkpoint is saved, when there is something new.
    pub checkpoint_every: Duration,
    /// How failed steps are tried again.
    pub retry: RetryPolicy,
}

impl Default for SagaSettings {
    fn default() -> Self {
        Self {
            name: "platform".to_owned(),
            running_max: 64,
            calling_max: 1_024,
            calling_of_owner_max: 16,
            activity_timeout: Duration::from_secs(30),
            checkpoint_every: Duration::from_secs(5),
            retry: RetryPolicy::default(),
        }
    }
}

/// Runs sagas.
pub struct SagaRuntime {
    journal: Journal,
    sagas: Arc<[SagaDefinition]>,
    clock: Arc<dyn Clock>,
    settings: Arc<SagaSettings>,
    held: watch::Sender<Held>,
    of_store: Arc<Outages>,
}

/// Why following stopped; it is taken up again.
#[derive(Debug, Error)]
enum FollowError {
    #[error("the subscription failed")]
    Subscribe(#[from] SubscribeError),
    #[error("a run could not be started or signalled")]
    Journal(#[from] JournalError),
    #[error("the log can't be looked at")]
    Look(#[from] ReadError),
    #[error("the log is another one than was followed up to {0}")]
    AnotherLog(Position),
    #[error("the subscription ended")]
    Ended,
}

/// The log as it has been taken in, and the runs: those at work, and those that wait.
struct Follower {
    checkpoint: Keeper,
    live: bool,
    tasks: JoinSet<(StreamName, Pace)>,
    agenda: Agenda,
    /// By stream prefix: slow ones of one kind do not hold up the others.
    lanes: Vec<(String, Arc<Lane>)>,
    foreign: Foreign,
    /// Whether it is told that the checkpoint can't be saved.
    is_unsaved: bool,
}

impl Follower {
    /// The lane of a run's stream; none where no such kind of saga is known here.
    fn lane(&self, stream: &str) -> Option<&Arc<Lane>> {
        let is_its = |(prefix, _): &&(String, Arc<Lane>)| {
            let subject = stream.strip_prefix(prefix.as_str());
            subject.is_some_and(|subject| Uuid::try_parse(subject).is_ok())
        };
        self.lanes.iter().find(is_its).map(|(_, lane)| lane)
    }
}

impl Drop for Follower {
    /// Who does not run them any more has none.
    fn drop(&mut self) {
        count_held(Held::default());
        count_unfinished(0);
    }
}

impl SagaRuntime {
    /// Runs these sagas on the store, by the clock on the wall.
    pub fn new(
        store: Arc<dyn EventStore>,
        sagas: Vec<SagaDefinition>,
        settings: SagaSettings,
    ) -> Self {
        Self {
            journal: Journal::new(store),
            sagas: sagas.into(),
            clock: Arc::new(SystemClock),
            settings: Arc::new(settings),
            held: watch::Sender::default(),
            of_store: Arc::default(),
        }
    }

    /// The same, by another clock.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// How many runs go on only by what others do, as it changes.
    pub fn held(&self) -> watch::Receiver<Held> {
        self.held.subscribe()
    }

    /// Runs until `stop`: steps under way are then ended and recorded, and a checkpoint is saved.
    ///
    /// Dropping the future instead is as good as a crash: nothing is lost.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), CheckpointError> {
        let store = self.journal.store().as_ref();
        let mut follower = Follower {
            checkpoint: Keeper::load(store, self.checkpoint_stream()).await?,
            live: false,
            tasks: JoinSet::new(),
            agenda: Agenda::default(),
            lanes: self.lanes(),
            foreign: Foreign::default(),
            is_unsaved: false,
        };
        self.leave_out_foreign(&mut follower).await?;
        while !stop.is_cancelled() {
            if let Err(error) = self.follow(&mut follower, &stop).await {
                if let FollowError::AnotherLog(position) = error {
                    return Err(CheckpointError::LogExchanged { position });
                }
                self.of_store.store_failed(&error);
                let pause = tokio::time::sleep(FOLLOW_RETRY);
                let _ = stop.run_until_cancelled(pause).await;
            }
        }
        while follower.tasks.join_next().await.is_some() {}
        follower.checkpoint.save(store).await
    }

    /// Takes out of the list of runs what is none, as releases before took it in.
    async fn leave_out_foreign(&self, follower: &mut Follower) -> Result<(), CheckpointError> {
        for stream in follower.checkpoint.unfinished().clone() {
            if follower.lane(&stream).is_some() {
                continue;
            }
            let is_run = self.journal.is_of_a_run(&name(&stream)).await;
            if !is_run.map_err(CheckpointError::Read)? {
                follower.checkpoint.leave_out(&stream);
                follower.foreign.found(&stream);
            }
        }
        Ok(())
    }

    fn checkpoint_stream(&self) -> StreamName {
        let name = format!("sagacheckpoint-{}", self.settings.name);
        StreamName::new(name).expect("a runtime's name is short")
    }

    fn lanes(&self) -> Vec<(String, Arc<Lane>)> {
        let prefix = |saga: &SagaDefinition| format!("{}-{}-", SagaEvent::CATEGORY, saga.kind);
        let newest = self.sagas.iter().filter(|saga| self.is_newest(saga));
        newest.map(|saga| (prefix(saga), Arc::new(Lane::new(&self.settings)))).collect()
    }

    fn filter(&self) -> Filter {
        let categories = self.sagas.iter().flat_map(|saga| &saga.categories);
        let mut categories: Vec<_> = categories.copied().collect();
        categories.push(SagaEvent::CATEGORY);
        categories.sort_unstable();
        categories.dedup();
        Filter::stream_prefixes(categories.iter().map(|category| format!("{category}-")))
    }

    /// Follows the log until `stop` or an error.
    async fn follow(
        &self,
        follower: &mut Follower,
        stop: &CancellationToken,
    ) -> Result<(), FollowError> {
        let from = match follower.checkpoint.position() {
            Position::START => SubscribeFrom::Start,
            position => SubscribeFrom::After(position),
        };
        let store = self.journal.store();
        let subscription = store.subscribe_all(from, Some(self.filter())).await?;
        let mut deliveries = subscription.ready_chunks(DELIVERIES_AT_ONCE_MAX);
        let mut ticks = tokio::time::interval(self.settings.checkpoint_every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(ended) = follower.tasks.join_next() => match ended {
                    Ok((stream, pace)) => {
                        if follower.agenda.stopped(&stream, pace) {
                            self.spawn(follower, stream, stop);
                        }
                        self.count(follower.agenda.held());
                    }
                    // Runs tell by themselves that they broke; this one was ended from outside.
                    Err(error) => tracing::error!(%error, "the task of a run broke"),
                },
                chunk = deliveries.next() => {
                    let chunk = chunk.ok_or(FollowError::Ended)?;
                    let is_behind = matches!(chunk.last(), Some(Ok(Delivery::FellBehind)));
                    self.take(follower, chunk, stop).await?;
                    if is_behind {
                        self.of_store.store_fell_silent();
                    } else {
                        self.of_store.store_answered();
                    }
                }
                () = self.sleep_until(follower.agenda.next()) => {
                    while let Some(stream) = follower.agenda.due(self.clock.now()) {
                        self.wake(follower, stream, stop);
                    }
                }
                _ = ticks.tick() => self.save(follower).await,
            }
        }
    }

    fn count(&self, held: Held) {
        count_held(held);
        self.held.send_if_modified(|told| std::mem::replace(told, held) != held);
    }

    async fn sleep_until(&self, at: Option<DateTime<Utc>>) {
        match at {
            Some(at) => self.clock.sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Takes in some deliveries: all of them, or none is counted as taken in.
    async fn take(
        &self,
        follower: &mut Follower,
        chunk: Vec<Result<Delivery, SubscribeError>>,
        stop: &CancellationToken,
    ) -> Result<(), FollowError> {
        let chunk: Vec<Delivery> = chunk.into_iter().collect::<Result<_, _>>()?;
        let events: Vec<&RecordedEvent> = chunk.iter().filter_map(event_of).collect();
        self.check_log(events.last()).await?;
        // Starts first, so that what comes with them in one chunk finds its run.
        try_join_all(events.iter().map(|event| self.start(event))).await?;
        try_join_all(events.iter().map(|event| self.signal(event))).await?;
        for delivery in &chunk {
            match delivery {
                Delivery::Event(event) => {
                    follower.checkpoint.took(event.position);
                    self.note(follower, event, stop);
                }
                Delivery::Checkpoint(position) => follower.checkpoint.passed(*position),
                // Once: what comes from then on wakes its run by itself.
                Delivery::CaughtUp if !follower.live => {
                    follower.live = true;
                    follower.foreign.tell();
                    for stream in follower.checkpoint.unfinished().clone() {
                        self.wake(follower, name(&stream), stop);
                    }
                }
                Delivery::CaughtUp | Delivery::FellBehind => {}
            }
        }
        count_unfinished(follower.checkpoint.unfinished().len());
        Ok(())
    }

    /// That the log has what is taken in. It may have been exchanged while this process did not
    /// run, and the other one is no place for runs of what happened in this one.
    async fn check_log(&self, last: Option<&&RecordedEvent>) -> Result<(), FollowError> {
        let Some(RecordedEvent { position, id, .. }) = last else {
            return Ok(());
        };
        if has_event(&**self.journal.store(), *position, *id).await? {
            return Ok(());
        }
        Err(FollowError::AnotherLog(*position))
    }

    async fn start(&self, event: &RecordedEvent) -> Result<(), JournalError> {
        for saga in self.sagas.iter().filter(|saga| self.is_newest(saga)) {
            if let Some(start) = (saga.start)(event) {
                let now = self.clock.now();
                let stream = stream_of(saga.kind, start.subject);
                parked(&stream, self.journal.start(saga, start, event, now).await)?;
            }
        }
        Ok(())
    }

    async fn signal(&self, event: &RecordedEvent) -> Result<(), JournalError> {
        for saga in self.sagas.iter().filter(|saga| self.is_newest(saga)) {
            if let Some(signal) = (saga.signal)(event) {
                let now = self.clock.now();
                let stream = stream_of(saga.kind, signal.subject);
                parked(&stream, self.journal.signal(saga, signal, now).await)?;
            }
        }
        Ok(())
    }

    fn is_newest(&self, saga: &SagaDefinition) -> bool {
        let same = self.sagas.iter().filter(|other| other.kind == saga.kind);
        same.map(|other| other.version).max() == Some(saga.version)
    }

    /// Keeps the list of runs that are not over, and wakes the run that the event is of.
    fn note(&self, follower: &mut Follower, event: &RecordedEvent, stop: &CancellationToken) {
        if event.stream.category() != SagaEvent::CATEGORY {
            return;
        }
        let stream = event.stream.as_str();
        match event.event_type.as_str() {
            "SagaCompleted" | "SagaCompensated" => {
                follower.checkpoint.over(stream);
                return;
            }
            "SagaStarted" if follower.lane(stream).is_none() && !begins_a_run(event) => {
                follower.foreign.found(stream);
                if follower.live {
                    follower.foreign.tell();
                }
                return;
            }
            "SagaStarted" => {
                follower.checkpoint.started(stream);
            }
            "SagaSignalled" | "SagaResumed" | "SagaStepRefused" => {}
            // What a run records of itself is no news to it.
            _ => return,
        }
        if follower.live && follower.checkpoint.unfinished().contains(stream) {
            self.wake(follower, name(stream), stop);
        }
    }

    fn wake(&self, follower: &mut Follower, stream: StreamName, stop: &CancellationToken) {
        if follower.agenda.begin(&stream) {
            self.spawn(follower, stream, stop);
        }
    }

    fn spawn(&self, follower: &mut Follower, stream: StreamName, stop: &CancellationToken) {
        let Some(lane) = follower.lane(stream.as_str()).cloned() else {
            tracing::error!(saga = %stream, "no such kind of saga is known here");
            follower.agenda.stopped(&stream, Pace::Asleep);
            return;
        };
        let instance = Instance {
            stream,
            journal: self.journal.clone(),
            sagas: self.sagas.clone(),
            clock: self.clock.clone(),
            settings: self.settings.clone(),
            lane,
            of_store: self.of_store.clone(),
            stop: stop.clone(),
        };
        follower.tasks.spawn(instance.drive());
    }

    async fn save(&self, follower: &mut Follower) {
        // The next start then reads a little more of the log.
        let saved = follower.checkpoint.save(self.journal.store().as_ref()).await;
        let was_unsaved = std::mem::replace(&mut follower.is_unsaved, saved.is_err());
        match saved {
            Err(error) if !was_unsaved => {
                let error: &(dyn Error + 'static) = &error;
                tracing::warn!(error, "the checkpoint of the sagas can't be saved");
            }
            Ok(()) if was_unsaved => tracing::info!("the checkpoint of the sagas is saved again"),
            Ok(()) | Err(_) => {}
        }
    }
}

/// One stream that can't be read or written is left alone: it must not stop the others.
pub(crate) fn parked(
    saga: &StreamName,
    outcome: Result<(), JournalError>,
) -> Result<(), JournalError> {
    match outcome {
        Err(error) if error.is_of_the_stream() => {
            tracing::error!(%saga, ?error, "the run is left alone: its stream is not usable");
            metrics::counter!("veza_saga_runs_parked_total").increment(1);
            Ok(())
        }
        outcome => outcome,
    }
}

fn count_held(held: Held) {
    metrics::gauge!("veza_saga_runs_paused").set(held.paused as f64);
    metrics::gauge!("veza_saga_runs_waiting_outside").set(held.outside as f64);
}

fn count_unfinished(runs: usize) {
    metrics::gauge!("veza_saga_runs_unfinished").set(runs as f64);
}

fn name(stream: &str) -> StreamName {
    StreamName::new(stream).expect("it was the name of a stream")
}

fn event_of(delivery: &Delivery) -> Option<&RecordedEvent> {
    match delivery {
        Delivery::Event(event) => Some(event),
        _ => None,
    }
}
