//! Who gets what and when: a group as a pure state machine.
//!
//! It takes what happened with the time of it, and says what is to be done. It reads no clock and
//! no store, so a test can tell it any story. What it keeps is bounded: messages by the buffers of
//! the settings and by [`GROUP_BYTES_HELD`], all else by the messages.

mod backlog;
mod consumers;
#[cfg(test)]
mod random_tests;
mod statistics;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

pub(super) use backlog::Key;
use backlog::{Backlog, Item};
pub(super) use consumers::ConsumerId;
use consumers::Consumers;
use statistics::Rate;

use super::info::Status;
use super::message::Message;
use super::settings::{NackAction, Settings};
use crate::event::EventId;
use crate::limits::{GROUP_BYTES_HELD, GROUP_BYTES_HELD_IDLE};

/// What happened.
#[derive(Clone, Debug)]
pub(super) enum Input {
    /// What was kept before is known: places in the source are numbers that rise.
    Loaded { checkpoint: Option<u64>, parked: Option<ParkedRange> },
    /// The next message of the source, at this place.
    Read { place: u64, message: Message },
    /// The source holds nothing more for the group up to this place.
    Passed(u64),
    /// The source has no more for now, and tells at once of what comes.
    CaughtUp,
    /// The source has more than it can tell of at once.
    FellBehind,
    /// A consumer takes messages, so many at once.
    Joined { consumer: ConsumerId, name: String, buffer: u32 },
    /// A consumer is gone.
    Left(ConsumerId),
    /// A consumer is done with these.
    Acked { consumer: ConsumerId, ids: Vec<EventId> },
    /// A consumer refuses these.
    Nacked { consumer: ConsumerId, ids: Vec<EventId>, action: NackAction, reason: String },
    /// Parked messages are to be tried again: all that are there now, or those before this
    /// revision.
    Replay { before: Option<u64> },
    /// Parked messages are to be let go without that: all that are there now, or those before this
    /// revision. What a consumer has in flight it keeps.
    Discard { before: Option<u64> },
    /// Parked messages were read, each with its revision; `next` was not looked at.
    ParkedRead { messages: Vec<(u64, Message)>, next: u64 },
    /// A message is parked, with this revision.
    Parked { key: Key, revision: u64, at: DateTime<Utc> },
    /// The checkpoint is kept.
    Checkpointed,
    /// Parked messages before this revision are gone; when the oldest that is left was parked.
    Truncated { before: u64, oldest: Option<DateTime<Utc>> },
    /// Nothing but time.
    Tick,
}

/// The parked messages that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ParkedRange {
    /// The revision of the oldest.
    pub first: u64,
    /// The revision behind the newest.
    pub next: u64,
    /// When the oldest was parked.
    pub oldest: DateTime<Utc>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Output {
    /// Give a consumer this message.
    Deliver { consumer: ConsumerId, message: Message, retries: u32 },
    /// Take a message back that the consumer may not have seen yet.
    Withdraw { consumer: ConsumerId, id: EventId },
    /// Keep a message apart; [`Input::Parked`] says that it is done.
    Park { key: Key, message: Message, reason: String },
    /// Keep this place; [`Input::Checkpointed`] says that it is done.
    Checkpoint(u64),
    /// Read at most so many parked messages from this revision on; [`Input::ParkedRead`] says them.
    ReadParked { from: u64, count: u64 },
    /// Parked messages before this revision may go; [`Input::Truncated`] says that they are.
    Truncate(u64),
}

/// How often it is looked for messages that were not acknowledged in time, as EventStoreDB does:
/// clients hold acknowledgements back for a moment, and rely on that.
const LOOK: Duration = Duration::from_secs(1);

/// A group at work.
pub(super) struct Machine {
    /// From when on the looks are counted.
    begun: Instant,
    settings: Settings,
    status: Status,
    backlog: Backlog,
    consumers: Consumers,
    progress: Progress,
    parked: Parked,
    /// How many messages are still to come of those that were asked for.
    asked: u32,
    rate: Rate,
    outputs: Vec<Output>,
}

/// How far the group has come in its source.
struct Progress {
    /// How many messages were read, or stretches passed over.
    read: u64,
    /// The place of the last of them.
    last: Option<u64>,
    /// The place and count of the last checkpoint that was asked for.
    checkpoint: Option<u64>,
    checkpoint_count: u64,
    /// The last that is kept.
    kept: Option<u64>,
    writing: bool,
    asked_at: Instant,
}

/// The parked messages, as revisions: those before `first` are gone, those before `discarded` are
/// to go whatever becomes of them, those before `replayed` were read back, those before `until` are
/// to be. Until it is known what is there, `discarded` and `until` are what was asked for.
struct Parked {
    first: u64,
    next: u64,
    oldest: Option<DateTime<Utc>>,
    discarded: u64,
    replayed: u64,
    until: u64,
    reading: bool,
    truncating: bool,
    truncated_at: Instant,
}

/// What can be told of a group at work.
pub(super) struct Snapshot {
    pub status: Status,
    pub consumers: Vec<consumers::Told>,
    pub total: u64,
    pub average_per_second: u64,
    pub since_last: u64,
    pub checkpoint: Option<u64>,
    pub last_known: Option<u64>,
    pub fresh: usize,
    pub retried: usize,
    pub in_flight: usize,
    pub parked: u64,
    pub oldest_parked: Option<DateTime<Utc>>,
}

impl Machine {
    /// A group that knows nothing yet.
    pub(super) fn new(settings: Settings, now: Instant) -> Self {
        Self {
            backlog: Backlog::default(),
            consumers: Consumers::new(settings.strategy),
            progress: Progress {
                read: 0,
                last: None,
                checkpoint: None,
                checkpoint_count: 0,
                kept: None,
                writing: false,
                asked_at: now,
            },
            parked: Parked {
                first: 0,
                next: 0,
                oldest: None,
                discarded: 0,
                replayed: 0,
                until: 0,
                reading: false,
                truncating: false,
                truncated_at: now,
            },
            status: Status::NotReady,
            begun: now,
            settings,
            asked: 0,
            rate: Rate::new(now),
            outputs: Vec::new(),
        }
    }

    /// Takes what happened; says what is to be done, in order.
    pub(super) fn step(&mut self, now: Instant, input: Input) -> Vec<Output> {
        self.take(now, input);
        self.expire(now);
        self.push(now);
        self.replay();
        self.ask();
        self.keep(now, false);
        self.truncate(now);
        std::mem::take(&mut self.outputs)
    }

    /// Whether the next message of the source is wanted.
    pub(super) fn wants_more(&self) -> bool {
        self.status != Status::NotReady && self.asked > 0 && self.has_bytes()
    }

    /// The place in the source up to which it was read, or is finished.
    pub(super) fn last_known(&self) -> Option<u64> {
        self.progress.last
    }

    /// When the time alone changes something.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        let (done, _) = self.done();
        let counted = done - self.progress.checkpoint_count;
        let due = self.progress.asked_at + self.settings.checkpoint_after;
        let waits = !self.progress.writing && counted >= self.min_checkpoint();
        let parked = self.parked.truncated_at + self.settings.checkpoint_after;
        let truncates = self.status != Status::NotReady
            && !self.parked.truncating
            && self.parked_done() > self.parked.first;
        [self.backlog.next_deadline(), waits.then_some(due), truncates.then_some(parked)]
            .into_iter()
            .flatten()
            .min()
    }

    /// The last checkpoint, when the group ends in peace.
    pub(super) fn end(&mut self, now: Instant) -> Vec<Output> {
        self.keep(now, true);
        std::mem::take(&mut self.outputs)
    }

    /// What can be told; counts since the last time begin anew.
    pub(super) fn snapshot(&mut self, now: Instant) -> Snapshot {
        let replaying = self.is_replaying() && self.status != Status::NotReady;
        let left = self.parked.first.max(self.parked.discarded).min(self.parked.next);
        Snapshot {
            status: if replaying { Status::ReplayingParkedMessages } else { self.status },
            consumers: self.consumers.told(now),
            total: self.rate.total(),
            average_per_second: self.rate.per_second(now),
            since_last: self.rate.since_last(),
            checkpoint: self.progress.kept,
            last_known: self.progress.last,
            fresh: self.backlog.fresh(),
            retried: self.backlog.ready() - self.backlog.fresh(),
            in_flight: self.backlog.in_flight(),
            parked: self.parked.next - left,
            oldest_parked: self.parked.oldest.filter(|_| left < self.parked.next),
        }
    }

    fn take(&mut self, now: Instant, input: Input) {
        match input {
            Input::Loaded { checkpoint, parked } => self.loaded(checkpoint, parked),
            Input::Read { place, message } => self.read(place, message),
            Input::Passed(place) => {
                self.progress.read += 1;
                self.progress.last = Some(place);
            }
            Input::CaughtUp => self.status = Status::Live,
            Input::FellBehind => self.status = Status::Behind,
            Input::Joined { consumer, name, buffer } => {
                self.consumers.join(consumer, name, buffer, self.settings.extra_statistics, now);
            }
            Input::Left(consumer) => {
                for key in self.consumers.leave(consumer) {
                    self.retry(key, "its consumer went away");
                }
            }
            Input::Acked { consumer, ids } => {
                for id in ids {
                    if let Some((key, since)) = self.take_back(consumer, id) {
                        self.backlog.finish(key);
                        self.rate.count();
                        self.consumers.count(consumer, now - since);
                    }
                }
            }
            Input::Nacked { consumer, ids, action, reason } => {
                for id in ids {
                    self.nack(consumer, id, action, &reason);
                }
            }
            Input::Replay { before } => {
                let until = self.parked_until(before);
                self.parked.until = self.parked.until.max(until);
            }
            Input::Discard { before } => self.discard(self.parked_until(before)),
            Input::ParkedRead { messages, next } => self.parked_read(messages, next),
            Input::Parked { key, revision, at } => self.parked(key, revision, at),
            Input::Checkpointed => {
                self.progress.writing = false;
                self.progress.kept = self.progress.checkpoint;
            }
            Input::Truncated { before, oldest } => {
                self.parked.truncating = false;
                self.parked.first = self.parked.first.max(before).min(self.parked.next);
                self.parked.oldest = oldest.filter(|_| self.parked.first < self.parked.next);
            }
            Input::Tick => {}
        }
    }

    fn loaded(&mut self, checkpoint: Option<u64>, parked: Option<ParkedRange>) {
        self.status = Status::Behind;
        self.progress.last = checkpoint;
        self.progress.checkpoint = checkpoint;
        self.progress.kept = checkpoint;
        if let Some(ParkedRange { first, next, oldest }) = parked {
            self.parked.first = first;
            self.parked.next = next;
            self.parked.replayed = first;
            self.parked.oldest = Some(oldest);
        }
        let Parked { first, next, discarded, .. } = self.parked;
        self.parked.until = self.parked.until.min(next).max(first);
        self.parked.discarded = first;
        self.discard(discarded.min(next));
    }

    /// Up to which revision parked messages are meant, of those that are there.
    fn parked_until(&self, before: Option<u64>) -> u64 {
        let before = before.unwrap_or(u64::MAX);
        if self.status == Status::NotReady { before } else { before.min(self.parked.next) }
    }

    /// Lets parked messages before this revision go: those that nobody has in flight at once.
    fn discard(&mut self, before: u64) {
        self.parked.discarded = self.parked.discarded.max(before);
        if self.status == Status::NotReady {
            return;
        }
        self.parked.replayed = self.parked.replayed.max(before);
        self.parked.until = self.parked.until.max(self.parked.replayed);
        self.backlog.discard_ready(before);
    }

    fn read(&mut self, place: u64, message: Message) {
        self.asked = self.asked.saturating_sub(1);
        self.progress.read += 1;
        let before = self.progress.last.replace(place);
        let affinity = message.affinity(self.settings.strategy);
        self.backlog.add(Key::Read(self.progress.read), Item::new(message, affinity, before));
    }

    /// What a consumer has in flight under this id, taken from it; nobody else may answer for it.
    fn take_back(&mut self, consumer: ConsumerId, id: EventId) -> Option<(Key, Instant)> {
        let (key, holder, since) = self.backlog.flying(id)?;
        if holder != consumer {
            return None;
        }
        self.consumers.give_back(consumer, key, self.backlog.affinity(key));
        self.backlog.land(key);
        Some((key, since))
    }

    fn nack(&mut self, consumer: ConsumerId, id: EventId, action: NackAction, reason: &str) {
        if action == NackAction::Stop {
            return;
        }
        let Some((key, _)) = self.take_back(consumer, id) else { return };
        match action {
            NackAction::Unknown | NackAction::Retry => self.try_again(key, reason),
            NackAction::Park => self.park(key, reason),
            NackAction::Skip => self.backlog.finish(key),
            NackAction::Stop => {}
        }
    }

    /// Takes a message from a consumer that has it no more.
    fn retry(&mut self, key: Key, reason: &str) {
        self.backlog.land(key);
        self.try_again(key, reason);
    }

    /// Makes a landed message ready again, or parks it.
    fn try_again(&mut self, key: Key, reason: &str) {
        if self.backlog.retries(key) >= self.settings.max_retry_count {
            self.park(key, &format!("{reason}; tried too often"));
        } else {
            self.backlog.make_ready(key);
        }
    }

    fn park(&mut self, key: Key, reason: &str) {
        if let Some(message) = self.backlog.message(key) {
            self.outputs.push(Output::Park { key, message, reason: reason.to_owned() });
        }
    }

    fn parked(&mut self, key: Key, revision: u64, at: DateTime<Utc>) {
        self.backlog.finish(key);
        if self.parked.first == self.parked.next {
            self.parked.first = revision;
            self.parked.replayed = revision;
            self.parked.until = revision;
            self.parked.oldest = Some(at);
        }
        self.parked.next = self.parked.next.max(revision + 1);
    }

    fn expire(&mut self, now: Instant) {
        while let Some((key, consumer, id, affinity)) = self.backlog.expired(now) {
            self.consumers.give_back(consumer, key, affinity);
            self.outputs.push(Output::Withdraw { consumer, id });
            self.retry(key, "it was not acknowledged in time");
        }
    }

    fn is_replaying(&self) -> bool {
        self.parked.replayed < self.parked.until
    }

    /// Asks for parked messages that are to be replayed, when they fit.
    fn replay(&mut self) {
        let batch = u64::from(self.settings.read_batch_size);
        let fits = self.backlog.replayed() + as_size(self.settings.read_batch_size)
            <= as_size(self.settings.history_buffer_size);
        let ready = self.status != Status::NotReady && !self.parked.reading;
        if !ready || !self.is_replaying() || !fits || !self.has_bytes() {
            return;
        }
        self.parked.reading = true;
        let count = batch.min(self.parked.until - self.parked.replayed);
        self.outputs.push(Output::ReadParked { from: self.parked.replayed, count });
    }

    fn parked_read(&mut self, messages: Vec<(u64, Message)>, next: u64) {
        self.parked.reading = false;
        let kept = messages.into_iter().filter(|(revision, _)| *revision >= self.parked.discarded);
        for (revision, message) in kept {
            let affinity = message.affinity(self.settings.strategy);
            self.backlog.add(Key::Parked(revision), Item::new(message, affinity, None));
        }
        self.parked.replayed = self.parked.replayed.max(next);
    }

    fn has_bytes(&self) -> bool {
        let idle = self.consumers.is_empty();
        self.backlog.bytes() < if idle { GROUP_BYTES_HELD_IDLE } else { GROUP_BYTES_HELD }
    }

    /// Asks for more of the source when a batch fits into the buffer; live, each message is one.
    fn ask(&mut self) {
        let (batch, buffer) = match self.status {
            Status::Live => (1, self.settings.live_buffer_size.max(1)),
            _ => (self.settings.read_batch_size, self.settings.history_buffer_size),
        };
        if self.asked == 0 && self.backlog.fresh() + as_size(batch) <= as_size(buffer) {
            self.asked = batch;
        }
    }

    /// Gives out what is ready, oldest first, while there is room with the consumers.
    fn push(&mut self, now: Instant) {
        let deadline = self.deadline(now);
        let mut choice = self.consumers.choice();
        let mut behind = None;
        while choice.has_room() {
            let Some((key, id, affinity)) = self.backlog.next_ready(behind) else { break };
            behind = Some(key);
            // An acknowledgement names ids, so of two messages with one id the second waits.
            let waits = self.backlog.flying(id).is_some();
            let Some(consumer) = choice.choose(key, affinity, waits) else { continue };
            let (message, retries) = self.backlog.fly(key, consumer, now, deadline);
            self.outputs.push(Output::Deliver { consumer, message, retries });
        }
    }

    /// When a message that is delivered now has had its time: at the next look behind that.
    fn deadline(&self, now: Instant) -> Option<Instant> {
        let timeout = self.settings.message_timeout;
        let after = now.saturating_duration_since(self.begun).checked_add(timeout)?;
        let looks = after.as_millis().div_ceil(LOOK.as_millis());
        let looked = u32::try_from(looks).ok().and_then(|looks| LOOK.checked_mul(looks))?;
        (timeout > Duration::ZERO).then(|| self.begun.checked_add(looked)).flatten()
    }

    fn min_checkpoint(&self) -> u64 {
        u64::from(self.settings.min_checkpoint_count.max(1))
    }

    /// How many messages of the source are finished before the first that is not, and the place of
    /// the last of them.
    fn done(&self) -> (u64, Option<u64>) {
        match self.backlog.first_unfinished() {
            Some((number, before)) => (number - 1, before),
            None => (self.progress.read, self.progress.last),
        }
    }

    /// Asks for a checkpoint when one is due: by count, or by time with a count.
    fn keep(&mut self, now: Instant, at_the_end: bool) {
        let (done, place) = self.done();
        let counted = done - self.progress.checkpoint_count;
        let by_time = counted >= self.min_checkpoint()
            && now.duration_since(self.progress.asked_at) >= self.settings.checkpoint_after;
        let by_count = counted >= u64::from(self.settings.max_checkpoint_count.max(1));
        // What is being written when the group ends may never be.
        let at_the_end = at_the_end && place != self.progress.kept;
        let due = counted > 0 && !self.progress.writing && (by_time || by_count);
        if let Some(place) = place
            && (at_the_end || due)
        {
            self.progress.writing = true;
            self.progress.checkpoint = Some(place);
            self.progress.checkpoint_count = done;
            self.progress.asked_at = now;
            self.outputs.push(Output::Checkpoint(place));
        }
    }

    /// The revision before which all parked messages were replayed and finished, or discarded.
    fn parked_done(&self) -> u64 {
        let finished = self.backlog.first_replayed().unwrap_or(self.parked.replayed);
        finished.max(self.parked.discarded)
    }

    /// Lets finished parked messages go: when all that were replayed are, else from time to time;
    /// what is discarded goes at once.
    fn truncate(&mut self, now: Instant) {
        if self.status == Status::NotReady {
            return;
        }
        let done = self.parked_done();
        let all = (done == self.parked.replayed && !self.is_replaying())
            || self.parked.discarded > self.parked.first;
        let by_time =
            now.duration_since(self.parked.truncated_at) >= self.settings.checkpoint_after;
        if !self.parked.truncating && done > self.parked.first && (all || by_time) {
            self.parked.truncating = true;
            self.parked.truncated_at = now;
            self.outputs.push(Output::Truncate(done));
        }
    }
}

fn as_size(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
