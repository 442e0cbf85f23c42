//! What operators and machines ask a process: is it alive, is it ready, what has it counted.

use std::net::SocketAddr;
use std::sync::Arc;

use access::{Problem, ProblemType};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::Value;

use crate::readiness::Readiness;

struct Metrics {
    handle: PrometheusHandle,
    token: Option<String>,
}

/// `/healthz`, `/readyz` and `/metrics`, which every process has whatever its roles.
pub fn router(
    readiness: Arc<Readiness>,
    handle: PrometheusHandle,
    token: Option<String>,
) -> Router {
    let metrics = Router::new()
        .route("/metrics", get(show_metrics))
        .with_state(Arc::new(Metrics { handle, token }));
    Router::new()
        .route("/readyz", get(show_readiness))
        .with_state(readiness)
        .merge(metrics)
        .route("/healthz", get(async || "alive\n"))
        .method_not_allowed_fallback(async || Problem::new(ProblemType::MethodNotAllowed))
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
    let known = metrics.token.as_deref().is_some_and(|token| bearer == Some(token));
    if !known && !peer.ip().is_loopback() {
        return Err(Problem::new(ProblemType::Unauthenticated));
    }
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    Ok((kind, metrics.handle.render()))
}
