//! E-mail confirmations: proving that an address is one's own.

use access::{Problem, ValidJson};
use aggregates::user::{User, UserCommand};
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::users::{mail_token, not_reserved, taken};
use crate::CommandApi;
use crate::answer::{Answer, Done};
use crate::identity::{AccountError, ConfirmationToken, Email};
use crate::refusal::{field, refused};
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
        ("Idempotency-Key" = Option<String>, Header),
    ),
    responses(
        (status = 200, description = "The address is confirmed", body = Done),
        (status = 404, description = "The sign-up was not finished"),
        (status = 409, description = "The handle is another's by now"),
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
    let (user_id, handle) = parts.accounts.proved_by(&token, api.now()).await.map_err(taken)?;
    // An older copy of the accounts may hold what has become another's since.
    let is_anothers = parts.people.is_anothers(&handle, user_id).await;
    if is_anothers.map_err(|error| not_reserved(error.into()))? {
        return Err(taken(AccountError::HandleTaken));
    }
    // First in the log, which knows whoever counts as confirmed, also when the accounts are lost.
    let confirm = UserCommand::ConfirmEmail;
    let done = parts.handler.execute::<User>(user_id, confirm, &command.context).await;
    let done = done.map_err(refused)?;
    parts.accounts.confirm(&token, api.now()).await.map_err(taken)?;
    Ok(Answer::done(user_id.0, &done))
}

/// An address that another mail is wanted for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MailRequest {
    /// The address.
    #[schema(example = "nina@example.org")]
    email: String,
}

/// Ask for another mail with a token: the last was lost, or its token has run out. The answer is
/// the same whether the address is an account's, is confirmed, or was sent enough mails.
#[utoipa::path(
    post, path = "/api/v1/email-confirmations/requests", tag = "user",
    operation_id = "requestEmailConfirmation", request_body = MailRequest,
    responses(
        (status = 202, description = "If the address is to be confirmed, a mail is sent"),
    ),
)]
pub(crate) async fn request_mail(
    State(api): State<CommandApi>,
    ValidJson(request): ValidJson<MailRequest>,
) -> Result<StatusCode, Problem> {
    let email = Email::new(&request.email).map_err(|error| field("email", &error))?;
    let issued = api.parts().accounts.issue_further_confirmation(&email, api.now());
    if let Some((user_id, email, token)) = issued.await.map_err(taken)? {
        mail_token(&api, user_id, &email, &token).await.map_err(taken)?;
    }
    Ok(StatusCode::ACCEPTED)
}
