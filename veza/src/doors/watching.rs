//! What is seen of a request: never its body, its query or what it is authorised by.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;
use uuid::Uuid;

/// Names a request, in its answer and in the log; a caller may bring one.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The W3C's trace context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Longest id that a caller may bring, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// What a request is counted under that no route takes.
const NO_ROUTE: &str = "none";

/// Middleware: gives the request an id and a span, and counts and times its answer.
pub async fn watch(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request_id(request.headers());
    let method = known(request.method());
    let path = request.extensions().get::<MatchedPath>().cloned();
    let route = path.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
    let span = tracing::info_span!(
        "request",
        http.method = method,
        http.route = route,
        request.id = id.to_str().unwrap_or_default(),
        trace.id = trace_id(request.headers()),
    );
    let answering = async {
        let mut response = next.run(request).await;
        response.headers_mut().insert(REQUEST_ID, id.clone());
        let status = response.status().as_u16();
        let duration_ms = began.elapsed().as_secs_f64() * 1e3;
        // Refusals under load or on a full disk are said once by whoever decides them.
        if response.status() == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::warn!(http.status = status, duration_ms, "a request failed");
        } else {
            tracing::debug!(http.status = status, duration_ms, "a request was answered");
        }
        response
    };
    let response = answering.instrument(span).await;
    let status = response.status().as_u16().to_string();
    let labels = [("method", method.to_owned()), ("route", route.to_owned()), ("status", status)];
    metrics::counter!("veza_http_requests_total", &labels).increment(1);
    metrics::histogram!("veza_http_request_seconds", &labels).record(began.elapsed());
    response
}

/// The caller's id when it can stand in a log as it is, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let plain = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(b))
    };
    headers.get(REQUEST_ID).filter(plain).cloned().unwrap_or_else(|| {
        let id = Uuid::now_v7().to_string();
        HeaderValue::try_from(id).expect("an id is visible ASCII")
    })
}

/// The trace's id out of a `traceparent`; none when it has not that shape.
fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(TRACEPARENT)?.to_str().ok()?;
    let id = text.split('-').nth(1)?;
    let is_hex = id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
    is_hex.then_some(id)
}

/// A caller can make up methods, but not series of metrics.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(given: &'static str) -> HeaderValue {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static(given));
        request_id(&headers)
    }

    #[test]
    fn an_id_that_would_forge_log_lines_is_replaced() {
        assert_eq!(id_of("a-1"), "a-1");
        for bad in ["", "a b", "a\tb", "level=error", "{}"] {
            assert_ne!(id_of(bad), bad);
            assert_eq!(id_of(bad).len(), 36);
        }
    }

    #[test]
    fn a_trace_is_named_by_its_id() {
        let mut headers = HeaderMap::new();
        assert_eq!(trace_id(&headers), None);
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let value = format!("00-{id}-00f067aa0ba902b7-01").parse().unwrap();
        headers.insert(TRACEPARENT, value);
        assert_eq!(trace_id(&headers), Some(id));
        headers.insert(TRACEPARENT, HeaderValue::from_static("00-x-y-01"));
        assert_eq!(trace_id(&headers), None);
    }
}
