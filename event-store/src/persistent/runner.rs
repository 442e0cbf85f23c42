//! The task of a group: tells its machine what happened, and does what the machine asks for.
//!
//! It waits for nothing but news: what takes time (reading, keeping a checkpoint, parking) is a job
//! beside it, tried again until it is done. A panic is logged, told in the group's info, and the
//! group begins anew from its checkpoint.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered};
use futures::{FutureExt, StreamExt};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::consumer::{Acknowledger, Consumer, Delivered, Deliveries};
use super::error::PersistentError;
use super::group::GroupId;
use super::info::{ConsumerInfo, GroupInfo, Status};
use super::machine::{ConsumerId, Input, Key, Machine, Output, Snapshot};
use super::mailbox::Mailbox;
use super::message::Message;
use super::retry::{Closed, Failures, Pauses, until_done};
use super::service::Connecting;
use super::settings::{NackAction, Settings};
use super::source::{Begin, Read, Source};
use super::streams::GroupStreams;
use crate::error::StoreError;
use crate::event::EventId;
use crate::limits::{CONSUMERS_MAX, GROUP_QUEUE_MAX, PARKED_BATCH_MAX};

/// What fails when the task itself does.
const RUN: &str = "run";

/// Messages that are taken from the source before anything else is looked at.
const READS_A_TURN: usize = 64;

/// What a group is to be.
#[derive(Clone)]
pub(super) struct Plan {
    pub group: GroupId,
    pub settings: Settings,
    pub source: Source,
    /// Where it begins without a checkpoint.
    pub begin: Begin,
}

/// What a group is told.
pub(super) enum Command {
    Connect {
        connecting: Connecting,
        reply: oneshot::Sender<Result<Consumer, PersistentError>>,
    },
    Ack {
        consumer: ConsumerId,
        ids: Vec<EventId>,
    },
    Nack {
        consumer: ConsumerId,
        ids: Vec<EventId>,
        action: NackAction,
        reason: String,
    },
    Info {
        reply: oneshot::Sender<GroupInfo>,
    },
    Replay {
        before: Option<u64>,
        reply: oneshot::Sender<()>,
    },
    Discard {
        before: Option<u64>,
        reply: oneshot::Sender<()>,
    },
    /// Ends the group; consumers are told why. With `keeps` a last checkpoint is kept.
    End {
        why: PersistentError,
        keeps: bool,
        reply: oneshot::Sender<()>,
    },
}

/// A group at work. Dropping it ends the task as a kill would.
pub(super) struct Desk {
    pub commands: mpsc::Sender<Command>,
    _task: AbortOnDropHandle<()>,
}

/// Sets a group to work.
pub(super) fn spawn(plan: Plan) -> Desk {
    let (commands, desk) = mpsc::channel(GROUP_QUEUE_MAX);
    let task = tokio::spawn(supervise(plan, commands.downgrade(), desk));
    Desk { commands, _task: AbortOnDropHandle::new(task) }
}

async fn supervise(
    plan: Plan,
    commands: mpsc::WeakSender<Command>,
    mut desk: mpsc::Receiver<Command>,
) {
    let failures = Failures::new(plan.group.clone());
    let mut pauses = Pauses::new();
    let mut next_consumer = 0;
    loop {
        let mut runner =
            Runner::new(plan.clone(), commands.clone(), failures.clone(), next_consumer);
        let ran = AssertUnwindSafe(runner.run(&mut desk)).catch_unwind().await;
        // An old consumer's late answers are not to be taken for those of a new one.
        next_consumer = runner.next_consumer;
        match ran {
            Ok(()) => return,
            Err(_) => {
                tracing::error!(group.id = %plan.group, "the task of a group panicked");
                failures.set(RUN, &"its task panicked and begins anew");
            }
        }
        drop(runner);
        pauses.next().await;
    }
}

/// A connected consumer. It is told of its end however the task ends.
struct Seat {
    mailbox: Arc<Mailbox>,
    connecting: Connecting,
    group: GroupId,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.mailbox.end(PersistentError::Dropped(self.group.clone()));
    }
}

/// A message that is to be parked.
struct Parking {
    key: Key,
    message: Message,
    reason: String,
}

/// What a job came to: what the machine is to be told.
enum Done {
    Inputs(Vec<Input>),
    Parked(Vec<Input>),
    Loaded(Input, Begin),
}

type Job = BoxFuture<'static, Result<Done, Closed>>;

struct Runner {
    plan: Plan,
    streams: GroupStreams,
    failures: Failures,
    machine: Machine,
    commands: mpsc::WeakSender<Command>,
    seats: BTreeMap<ConsumerId, Seat>,
    left: Arc<Notify>,
    next_consumer: u64,
    source: Option<BoxStream<'static, Read>>,
    /// Where it begins, or began.
    begin: Begin,
    jobs: FuturesUnordered<Job>,
    parking: Vec<Parking>,
    /// One append parks at a time, so that parked messages stand in order.
    is_parking: bool,
    bounded: bool,
}

impl Runner {
    fn new(
        plan: Plan,
        commands: mpsc::WeakSender<Command>,
        failures: Failures,
        next_consumer: u64,
    ) -> Self {
        let streams = GroupStreams::new(Arc::clone(&plan.source.store), plan.group.clone());
        let machine = Machine::new(plan.settings.clone(), Instant::now());
        let begin = plan.begin;
        Self {
            plan,
            streams,
            failures,
            machine,
            commands,
            seats: BTreeMap::new(),
            left: Arc::default(),
            next_consumer,
            source: None,
            begin,
            jobs: FuturesUnordered::new(),
            parking: Vec::new(),
            is_parking: false,
            bounded: false,
        }
    }

    /// Works until the group ends, or the store is closed.
    async fn run(&mut self, desk: &mut mpsc::Receiver<Command>) {
        self.load();
        loop {
            let goes_on = tokio::select! {
                command = desk.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => false,
                },
                () = self.left.notified() => {
                    self.clear_seats();
                    true
                }
                Some(done) = self.jobs.next() => self.done(done),
                read = next(&mut self.source), if self.machine.wants_more() => self.read(read),
                () = at(self.machine.wakes_at()) => {
                    self.step(Input::Tick);
                    true
                }
            };
            if !goes_on {
                return;
            }
            self.keep_source();
        }
    }

    /// Lets the source go while nobody consumes and no more of it is wanted, for it holds what was
    /// read ahead; opens it again where it was when more is.
    fn keep_source(&mut self) {
        if self.source.is_none() && self.machine.wants_more() {
            let begin = self.machine.last_known().map_or(self.begin, Begin::After);
            self.source = Some(self.plan.source.clone().read(begin, self.failures.clone()));
        } else if self.seats.is_empty() && !self.machine.wants_more() {
            self.source = None;
        }
    }

    /// Finds out where the group stands.
    fn load(&mut self) {
        let (streams, failures, begin) =
            (self.streams.clone(), self.failures.clone(), self.plan.begin);
        self.jobs.push(
            async move {
                let attempt =
                    || async { Ok((streams.checkpoint().await?, streams.parked().await?)) };
                let (checkpoint, parked) =
                    until_done(&failures, "find its checkpoint", attempt).await?;
                let begin = checkpoint.map_or(begin, Begin::After);
                Ok(Done::Loaded(Input::Loaded { checkpoint, parked }, begin))
            }
            .boxed(),
        );
    }

    /// Takes a command; false when it was the last.
    async fn command(&mut self, command: Command) -> bool {
        match command {
            Command::Connect { connecting, reply } => {
                // Whoever asked and went away has dropped what it would get, and so has left.
                drop(reply.send(self.connect(connecting)));
            }
            Command::Ack { consumer, ids } => self.step(Input::Acked { consumer, ids }),
            Command::Nack { consumer, ids, action, reason } => {
                self.step(Input::Nacked { consumer, ids, action, reason });
            }
            Command::Info { reply } => drop(reply.send(self.info())),
            Command::Replay { before, reply } => {
                self.step(Input::Replay { before });
                let _ = reply.send(());
            }
            Command::Discard { before, reply } => {
                self.step(Input::Discard { before });
                let _ = reply.send(());
            }
            Command::End { why, keeps, reply } => {
                self.end(why, keeps).await;
                let _ = reply.send(());
                return false;
            }
        }
        true
    }

    fn connect(&mut self, connecting: Connecting) -> Result<Consumer, PersistentError> {
        let group = self.plan.group.clone();
        self.clear_seats();
        let asked = usize::try_from(self.plan.settings.max_subscriber_count).unwrap_or(usize::MAX);
        let max = if asked == 0 { CONSUMERS_MAX } else { asked.min(CONSUMERS_MAX) };
        if self.seats.len() >= max {
            return Err(PersistentError::MaximumSubscribersReached { group, max });
        }
        let Some(commands) = self.commands.upgrade() else {
            return Err(PersistentError::Dropped(group));
        };
        let consumer = ConsumerId(self.next_consumer);
        self.next_consumer += 1;
        let mailbox = Arc::new(Mailbox::new(Arc::clone(&self.left)));
        let deliveries = Deliveries::new(Arc::clone(&mailbox));
        let (name, buffer) = (connecting.name.clone(), connecting.buffer_size);
        self.seats.insert(consumer, Seat { mailbox, connecting, group: group.clone() });
        self.step(Input::Joined { consumer, name, buffer });
        let acknowledger = Acknowledger::new(group, consumer, commands);
        Ok(Consumer { deliveries, acknowledger })
    }

    /// Lets those go that have left.
    fn clear_seats(&mut self) {
        let gone: Vec<ConsumerId> = self
            .seats
            .iter()
            .filter(|(_, seat)| seat.mailbox.is_abandoned())
            .map(|(consumer, _)| *consumer)
            .collect();
        for consumer in gone {
            self.seats.remove(&consumer);
            self.step(Input::Left(consumer));
        }
    }

    /// Takes what the source says, and some of what it has ready behind that; false at the end.
    fn read(&mut self, first: Read) -> bool {
        let mut read = first;
        for turn in 1.. {
            match read {
                Read::Message(place, message) => self.step(Input::Read { place, message }),
                Read::Passed(place) => self.step(Input::Passed(place)),
                Read::CaughtUp => self.step(Input::CaughtUp),
                Read::FellBehind => self.step(Input::FellBehind),
                Read::Closed => return self.closed(),
            }
            if turn == READS_A_TURN || !self.machine.wants_more() {
                break;
            }
            read = match next(&mut self.source).now_or_never() {
                Some(read) => read,
                None => break,
            };
        }
        true
    }

    fn done(&mut self, done: Result<Done, Closed>) -> bool {
        match done {
            Ok(Done::Inputs(inputs)) => inputs.into_iter().for_each(|input| self.step(input)),
            Ok(Done::Parked(inputs)) => {
                self.is_parking = false;
                inputs.into_iter().for_each(|input| self.step(input));
                self.park();
            }
            Ok(Done::Loaded(input, begin)) => {
                self.failures.clear(RUN);
                self.begin = begin;
                self.step(input);
            }
            Err(Closed) => return self.closed(),
        }
        true
    }

    /// The store was closed under the group.
    fn closed(&mut self) -> bool {
        for seat in self.seats.values() {
            seat.mailbox.end(StoreError::Closed.into());
        }
        false
    }

    fn step(&mut self, input: Input) {
        for output in self.machine.step(Instant::now(), input) {
            self.carry_out(output);
        }
        self.park();
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Deliver { consumer, message, retries } => {
                if let Some(seat) = self.seats.get(&consumer) {
                    seat.mailbox.push(Delivered { message, retry_count: retries });
                }
            }
            Output::Withdraw { consumer, id } => {
                if let Some(seat) = self.seats.get(&consumer) {
                    seat.mailbox.withdraw(id);
                }
            }
            Output::Park { key, message, reason } => {
                self.parking.push(Parking { key, message, reason });
            }
            Output::Checkpoint(place) => self.keep_checkpoint(place),
            Output::ReadParked { from, count } => {
                self.job("read parked messages", move |streams| async move {
                    let (messages, next) = streams.read_parked(from, count).await?;
                    Ok(Input::ParkedRead { messages, next })
                });
            }
            Output::Truncate(before) => {
                self.job("truncate parked messages", move |streams| async move {
                    let oldest = streams.truncate_parked(before).await?;
                    Ok(Input::Truncated { before, oldest })
                });
            }
        }
    }

    /// Does something beside the task until it is done.
    fn job<F>(
        &mut self,
        what: &'static str,
        attempt: impl Fn(GroupStreams) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = Result<Input, PersistentError>> + Send,
    {
        let (streams, failures) = (self.streams.clone(), self.failures.clone());
        let job = async move {
            let input = until_done(&failures, what, || attempt(streams.clone())).await?;
            Ok(Done::Inputs(vec![input]))
        };
        self.jobs.push(job.boxed());
    }

    fn keep_checkpoint(&mut self, place: u64) {
        let (id, bounded) = (Uuid::new_v4(), self.bounded);
        self.bounded = true;
        self.job("keep its checkpoint", move |streams| async move {
            streams.keep_checkpoint(place, id).await?;
            if !bounded {
                streams.bound_checkpoints().await?;
            }
            Ok(Input::Checkpointed)
        });
    }

    /// Parks what waits for it, with one append.
    fn park(&mut self) {
        if self.is_parking || self.parking.is_empty() {
            return;
        }
        self.is_parking = true;
        let batch = self.parking.len().min(PARKED_BATCH_MAX);
        let batch: Vec<Parking> = self.parking.drain(..batch).collect();
        let now = Utc::now();
        let links: Vec<_> =
            batch.iter().map(|it| GroupStreams::parking(&it.message, &it.reason, now)).collect();
        let (streams, failures) = (self.streams.clone(), self.failures.clone());
        let job = async move {
            // The same ids each time, so that the store knows an attempt that it has seen.
            let attempt = || streams.park(links.clone());
            let first = until_done(&failures, "park messages", attempt).await?;
            let parked =
                |(revision, it): (u64, Parking)| Input::Parked { key: it.key, revision, at: now };
            Ok(Done::Parked((first..).zip(batch).map(parked).collect()))
        };
        self.jobs.push(job.boxed());
    }

    /// Lets all consumers go, and keeps a last checkpoint; what is under way is dropped, and comes
    /// again when the group does.
    async fn end(&mut self, why: PersistentError, keeps: bool) {
        for (_, seat) in std::mem::take(&mut self.seats) {
            seat.mailbox.end(why.clone());
        }
        self.source = None;
        self.jobs.clear();
        if !keeps {
            return;
        }
        for output in self.machine.end(Instant::now()) {
            if let Output::Checkpoint(place) = output
                && let Err(error) = self.streams.keep_checkpoint(place, Uuid::new_v4()).await
            {
                let group = &self.plan.group;
                tracing::warn!(group.id = %group, %error, "a group keeps no last checkpoint");
            }
        }
    }

    fn info(&mut self) -> GroupInfo {
        let now = self.machine.snapshot(Instant::now());
        let source = self.plan.group.source();
        let is_live = now.status == Status::Live;
        let (read_buffer, live_buffer) = if is_live { (0, now.fresh) } else { (now.fresh, 0) };
        GroupInfo {
            group: self.plan.group.clone(),
            settings: self.plan.settings.clone(),
            status: now.status,
            failure: self.failures.told(),
            average_per_second: now.average_per_second,
            total_items: now.total,
            count_since_last_measurement: now.since_last,
            last_checkpointed: now.checkpoint.map(|place| source.place(place)),
            last_known: now.last_known.map(|place| source.place(place)),
            read_buffer_count: read_buffer as u64,
            live_buffer_count: live_buffer as u64,
            retry_buffer_count: now.retried as u64,
            in_flight_count: now.in_flight as u64,
            parked_count: now.parked,
            oldest_parked: now.oldest_parked,
            consumers: self.consumer_infos(now),
        }
    }

    fn consumer_infos(&self, now: Snapshot) -> Vec<ConsumerInfo> {
        let of_seat = |id| self.seats.get(&id).map(|seat| &seat.connecting);
        now.consumers
            .into_iter()
            .map(|told| ConsumerInfo {
                from: of_seat(told.id).map(|it| it.from.clone()).unwrap_or_default(),
                user: of_seat(told.id).map(|it| it.user.clone()).unwrap_or_default(),
                name: told.name,
                average_per_second: told.average_per_second,
                total_items: told.total,
                count_since_last_measurement: told.since_last,
                available_slots: told.available as u64,
                in_flight_count: told.in_flight as u64,
                measurements: told.measurements,
            })
            .collect()
    }
}

/// What the source says next; nothing while there is no source.
async fn next(source: &mut Option<BoxStream<'static, Read>>) -> Read {
    match source {
        Some(source) => source.next().await.unwrap_or(Read::Closed),
        None => std::future::pending().await,
    }
}

/// At this time; never without one.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
