//! Access tokens: short-lived JWTs (RFC 9068) signed with Ed25519.
//!
//! A token is believed only if its header says `EdDSA`, `at+jwt` and a key of the ring, its
//! signature is good, issuer and audience are ours, and its times hold. Keys and key addresses
//! that the header itself carries (`jwk`, `jku`, `x5u`, `x5c`) are never looked at.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation};
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::key_ring::KeyRing;
use crate::key_set::KeySet;
use crate::principal::{Principal, SessionId};
use crate::roles::Roles;

/// How long an access token lives. What it says of its bearer may be as old as this.
pub const ACCESS_TOKEN_LIFE: TimeDelta = TimeDelta::minutes(10);
/// How far the clocks of issuer and verifier may differ.
pub const CLOCK_LEEWAY: TimeDelta = TimeDelta::seconds(30);
/// The longest token that is looked at. Ours have about 600 bytes.
pub const TOKEN_BYTES_MAX: usize = 4 * 1024;
/// How many verified tokens are remembered, so that a caller's signature is checked once and not
/// at each request. About 300 bytes each.
pub const VERIFIED_TOKENS_MAX: u64 = 20_000;

/// The `typ` of RFC 9068, so that no other kind of token passes for an access token.
const TOKEN_TYPE: &str = "at+jwt";
const REQUIRED_CLAIMS: [&str; 5] = ["iss", "aud", "sub", "exp", "nbf"];

/// Where the time comes from for those who answer requests; passed in by who wires them.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// Who issues tokens, and for whom they are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenScope {
    /// `iss`: the platform's public address.
    pub issuer: String,
    /// `aud`: the service that is to accept the token.
    pub audience: String,
}

/// What a new token says of its bearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenGrant {
    /// The account.
    pub user_id: Uuid,
    /// The log-in it belongs to.
    pub session: SessionId,
    /// What the account is.
    pub roles: Roles,
    /// Whether the account has confirmed its e-mail address.
    pub email_verified: bool,
}

/// A signed token. Shown only by [`AccessToken::as_str`], so that it does not slip into a log.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken {
    text: String,
    /// When it stops being believed.
    pub expires_at: DateTime<Utc>,
}

impl AccessToken {
    /// The token as it goes on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AccessToken(expires_at: {})", self.expires_at)
    }
}

/// Why a token is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is no token at all, or one with claims missing or of the wrong shape.
    #[error("the access token cannot be read")]
    Malformed,
    /// It names an algorithm other than EdDSA, or demands something we do not know.
    #[error("the access token is not signed as it must be")]
    Algorithm,
    /// It is another kind of token.
    #[error("the token is not an access token")]
    Type,
    /// No key of the ring has its id, or it verifies no more.
    #[error("the access token's key is not known")]
    UnknownKey,
    /// Its signature is not that of its key.
    #[error("the access token's signature is wrong")]
    Signature,
    /// It comes from another issuer.
    #[error("the access token is from another issuer")]
    Issuer,
    /// It is meant for another service.
    #[error("the access token is for another service")]
    Audience,
    /// Its time is over.
    #[error("the access token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the access token is not valid yet")]
    NotYetValid,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: Uuid,
    sid: Uuid,
    roles: Roles,
    email_verified: bool,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: Uuid,
}

// === impl TokenIssuer ===

/// Signs access tokens.
#[derive(Debug, Clone)]
pub struct TokenIssuer {
    ring: Arc<KeyRing>,
    scope: TokenScope,
}

impl TokenIssuer {
    /// An issuer that signs with the ring's signing key.
    #[must_use]
    pub fn new(ring: Arc<KeyRing>, scope: TokenScope) -> Self {
        Self { ring, scope }
    }

    /// Signs a token for `grant` that lives from `now` for [`ACCESS_TOKEN_LIFE`]; `token_id` is its
    /// `jti`.
    #[must_use]
    pub fn issue(&self, grant: &TokenGrant, token_id: Uuid, now: DateTime<Utc>) -> AccessToken {
        let expires_at = now + ACCESS_TOKEN_LIFE;
        let claims = Claims {
            iss: self.scope.issuer.clone(),
            aud: self.scope.audience.clone(),
            sub: grant.user_id,
            sid: grant.session.0,
            roles: grant.roles,
            email_verified: grant.email_verified,
            iat: now.timestamp(),
            nbf: now.timestamp(),
            exp: expires_at.timestamp(),
            jti: token_id,
        };
        let keys = self.ring.keys(now);
        let header = Header {
            typ: Some(TOKEN_TYPE.to_owned()),
            kid: Some(keys.kid().to_owned()),
            ..Header::new(Algorithm::EdDSA)
        };
        let text = jsonwebtoken::encode(&header, &claims, keys.signing())
            .expect("the set took this key only after it made a key pair of it");
        AccessToken { text, expires_at }
    }
}

// === impl TokenVerifier ===

/// Verifies access tokens.
pub struct TokenVerifier {
    ring: Arc<KeyRing>,
    validation: Validation,
    clock: Clock,
    /// Tokens whose signature was good, by their digest. Times and the key are checked again at
    /// each use, so an entry never outlives either.
    verified: Cache<[u8; 32], Arc<Signed>>,
}

/// What a good signature stands under.
#[derive(Debug)]
struct Signed {
    kid: String,
    claims: Claims,
}

impl TokenVerifier {
    /// A verifier of tokens of `scope`. `clock` serves [`TokenVerifier::verify_now`] alone.
    #[must_use]
    pub fn new(ring: Arc<KeyRing>, scope: &TokenScope, clock: Clock) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[&scope.issuer]);
        validation.set_audience(&[&scope.audience]);
        validation.set_required_spec_claims(&REQUIRED_CLAIMS);
        // The crate would ask the system's clock; `check_times` asks the caller's.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Self { ring, validation, clock, verified: Cache::new(VERIFIED_TOKENS_MAX) }
    }

    /// Who bears `token`, as of the verifier's clock.
    ///
    /// # Errors
    /// As [`TokenVerifier::verify`].
    pub fn verify_now(&self, token: &str) -> Result<Principal, TokenError> {
        self.verify(token, (self.clock)())
    }

    /// Who bears `token`, as of `now`.
    ///
    /// # Errors
    /// When the token is not to be believed; the error says why.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Principal, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let digest: [u8; 32] = Sha256::digest(token).into();
        let keys = self.ring.keys(now);
        let known = self.verified.get(&digest);
        let is_new = known.is_none();
        let signed = match known {
            Some(signed) if keys.verifying(&signed.kid, now).is_none() => {
                return Err(TokenError::UnknownKey);
            }
            Some(signed) => signed,
            None => Arc::new(self.read_signed(token, &keys, now)?),
        };
        let claims = &signed.claims;
        check_times(claims, now)?;
        if is_new {
            self.verified.insert(digest, Arc::clone(&signed));
        }
        Ok(Principal {
            user_id: claims.sub,
            session: SessionId(claims.sid),
            roles: claims.roles,
            email_verified: claims.email_verified,
            expires_at: DateTime::from_timestamp(claims.exp, 0).ok_or(TokenError::Malformed)?,
        })
    }

    /// Everything but the token's times.
    fn read_signed(
        &self,
        token: &str,
        keys: &KeySet,
        now: DateTime<Utc>,
    ) -> Result<Signed, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|error| reason(error.kind()))?;
        // An extension that must be understood is one that we do not.
        if header.alg != Algorithm::EdDSA || header.crit.is_some() {
            return Err(TokenError::Algorithm);
        }
        let is_access_token = header.typ.as_deref().is_some_and(|typ| {
            let name = typ.strip_prefix("application/").unwrap_or(typ);
            name.eq_ignore_ascii_case(TOKEN_TYPE)
        });
        if !is_access_token {
            return Err(TokenError::Type);
        }
        let kid = header.kid.ok_or(TokenError::UnknownKey)?;
        let key = keys.verifying(&kid, now).ok_or(TokenError::UnknownKey)?;
        let token = jsonwebtoken::decode::<Claims>(token, key, &self.validation);
        let claims = token.map_err(|error| reason(error.kind()))?.claims;
        Ok(Signed { kid, claims })
    }
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TokenVerifier").field("ring", &self.ring).finish_non_exhaustive()
    }
}

fn check_times(claims: &Claims, now: DateTime<Utc>) -> Result<(), TokenError> {
    let leeway = CLOCK_LEEWAY.num_seconds();
    let now = now.timestamp();
    if now >= claims.exp.saturating_add(leeway) {
        return Err(TokenError::Expired);
    }
    if claims.nbf.max(claims.iat) > now.saturating_add(leeway) {
        return Err(TokenError::NotYetValid);
    }
    Ok(())
}

const fn reason(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::InvalidAlgorithm
        | ErrorKind::InvalidAlgorithmName
        | ErrorKind::MissingAlgorithm => TokenError::Algorithm,
        _ => TokenError::Malformed,
    }
}

#[cfg(test)]
mod tests;
