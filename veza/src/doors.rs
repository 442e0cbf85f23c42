//! The HTTP door of a process: one listener, and the manners that all its routes share.
//!
//! - `server`: connections: accepted, served, drained
//! - `lingering`: closed so that the last answer arrives
//! - `starting`: who comes while the process starts
//! - `places`: how many there may be, in all and of one client
//! - `admission`: what is let in: not while draining, no commands on a full disk or to
//!   another log, none for ever
//! - `bodies`: as they are, neither too large nor too slow, and read to their end
//! - `watching`: what is seen of a request: its id, its trace, a log line, metrics
//! - `cors`: whose pages may call
//!
//! Routes bring their own limits on bodies and rates; what is said here holds for all of them.

mod admission;
mod bodies;
mod cors;
mod lingering;
mod places;
mod server;
mod starting;
mod watching;

use std::any::Any;
use std::net::SocketAddr;
use std::time::Duration;

use access::{Problem, ProblemType};
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;

use crate::config::Config;
use crate::disk_reserve::DiskReserve;
use crate::log_guard::LogGuard;
use crate::open_files;
use admission::Admission;
use places::Places;
pub use starting::StartingDoor;

/// How long requests under way may take to end once the process drains.
const DRAIN_TIME: Duration = Duration::from_secs(20);

/// Headers of every answer that does not bring its own.
const SECURITY: [(HeaderName, HeaderValue); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
];

/// A door that is open.
#[derive(Debug)]
pub struct Door {
    serving: JoinHandle<()>,
    under_way: TaskTracker,
    closing: CancellationToken,
}

impl Door {
    /// Serves the routes on the listener; from `draining` on new requests are refused, except
    /// probes.
    ///
    /// # Errors
    /// When an origin in `cors_origins` is none.
    pub fn open(
        listener: TcpListener,
        routes: Router,
        config: &Config,
        (reserve, log): (DiskReserve, Option<LogGuard>),
        draining: CancellationToken,
    ) -> anyhow::Result<Self> {
        let under_way = TaskTracker::new();
        let admission = Admission { draining, reserve, log, under_way: under_way.clone() };
        let router = with_manners(routes, admission, &config.cors_origins)?;
        let left = open_files::limit().saturating_sub(open_files::event_store_connections() as u64);
        let places = Places::new(left, config.trusted_proxies.clone());
        let closing = CancellationToken::new();
        let serving = tokio::spawn(server::serve(listener, router, places, closing.clone()));
        Ok(Self { serving, under_way, closing })
    }

    /// Waits until the requests under way have ended, or took too long to.
    pub async fn drain(&self) {
        self.under_way.close();
        if tokio::time::timeout(DRAIN_TIME, self.under_way.wait()).await.is_err() {
            tracing::warn!(requests = self.under_way.len(), "requests did not end in time");
        }
    }

    /// Ends every connection, and returns when they are closed.
    pub async fn close(self) {
        self.closing.cancel();
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the door broke");
        }
    }
}

/// The routes behind all that they share.
fn with_manners(
    routes: Router,
    admission: Admission,
    cors_origins: &[String],
) -> anyhow::Result<Router> {
    let draining = admission.draining.clone();
    // The last layer is the first that a request meets.
    let mut router = routes
        .fallback(async || Problem::new(ProblemType::NotFound))
        .layer(from_fn_with_state(admission, admission::admit))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(draining, bodies::receive))
        .layer(from_fn(secured));
    if !cors_origins.is_empty() {
        router = router.layer(cors::layer(cors_origins)?);
    }
    Ok(router.layer(from_fn(watching::watch)))
}

/// Where the caller's connection came from, for those who ask by `ConnectInfo`.
type Peer = SocketAddr;

/// A handler that panicked is a fault of ours: the log has it, and the caller a problem.
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = words.unwrap_or("of another kind"), "a request panicked");
    Problem::new(ProblemType::Internal).into_response()
}

async fn secured(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in SECURITY {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;
    use crate::config::{Flags, Layers};

    async fn broken() -> &'static str {
        panic!("of hunter2")
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_that_tells_nothing() {
        let layers = Layers::gather(&Flags::default(), std::iter::empty()).unwrap();
        let admission = Admission {
            draining: CancellationToken::new(),
            reserve: DiskReserve::watch(&Config::read(&layers).unwrap()),
            log: None,
            under_way: TaskTracker::new(),
        };
        let under_way = admission.under_way.clone();
        let routes = Router::new().route("/broken", get(broken));
        let router = with_manners(routes, admission, &[]).unwrap();
        let request = Request::get("/broken").body(Body::empty()).unwrap();
        let answer = router.oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 500);
        assert!(answer.headers().contains_key("x-request-id"));
        let body = to_bytes(answer.into_body(), 1024).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.contains("urn:veza:problem:internal") && !body.contains("hunter2"), "{body}");
        assert!(under_way.is_empty(), "it would hold up the drain");
    }
}
