//! What operators and machines ask a process: is it alive, is it ready, what has it counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use access::{Problem, ProblemType};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::IntoResponse;
use axum::routing::{any, get};
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::readiness::Readiness;

/// What proxies say of whom they speak for.
const FORWARDED: [HeaderName; 4] = [
    HeaderName::from_static("x-forwarded-for"),
    header::FORWARDED,
    header::VIA,
    HeaderName::from_static("x-real-ip"),
];

/// What a process says that lives.
const ALIVE: &str = "alive\n";

/// When to ask a process again that starts.
const RETRY_AFTER: Duration = Duration::from_secs(1);

struct Metrics {
    handle: PrometheusHandle,
    token: Option<String>,
    readiness: Arc<Readiness>,
}

/// `/healthz`, `/readyz` and `/metrics`, which every process has whatever its roles.
pub fn router(
    readiness: Arc<Readiness>,
    handle: PrometheusHandle,
    token: Option<String>,
) -> Router {
    let metrics = Metrics { handle, token, readiness: Arc::clone(&readiness) };
    let metrics = Router::new().route("/metrics", get(show_metrics)).with_state(Arc::new(metrics));
    Router::new()
        .route("/readyz", get(show_readiness))
        .with_state(readiness)
        .merge(metrics)
        .route("/healthz", get(async || ALIVE))
        .method_not_allowed_fallback(async || Problem::new(ProblemType::MethodNotAllowed))
}

/// The same of a process that starts; what it waits for is told to everybody who asks for anything.
pub fn of_starting(waits_for: watch::Receiver<&'static str>) -> Router {
    Router::new()
        .route("/healthz", get(async || ALIVE))
        .route("/readyz", get(show_start))
        .route("/", any(show_start))
        .route("/{*path}", any(show_start))
        .with_state(waits_for)
}

async fn show_start(State(waits_for): State<watch::Receiver<&'static str>>) -> Problem {
    let detail = format!("it is starting, and waits for {}", *waits_for.borrow());
    let problem = Problem::new(ProblemType::Unavailable).with_detail(detail);
    problem.with("parts", json!({ "process": "starting" })).with_retry_after(RETRY_AFTER)
}

async fn show_readiness(State(readiness): State<Arc<Readiness>>) -> Result<Json<Value>, Problem> {
    readiness.report().await.map(Json)
}

/// For this machine, and for whoever has the token.
async fn show_metrics(
    State(metrics): State<Arc<Metrics>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = given.and_then(|value| value.strip_prefix("Bearer "));
    let known = metrics.token.as_deref().zip(bearer).is_some_and(|(token, bearer)| {
        // How long it takes tells nothing of how much of a guess was right.
        verify_slices_are_equal(token.as_bytes(), bearer.as_bytes()).is_ok()
    });
    if !known && !is_of_this_machine(peer, &headers) {
        return Err(Problem::new(ProblemType::Unauthenticated));
    }
    metrics.readiness.observe().await;
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    Ok((kind, metrics.handle.render()))
}

/// Whether the request comes from here. A proxy on this machine does too, for anybody: whoever says
/// to speak for another, trusted or not, is taken for that other.
fn is_of_this_machine(peer: SocketAddr, headers: &HeaderMap) -> bool {
    let is_forwarded = FORWARDED.iter().any(|name| headers.contains_key(name));
    peer.ip().to_canonical().is_loopback() && !is_forwarded
}
