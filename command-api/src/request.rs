//! A command as it comes in: who sends it, what it says, and which command it is.
//!
//! The id of a command comes from who asks, the route, and the `Idempotency-Key`; without a key it
//! is fresh. What a command makes carries the command's own id, so that a repetition makes nothing
//! new. See `ARCHITECTURE.md`, decision 4.

use access::extract::{has_json, parse_json};
use access::{Authenticated, IdempotencyKey, Principal, Problem, ProblemType};
use aggregates::CommandContext;
use axum::RequestExt as _;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use event_schemas::{Actor, UserId};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::CommandApi;
use crate::in_progress::Place;

/// Largest body of a command, in bytes; uploads have their own.
pub const COMMAND_BYTES_MAX: usize = 256 * 1024;

/// The namespace of ids made from idempotency keys.
const COMMAND_IDS: Uuid = Uuid::from_u128(0x9c0c_1f0e_5d0b_4c39_a5a1_3d1a_6a55_77f1);

/// A command of somebody who is logged in.
pub struct Command<B> {
    /// Who asks.
    pub principal: Principal,
    /// What is asked.
    pub body: B,
    /// Which command it is, for the handler.
    pub context: CommandContext,
    _place: Place,
}

/// A command of somebody who need not be logged in.
pub struct PublicCommand<B> {
    /// What is asked.
    pub body: B,
    /// Which command it is, for the handler.
    pub context: CommandContext,
    _place: Place,
}

/// The body of a command that says nothing more than its route: empty, or `{}`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

impl<B> Command<B> {
    /// Who asks, as the domain names them.
    pub fn user_id(&self) -> UserId {
        UserId(self.principal.user_id)
    }

    /// The id of what this command makes.
    pub fn new_id(&self) -> Uuid {
        self.context.command_id
    }
}

impl<B: DeserializeOwned + Send> FromRequest<CommandApi> for Command<B> {
    type Rejection = Problem;

    async fn from_request(mut request: Request, api: &CommandApi) -> Result<Self, Problem> {
        let Authenticated(principal) = request.extract_parts_with_state(api).await?;
        let actor = Actor::User(UserId(principal.user_id));
        let (body, context, place) = read(request, api, actor).await?;
        Ok(Self { principal, body, context, _place: place })
    }
}

impl<B: DeserializeOwned + Send> FromRequest<CommandApi> for PublicCommand<B> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &CommandApi) -> Result<Self, Problem> {
        let (body, context, place) = read(request, api, Actor::System).await?;
        Ok(Self { body, context, _place: place })
    }
}

async fn read<B: DeserializeOwned>(
    request: Request,
    api: &CommandApi,
    actor: Actor,
) -> Result<(B, CommandContext, Place), Problem> {
    let (parts, body) = request.into_parts();
    let key = IdempotencyKey::from_headers(&parts.headers)?;
    let traceparent = traceparent(&parts.headers);
    let route = format!("{} {}", parts.method, parts.uri.path());
    let is_json = has_json(&parts.headers);
    let bytes = Bytes::from_request(Request::from_parts(parts, body), api).await?;
    let (document, body) = parse(&bytes, is_json)?;
    let command_id = command_id(&actor, &route, key.as_ref());
    let context = CommandContext {
        command_id,
        digest: digest(&document),
        correlation_id: command_id,
        causation_id: command_id,
        actor,
        now: api.now(),
        traceparent,
    };
    let place = api.in_progress().begin(command_id).ok_or_else(|| {
        Problem::new(ProblemType::IdempotencyInProgress)
            .with_detail("the command with this key is still being carried out")
    })?;
    Ok((body, context, place))
}

/// The body, and the document it was read from; no body is an empty document.
fn parse<B: DeserializeOwned>(bytes: &Bytes, is_json: bool) -> Result<(Value, B), Problem> {
    if bytes.is_empty() {
        return Ok((Value::Null, parse_json(b"{}")?));
    }
    if !is_json {
        let problem = Problem::new(ProblemType::UnsupportedMediaType);
        return Err(problem.with_detail("send the body as application/json"));
    }
    Ok((parse_json(bytes)?, parse_json(bytes)?))
}

/// The id of a command: with a key, the same for the same actor, route and key.
fn command_id(actor: &Actor, route: &str, key: Option<&IdempotencyKey>) -> Uuid {
    let Some(key) = key else {
        return Uuid::now_v7();
    };
    let who = match actor {
        Actor::User(user) => user.to_string(),
        Actor::Saga(saga) => saga.clone(),
        Actor::System => String::new(),
    };
    // Neither an id nor a route has a line break, so no two commands share a name.
    let name = format!("{who}\n{route}\n{}", key.as_str());
    Uuid::new_v5(&COMMAND_IDS, name.as_bytes())
}

/// The id of an upload of this owner, by the same rule.
pub(crate) fn upload_id(owner: UserId, key: Option<&IdempotencyKey>) -> Uuid {
    command_id(&Actor::User(owner), "POST /api/v1/uploads", key)
}

/// Tells the bodies of commands with the same key apart; how a body is laid out does not matter.
fn digest(document: &Value) -> String {
    let hash = Sha256::digest(document.to_string());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The trace context of the request, when it has the shape that the W3C gives it.
fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    match parts.as_slice() {
        [version, trace, span, flags]
            if hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2) =>
        {
            Some(text.to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(text: &str) -> IdempotencyKey {
        IdempotencyKey::new(text).expect("a key")
    }

    #[test]
    fn a_key_names_one_command_of_one_actor_on_one_route() {
        let nina = Actor::User(UserId(Uuid::from_u128(1)));
        let otis = Actor::User(UserId(Uuid::from_u128(2)));
        let first = command_id(&nina, "POST /a", Some(&key("k")));
        assert_eq!(command_id(&nina, "POST /a", Some(&key("k"))), first);
        assert_ne!(command_id(&otis, "POST /a", Some(&key("k"))), first);
        assert_ne!(command_id(&nina, "POST /b", Some(&key("k"))), first);
        assert_ne!(command_id(&nina, "POST /a", Some(&key("l"))), first);
        assert_ne!(command_id(&nina, "POST /a", None), command_id(&nina, "POST /a", None));
    }

    #[test]
    fn the_layout_of_a_body_does_not_matter() {
        let spaced: Value = serde_json::from_str(r#"{ "b": 1, "a": [2] }"#).expect("JSON");
        assert_eq!(digest(&spaced), digest(&json!({ "a": [2], "b": 1 })));
        assert_ne!(digest(&spaced), digest(&json!({ "a": [3], "b": 1 })));
    }

    #[test]
    fn only_a_well_formed_trace_is_kept() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", good.parse().expect("a value"));
        assert_eq!(traceparent(&headers).as_deref(), Some(good));
        for bad in ["", "00-xyz", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"] {
            headers.insert("traceparent", bad.parse().expect("a value"));
            assert_eq!(traceparent(&headers), None, "{bad:?}");
        }
    }
}
