//! What is not gRPC: the HTTP endpoints that clients, tools, probes and `curl` ask for.
//!
//! | module | what is there |
//! | --- | --- |
//! | `asked` | which part of which stream a path means, and what headers say |
//! | `received` | the body of a request, within bounds |
//! | `streams` | `/streams`: pages, single events, appends and deletes |
//! | `feed` | events as entries of a feed, as AtomPub has it in JSON |
//! | `offered` | the events of a body |
//! | `users` | `/users`: who may log in |
//! | `refusal` | why a request is refused, as a code and a line of text |

mod asked;
mod feed;
mod offered;
mod received;
mod refusal;
mod streams;
mod users;

use std::sync::Arc;

use ::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tonic::body::Body;

use self::refusal::Refusal;
use super::arriving::Reception;
use super::node::{Node, SERVER_VERSION};
use super::sending::Sending;
use super::statistics::{Statistics, flat, grouped};
use crate::port::EventStore;
use crate::position::Position;
use crate::users::Users;

/// How many pages of streams may be put together at once; further ones wait.
const PAGES_MAX: usize = 4;

/// What answers go by. Cheap to clone.
#[derive(Clone)]
pub(super) struct Door {
    pub store: Arc<dyn EventStore>,
    pub node: Arc<Node>,
    pub statistics: Arc<Statistics>,
    pub reception: Reception,
    pub sending: Sending,
    pub users: Users,
    pub guard: Guard,
    pages: Arc<Semaphore>,
}

/// How the port is kept from others.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Guard {
    /// Whether callers are asked who they are.
    pub authenticates: bool,
    /// Whether there is TLS.
    pub encrypted: bool,
}

impl Door {
    pub(super) fn new(
        store: Arc<dyn EventStore>,
        node: Arc<Node>,
        statistics: Arc<Statistics>,
        reception: Reception,
        sending: Sending,
        (users, guard): (Users, Guard),
    ) -> Self {
        let pages = Arc::new(Semaphore::new(PAGES_MAX));
        Self { store, node, statistics, reception, sending, users, guard, pages }
    }

    /// Where a client has asked, as the beginning of addresses: as it says, or else as it should.
    fn base(&self, headers: &HeaderMap) -> String {
        let plain = |c: u8| c.is_ascii_alphanumeric() || b".-:[]_".contains(&c);
        let said = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let scheme = if self.guard.encrypted { "https" } else { "http" };
        match said.filter(|host| !host.is_empty() && host.bytes().all(plain)) {
            Some(host) => format!("{scheme}://{host}"),
            None => format!("{scheme}://{}:{}", self.node.host(), self.node.port()),
        }
    }
}

/// Whether that answers those too who do not say who they are.
pub(super) fn is_open(path: &str) -> bool {
    matches!(path, "/health/live" | "/gossip" | "/info" | "/ping")
}

/// Answers one plain request; who makes it is in its extensions, as a `Caller`.
pub(super) async fn answer(door: &Door, request: Request<Incoming>) -> Response<Body> {
    let is_head = request.method() == Method::HEAD;
    let answer = reply(door, request).await.unwrap_or_else(Refusal::into_response);
    if is_head {
        return answer.map(|_| Body::empty());
    }
    answer
}

async fn reply(door: &Door, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
    let path = request.uri().path();
    if path.starts_with("/streams/") {
        return streams::answer(door, request).await;
    }
    if path == "/users" || path.starts_with("/users/") {
        return users::answer(door, request).await;
    }
    let is_statistics = path == "/stats" || path.starts_with("/stats/");
    if !is_statistics && !is_open(path) {
        return Err(Refusal::not_found());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Refusal::method("GET, HEAD"));
    }
    let query = request.uri().query();
    Ok(match path {
        "/health/live" => health(&*door.store, query).await,
        "/gossip" => document(&gossip(&door.node, door.store.head().await?)),
        "/info" => document(&info(door.guard.authenticates)),
        "/ping" => document(&json!({"text": "Ping request successfully handled"})),
        _ => document(&statistics(door, path, query).await?),
    })
}

/// The value of a parameter of a query.
fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    let pairs = query.into_iter().flat_map(|query| query.split('&'));
    pairs.filter_map(|pair| pair.split_once('=')).find(|(it, _)| *it == name).map(|(_, it)| it)
}

/// Healthy is a store that can tell its head; probes may choose the code that says so.
async fn health(store: &dyn EventStore, query: Option<&str>) -> Response<Body> {
    if store.head().await.is_err() {
        return empty(StatusCode::SERVICE_UNAVAILABLE);
    }
    let asked = parameter(query, "liveCode")
        .and_then(|code| StatusCode::from_bytes(code.as_bytes()).ok())
        .filter(|code| !code.is_informational());
    empty(asked.unwrap_or(StatusCode::NO_CONTENT))
}

/// The figures as a tree, or the branch of it that the path names; flat where that is asked for.
async fn statistics(door: &Door, path: &str, query: Option<&str>) -> Result<Value, Refusal> {
    let figures = door.statistics.take().await?;
    let branch = path.trim_start_matches("/stats").split('/').filter(|part| !part.is_empty());
    if parameter(query, "group") == Some("false") {
        if branch.count() > 0 {
            return Err(Refusal::bad("a part of the figures is told with groups only"));
        }
        return Ok(flat(figures));
    }
    let mut tree = grouped(figures);
    for part in branch {
        tree = match tree {
            Value::Object(mut group) => group.remove(part).ok_or_else(Refusal::not_found)?,
            _ => return Err(Refusal::not_found()),
        };
    }
    Ok(tree)
}

/// The one member, with every field that strict clients require.
fn gossip(node: &Node, head: Position) -> Value {
    let (host, port, position) = (node.host(), node.port(), head.get());
    json!({
        "members": [{
            "instanceId": node.id(),
            "timeStamp": chrono::Utc::now().to_rfc3339(),
            "state": "Leader",
            "isAlive": true,
            "internalTcpIp": host,
            "internalTcpPort": 0,
            "internalSecureTcpPort": 0,
            "externalTcpIp": host,
            "externalTcpPort": 0,
            "externalSecureTcpPort": 0,
            "internalHttpEndPointIp": host,
            "internalHttpEndPointPort": port,
            "httpEndPointIp": host,
            "httpEndPointPort": port,
            "lastCommitPosition": position,
            "writerCheckpoint": position,
            "chaserCheckpoint": position,
            "epochPosition": 0,
            "epochNumber": 0,
            "epochId": node.id(),
            "nodePriority": node.priority(),
            "isReadOnlyReplica": false,
        }],
        "serverIp": host,
        "serverPort": port,
    })
}

fn info(authenticates: bool) -> Value {
    json!({
        "esVersion": SERVER_VERSION,
        "dbVersion": SERVER_VERSION,
        "state": "leader",
        "features": {"projections": true, "userManagement": true, "atomPub": true},
        "authentication": {
            "type": if authenticates { "internal" } else { "insecure" },
            "properties": {},
        },
    })
}

fn empty(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    response
}

fn document(value: &Value) -> Response<Body> {
    typed("application/json; charset=utf-8", value.to_string())
}

/// An answer of this media type.
fn typed(kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(body.into())));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
