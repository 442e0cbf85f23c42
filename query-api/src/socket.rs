//! The WebSocket door: `graphql-transport-ws`, where subscriptions live.
//!
//! A socket is its bearer's: it is told who that is by `connection_init`, or by the header of its
//! opening, and closed when their token runs out. It is never left to a client that neither reads
//! nor answers.

mod places;
mod protocol;
mod session;

use std::sync::Arc;
use std::time::Duration;

use access::{Problem, ProblemType};
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::api::QueryApi;
use crate::limits::{FRAME_BYTES_MAX, SOCKETS_MAX};
use crate::socket::places::Places;

/// The subprotocol that is spoken.
pub const PROTOCOL: &str = "graphql-transport-ws";

/// When to try again while there are too many sockets.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The sockets that are open. Cheap to clone.
#[derive(Clone)]
pub struct Sockets {
    open: TaskTracker,
    room: Arc<Semaphore>,
    of_accounts: Places,
}

impl Default for Sockets {
    fn default() -> Self {
        let room = Arc::new(Semaphore::new(SOCKETS_MAX));
        Self { open: TaskTracker::new(), room, of_accounts: Places::default() }
    }
}

impl Sockets {
    /// Returns when every one is closed.
    pub async fn closed(&self) {
        self.open.close();
        self.open.wait().await;
    }
}

/// Opens a socket; whoever wants none is told how queries are sent.
pub async fn open(
    State(api): State<QueryApi>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    match upgrade {
        Ok(upgrade) => accept(&api, &headers, upgrade).unwrap_or_else(IntoResponse::into_response),
        Err(_) => not_allowed().await,
    }
}

/// Tells whoever comes otherwise how queries are sent.
pub async fn not_allowed() -> Response {
    let problem = Problem::new(ProblemType::MethodNotAllowed);
    let problem = problem.with_detail("queries are sent by POST, subscriptions on a socket by GET");
    ([(header::ALLOW, "POST, GET")], problem).into_response()
}

fn accept(
    api: &QueryApi,
    headers: &HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Problem> {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let mut offered = offered.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    if !offered.any(|protocol| protocol.trim() == PROTOCOL) {
        let problem = Problem::new(ProblemType::Malformed);
        return Err(problem.with_detail(format!("sockets speak {PROTOCOL} here")));
    }
    if !is_welcome(headers, &api.parts().origins) {
        return Err(Problem::new(ProblemType::Forbidden).with_detail("not from this page"));
    }
    let sockets = api.sockets().clone();
    let Ok(room) = Arc::clone(&sockets.room).try_acquire_owned() else {
        return Err(Problem::overloaded(RETRY_AFTER));
    };
    let upgrade = upgrade
        .protocols([PROTOCOL])
        .max_message_size(FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX);
    let (api, authorization) = (api.clone(), authorization(headers));
    Ok(upgrade.on_upgrade(move |socket| {
        sockets.open.track_future(async move {
            session::run(socket, api, authorization).await;
            drop(room);
        })
    }))
}

/// What the opening says of who it is. Of two credentials neither counts.
fn authorization(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (Some(only), None) => only.to_str().ok().map(str::to_owned),
        _ => None,
    }
}

/// Whether the page that opens the socket may: one of the platform's own, or of those that were
/// named. Browsers always say which page it is; programs need not.
fn is_welcome(headers: &HeaderMap, origins: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let Ok(origin) = origin.to_str() else {
        return false;
    };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let of_origin = origin.parse::<Uri>().ok();
    let authority = of_origin.as_ref().and_then(|uri| uri.authority()).map(|a| a.as_str());
    let is_own = authority.is_some() && authority == host;
    is_own || origins.iter().any(|known| known == "*" || known == origin)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_known_pages_may_open_sockets() {
        let origins = ["https://app.example".to_owned()];
        let cases = [
            (None, true),
            (Some("http://veza.example:8080"), true),
            (Some("https://app.example"), true),
            (Some("https://app.example.evil"), false),
            (Some("http://veza.example"), false),
            (Some("null"), false),
            (Some(""), false),
        ];
        for (origin, welcome) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("veza.example:8080"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(is_welcome(&headers, &origins), welcome, "{origin:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_static("https://any.example"));
        assert!(is_welcome(&headers, &["*".to_owned()]));
    }
}
