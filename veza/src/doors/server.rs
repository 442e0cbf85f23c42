//! Connections: accepted, bounded in number and in patience, and drained.

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

/// How long the headers of a request may take to come, and a connection may say nothing.
const HEADERS_TIME_MAX: Duration = Duration::from_secs(60);
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
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().call(request.map(Body::new))
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_TIME_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEADERS_TIME_MAX)
        .max_concurrent_streams(REQUESTS_PER_CONNECTION_MAX);
    let serving =
        builder.serve_connection_with_upgrades(TokioIo::new(Lingering::new(stream)), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = closing.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, error, "a connection ended early");
    }
}
