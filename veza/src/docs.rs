//! `/docs`: a page that shows the API to people, from `/openapi.json` and nothing of other hosts.
//! Who asks for `/` is sent there.

use std::sync::Arc;

use access::{Problem, ProblemType};
use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Redirect;
use axum::routing::get;
use serde::Serialize;

const PAGE: &str = include_str!("docs/page.html");
const SCRIPT: &str = include_str!("docs/page.js");
const STYLE: &str = include_str!("docs/page.css");

/// What the page may load: its own parts.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// `/openapi.json`, the page that shows it, and the way there.
pub fn router(document: impl Serialize) -> Router {
    let document = serde_json::to_vec(&document).expect("the document is plain data");
    let document = Arc::<[u8]>::from(document);
    let openapi = async move || (kind("application/json"), document.to_vec());
    let page = async || (kind("text/html; charset=utf-8"), policy(), PAGE);
    Router::new()
        .route("/", get(async || Redirect::to("/docs")))
        .route("/openapi.json", get(openapi))
        .route("/docs", get(page))
        .route("/docs/page.js", get(async || (kind("text/javascript; charset=utf-8"), SCRIPT)))
        .route("/docs/page.css", get(async || (kind("text/css; charset=utf-8"), STYLE)))
        .method_not_allowed_fallback(async || Problem::new(ProblemType::MethodNotAllowed))
}

fn kind(media_type: &'static str) -> [(HeaderName, HeaderValue); 1] {
    [(header::CONTENT_TYPE, HeaderValue::from_static(media_type))]
}

fn policy() -> [(HeaderName, HeaderValue); 1] {
    [(header::CONTENT_SECURITY_POLICY, POLICY)]
}
