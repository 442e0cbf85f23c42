//! Commands of steps: sent to the aggregates under the step's own identity.

use aggregates::{CommandContext, CommandError, CommandHandler, Decider};
use event_schemas::Actor;
use event_store::StoreError;
use uuid::Uuid;

use crate::orchestrator::activity::{ActivityError, StepCall};

/// Sends a command of a step; a step sends at most one to each kind of aggregate.
///
/// # Errors
/// [`ActivityError::Refused`] when the aggregate refuses, [`ActivityError::Unavailable`] when the
/// store can't be reached or is full; else as the store fails. It can be sent again without harm,
/// because it carries the same identity each time.
pub async fn execute<A: Decider>(
    commands: &CommandHandler,
    call: &StepCall<'_>,
    id: A::Id,
    command: A::Command,
) -> Result<(), ActivityError> {
    let command_id = Uuid::new_v5(&call.key().0, A::TYPE.as_bytes());
    let context = CommandContext {
        command_id,
        // One step of one run asks one thing of an aggregate, so its identity says what.
        digest: command_id.simple().to_string(),
        keyed: false,
        correlation_id: call.correlation_id,
        causation_id: call.causation_id,
        actor: Actor::Saga(call.state.kind.clone()),
        now: call.now,
        traceparent: call.traceparent.map(str::to_owned),
    };
    match commands.execute::<A>(id, command, &context).await {
        Ok(_) => Ok(()),
        Err(CommandError::Rejected(rejection)) => {
            Err(ActivityError::Refused(rejection.to_string()))
        }
        // A disk that is full is somebody else's matter, and not over in minutes.
        Err(
            error @ CommandError::Store(StoreError::StorageFull | StoreError::Unavailable { .. }),
        ) => Err(ActivityError::Unavailable(error.to_string())),
        Err(error) => Err(ActivityError::Transient(error.to_string())),
    }
}
