//! What operators and machines ask a process: is it alive, is it ready, what has it counted.

use std::net::SocketAddr;
use std::sync::Arc;

use access::{Problem, ProblemType};
use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::config::Config;

struct Metrics {
    handle: PrometheusHandle,
    token: Option<String>,
}

/// `/healthz`, `/readyz`, `/metrics` and `/openapi.json`.
///
/// A process listens only when every part has started, so whoever can ask is answered.
pub fn router(
    document: impl serde::Serialize,
    handle: PrometheusHandle,
    config: &Config,
) -> Router {
    let document = Arc::new(serde_json::to_value(document).expect("the document is plain data"));
    let openapi = async move || axum::Json(document.as_ref().clone());
    let metrics = Arc::new(Metrics { handle, token: config.metrics_token.clone() });
    Router::new()
        .route("/metrics", get(show_metrics))
        .with_state(metrics)
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(async || "ready\n"))
        .route("/openapi.json", get(openapi))
        .fallback(async || Problem::new(ProblemType::NotFound))
}

/// For this machine, and for whoever has the token.
async fn show_metrics(
    State(metrics): State<Arc<Metrics>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = given.and_then(|value| value.strip_prefix("Bearer "));
    let known = metrics.token.as_deref().is_some_and(|token| bearer == Some(token));
    if !known && !peer.ip().is_loopback() {
        return Err(Problem::new(ProblemType::Unauthenticated));
    }
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    Ok((kind, metrics.handle.render()))
}
