//! Carries commands out: load, decide, append at the expected revision, decide again on conflict.
//!
//! Commands on one stream wait for each other here, so that only other processes cause conflicts.

mod cache;
mod claim;
mod error;

use std::sync::Arc;
use std::time::Duration;

use event_store::{
    AppendError, Appended, AsOf, EventStore, ExpectedRevision, Position, ReadError, ReadStream,
    Revision, StoreError, StreamName,
};
use futures::TryStreamExt;
use futures_timer::Delay;
use uuid::Uuid;

use crate::context::CommandContext;
use crate::decider::{AggregateId, Decider, stream_of};
use crate::encoding::{decode, encode};
use crate::fold::{self, Folded, LoadError};
pub use cache::CACHED_EVENTS_MAX;
use cache::{Slot, StateCache};
use claim::Claim;
pub use error::CommandError;

/// How often one command is decided before a conflict is handed to the caller.
pub const ATTEMPTS_MAX: u32 = 12;

/// Longest pause before the next attempt, in milliseconds.
pub const PAUSE_MS_MAX: u64 = 64;

/// Carries commands out on the aggregates of one event store. Share one in a process.
pub struct CommandHandler {
    store: Arc<dyn EventStore>,
    cache: StateCache,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome<E> {
    /// Whom it was asked of.
    pub aggregate_id: Uuid,
    /// What followed; nothing when it was so already.
    pub events: Vec<E>,
    /// The position of the last of them, or of the stream's last event when nothing followed.
    pub position: Position,
    /// The revision of that event; `None` when the stream has none.
    pub revision: Option<Revision>,
    /// Whether the command was seen to have been carried out before; this is what came of it then.
    /// The store may have noticed that by itself, when this handler was behind: the outcome is the
    /// same, and this is false.
    pub repeated: bool,
}

/// A command's own, while it is carried out.
struct Asked<'a, A: Decider> {
    id: A::Id,
    stream: &'a StreamName,
    slot: &'a Slot<A>,
    context: &'a CommandContext,
}

type Executed<A> = Result<
    Outcome<<A as cqrs_es::Aggregate>::Event>,
    CommandError<<A as cqrs_es::Aggregate>::Error>,
>;

impl CommandHandler {
    /// A handler over this store.
    pub fn new(store: Arc<dyn EventStore>) -> Self {
        Self { store, cache: StateCache::default() }
    }

    /// Forgets what was folded: another log may be in the place of the one that it was read from.
    /// A command that is under way is carried out on what it has read.
    pub fn forget_states(&self) {
        self.cache.clear();
    }

    /// The store that it appends to.
    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.store
    }

    /// Carries a command out, at most once for its identity.
    ///
    /// When the store was unavailable the outcome is unknown: ask again with the same identity.
    pub async fn execute<A: Decider>(
        &self,
        id: A::Id,
        command: A::Command,
        context: &CommandContext,
    ) -> Executed<A> {
        let executed = self.attempt::<A>(id, command, context).await;
        let outcome = match &executed {
            Ok(outcome) if outcome.repeated => "repeated",
            Ok(_) => "done",
            Err(CommandError::Rejected(_)) => "rejected",
            Err(CommandError::Conflict { .. }) => "conflict",
            Err(_) => "failed",
        };
        metrics::counter!("veza_commands_total", "aggregate" => A::TYPE, "outcome" => outcome)
            .increment(1);
        executed
    }

    async fn attempt<A: Decider>(
        &self,
        id: A::Id,
        command: A::Command,
        context: &CommandContext,
    ) -> Executed<A> {
        let stream = stream_of::<A>(id);
        let slot = self.cache.slot::<A>(&stream);
        let mut folded = slot.lock().await;
        let asked = Asked { id, stream: &stream, slot: &slot, context };
        // A cached state may be behind. That is found out by the append, and looked up before
        // anything is refused because of it.
        let fresh = folded.revision.is_none();
        if fresh {
            self.refresh(&stream, &slot, &mut folded).await?;
        }
        let mut claim = claim::needed(&*self.store, id.uuid(), context).await?;
        if let Claim::Unchanged(at) = claim {
            return self.unchanged_before::<A>(id, &stream, at).await;
        }
        let executed = self.carry_out(&asked, command, &mut folded, fresh, &mut claim).await;
        // What is kept after a failure of the store is not known; after all others it is nothing.
        if let Err(error) = &executed
            && !matches!(error, CommandError::Store(_))
            && let Err(error) = claim.withdraw::<A::Error>(&*self.store, context).await
        {
            tracing::warn!(%error, %stream, "what was refused keeps its key");
        }
        executed
    }

    /// Decides until the append goes through, or somebody says no.
    async fn carry_out<A: Decider>(
        &self,
        asked: &Asked<'_, A>,
        command: A::Command,
        folded: &mut Folded<A>,
        mut fresh: bool,
        claim: &mut Claim,
    ) -> Executed<A> {
        let Asked { id, stream, slot, context } = *asked;
        let mut conflicts = 0;
        loop {
            if let Some(first) = folded.commands.get(&context.command_id) {
                return self.repeat::<A>(id, stream, *first, context).await;
            }
            let events = match folded.state.decide(command.clone()) {
                // One that was claimed may have been carried out elsewhere since the last look.
                Ok(events)
                    if !events.is_empty() && (fresh || !matches!(claim, Claim::Found(_))) =>
                {
                    events
                }
                settled if fresh => {
                    settled.map_err(CommandError::Rejected)?;
                    claim.settle(&*self.store, stream, folded.revision, context).await?;
                    return Ok(unchanged::<A>(id, folded));
                }
                _ => {
                    self.refresh(stream, slot, folded).await?;
                    fresh = true;
                    continue;
                }
            };
            claim.make(&*self.store, stream, context).await?;
            if let Claim::Unchanged(at) = *claim {
                return self.unchanged_before::<A>(id, stream, at).await;
            }
            let expected =
                folded.revision.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exactly);
            let encoded = encode(stream, &events, context);
            match self.store.append(stream, expected, encoded).await {
                Ok(appended) => {
                    let at = placed(stream, appended).map_err(CommandError::Store)?;
                    let (revision, position) = at;
                    folded.fold_appended(context.command_id, &events, position);
                    self.keep(stream, slot, folded, revision);
                    let outcome = unchanged::<A>(id, folded);
                    let revision = Some(revision);
                    return Ok(Outcome { events, position, revision, ..outcome });
                }
                Err(AppendError::WrongExpectedRevision { .. }) => {
                    conflicts += 1;
                    self.after_conflict(stream, folded, conflicts, context).await?;
                    fresh = true;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Folds what has come since, and weighs the cached state anew when that was anything.
    async fn refresh<A: Decider>(
        &self,
        stream: &StreamName,
        slot: &Slot<A>,
        folded: &mut Folded<A>,
    ) -> Result<(), LoadError> {
        let grew = folded.refresh(&*self.store, stream, None).await?;
        if let Some(revision) = folded.revision.filter(|_| grew) {
            self.cache.grown::<A>(stream, slot, revision);
        }
        Ok(())
    }

    /// Keeps a state that events were folded into, if they are where they should be.
    fn keep<A: Decider>(
        &self,
        stream: &StreamName,
        slot: &Slot<A>,
        folded: &mut Folded<A>,
        revision: Revision,
    ) {
        if folded.revision == Some(revision) {
            self.cache.grown::<A>(stream, slot, revision);
        } else {
            // Somebody deleted the stream; what was folded is not what is there.
            *folded = Folded::default();
        }
    }

    /// Brings the state up to date for the next attempt, or gives up.
    async fn after_conflict<A: Decider>(
        &self,
        stream: &StreamName,
        folded: &mut Folded<A>,
        conflicts: u32,
        context: &CommandContext,
    ) -> Result<(), CommandError<A::Error>> {
        metrics::counter!("veza_command_conflicts_total", "aggregate" => A::TYPE).increment(1);
        if conflicts >= ATTEMPTS_MAX {
            return Err(CommandError::Conflict { attempts: conflicts });
        }
        Delay::new(pause(context.command_id, conflicts)).await;
        if !folded.refresh(&*self.store, stream, None).await? {
            // Nothing came after what was folded, and yet it is not the end: begin anew.
            *folded = Folded::default();
            folded.refresh(&*self.store, stream, None).await?;
        }
        Ok(())
    }

    /// The outcome of the command that made this, when it was carried out before.
    ///
    /// For callers that look at what may be otherwise by now, before they would execute it.
    pub async fn repeated<A: Decider>(
        &self,
        id: A::Id,
        context: &CommandContext,
    ) -> Result<Option<Outcome<A::Event>>, CommandError<A::Error>> {
        if !context.keyed {
            return Ok(None);
        }
        let stream = stream_of::<A>(id);
        let slot = self.cache.slot::<A>(&stream);
        let mut folded = slot.lock().await;
        self.refresh(&stream, &slot, &mut folded).await?;
        match folded.commands.get(&context.command_id) {
            Some(first) => self.repeat::<A>(id, &stream, *first, context).await.map(Some),
            None => Ok(None),
        }
    }

    /// The aggregate of this kind that a command was claimed for when it was first asked: it is
    /// asked of that one again, whatever would be chosen now.
    pub async fn claimed<A: Decider>(
        &self,
        context: &CommandContext,
    ) -> Result<Option<Uuid>, CommandError<A::Error>> {
        if !context.keyed {
            return Ok(None);
        }
        let claimed = claim::read(&*self.store, context).await?;
        Ok(claimed.and_then(|claimed| {
            let id = claimed.stream.strip_prefix(A::TYPE)?.strip_prefix('-')?;
            id.parse().ok()
        }))
    }

    /// The outcome of a command that changed nothing before.
    async fn unchanged_before<A: Decider>(
        &self,
        id: A::Id,
        stream: &StreamName,
        at: Revision,
    ) -> Executed<A> {
        let position = self.position_from(stream.clone(), at).await.map_err(LoadError::from)?;
        Ok(Outcome {
            aggregate_id: id.uuid(),
            events: vec![],
            position: position.unwrap_or(Position::START),
            revision: Some(at),
            repeated: true,
        })
    }

    /// The outcome of a command that was carried out before.
    async fn repeat<A: Decider>(
        &self,
        id: A::Id,
        stream: &StreamName,
        first: Revision,
        context: &CommandContext,
    ) -> Executed<A> {
        let read = ReadStream::forward(stream.clone()).from(first);
        let mut reader = self.store.read_stream(read).await.map_err(LoadError::from)?;
        let mut outcome = Outcome {
            aggregate_id: id.uuid(),
            events: vec![],
            position: Position::START,
            revision: None,
            repeated: true,
        };
        let mut expected = 1;
        while outcome.events.len() < expected
            && let Some(recorded) = reader.try_next().await.map_err(LoadError::from)?
        {
            let decoded = decode::<A::Event>(&recorded).map_err(LoadError::from)?;
            if let Some(record) = decoded.metadata.command.filter(|_| outcome.events.is_empty()) {
                if record.digest != context.digest {
                    return Err(CommandError::DigestMismatch);
                }
                expected = record.events as usize;
            }
            outcome.events.push(decoded.event);
            outcome.position = decoded.position;
            outcome.revision = Some(decoded.revision);
        }
        Ok(outcome)
    }

    /// Looks at the present state of an aggregate, without a copy of it.
    pub async fn inspect<A: Decider, T>(
        &self,
        id: A::Id,
        look: impl FnOnce(&A) -> T + Send,
    ) -> Result<T, LoadError> {
        let stream = stream_of::<A>(id);
        let slot = self.cache.slot::<A>(&stream);
        let mut folded = slot.lock().await;
        self.refresh(&stream, &slot, &mut folded).await?;
        Ok(look(&folded.state))
    }

    /// Whether something has come true of an aggregate that stays so. The state in memory, which
    /// may be behind, is looked at first, and asks nothing of the store.
    pub async fn is_ever<A: Decider>(
        &self,
        id: A::Id,
        look: impl Fn(&A) -> bool + Send,
    ) -> Result<bool, LoadError> {
        let stream = stream_of::<A>(id);
        let slot = self.cache.slot::<A>(&stream);
        let mut folded = slot.lock().await;
        if look(&folded.state) {
            return Ok(true);
        }
        self.refresh(&stream, &slot, &mut folded).await?;
        Ok(look(&folded.state))
    }

    /// Where the last event of an aggregate stands that is such; `None` where there is none. The
    /// cost grows with the events behind it.
    pub async fn last_such<A: Decider>(
        &self,
        id: A::Id,
        is_such: impl Fn(&A::Event) -> bool + Send,
    ) -> Result<Option<Position>, LoadError> {
        let read = ReadStream::backward(stream_of::<A>(id));
        let mut events = match self.store.read_stream(read).await {
            Err(ReadError::StreamNotFound(_)) => return Ok(None),
            events => events?,
        };
        while let Some(event) = events.try_next().await? {
            let decoded = decode::<A::Event>(&event)?;
            if is_such(&decoded.event) {
                return Ok(Some(decoded.position));
            }
        }
        Ok(None)
    }

    /// Where the first event of an aggregate stands; `None` where it has none.
    pub async fn began_at<A: Decider>(&self, id: A::Id) -> Result<Option<Position>, LoadError> {
        match self.position_from(stream_of::<A>(id), Revision::FIRST).await {
            Err(ReadError::StreamNotFound(_)) => Ok(None),
            position => Ok(position?),
        }
    }

    /// Where the first event of a stream stands from this revision on.
    async fn position_from(
        &self,
        stream: StreamName,
        revision: Revision,
    ) -> Result<Option<Position>, ReadError> {
        let read = ReadStream::forward(stream).from(revision).limit(1);
        let event = self.store.read_stream(read).await?.try_next().await?;
        Ok(event.map(|event| event.position))
    }

    /// The state of an aggregate as it was at a moment of the past.
    pub async fn load_as_of<A: Decider>(
        &self,
        id: A::Id,
        moment: AsOf,
    ) -> Result<Folded<A>, LoadError> {
        fold::load(&*self.store, &stream_of::<A>(id), Some(moment)).await
    }
}

fn unchanged<A: Decider>(id: A::Id, folded: &Folded<A>) -> Outcome<A::Event> {
    Outcome {
        aggregate_id: id.uuid(),
        events: vec![],
        position: folded.position,
        revision: folded.revision,
        repeated: false,
    }
}

/// Where the last of some events stands. They were appended, so they stand somewhere.
fn placed(stream: &StreamName, appended: Appended) -> Result<(Revision, Position), StoreError> {
    appended.last_revision.zip(appended.position).ok_or_else(|| StoreError::Unavailable {
        reason: format!("the acknowledgement of an append to {stream} names no position").into(),
    })
}

/// How long to wait before the next attempt: up to twice as long each time, and spread by the
/// command's identity, so that those who met once do not meet again.
fn pause(command_id: Uuid, conflicts: u32) -> Duration {
    let longest_ms = PAUSE_MS_MAX.min(1_u64 << conflicts.min(16));
    let spread = Uuid::new_v5(&command_id, &conflicts.to_be_bytes()).as_u64_pair().1;
    Duration::from_micros(spread % (longest_ms * 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_spread_but_stay_short() {
        let pauses = |id| (1..=ATTEMPTS_MAX).map(move |n| pause(Uuid::from_u128(id), n));
        for (index, wait) in pauses(1).enumerate() {
            assert!(wait < Duration::from_millis(PAUSE_MS_MAX.min(2 << index)), "{wait:?}");
        }
        assert!(pauses(1).zip(pauses(2)).all(|(one, other)| one != other));
    }
}
