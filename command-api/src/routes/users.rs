//! Users: signing up, the profile, roles.

use std::collections::BTreeSet;

use access::{Permission, Principal, Problem, ProblemType, ValidPath};
use aggregates::CommandError;
use aggregates::text::{self, REASON_CHARS_MAX};
use aggregates::user::account::{BIO_CHARS_MAX, DISPLAY_NAME_CHARS_MAX};
use aggregates::user::{Grantor, Role, User, UserCommand};
use axum::extract::State;
use event_schemas::UserId;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::answer::{Answer, Done};
use crate::identity::{
    AccountError, ConfirmationToken, Email, Handle, Kept, NewAccount, Password, PasswordHash,
    ReserveError, reserve,
};
use crate::refusal::{RETRY_AFTER, WrongFields, field, refused, unloaded};
use crate::request::{Command, PublicBody, PublicCommand};
use crate::{CommandApi, CommandApiParts};

/// Who wants to sign up.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    /// The unique name others find one by: 3 to 30 of a-z, 0-9, `_` and `.`, a letter first; case
    /// does not matter. Some, as `admin`, are reserved.
    #[schema(example = "nina")]
    handle: String,
    /// The name others see.
    #[schema(example = "Nina")]
    display_name: String,
    /// Where a mail is sent that confirms the address.
    #[schema(example = "nina@example.org")]
    email: String,
    /// 10 to 256 characters.
    password: String,
    /// What one wants to be: `listener`, `artist` or `label`; a listener when nothing is named.
    #[serde(default)]
    #[schema(example = json!(["artist"]))]
    roles: Vec<String>,
}

impl PublicBody for NewUser {
    const SECRET: &'static str = "password";

    fn sender(&self) -> String {
        Email::new(&self.email).map_or_else(|_| String::new(), |email| email.folded().to_owned())
    }
}

/// Sign up. A mail asks to confirm the address; until then one can log in, but not publish, buy
/// or sell. Who never confirms it loses the handle and the address to whoever signs up with them
/// after the last token has run out.
#[utoipa::path(
    post, path = "/api/v1/users", tag = "user", operation_id = "signUp",
    request_body = NewUser,
    params(
        ("Idempotency-Key" = Option<String>, Header),
    ),
    responses(
        (status = 201, description = "The account is there", body = Done),
        (status = 403, description = "A role is granted, and not chosen"),
        (status = 409, description = "The handle or the address is taken"),
    ),
)]
pub(crate) async fn sign_up(
    State(api): State<CommandApi>,
    command: PublicCommand<NewUser>,
) -> Result<Answer, Problem> {
    let PublicCommand { body, context, .. } = &command;
    let user_id = UserId(context.command_id);
    let mut wrong = WrongFields::default();
    let handle = wrong.take("handle", Handle::new(&body.handle));
    take_display_name(&mut wrong, &body.display_name);
    let email = wrong.take("email", Email::new(&body.email));
    let password = wrong.take("password", Password::chosen(body.password.clone()));
    let roles = roles(&mut wrong, &body.roles);
    let (Some(handle), Some(email), Some(password)) = (handle, email, password) else {
        return Err(wrong.problem());
    };
    wrong.none()?;
    let (name, display_name) = (handle.to_string(), body.display_name.clone());
    let register = UserCommand::Register { user_id, handle: name, display_name, roles };
    let parts = api.parts();
    let password = PasswordHash::new(parts.passwords.hash(password).await);
    let account = NewAccount { user_id, handle, email, password };
    let (accounts, people, handler) = (&parts.accounts, &*parts.people, &parts.handler);
    let reserved = reserve(accounts, people, handler, &account, &register, api.now()).await;
    if reserved.map_err(not_reserved)? == Kept::Before {
        same_password(&api, &account, &body.password).await?;
    }
    let done = parts.handler.execute::<User>(user_id, register, context).await;
    let done = done.map_err(refused)?;
    ask_to_confirm(&api, user_id).await.map_err(taken)?;
    Ok(Answer::created(user_id.0, &done))
}

/// Refuses a sign-up that is repeated with another password. Nothing of a password is in the digest
/// that tells other repetitions from requests of their own.
async fn same_password(api: &CommandApi, account: &NewAccount, sent: &str) -> Result<(), Problem> {
    let known = api.parts().accounts.by_email(&account.email).await.map_err(taken)?;
    let known = known.filter(|known| known.user_id == account.user_id);
    let hash = known.map(|known| known.password.into_string());
    if api.parts().passwords.verify(Password::tried(sent.to_owned()), hash).await {
        return Ok(());
    }
    Err(Problem::new(ProblemType::IdempotencyKeyReused))
}

/// Mails a token to the account's address, unless one is there.
async fn ask_to_confirm(api: &CommandApi, user_id: UserId) -> Result<(), AccountError> {
    match api.parts().accounts.unasked(user_id, api.now()).await? {
        Some(email) => {
            let token = api.parts().accounts.issue_confirmation(user_id, api.now()).await?;
            mail_token(api, user_id, &email, &token).await
        }
        None => Ok(()),
    }
}

/// Mails a token to the account's address.
pub(crate) async fn mail_token(
    api: &CommandApi,
    user_id: UserId,
    email: &Email,
    token: &ConfirmationToken,
) -> Result<(), AccountError> {
    let CommandApiParts { accounts, mailer, .. } = api.parts();
    match mailer.confirm_address(email, token).await {
        Ok(()) => accounts.mailed(token, api.now()).await?,
        // The account is there, and another mail can be asked for.
        Err(error) => {
            tracing::error!(user.id = %user_id, %error, "the confirmation mail was not sent");
        }
    }
    Ok(())
}

fn roles(wrong: &mut WrongFields, names: &[String]) -> BTreeSet<Role> {
    let named = names.iter().enumerate();
    named.filter_map(|(index, name)| wrong.take(format!("roles[{index}]"), name.parse())).collect()
}

/// Notes what is wrong with the name that others see.
fn take_display_name(wrong: &mut WrongFields, name: &str) {
    wrong.take("display_name", text::line("display name", name, DISPLAY_NAME_CHARS_MAX));
}

/// Why nobody is signed up, or confirmed, as a problem.
pub(crate) fn not_reserved(error: ReserveError) -> Problem {
    match error {
        ReserveError::Rejected(rejection) => refused(CommandError::Rejected(rejection)),
        ReserveError::Account(error) => taken(error),
        ReserveError::Load(error) => unloaded(error),
        ReserveError::NotKnown(error) => Problem::new(ProblemType::Unavailable)
            .with_detail(error.to_string())
            .with_retry_after(RETRY_AFTER),
    }
}

/// A failure of the accounts as a problem.
pub(crate) fn taken(error: AccountError) -> Problem {
    let kind = match &error {
        AccountError::HandleTaken | AccountError::EmailTaken => ProblemType::Conflict,
        AccountError::AnotherSignUp => ProblemType::IdempotencyKeyReused,
        AccountError::InvalidToken => return field("token", &error),
        AccountError::StorageFull => return Problem::new(ProblemType::StorageFull),
        AccountError::Unavailable(_) => {
            // Whoever watches the database tells of an outage once, not each request.
            tracing::debug!(error = ?error, "the accounts are out of reach");
            return Problem::new(ProblemType::Unavailable).with_retry_after(RETRY_AFTER);
        }
        AccountError::Incomplete | AccountError::Migrate(_) | AccountError::Database(_) => {
            return Problem::internal(&error);
        }
    };
    Problem::new(kind).with_detail(error.to_string())
}

/// What others see of one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// The name others see.
    display_name: String,
    /// What one says about oneself; left out, it is emptied.
    #[serde(default)]
    bio: String,
}

/// Change one's own profile.
#[utoipa::path(
    put, path = "/api/v1/users/me/profile", tag = "user", operation_id = "changeProfile",
    request_body = Profile, security(("bearer" = [])),
    params(
        ("Idempotency-Key" = Option<String>, Header),
    ),
    responses(
        (status = 200, description = "The profile is changed", body = Done),
        (status = 404, description = "The account is not there"),
    ),
)]
pub(crate) async fn change_profile(
    State(api): State<CommandApi>,
    command: Command<Profile>,
) -> Result<Answer, Problem> {
    command.principal.require(Permission::ManageOwnAccount)?;
    let mut wrong = WrongFields::default();
    take_display_name(&mut wrong, &command.body.display_name);
    wrong.take("bio", text::optional_lines("bio", &command.body.bio, BIO_CHARS_MAX));
    wrong.none()?;
    let change = UserCommand::ChangeProfile {
        display_name: command.body.display_name.clone(),
        bio: command.body.bio.clone(),
    };
    let user_id = command.user_id();
    let done = api.parts().handler.execute::<User>(user_id, change, &command.context).await;
    Ok(Answer::done(user_id.0, &done.map_err(refused)?))
}

/// A role to grant.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRole {
    /// Which.
    #[schema(example = "moderator")]
    role: String,
    /// Why; it is kept.
    reason: String,
}

/// Grant somebody a role. Only administrators may, and nobody to themselves.
#[utoipa::path(
    post, path = "/api/v1/users/{user_id}/roles", tag = "user", operation_id = "grantRole",
    request_body = NewRole, security(("bearer" = [])),
    params(
        ("user_id" = Uuid, Path, description = "Whom"),
        ("Idempotency-Key" = Option<String>, Header),
    ),
    responses(
        (status = 200, description = "The role is granted", body = Done),
        (status = 404, description = "There is no such person"),
        (status = 409, description = "Their address is not confirmed, and the role needs that"),
    ),
)]
pub(crate) async fn grant_role(
    State(api): State<CommandApi>,
    ValidPath(user_id): ValidPath<Uuid>,
    command: Command<NewRole>,
) -> Result<Answer, Problem> {
    command.principal.require(Permission::GrantRole)?;
    let mut wrong = WrongFields::default();
    let reason = &command.body.reason;
    wrong.take("reason", text::line("reason", reason, REASON_CHARS_MAX));
    let Some(role) = wrong.take("role", command.body.role.parse::<Role>()) else {
        return Err(wrong.problem());
    };
    wrong.none()?;
    let administrator = is_administrator(&api, &command.principal).await?;
    let by = Grantor::User { user_id: command.user_id(), administrator };
    let grant = UserCommand::GrantRole { by, role, reason: reason.clone() };
    let handler = &api.parts().handler;
    let done = handler.execute::<User>(UserId(user_id), grant, &command.context).await;
    Ok(Answer::done(user_id, &done.map_err(refused)?))
}

/// Whether they are one now; what the token says is minutes old.
async fn is_administrator(api: &CommandApi, principal: &Principal) -> Result<bool, Problem> {
    let look =
        |user: &User| user.email_confirmed && user.roles.contains(Role::Administrator.name());
    api.parts().handler.inspect(UserId(principal.user_id), look).await.map_err(unloaded)
}
