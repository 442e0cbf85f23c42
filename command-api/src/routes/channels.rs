//! Channels: where people talk.

use access::{Permission, Problem, ProblemType, ValidPath};
use aggregates::social::{Channel, ChannelCommand, Message, MessageCommand};
use axum::extract::State;
use event_schemas::{ChannelId, MessageId};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::CommandApi;
use crate::answer::{Answer, Done};
use crate::refusal::{not_found, refused, unloaded};
use crate::request::{Command, Nothing};

/// A channel to open.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewChannel {
    /// Its name.
    name: String,
}

/// Open a channel; one is its owner and first member.
#[utoipa::path(
    post, path = "/api/v1/channels", tag = "social", operation_id = "createChannel",
    request_body = NewChannel, security(("bearer" = [])),
    params(
        ("Idempotency-Key" = Option<String>, Header),
    ),
    responses(
        (status = 201, description = "The channel is open", body = Done),
    ),
)]
pub(crate) async fn create(
    State(api): State<CommandApi>,
    command: Command<NewChannel>,
) -> Result<Answer, Problem> {
    command.principal.require(Permission::CreateChannel)?;
    let channel_id = ChannelId(command.new_id());
    let (name, owner_id) = (command.body.name.clone(), command.user_id());
    let create = ChannelCommand::Create { channel_id, name, owner_id };
    let handler = &api.parts().handler;
    let done = handler.execute::<Channel>(channel_id, create, &command.context).await;
    Ok(Answer::created(channel_id.0, &done.map_err(refused)?))
}

/// Join a channel.
#[utoipa::path(
    put, path = "/api/v1/channels/{channel_id}/members/me", tag = "social",
    operation_id = "joinChannel", security(("bearer" = [])),
    params(
        ("channel_id" = Uuid, Path, description = "Which channel"),
        ("Idempotency-Key" = Option<String>, Header),
    ),
    responses(
        (status = 200, description = "One is a member", body = Done),
        (status = 404, description = "There is no such channel"),
        (status = 409, description = "The channel is full"),
    ),
)]
pub(crate) async fn join(
    State(api): State<CommandApi>,
    ValidPath(channel_id): ValidPath<Uuid>,
    command: Command<Nothing>,
) -> Result<Answer, Problem> {
    let join = ChannelCommand::Join { user_id: command.user_id() };
    decide(&api, channel_id, join, &command).await
}

/// Leave a channel.
#[utoipa::path(
    delete, path = "/api/v1/channels/{channel_id}/members/me", tag = "social",
    operation_id = "leaveChannel", security(("bearer" = [])),
    params(
        ("channel_id" = Uuid, Path, description = "Which channel"),
        ("Idempotency-Key" = Option<String>, Header),
    ),
    responses(
        (status = 200, description = "One is no member", body = Done),
        (status = 404, description = "There is no such channel"),
        (status = 409, description = "The last owner stays"),
    ),
)]
pub(crate) async fn leave(
    State(api): State<CommandApi>,
    ValidPath(channel_id): ValidPath<Uuid>,
    command: Command<Nothing>,
) -> Result<Answer, Problem> {
    let leave = ChannelCommand::Leave { user_id: command.user_id() };
    decide(&api, channel_id, leave, &command).await
}

async fn decide(
    api: &CommandApi,
    channel_id: Uuid,
    decision: ChannelCommand,
    command: &Command<Nothing>,
) -> Result<Answer, Problem> {
    command.principal.require(Permission::JoinChannel)?;
    let handler = &api.parts().handler;
    let done = handler.execute::<Channel>(ChannelId(channel_id), decision, &command.context).await;
    Ok(Answer::done(channel_id, &done.map_err(refused)?))
}

/// Something to say.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMessage {
    /// What; at most 4000 characters. Unlike names, it may have line breaks and marks that set the
    /// direction of writing: whoever shows it keeps it apart from what stands around it.
    text: String,
}

/// Say something in a channel that one is a member of.
#[utoipa::path(
    post, path = "/api/v1/channels/{channel_id}/messages", tag = "social",
    operation_id = "postMessage", request_body = NewMessage, security(("bearer" = [])),
    params(
        ("channel_id" = Uuid, Path, description = "Where"),
        ("Idempotency-Key" = Option<String>, Header),
    ),
    responses(
        (status = 201, description = "It is said", body = Done),
        (status = 404, description = "There is no such channel"),
    ),
)]
pub(crate) async fn post_message(
    State(api): State<CommandApi>,
    ValidPath(channel_id): ValidPath<Uuid>,
    command: Command<NewMessage>,
) -> Result<Answer, Problem> {
    command.principal.require(Permission::PostMessage)?;
    let handler = &api.parts().handler;
    let message_id = MessageId(command.new_id());
    if let Some(answer) = command.repeated::<Message>(&api, message_id).await? {
        return Ok(answer);
    }
    let (channel_id, author_id) = (ChannelId(channel_id), command.user_id());
    let look =
        |channel: &Channel| channel.created.as_ref().map(|_| channel.members.contains(&author_id));
    match handler.inspect(channel_id, look).await.map_err(unloaded)? {
        None => return Err(not_found("a channel with this id")),
        Some(false) => {
            let refusal = Problem::new(ProblemType::Forbidden);
            return Err(refusal.with_detail("only members may say something here"));
        }
        Some(true) => {}
    }
    let text = command.body.text.clone();
    let post = MessageCommand::Post { message_id, channel_id, author_id, text };
    let done = handler.execute::<Message>(message_id, post, &command.context).await;
    Ok(Answer::created(message_id.0, &done.map_err(refused)?))
}
