//! Bodies: as they are, neither too large nor too slow, and no connection goes on before its body
//! has ended.

use std::future::{pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use access::extract::{JSON_BODY_BYTES_MAX, too_large};
use access::{Problem, ProblemType};
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::future::{BoxFuture, FutureExt as _};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::admission::UPLOADS;

/// Largest body of what is no upload, in bytes. Routes may take less.
const BODY_BYTES_MAX: u64 = JSON_BODY_BYTES_MAX as u64;
/// How long such a body may take to come, from the request's head on.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);
/// How long it may still take when the process stops.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);
/// How long the rest of a body is waited for that nobody reads.
const REST_TIME_MAX: Duration = Duration::from_secs(1);

/// Middleware: refuses a body that is too large or encoded before it comes, and one that comes too
/// slowly.
///
/// An early answer waits for the rest of the body, since the next request on the connection comes
/// after it; where that is too much to wait for, the answer says that the connection closes.
pub async fn receive(
    State(draining): State<CancellationToken>,
    request: Request,
    next: Next,
) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let version = request.version();
    let asks_first = request.headers().contains_key(header::EXPECT);
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    // Uploads have limits of their own, and end well when the process stops.
    let is_upload = route == UPLOADS;
    let is_too_large = !is_upload && request.body().size_hint().lower() > BODY_BYTES_MAX;
    let is_encoded = is_encoded(request.headers());
    let too_late = if is_upload { pending().boxed() } else { too_late(draining).boxed() };

    let (parts, body) = request.into_parts();
    let body = Coming::new(body, too_late);
    let mut answer = if is_too_large {
        too_large().into_response()
    } else if is_encoded {
        encoded()
    } else {
        next.run(Request::from_parts(parts, Body::new(body.clone()))).await
    };
    if body.is_late() {
        let problem = Problem::new(ProblemType::RequestTimeout);
        answer = problem.with_detail("the body did not come in time").into_response();
    }
    // Whoever waits to be asked for the body does not send it yet.
    let comes = body.has_begun() || !asks_first;
    let goes_on = comes && body.rest().await;
    if !goes_on && version <= Version::HTTP_11 {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// Whether the body must be decoded first, by what its sender says.
fn is_encoded(headers: &HeaderMap) -> bool {
    let said = headers.get_all(header::CONTENT_ENCODING).iter();
    let codings = said.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings
        .map(<[u8]>::trim_ascii)
        .any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
}

/// Nothing here decodes; the header says so to programs (RFC 9110, 12.5.3).
fn encoded() -> Response {
    let problem = Problem::new(ProblemType::UnsupportedMediaType);
    let problem = problem.with_detail("send the body as it is, without a Content-Encoding");
    let mut answer = problem.into_response();
    answer.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    answer
}

/// Ends when a body that begins now has taken too long.
fn too_late(draining: CancellationToken) -> impl Future<Output = ()> {
    let until = Instant::now() + BODY_TIME_MAX;
    async move {
        let stopping = async {
            draining.cancelled().await;
            sleep(DRAIN_TIME_MAX).await;
        };
        tokio::select! {
            () = sleep_until(until) => {}
            () = stopping => {}
        }
    }
}

/// A body on its way: the handler reads it, and what the handler left is read after it.
#[derive(Clone)]
struct Coming(Arc<Mutex<Inner>>);

struct Inner {
    body: Body,
    too_late: BoxFuture<'static, ()>,
    has_begun: bool,
    is_late: bool,
}

impl Coming {
    fn new(body: Body, too_late: BoxFuture<'static, ()>) -> Self {
        Self(Arc::new(Mutex::new(Inner { body, too_late, has_begun: false, is_late: false })))
    }

    /// Whether anybody asked for it.
    fn has_begun(&self) -> bool {
        self.lock().has_begun
    }

    /// Whether it was given up.
    fn is_late(&self) -> bool {
        self.lock().is_late
    }

    /// Reads what is left of it; whether it came to its end.
    async fn rest(mut self) -> bool {
        let mut left = BODY_BYTES_MAX;
        let reading = async {
            while !self.is_end_stream() {
                if self.size_hint().lower() > left {
                    return false;
                }
                let frame = poll_fn(|context| Pin::new(&mut self).poll_frame(context)).await;
                let bytes = match frame {
                    Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
                    Some(Err(_)) => return false,
                    None => return true,
                };
                match left.checked_sub(bytes as u64) {
                    Some(rest) => left = rest,
                    None => return false,
                }
            }
            true
        };
        timeout(REST_TIME_MAX, reading).await.unwrap_or(false)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whoever panicked beside it left a body that can be read on.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for Coming {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        inner.has_begun = true;
        if !inner.is_late {
            if let Poll::Ready(frame) = Pin::new(&mut inner.body).poll_frame(context) {
                return Poll::Ready(frame);
            }
            ready!(inner.too_late.poll_unpin(context));
            inner.is_late = true;
        }
        Poll::Ready(Some(Err(axum::Error::new(io::Error::from(io::ErrorKind::TimedOut)))))
    }

    fn is_end_stream(&self) -> bool {
        self.lock().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().body.size_hint()
    }
}
