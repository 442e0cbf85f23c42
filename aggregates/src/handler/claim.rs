//! Claims: a command whose sender chose its identity is given it for good before it changes
//! anything, in a stream of its own.
//!
//! The record in the aggregate's stream does not do where the request names that stream: the same
//! identity with another request would be looked for, and carried out, in another stream. Nor is
//! there one of a command that changed nothing. What a command makes is named by the command, so
//! its stream is the claim already.

use event_schemas::EventFamily;
use event_schemas::command::{CommandClaimed, CommandEvent};
use event_store::{
    AppendError, EventStore, ExpectedRevision, ReadError, ReadStream, Revision, StreamName,
};
use futures::TryStreamExt;
use uuid::Uuid;

use crate::context::CommandContext;
use crate::encoding::{decode, encode};
use crate::fold::LoadError;
use crate::handler::CommandError;

/// How far a command is with its claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// To be made before anything changes.
    Open,
    /// Made, or not needed.
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
    let Some(claimed) = read(store, context).await? else {
        return Ok(Claim::Open);
    };
    Ok(claimed.unchanged_at.map_or(Claim::Held, |at| Claim::Unchanged(Revision::new(at))))
}

/// The claim of a command, when it was made; another request's is an error.
pub(super) async fn read<R: std::error::Error + 'static>(
    store: &dyn EventStore,
    context: &CommandContext,
) -> Result<Option<CommandClaimed>, CommandError<R>> {
    let mut events = match store.read_stream(ReadStream::forward(stream_of(context))).await {
        Ok(events) => events,
        Err(ReadError::StreamNotFound(_)) => return Ok(None),
        Err(error) => return Err(LoadError::from(error).into()),
    };
    let Some(recorded) = events.try_next().await.map_err(LoadError::from)? else {
        return Ok(None);
    };
    let decoded = decode::<CommandEvent>(&recorded).map_err(LoadError::from)?;
    if decoded.metadata.command.is_none_or(|record| record.digest != context.digest) {
        return Err(CommandError::DigestMismatch);
    }
    let CommandEvent::CommandClaimed(claimed) = decoded.event;
    Ok(Some(claimed))
}

impl Claim {
    /// Makes it when it is still to be made; of two requests under one identity one does.
    pub(super) async fn make<R: std::error::Error + 'static>(
        &mut self,
        store: &dyn EventStore,
        target: &StreamName,
        unchanged_at: Option<Revision>,
        context: &CommandContext,
    ) -> Result<(), CommandError<R>> {
        if *self == Self::Open {
            append(store, target, unchanged_at, context).await?;
            *self = Self::Held;
        }
        Ok(())
    }
}

async fn append<R: std::error::Error + 'static>(
    store: &dyn EventStore,
    target: &StreamName,
    unchanged_at: Option<Revision>,
    context: &CommandContext,
) -> Result<(), CommandError<R>> {
    let claimed = CommandClaimed {
        command_id: context.command_id,
        stream: target.to_string(),
        unchanged_at: unchanged_at.map(Revision::get),
    };
    let stream = stream_of(context);
    let events = encode(&stream, &[CommandEvent::from(claimed)], context);
    match store.append(&stream, ExpectedRevision::NoStream, events).await {
        Ok(_) => Ok(()),
        // By the same request elsewhere it is as good as made here.
        Err(AppendError::WrongExpectedRevision { .. }) => look(store, context).await.map(drop),
        Err(error) => Err(error.into()),
    }
}

fn stream_of(context: &CommandContext) -> StreamName {
    let name = format!("{}-{}", CommandEvent::CATEGORY, context.command_id);
    StreamName::new(name).expect("a category and an id are neither empty nor long")
}
