//! Commands on people that nobody sent to a door: an operator's, and the platform's own.

use aggregates::user::{User, UserCommand, UserRejection};
use aggregates::{CommandContext, CommandError, CommandHandler};
use chrono::Utc;
use event_schemas::{Actor, UserId};
use uuid::Uuid;

/// Carries one out, each time as a command of its own.
///
/// # Errors
/// When the person refuses it, or the store does not do its work.
pub async fn execute(
    handler: &CommandHandler,
    user_id: UserId,
    command: UserCommand,
) -> Result<(), CommandError<UserRejection>> {
    let id = Uuid::now_v7();
    let digest = id.simple().to_string();
    let context = CommandContext::first(id, digest, Actor::System, Utc::now());
    handler.execute::<User>(user_id, command, &context).await.map(drop)
}
