//! The HTTP/1.1 endpoints that clients, tools and probes ask for.

use ::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use tonic::body::Body;

use super::node::{Node, SERVER_VERSION};
use crate::port::EventStore;
use crate::position::Position;

/// Answers one plain request.
pub(super) async fn answer<B>(
    store: &dyn EventStore,
    node: &Node,
    request: &Request<B>,
) -> Response<Body> {
    let path = request.uri().path();
    let known = matches!(path, "/health/live" | "/gossip" | "/info" | "/ping");
    if !known {
        return empty(StatusCode::NOT_FOUND);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return empty(StatusCode::METHOD_NOT_ALLOWED);
    }
    let answer = match path {
        "/health/live" => health(store, request.uri().query()).await,
        "/gossip" => match store.head().await {
            Ok(head) => document(&gossip(node, head)),
            Err(_) => empty(StatusCode::SERVICE_UNAVAILABLE),
        },
        "/info" => document(&info()),
        _ => document(&json!({"text": "Ping request successfully handled"})),
    };
    if request.method() == Method::HEAD {
        let (parts, _) = answer.into_parts();
        return Response::from_parts(parts, Body::empty());
    }
    answer
}

/// Healthy is a store that can tell its head; probes may choose the code that says so.
async fn health(store: &dyn EventStore, query: Option<&str>) -> Response<Body> {
    if store.head().await.is_err() {
        return empty(StatusCode::SERVICE_UNAVAILABLE);
    }
    let asked = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .find_map(|pair| pair.strip_prefix("liveCode="))
        .and_then(|code| StatusCode::from_bytes(code.as_bytes()).ok())
        .filter(|code| !code.is_informational());
    empty(asked.unwrap_or(StatusCode::NO_CONTENT))
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
            "nodePriority": 0,
            "isReadOnlyReplica": false,
        }],
        "serverIp": host,
        "serverPort": port,
    })
}

fn info() -> Value {
    json!({
        "esVersion": SERVER_VERSION,
        "dbVersion": SERVER_VERSION,
        "state": "leader",
        "features": {"projections": true, "userManagement": false, "atomPub": false},
        "authentication": {"type": "insecure", "properties": {}},
    })
}

fn empty(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    response
}

fn document(value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::new(value.to_string()));
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
