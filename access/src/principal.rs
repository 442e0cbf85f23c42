//! The caller of a request, and the extractor that demands one.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::problem::Problem;
use crate::problem_type::ProblemType;
use crate::roles::{Permission, Role, Roles, allows};
use crate::token::{TokenError, TokenVerifier};

/// The log-in that a token belongs to; it ends when the person logs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub Uuid);

/// Who is calling, as a verified token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The account.
    pub user_id: Uuid,
    /// The log-in.
    pub session: SessionId,
    /// What the account was when the token was issued.
    pub roles: Roles,
    /// Whether it had confirmed its e-mail address then.
    pub email_verified: bool,
    /// When the token ends; a connection that outlives it must be closed or renewed.
    pub expires_at: DateTime<Utc>,
}

impl Principal {
    /// Whether the caller may do this.
    #[must_use]
    pub fn may(&self, permission: Permission) -> bool {
        self.require(permission).is_ok()
    }

    /// Passes if the caller may do this.
    ///
    /// # Errors
    /// A `forbidden` problem if no role of the caller grants it, and `email-not-confirmed` if one
    /// does and only the confirmation is missing.
    pub fn require(&self, permission: Permission) -> Result<(), Problem> {
        self.require_one_of(&[permission])
    }

    /// Passes if the caller may do one of these, each of which is enough.
    ///
    /// # Errors
    /// As [`Principal::require`].
    pub fn require_one_of(&self, permissions: &[Permission]) -> Result<(), Problem> {
        let grants_one = |roles: Roles| permissions.iter().any(|&each| allows(roles, each));
        if !grants_one(self.roles) {
            let those = Role::ALL.into_iter().filter(|&role| grants_one(role.into()));
            let those: Vec<_> = those.map(Role::name).collect();
            let detail = format!(
                "it takes one of these roles: {}; one that was granted after this access token \
                 was issued counts once you log in anew",
                those.join(", ")
            );
            return Err(Problem::new(ProblemType::Forbidden).with_detail(detail));
        }
        let may = |&each: &Permission| {
            allows(self.roles, each) && (self.email_verified || !each.needs_confirmed_email())
        };
        if !permissions.iter().any(may) {
            let detail = "send the token in the mail to POST /api/v1/email-confirmations, then log \
                          in anew: this access token still says that the address is not confirmed";
            return Err(Problem::new(ProblemType::EmailNotConfirmed).with_detail(detail));
        }
        Ok(())
    }

    /// Passes if the caller is this account.
    ///
    /// # Errors
    /// A `forbidden` problem otherwise.
    pub fn require_self(&self, user_id: Uuid) -> Result<(), Problem> {
        if self.user_id == user_id {
            return Ok(());
        }
        Err(Problem::new(ProblemType::Forbidden))
    }
}

/// The principal of a request. A handler that takes it refuses everybody without a valid token;
/// one that takes `Option<Authenticated>` lets those without any token in, but not those with a
/// bad one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticated(pub Principal);

impl<S> FromRequestParts<S> for Authenticated
where
    Arc<TokenVerifier>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let verifier = Arc::<TokenVerifier>::from_ref(state);
        principal(&parts.headers, &verifier)?
            .map(Self)
            .ok_or_else(|| Problem::new(ProblemType::Unauthenticated))
    }
}

impl<S> OptionalFromRequestParts<S> for Authenticated
where
    Arc<TokenVerifier>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &S,
    ) -> Result<Option<Self>, Self::Rejection> {
        let verifier = Arc::<TokenVerifier>::from_ref(state);
        Ok(principal(&parts.headers, &verifier)?.map(Self))
    }
}

/// Whom the headers' bearer token names, or `None` if they carry no `Authorization` at all.
///
/// # Errors
/// When there is one, and it is not a single believable bearer token.
pub fn principal(
    headers: &HeaderMap,
    verifier: &TokenVerifier,
) -> Result<Option<Principal>, TokenError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    // Of two credentials, which one counts would be a matter of who looks.
    if values.next().is_some() {
        return Err(TokenError::Malformed);
    }
    let text = value.to_str().map_err(|_| TokenError::Malformed)?;
    bearer_principal(text, verifier).map(Some)
}

/// Whom the text of an `Authorization` value names, as WebSocket clients send it in a message.
///
/// # Errors
/// When it is not a believable bearer token.
pub fn bearer_principal(
    authorization: &str,
    verifier: &TokenVerifier,
) -> Result<Principal, TokenError> {
    let (scheme, token) = authorization.split_once(' ').ok_or(TokenError::Malformed)?;
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(TokenError::Malformed);
    }
    verifier.verify_now(token.trim())
}

/// What a token's refusal reads like: whether it is worth refreshing, and no more.
impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        let (detail, challenge) = match error {
            TokenError::Expired => (
                "the access token has expired",
                "Bearer error=\"invalid_token\", error_description=\"the token has expired\"",
            ),
            _ => ("the access token is not valid", "Bearer error=\"invalid_token\""),
        };
        tracing::debug!(reason = %error, "refused an access token");
        Self::new(ProblemType::Unauthenticated).with_detail(detail).with_challenge(challenge)
    }
}

#[cfg(test)]
mod tests;
