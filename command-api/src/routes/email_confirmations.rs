//! E-mail confirmations: proving that an address is one's own.

use access::Problem;
use aggregates::user::{User, UserCommand};
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::users::taken;
use crate::CommandApi;
use crate::answer::{Answer, Done};
use crate::identity::{AccountError, ConfirmationToken};
use crate::refusal::refused;
use crate::request::{PublicBody, PublicCommand};

/// What stood in the mail.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Confirmation {
    /// The token.
    token: String,
}

impl PublicBody for Confirmation {
    const SECRET: &'static str = "token";

    fn sender(&self) -> String {
        self.token.clone()
    }
}

/// Confirm an address by the token that was mailed there. Log in anew to be believed.
#[utoipa::path(
    post, path = "/api/v1/email-confirmations", tag = "user", operation_id = "confirmEmail",
    request_body = Confirmation,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Repeats are answered alike"),
    ),
    responses(
        (status = 200, description = "The address is confirmed", body = Done),
        (status = "default", description = "A problem", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn confirm(
    State(api): State<CommandApi>,
    command: PublicCommand<Confirmation>,
) -> Result<Answer, Problem> {
    let parts = api.parts();
    let token = ConfirmationToken::parse(&command.body.token)
        .ok_or(AccountError::InvalidToken)
        .map_err(taken)?;
    let user_id = parts.accounts.confirm(&token, api.now()).await.map_err(taken)?;
    let confirm = UserCommand::ConfirmEmail;
    let done = parts.handler.execute::<User>(user_id, confirm, &command.context).await;
    Ok(Answer::done(user_id.0, &done.map_err(refused)?))
}
