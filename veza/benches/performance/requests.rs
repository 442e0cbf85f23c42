//! What is asked over HTTP: commands of people who are logged in, and queries of anybody.

use std::path::Path;
use std::sync::Arc;

use access::token::TokenGrant;
use access::{KeyRing, Role, SessionId, TokenIssuer, TokenScope};
use bytes::Bytes;
use chrono::Utc;
use event_schemas::{ChannelId, TrackId, UserId};
use http_body_util::Full;
use hyper::{Method, Request, header};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::http::Requests;
use crate::platform::PUBLIC_URL;
use crate::world::TRACK_MS;

/// Who asks, and about what.
#[derive(Clone)]
pub struct Subjects {
    pub people: Vec<UserId>,
    pub tracks: Vec<(TrackId, UserId)>,
    pub channels: Vec<ChannelId>,
}

/// Tokens as a log-in gives them, one for each; logging in is not what is measured.
pub fn tokens(data: &Path, people: &[UserId]) -> anyhow::Result<Vec<String>> {
    let now = Utc::now();
    let ring = Arc::new(KeyRing::load_or_create(&data.join("keys"), now)?);
    let scope = TokenScope { issuer: PUBLIC_URL.to_owned(), audience: PUBLIC_URL.to_owned() };
    let issuer = TokenIssuer::new(ring, scope);
    let token = |user: &UserId| {
        let grant = TokenGrant {
            user_id: user.0,
            session: SessionId(Uuid::new_v4()),
            roles: [Role::Artist, Role::Listener].into_iter().collect(),
            email_verified: true,
        };
        issuer.issue(&grant, Uuid::new_v4(), now).as_str().to_owned()
    };
    Ok(people.iter().map(token).collect())
}

/// Whether a command brings an `Idempotency-Key`, which must be claimed where the stream that the
/// command changes is named by its caller.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Keyed {
    Yes,
    No,
}

/// Of ten commands six are messages, three plays and one a new profile.
pub fn commands(subjects: &Subjects, tokens: Vec<String>, keyed: Keyed) -> Requests {
    let subjects = subjects.clone();
    Arc::new(move |number| {
        let at = usize::try_from(number).unwrap_or(0);
        // Not a divisor of ten, so that everybody does everything.
        let who = at % subjects.people.len();
        let (method, path, body) = match number % 10 {
            0..6 => {
                let channel = subjects.channels[at % subjects.channels.len()];
                let text = format!("What do you think of the bridge at bar {number}?");
                let path = format!("/api/v1/channels/{channel}/messages");
                (Method::POST, path, json!({ "text": text }))
            }
            6..9 => {
                let (track, _) = subjects.tracks[at % subjects.tracks.len()];
                let path = format!("/api/v1/tracks/{track}/plays");
                (Method::POST, path, json!({ "listened_ms": TRACK_MS / 2 }))
            }
            _ => {
                let name = format!("Person {who}");
                let bio = format!("I write nocturnes; this is version {number} of me.");
                let path = "/api/v1/users/me/profile".to_owned();
                (Method::PUT, path, json!({ "display_name": name, "bio": bio }))
            }
        };
        let authorization = format!("Bearer {}", tokens[who]);
        let mut request = request(method, &path).header(header::AUTHORIZATION, authorization);
        if keyed == Keyed::Yes {
            request = request.header("idempotency-key", Uuid::new_v4().to_string());
        }
        request.body(Full::new(Bytes::from(body.to_string()))).expect("it is well formed")
    })
}

/// A GraphQL query with these variables.
pub fn query(document: &str, variables: &Value) -> Request<Full<Bytes>> {
    let body = json!({ "query": document, "variables": variables }).to_string();
    request(Method::POST, "/graphql").body(Full::new(body.into())).expect("it is well formed")
}

/// The same query again and again, with these variables by turns.
pub fn queries(document: &str, variables: Vec<Value>) -> Requests {
    let bodies: Vec<Bytes> = variables
        .iter()
        .map(|variables| json!({ "query": document, "variables": variables }).to_string().into())
        .collect();
    Arc::new(move |number| {
        // A prime step visits all of them, and not in the order in which they were made.
        let at = usize::try_from(number.wrapping_mul(7_919)).unwrap_or(0) % bodies.len();
        let request = request(Method::POST, "/graphql");
        request.body(Full::new(bodies[at].clone())).expect("it is well formed")
    })
}

fn request(method: Method, path: &str) -> hyper::http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "veza.test")
        .header(header::CONTENT_TYPE, "application/json")
}
