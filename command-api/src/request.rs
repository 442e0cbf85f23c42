//! A command as it comes in: who sends it, what it says, and which command it is.
//!
//! The id of a command comes from who asks, the route, and the `Idempotency-Key`; without a key it
//! is fresh. What a command makes carries the command's own id, so that a repetition makes nothing
//! new. See `ARCHITECTURE.md`, decision 4.

use access::extract::{has_json, parse_json};
use access::{Authenticated, IdempotencyKey, Principal, Problem, ProblemType};
use aggregates::user::User;
use aggregates::{AggregateId as _, CommandContext, Decider};
use axum::body::Bytes;
use axum::extract::{FromRequest, MatchedPath, RawPathParams, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::{RequestExt as _, RequestPartsExt as _};
use event_schemas::{Actor, UserId};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::CommandApi;
use crate::answer::Answer;
use crate::in_progress::Place;
use crate::refusal::{Refusal, in_progress, refused, unloaded};

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

/// The body of a command of somebody who need not be logged in.
pub trait PublicBody {
    /// The name of the field that is a secret: nothing of it is kept with the command.
    const SECRET: &'static str;

    /// Whose command it is, as far as it says: the keys of strangers never meet.
    fn sender(&self) -> String;
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

    /// The answer to the command that made this, when it was carried out before. To be asked
    /// before anything that may be otherwise by now is looked at.
    pub(crate) async fn repeated<A: Decider<Error: Refusal>>(
        &self,
        api: &CommandApi,
        made: A::Id,
    ) -> Result<Option<Answer>, Problem> {
        let before = api.parts().handler.repeated::<A>(made, &self.context).await;
        Ok(before.map_err(refused)?.map(|outcome| Answer::created(made.uuid(), &outcome)))
    }
}

impl<B: DeserializeOwned + Send> FromRequest<CommandApi> for Command<B> {
    type Rejection = Problem;

    async fn from_request(mut request: Request, api: &CommandApi) -> Result<Self, Problem> {
        let Authenticated(principal) = request.extract_parts_with_state(api).await?;
        must_be_known(api, UserId(principal.user_id)).await?;
        let sent = Sent::receive(request, api).await?;
        let digest = sent.digest(api);
        let user_id = UserId(principal.user_id);
        let (body, context, place) =
            sent.begin(api, Actor::User(user_id), &user_id.to_string(), digest)?;
        Ok(Self { principal, body, context, _place: place })
    }
}

impl<B: PublicBody + DeserializeOwned + Send> FromRequest<CommandApi> for PublicCommand<B> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &CommandApi) -> Result<Self, Problem> {
        let mut sent = Sent::<B>::receive(request, api).await?;
        sent.document.remove(B::SECRET);
        let digest = sent.digest(api);
        // Ids are public and keys can be guessed: what the id is made of must not be.
        let who = api.parts().digests.digest("sender", &sent.body.sender());
        let (body, context, place) = sent.begin(api, Actor::System, &who, digest)?;
        Ok(Self { body, context, _place: place })
    }
}

/// Refuses who is not in the log: it was put back as of before they signed up, and their token is
/// believed still.
async fn must_be_known(api: &CommandApi, user_id: UserId) -> Result<(), Problem> {
    let is_there = |user: &User| user.user_id.is_some();
    let known = api.parts().handler.is_ever::<User>(user_id, is_there).await;
    if known.map_err(unloaded)? {
        return Ok(());
    }
    let refusal = Problem::new(ProblemType::Unauthenticated);
    Err(refusal.with_detail("nobody is known by this token any more; log in, or sign up anew"))
}

/// What was sent, before it is known which command it is.
struct Sent<B> {
    route: String,
    key: Option<IdempotencyKey>,
    traceparent: Option<String>,
    document: Map<String, Value>,
    body: B,
}

impl<B: DeserializeOwned> Sent<B> {
    async fn receive(request: Request, api: &CommandApi) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let key = IdempotencyKey::from_headers(&parts.headers)?;
        let traceparent = traceparent(&parts.headers);
        let route = route(&mut parts).await?;
        let is_json = has_json(&parts.headers);
        let bytes = Bytes::from_request(Request::from_parts(parts, body), api).await?;
        let (document, body) = parse(&bytes, is_json)?;
        Ok(Self { route, key, traceparent, document, body })
    }

    /// Tells the bodies of commands with the same key apart; how a body is laid out does not
    /// matter. It enters the log, so nobody can find out by it what was said.
    fn digest(&self, api: &CommandApi) -> String {
        let text = serde_json::to_string(&self.document).expect("what was JSON is JSON");
        api.parts().digests.digest("command", &text)
    }

    fn begin(
        self,
        api: &CommandApi,
        actor: Actor,
        who: &str,
        digest: String,
    ) -> Result<(B, CommandContext, Place), Problem> {
        let command_id = command_id(who, &self.route, self.key.as_ref());
        let context = CommandContext {
            keyed: self.key.is_some(),
            traceparent: self.traceparent,
            ..CommandContext::first(command_id, digest, actor, api.now())
        };
        let place = api.in_progress().begin(command_id).ok_or_else(in_progress)?;
        Ok((self.body, context, place))
    }
}

/// The method and the path of a request. The same ids make the same route, however they were
/// written.
async fn route(parts: &mut Parts) -> Result<String, Problem> {
    let matched: MatchedPath = parts.extract().await.map_err(|error| Problem::internal(&error))?;
    let ids: RawPathParams = parts.extract().await.map_err(|_| unreadable("ids"))?;
    let mut path = matched.as_str().to_owned();
    for (name, text) in &ids {
        let id = canonical_id(text).ok_or_else(|| unreadable(name))?;
        path = path.replace(&format!("{{{name}}}"), &id);
    }
    Ok(format!("{} {path}", parts.method))
}

/// An id with its hyphens, in lower case; of the ways to write one only the case is free.
fn canonical_id(text: &str) -> Option<String> {
    const HYPHENATED_CHARS: usize = 36;
    let id: Uuid = text.parse().ok()?;
    (text.len() == HYPHENATED_CHARS).then(|| id.to_string())
}

fn unreadable(what: &str) -> Problem {
    let detail = format!("the path's {what} cannot be read");
    Problem::new(ProblemType::Malformed).with_detail(detail)
}

/// The body, and the document it was read from; no body is an empty document.
fn parse<B: DeserializeOwned>(
    bytes: &Bytes,
    is_json: bool,
) -> Result<(Map<String, Value>, B), Problem> {
    if bytes.is_empty() {
        return Ok((Map::new(), parse_json(b"{}")?));
    }
    if !is_json {
        let problem = Problem::new(ProblemType::UnsupportedMediaType);
        return Err(problem.with_detail("send the body as application/json"));
    }
    // The document first: a list would be taken for a body whose fields have no names.
    Ok((parse_json(bytes)?, parse_json(bytes)?))
}

/// The id of a command: with a key, the same for the same sender, route and key.
fn command_id(who: &str, route: &str, key: Option<&IdempotencyKey>) -> Uuid {
    let Some(key) = key else {
        return Uuid::now_v7();
    };
    // Neither a sender nor a route has a line break, so no two commands share a name.
    let name = format!("{who}\n{route}\n{}", key.as_str());
    Uuid::new_v5(&COMMAND_IDS, name.as_bytes())
}

/// The id of an upload of this owner, by the same rule.
pub(crate) fn upload_id(owner: UserId, key: Option<&IdempotencyKey>) -> Uuid {
    command_id(&owner.to_string(), "POST /api/v1/uploads", key)
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
    use super::*;

    fn key(text: &str) -> IdempotencyKey {
        IdempotencyKey::new(text).expect("a key")
    }

    #[test]
    fn a_key_names_one_command_of_one_sender_on_one_route() {
        let first = command_id("nina", "POST /a", Some(&key("k")));
        assert_eq!(command_id("nina", "POST /a", Some(&key("k"))), first);
        assert_ne!(command_id("otis", "POST /a", Some(&key("k"))), first);
        assert_ne!(command_id("nina", "POST /b", Some(&key("k"))), first);
        assert_ne!(command_id("nina", "POST /a", Some(&key("l"))), first);
        assert_ne!(command_id("nina", "POST /a", None), command_id("nina", "POST /a", None));
    }

    #[test]
    fn an_id_in_a_path_is_written_one_way() {
        let id = "9c0c1f0e-5d0b-4c39-a5a1-3d1a6a5577f1";
        assert_eq!(canonical_id(id).as_deref(), Some(id));
        assert_eq!(canonical_id(&id.to_uppercase()).as_deref(), Some(id));
        let bare = id.replace('-', "");
        for bad in [&bare, &format!("{{{id}}}"), &format!("urn:uuid:{id}"), "me", ""] {
            assert_eq!(canonical_id(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_body_is_an_object_or_nothing() {
        let read = |text: &'static str| parse::<Map<String, Value>>(&Bytes::from(text), true);
        assert_eq!(read("").expect("nothing").0, read("{}").expect("an object").0);
        for bad in [r#"["a"]"#, "null", "7"] {
            let problem = read(bad).expect_err("not an object");
            assert_eq!(problem.kind(), ProblemType::Validation, "{bad}");
        }
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
