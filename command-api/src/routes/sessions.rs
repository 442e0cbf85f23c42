//! Sessions: logging in.

use std::time::Duration;

use access::token::TokenGrant;
use access::{Problem, ProblemType, Role, Roles, SessionId, ValidJson};
use aggregates::user::User;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::ToSchema;
use uuid::Uuid;

use super::users::taken;
use crate::CommandApi;
use crate::identity::{Email, Password};
use crate::refusal::{RETRY_AFTER, unloaded};

/// How long the store may take to say what somebody is.
const LOOK_TIME_MAX: Duration = Duration::from_secs(2);

/// Why somebody who has an account is not let in.
const NOT_IN_THIS_LOG: &str = "this log does not have the account, which was confirmed: another \
                               log is in the place of its own";

/// Who wants to log in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credentials {
    /// The address.
    email: String,
    /// The password.
    password: String,
}

/// Somebody is logged in.
#[derive(Serialize, ToSchema)]
pub(crate) struct LoggedIn {
    /// Who.
    user_id: Uuid,
    /// Sent as `Authorization: Bearer ...`.
    access_token: String,
    /// Always `Bearer`.
    token_type: &'static str,
    /// How long it is believed, in seconds.
    expires_in: i64,
}

type Answer = (StatusCode, [(HeaderName, HeaderValue); 1], Json<LoggedIn>);

/// Log in. The answer is the same for a wrong password and for an unknown address.
#[utoipa::path(
    post, path = "/api/v1/sessions", tag = "user", operation_id = "logIn",
    request_body = Credentials,
    responses(
        (status = 201, description = "Logged in", body = LoggedIn),
        (status = 401, description = "The address or the password is wrong (`wrong-credentials`)"),
        (status = 409, description = "The sign-up was not finished"),
    ),
)]
pub(crate) async fn log_in(
    State(api): State<CommandApi>,
    ValidJson(credentials): ValidJson<Credentials>,
) -> Result<Answer, Problem> {
    let parts = api.parts();
    let account = match Email::new(&credentials.email) {
        Ok(email) => parts.accounts.by_email(&email).await.map_err(taken)?,
        Err(_) => None,
    };
    let password = Password::tried(credentials.password);
    let hash = account.as_ref().map(|account| account.password.clone().into_string());
    let right = parts.passwords.verify(password, hash).await;
    let Some(account) = account.filter(|_| right) else {
        return Err(Problem::new(ProblemType::WrongCredentials));
    };
    let look = |user: &User| user.user_id.map(|_| (roles(user), user.email_confirmed));
    let looked = timeout(LOOK_TIME_MAX, parts.handler.inspect(account.user_id, look)).await;
    let away = || Problem::new(ProblemType::Unavailable).with_retry_after(RETRY_AFTER);
    let Some((roles, is_proved)) = looked.map_err(|_| away())?.map_err(unloaded)? else {
        if account.confirmed {
            let refusal = Problem::new(ProblemType::Unavailable).with_detail(NOT_IN_THIS_LOG);
            return Err(refusal.with_retry_after(RETRY_AFTER));
        }
        let refusal = Problem::new(ProblemType::Conflict);
        return Err(refusal.with_detail("the sign-up was not finished; sign up again"));
    };
    let now = api.now();
    let grant = TokenGrant {
        user_id: account.user_id.0,
        session: SessionId(Uuid::new_v4()),
        roles,
        email_verified: account.confirmed && is_proved,
    };
    let token = parts.issuer.issue(&grant, Uuid::new_v4(), now);
    let logged_in = LoggedIn {
        user_id: account.user_id.0,
        access_token: token.as_str().to_owned(),
        token_type: "Bearer",
        expires_in: (token.expires_at - now).num_seconds(),
    };
    let uncached = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::CREATED, uncached, Json(logged_in)))
}

/// The roles of an account that this release knows.
fn roles(user: &User) -> Roles {
    user.roles.iter().filter_map(|name| name.parse::<Role>().ok()).collect()
}
