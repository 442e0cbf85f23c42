//! Whose pages may call.

use std::time::Duration;

use access::headers::{
    IDEMPOTENCY_KEY, VEZA_MIN_POSITION, VEZA_MODEL_POSITION, VEZA_POSITION, VEZA_STALE,
};
use anyhow::Context as _;
use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::watching::{REQUEST_ID, TRACEPARENT};

/// How long a browser may go by what it was told.
const PREFLIGHT_LIFE: Duration = Duration::from_secs(3600);

/// What pages may send.
const SENT: [HeaderName; 11] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::RANGE,
    header::IF_RANGE,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    IDEMPOTENCY_KEY,
    VEZA_MIN_POSITION,
    VEZA_STALE,
    REQUEST_ID,
    TRACEPARENT,
];

/// What pages may see of an answer beside the usual.
const SHOWN: [HeaderName; 10] = [
    VEZA_POSITION,
    VEZA_MODEL_POSITION,
    REQUEST_ID,
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
    header::LOCATION,
    header::ETAG,
    header::ACCEPT_RANGES,
    header::CONTENT_RANGE,
    header::CONTENT_DISPOSITION,
];

/// Lets pages of these origins call, `*` for all. Tokens travel
/// in a header that pages must set themselves, so cookies are never let through.
pub fn layer(origins: &[String]) -> anyhow::Result<CorsLayer> {
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        let values = origins.iter().map(|origin| origin.parse::<HeaderValue>());
        let values: Vec<_> =
            values.collect::<Result<_, _>>().context("the setting cors_origins")?;
        AllowOrigin::list(values)
    };
    let methods = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE];
    Ok(CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods(methods)
        .allow_headers(SENT)
        .expose_headers(SHOWN)
        .max_age(PREFLIGHT_LIFE))
}
