//! What is let in.

use std::time::Duration;

use access::{Problem, ProblemType};
use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::disk_reserve::DiskReserve;
use crate::log_guard::{LogGuard, WhoseLog};

/// How long a request may take. What it began may still be carried out.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// When to ask again what was refused by a process that stops.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// When to ask again what waits for an operator.
const RETRY_AFTER_OPERATOR: Duration = Duration::from_secs(30);

/// Asked by machines, also while the process drains.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// Takes as long as the network does; it ends by itself when nothing comes any more.
pub const UPLOADS: &str = "/api/v1/uploads";
/// Commands begin with this.
const COMMANDS: &str = "/api/v1/";
/// Why nothing is written to a log that models do not know.
const ANOTHER_LOG: &str = "the log is not the one that the read models were made from; commands \
                           are taken again once its operator has put that right";
/// Why nothing is written to a log that was put in the place of another.
const EXCHANGED_LOG: &str = "the log lacks what was its last event; commands are taken again once \
                             its operator has put that right";
/// Why nothing is written as long as that is not known.
const UNKNOWN_LOG: &str = "the event store is out of reach, or was not looked at yet";
/// No command: it appends nothing, and those who want to read log in first.
const SESSIONS: &str = "/api/v1/sessions";

/// What decides it.
#[derive(Clone, Debug)]
pub struct Admission {
    pub draining: CancellationToken,
    pub reserve: DiskReserve,
    /// Where commands are carried out.
    pub log: Option<LogGuard>,
    /// The requests that were let in and have not been answered.
    pub under_way: TaskTracker,
}

/// Middleware: lets the request in, or answers why not.
pub async fn admit(State(admission): State<Admission>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    if PROBES.contains(&route) {
        return next.run(request).await;
    }
    if admission.draining.is_cancelled() {
        let problem = Problem::new(ProblemType::Unavailable).with_detail("it is stopping");
        return problem.with_retry_after(RETRY_AFTER).into_response();
    }
    if is_command(request.method(), route) {
        let refusal = match admission.log.as_ref().map(LogGuard::whose) {
            None | Some(WhoseLog::Theirs) => None,
            Some(WhoseLog::Another(_)) => Some((ANOTHER_LOG, RETRY_AFTER_OPERATOR)),
            Some(WhoseLog::Exchanged) => Some((EXCHANGED_LOG, RETRY_AFTER_OPERATOR)),
            Some(WhoseLog::Unknown) => Some((UNKNOWN_LOG, RETRY_AFTER)),
        };
        if let Some((why, again)) = refusal {
            let problem = Problem::new(ProblemType::Unavailable).with_detail(why);
            return problem.with_retry_after(again).into_response();
        }
        if admission.reserve.is_short() {
            return Problem::new(ProblemType::StorageFull).into_response();
        }
    }
    let _under_way = admission.under_way.token();
    if route == UPLOADS {
        return next.run(request).await;
    }
    let answered = tokio::time::timeout(REQUEST_TIME_MAX, next.run(request)).await;
    answered.unwrap_or_else(|_| {
        let problem = Problem::overloaded(RETRY_AFTER);
        let why = "it took too long; a command with an Idempotency-Key can be sent again";
        problem.with_detail(why).into_response()
    })
}

fn is_command(method: &Method, route: &str) -> bool {
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    !reads && route.starts_with(COMMANDS) && route != SESSIONS
}
