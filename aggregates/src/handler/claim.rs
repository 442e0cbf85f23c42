//! Claims: a command whose sender chose its identity is given it before it changes anything, in a
//! stream of its own, for good unless it is refused.
//!
//! The record in the aggregate's stream does not do where the request names that stream: the same
//! identity with another request would be looked for, and carried out, in another stream. Nor is
//! there one of a command that changed nothing. What a command makes is named by the command, so
//! its stream is the claim already.
//!
//! The last event of the stream tells how the claim stands. A command that is refused only after
//! its claim was made (others changed the aggregate in between) withdraws it. But the same request
//! may be under way elsewhere on the strength of that claim; so whoever finds one that is not their
//! own claims again behind it. Who made the first then finds that it is not the last any more, and
//! lets it stand, and who claimed again never withdraws: no claim is gone while somebody counts on
//! it.

use event_schemas::EventFamily;
use event_schemas::command::{CommandClaimed, CommandEvent, CommandWithdrawn};
use event_store::{
    AppendError, EventId, EventStore, ExpectedRevision, ReadError, Revision, StreamName,
};
use uuid::Uuid;

use crate::context::CommandContext;
use crate::encoding::{decode, encode};
use crate::fold::LoadError;
use crate::handler::{ATTEMPTS_MAX, CommandError, placed};

/// How far a command is with its claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// To be made before anything changes, behind this event of its stream.
    Open(Option<Revision>),
    /// Made by the same request, here before or elsewhere.
    Found(Revision),
    /// Made here.
    Made(Revision),
    /// Made, and counted on by others too; or not needed.
    Held,
    /// Made by the same command when it changed nothing; its stream ended there.
    Unchanged(Revision),
}

/// How far a command on this aggregate is with its claim, where it needs one.
pub(super) async fn needed<R: std::error::Error + 'static>(
    store: &dyn EventStore,
    aggregate_id: Uuid,
    context: &CommandContext,
) -> Result<Claim, CommandError<R>> {
    if !context.keyed || aggregate_id == context.command_id {
        return Ok(Claim::Held);
    }
    look(store, context).await
}

async fn look<R: std::error::Error + 'static>(
    store: &dyn EventStore,
    context: &CommandContext,
) -> Result<Claim, CommandError<R>> {
    Ok(match last(store, context).await? {
        None => Claim::Open(None),
        Some((at, None)) => Claim::Open(Some(at)),
        Some((at, Some(claimed))) => {
            claimed.unchanged_at.map_or(Claim::Found(at), |at| Claim::Unchanged(Revision::new(at)))
        }
    })
}

/// The claim of a command, when it was made; another request's is an error.
pub(super) async fn read<R: std::error::Error + 'static>(
    store: &dyn EventStore,
    context: &CommandContext,
) -> Result<Option<CommandClaimed>, CommandError<R>> {
    Ok(last(store, context).await?.and_then(|(_, claimed)| claimed))
}

/// The last event of a command's stream and where it is; with no claim when that was withdrawn.
async fn last<R: std::error::Error + 'static>(
    store: &dyn EventStore,
    context: &CommandContext,
) -> Result<Option<(Revision, Option<CommandClaimed>)>, CommandError<R>> {
    let recorded = match store.last_event(&stream_of(context)).await {
        Ok(Some(recorded)) => recorded,
        Ok(None) | Err(ReadError::StreamNotFound(_)) => return Ok(None),
        Err(error) => return Err(LoadError::from(error).into()),
    };
    let decoded = decode::<CommandEvent>(&recorded).map_err(LoadError::from)?;
    let claimed = match decoded.event {
        CommandEvent::CommandClaimed(claimed) => claimed,
        CommandEvent::CommandWithdrawn(_) => return Ok(Some((decoded.revision, None))),
    };
    if decoded.metadata.command.is_none_or(|record| record.digest != context.digest) {
        return Err(CommandError::DigestMismatch);
    }
    Ok(Some((decoded.revision, Some(claimed))))
}

impl Claim {
    /// Makes it before something changes, when it is still to be made; of two requests under one
    /// identity one does. It may be found that the same request changed nothing elsewhere.
    pub(super) async fn make<R: std::error::Error + 'static>(
        &mut self,
        store: &dyn EventStore,
        target: &StreamName,
        context: &CommandContext,
    ) -> Result<(), CommandError<R>> {
        for _ in 0..ATTEMPTS_MAX {
            let (behind, is_first) = match *self {
                Self::Open(behind) => (behind, true),
                Self::Found(at) => (Some(at), false),
                Self::Made(_) | Self::Held | Self::Unchanged(_) => return Ok(()),
            };
            *self = match append(store, behind, claimed(target, None, context), context).await? {
                Some(at) if is_first => Self::Made(at),
                Some(_) => Self::Held,
                None => look(store, context).await?,
            };
        }
        Err(CommandError::Conflict { attempts: ATTEMPTS_MAX })
    }

    /// Tells that the command changed nothing, when nobody has claimed it yet.
    pub(super) async fn settle<R: std::error::Error + 'static>(
        &mut self,
        store: &dyn EventStore,
        target: &StreamName,
        unchanged_at: Option<Revision>,
        context: &CommandContext,
    ) -> Result<(), CommandError<R>> {
        if let Self::Open(behind) = *self {
            let settled = claimed(target, unchanged_at, context);
            *self = match append(store, behind, settled, context).await? {
                Some(_) => Self::Held,
                None => look(store, context).await?,
            };
        }
        Ok(())
    }

    /// Gives the identity free again, of a command that came to nothing, unless others count on the
    /// claim by now.
    pub(super) async fn withdraw<R: std::error::Error + 'static>(
        self,
        store: &dyn EventStore,
        context: &CommandContext,
    ) -> Result<(), CommandError<R>> {
        if let Self::Made(at) = self {
            let withdrawn = CommandWithdrawn { command_id: context.command_id };
            append(store, Some(at), withdrawn.into(), context).await?;
        }
        Ok(())
    }
}

fn claimed(
    target: &StreamName,
    unchanged_at: Option<Revision>,
    context: &CommandContext,
) -> CommandEvent {
    CommandEvent::from(CommandClaimed {
        command_id: context.command_id,
        stream: target.to_string(),
        unchanged_at: unchanged_at.map(Revision::get),
    })
}

/// Appends behind this event, and tells where; `None` when something else came first.
async fn append<R: std::error::Error + 'static>(
    store: &dyn EventStore,
    behind: Option<Revision>,
    event: CommandEvent,
    context: &CommandContext,
) -> Result<Option<Revision>, CommandError<R>> {
    let stream = stream_of(context);
    let mut events = encode(&stream, &[event], context);
    for event in &mut events {
        // Told apart by when it was asked, too: the store would take that of the same request
        // elsewhere for a retry, and both would believe that the claim is theirs alone.
        let attempt = format!("{} {behind:?} {}", event.event_type, context.now);
        event.id = EventId(Uuid::new_v5(&event.id.0, attempt.as_bytes()));
    }
    let expected = behind.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exactly);
    match store.append(&stream, expected, events).await {
        Ok(appended) => {
            let (at, _) = placed(&stream, appended).map_err(CommandError::Store)?;
            Ok(Some(at))
        }
        Err(AppendError::WrongExpectedRevision { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn stream_of(context: &CommandContext) -> StreamName {
    let name = format!("{}-{}", CommandEvent::CATEGORY, context.command_id);
    StreamName::new(name).expect("a category and an id are neither empty nor long")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use chrono::{DateTime, TimeDelta};
    use event_schemas::Actor;
    use event_store::{EmbeddedOptions, EmbeddedStore};

    use super::*;

    /// The same command, asked at this second.
    fn asked(digest: &str, second: i64) -> CommandContext {
        let now = DateTime::UNIX_EPOCH + TimeDelta::seconds(second);
        let context = CommandContext::first(Uuid::from_u128(1), digest, Actor::System, now);
        CommandContext { keyed: true, ..context }
    }

    async fn found(
        store: &EmbeddedStore,
        context: &CommandContext,
    ) -> Result<Claim, CommandError<Infallible>> {
        needed(store, Uuid::from_u128(2), context).await
    }

    #[tokio::test]
    async fn a_claim_is_withdrawn_unless_others_count_on_it() {
        let folder = tempfile::tempdir().unwrap();
        let options = EmbeddedOptions::folder(folder.path().join("events"));
        let store = EmbeddedStore::open(options).await.unwrap();
        let target = StreamName::new("listing-1").unwrap();
        let (this, that) = (asked("this", 1), asked("that", 2));
        let at = Revision::new;
        let make = async |claim: &mut Claim, context: &CommandContext| {
            claim.make::<Infallible>(&store, &target, context).await.unwrap();
            *claim
        };

        let mut first = found(&store, &this).await.unwrap();
        assert_eq!(make(&mut first, &this).await, Claim::Made(at(0)));
        let refused = found(&store, &that).await;
        assert!(matches!(refused, Err(CommandError::DigestMismatch)), "{refused:?}");
        first.withdraw::<Infallible>(&store, &this).await.unwrap();
        let mut other = found(&store, &that).await.unwrap();
        assert_eq!(other, Claim::Open(Some(at(1))));
        assert_eq!(make(&mut other, &that).await, Claim::Made(at(2)));

        // The same request again, elsewhere: it may go on when the first is refused.
        let again = asked("that", 3);
        let mut second = found(&store, &again).await.unwrap();
        assert_eq!(second, Claim::Found(at(2)));
        assert_eq!(make(&mut second, &again).await, Claim::Held);
        for claim in [other, second] {
            claim.withdraw::<Infallible>(&store, &that).await.unwrap();
            assert_eq!(found(&store, &that).await.unwrap(), Claim::Found(at(3)));
        }

        // Of two who find nothing at once, and ask the same, one has made it.
        let (fresh, late) = (Claim::Open(None), asked("that", 4));
        let mut late_claim = fresh;
        assert_eq!(make(&mut late_claim, &late).await, Claim::Held);
    }
}
