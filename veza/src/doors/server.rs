//! Connections: accepted, bounded in number and in patience, and drained.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::Peer;
use super::lingering::Lingering;
use super::places::{Place, Places};

/// How long the headers of a request may take to come, a connection may be without its first
/// request, and one of HTTP/1 without its next; one of HTTP/2 is asked then whether it is there.
const HEADERS_TIME_MAX: Duration = Duration::from_secs(60);
/// How long the other side of an HTTP/2 connection may take to say that it is there.
const KEEP_ALIVE_TIME_MAX: Duration = Duration::from_secs(20);
/// How long connections may take to end once the door closes: streams of media may go on and on.
const CLOSE_TIME: Duration = Duration::from_secs(5);
/// How long accepting pauses after the system refused a connection (no descriptors left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Most requests at once on one connection.
const REQUESTS_PER_CONNECTION_MAX: u32 = 256;

/// Serves until `closing`, then ends every connection.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    places: Places,
    closing: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepting = async {
            let place = places.any().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            accepted = accepting => accepted,
            Some(_) = connections.join_next() => continue,
            () = closing.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(place) = places.give(place, peer) else {
                    metrics::counter!("veza_http_connections_refused_total").increment(1);
                    continue;
                };
                let (router, closing) = (router.clone(), closing.clone());
                connections.spawn(connection(stream, peer, router, closing, place));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let ending = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(CLOSE_TIME, ending).await.is_err() {
        tracing::info!(connections = connections.len(), "connections were cut");
        connections.shutdown().await;
    }
}

async fn connection(
    stream: TcpStream,
    peer: Peer,
    router: Router,
    closing: CancellationToken,
    _place: Place,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "the connection was gone before it was served");
        return;
    }
    let asked = Arc::new(AtomicBool::new(false));
    let asks = Arc::clone(&asked);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        asks.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().call(request.map(Body::new))
    });
    let builder = builder();
    let serving =
        builder.serve_connection_with_upgrades(TokioIo::new(Lingering::new(stream)), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = silence(&asked) => {
            serving.as_mut().graceful_shutdown();
            tokio::time::timeout(CLOSE_TIME, serving).await.unwrap_or(Ok(()))
        }
        () = closing.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, error, "a connection ended early");
    }
}

/// Returns when the first request did not come in time. HTTP/1 and 2 have timers of their own, but
/// nobody else counts the time until it is known which of them it is.
async fn silence(asked: &AtomicBool) {
    tokio::time::sleep(HEADERS_TIME_MAX).await;
    if asked.load(Ordering::Relaxed) {
        std::future::pending().await
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_TIME_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEADERS_TIME_MAX)
        .keep_alive_timeout(KEEP_ALIVE_TIME_MAX)
        .max_concurrent_streams(REQUESTS_PER_CONNECTION_MAX);
    builder
}

#[cfg(test)]
mod tests {
    use access::TrustedProxies;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Longer than anything that is bounded.
    const PATIENCE: Duration = Duration::from_secs(600);

    /// What it is answered with until the other side closes.
    async fn answer(address: std::net::SocketAddr, said: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(said).await.unwrap();
        let mut answer = Vec::new();
        let ending = stream.read_to_end(&mut answer);
        // One that is reset has ended as well.
        tokio::time::timeout(PATIENCE, ending).await.expect("it is not kept").ok();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Time goes on by itself while nothing happens. There is one place: whoever kept it would keep
    /// all others waiting.
    #[tokio::test(start_paused = true)]
    async fn who_never_asks_loses_their_place() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (places, closing) =
            (Places::new(0, TrustedProxies::default()), CancellationToken::new());
        let router = Router::new().route("/", get(async || "here"));
        let serving = tokio::spawn(serve(listener, router, places, closing.clone()));
        let preface: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let settings: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
        let greeted = [preface, settings].concat();
        for said in [b"".as_slice(), b"P", b"GET / HT", &preface[..20], preface, &greeted] {
            answer(address, said).await;
        }
        let asked =
            answer(address, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert!(asked.starts_with("HTTP/1.1 200") && asked.ends_with("here"), "{asked}");
        closing.cancel();
        serving.await.unwrap();
    }
}
