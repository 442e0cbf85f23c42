//! Accepting, keeping alive and draining connections.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::arriving::Reception;
use super::caller::CertifiedUser;
use super::frames::JoinedFrames;
use super::http::{Door, Guard};
use super::listeners::Listeners;
use super::node::Node;
use super::operations::OperationsService;
use super::persistent::Groups;
use super::projections::{Begin, ProjectionsAtWork};
use super::route::Router;
use super::sending::Sending;
use super::socket::QuickSocket;
use super::statistics::{Connections, Statistics};
use crate::index_streams::IndexStreams;
use crate::limits::{APPEND_BYTES_MAX, EVENT_BYTES_MAX};
use crate::maintenance::Scavenges;
use crate::port::EventStore;
use crate::tls::{Tls, keep_renewed, user_of};
use crate::users::Users;

/// How often a silent peer is asked whether it is there, and how long its answer may take.
const KEEP_ALIVE_SECONDS: u64 = 10;

/// How long a connection may be without its first call, unless configured.
const FIRST_CALL_SECONDS_MAX: u64 = 60;

/// How long a peer may take to agree on how the connection is encrypted.
const HANDSHAKE_SECONDS_MAX: u64 = 10;

/// How long the headers of a request over HTTP/1 may take, and its connection may be idle.
const HEADERS_SECONDS_MAX: u64 = 60;

/// How long open calls may go on after the server was told to stop.
const DRAIN_SECONDS_MAX: u64 = 5;

/// How long accepting pauses after the system refused a connection (no descriptors left, say).
const ACCEPT_PAUSE_MILLIS: u64 = 100;

/// Most connections at once, unless configured; more wait to be accepted.
const CONNECTIONS_MAX: usize = 8192;

/// Most calls at once on one connection.
const CALLS_PER_CONNECTION_MAX: u32 = 4096;

/// How much of one call's requests, and of all of a connection's, a peer may send ahead.
/// What a peer sends ahead of a call that does not go on, the server holds.
const CALL_WINDOW_BYTES: u32 = 768 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// While this much of a call's replies is not sent yet, nothing is added, however much its peer
/// would take: less than a piece, so that one is with the transport and the next one is ready.
const CALL_REPLY_BYTES: usize = 8 * 1024;

/// How many bytes of appends all calls may hold together, unless configured: four of the largest.
const HELD_BYTES_MAX: usize = 4 * APPEND_BYTES_MAX;

/// Most calls at once that have not ended their requests, of all connections, unless configured;
/// more are refused. Each costs some 30 KB.
const ARRIVING_CALLS_MAX: usize = 8192;

/// Most reads and subscriptions at once, of all connections, unless configured; more are refused.
const READING_CALLS_MAX: usize = 12_288;

/// How many of them may hold a page of the log at once, unless configured; about 1 MB each.
const PAGES_MAX: usize = 64;

/// How long each of them keeps it when others wait, unless configured: so short that nobody who
/// waits notices, and long beside what it costs to read on elsewhere.
const TURN: Duration = Duration::from_millis(250);

/// How many bytes of large events all calls may have on their way together, unless configured.
const LARGE_BYTES_MAX: usize = 8 * EVENT_BYTES_MAX;

/// How long an append may be on its way, unless configured: the largest comes at 2 MB/s.
const ARRIVAL_SECONDS_MAX: u64 = 30;

/// How often the files of certificates are looked at, unless configured.
const RENEWAL_SECONDS: u64 = 5;

/// How the server presents itself, and what it takes.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The host that discovering clients are told to dial; `None` is the address listened on.
    pub advertise_host: Option<String>,
    /// The port that they are told to dial; `None` is the one listened on.
    pub advertise_port: Option<u16>,
    /// How many bytes of appends, of all calls together, may be held before they are committed, and
    /// of messages that are not whole yet.
    pub held_bytes_max: usize,
    /// How many calls there may be at once that have not ended their requests, batches among them;
    /// more are refused.
    pub arriving_calls_max: usize,
    /// How many reads and subscriptions there may be at once; more are refused.
    pub reading_calls_max: usize,
    /// How many of them may hold a page of the log at once, of [`crate::limits::PAGE_BYTES`] and
    /// what it takes to have its events apart. Calls whose client does not read let theirs go for
    /// others.
    pub pages_max: usize,
    /// How long a call keeps its page when others wait for one.
    pub turn: Duration,
    /// How many bytes of events of 64 KiB and more, of all calls together, may be on their way to
    /// clients; further ones wait.
    pub large_bytes_max: usize,
    /// How long an append may take from its first message to its last, and a message from its
    /// first byte to its last.
    pub arrival_time_max: Duration,
    /// How long a connection may be without its first call, and without agreeing on TLS if that is
    /// less than ten seconds.
    pub first_call_time_max: Duration,
    /// How many connections there may be at once; more wait to be accepted.
    pub connections_max: usize,
    /// How the store is scavenged; `None` where clients may not ask for that.
    pub scavenges: Option<Arc<Scavenges>>,
    /// Whether a client may stop the server, by the token that stops it otherwise.
    pub stops_when_asked: bool,
    /// The users who may call; none: nobody is asked who they are, and everybody may do everything.
    pub users: Option<Users>,
    /// How connections are encrypted; none: not at all.
    pub tls: Option<Tls>,
    /// How often the files of certificates are looked at: what is new in them holds for the
    /// connections after that.
    pub renewal_interval: Duration,
    /// Whether the projections of the system are enabled when it starts.
    pub start_standard_projections: bool,
    /// Whether projections are set to work when it starts, also where there never were any: their
    /// list is kept in the log then, with which a new log of EventStoreDB's own server begins.
    pub begin_projections: bool,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            advertise_host: None,
            advertise_port: None,
            held_bytes_max: HELD_BYTES_MAX,
            arriving_calls_max: ARRIVING_CALLS_MAX,
            reading_calls_max: READING_CALLS_MAX,
            pages_max: PAGES_MAX,
            turn: TURN,
            large_bytes_max: LARGE_BYTES_MAX,
            arrival_time_max: Duration::from_secs(ARRIVAL_SECONDS_MAX),
            first_call_time_max: Duration::from_secs(FIRST_CALL_SECONDS_MAX),
            connections_max: CONNECTIONS_MAX,
            scavenges: None,
            stops_when_asked: false,
            users: None,
            tls: None,
            renewal_interval: Duration::from_secs(RENEWAL_SECONDS),
            start_standard_projections: false,
            begin_projections: false,
        }
    }
}

/// A server at work. Dropping this does not stop it; its shutdown token does.
#[derive(Debug)]
pub struct Serving {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Serving {
    /// The address it is bound to, with the real port where 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it has stopped and every connection is closed.
    pub async fn finished(self) {
        // It fails only if the task panicked or its runtime is gone: it is not serving either way.
        let _ = self.task.await;
    }
}

/// Serves the store on the listeners until the token is cancelled; then it accepts nothing more,
/// ends subscriptions and appends that are not whole with `UNAVAILABLE`, and gives other calls five
/// seconds.
///
/// Unless the options name users, whoever reaches the port may do everything; unless they have TLS,
/// whoever is on the way may read it.
pub fn serve(
    listeners: impl Into<Listeners>,
    store: Arc<dyn EventStore>,
    options: ServeOptions,
    shutdown: CancellationToken,
) -> io::Result<Serving> {
    let listeners = listeners.into();
    let address = listeners.local_addr()?;
    let sending = Sending::new(&options);
    let reception = Reception::new(&options);
    let node = Node::new(address, options.advertise_host.clone(), options.advertise_port);
    let node = Arc::new(node);
    let users = options.users;
    let (first_call_time_max, tls) = (options.first_call_time_max, options.tls);
    let of_store = users.clone().unwrap_or_else(|| Users::new(Arc::clone(&store)));
    let guard = Guard { authenticates: users.is_some(), encrypted: tls.is_some() };
    let connections = Connections::default();
    let folder = options.scavenges.as_ref().and_then(|it| it.maintained().folder());
    let statistics = Statistics::new(Arc::clone(&store), folder, connections.clone());
    let begin =
        Begin { standard: options.start_standard_projections, always: options.begin_projections };
    let projections = ProjectionsAtWork::new(Arc::clone(&store), begin);
    let store: Arc<dyn EventStore> = Arc::new(IndexStreams::over(store));
    let groups = Groups::new(Arc::clone(&store));
    let operations = OperationsService {
        node: Arc::clone(&node),
        groups: groups.clone(),
        scavenges: options.scavenges,
        shutdown: options.stops_when_asked.then(|| shutdown.clone()),
    };
    let router = Router::new(
        Door::new(store, node, Arc::new(statistics), reception, sending, (of_store, guard)),
        groups.clone(),
        projections.clone(),
        operations,
        users,
        shutdown.clone(),
    );
    let (work, shutdown_of_work) = (projections.clone(), shutdown.clone());
    let renewing = keep_renewed(tls.clone(), options.renewal_interval);
    let served = Served { router, tls, connections, first_call_time_max, shutdown };
    let accepting = accept(listeners, served, options.connections_max.max(1));
    let serving = async move {
        let going_on = work.go_on(shutdown_of_work);
        tokio::select! {
            never = renewing => match never {},
            _ = async { tokio::join!(going_on, accepting) } => {}
        }
        groups.close().await;
        projections.close().await;
    };
    Ok(Serving { address, task: tokio::spawn(serving) })
}

/// What every connection is served by. Cheap to clone.
#[derive(Clone)]
struct Served {
    router: Router,
    tls: Option<Tls>,
    connections: Connections,
    first_call_time_max: Duration,
    shutdown: CancellationToken,
}

async fn accept(listeners: Listeners, served: Served, connections_max: usize) {
    let mut connections = JoinSet::new();
    // Each is said once, until it is over.
    let (mut is_full, mut fails) = (false, false);
    loop {
        let has_place = connections.len() < connections_max;
        if !has_place && !is_full {
            tracing::warn!(
                connections_max,
                "as many connections as may be are open; further ones wait"
            );
        }
        is_full = !has_place || (is_full && connections.len() > connections_max / 2);
        let accepted = tokio::select! {
            accepted = listeners.accept(), if has_place => accepted,
            Some(_) = connections.join_next() => continue,
            () = served.shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                fails = false;
                connections.spawn(connection(stream, peer, served.clone()));
            }
            Err(error) => {
                if !fails {
                    tracing::warn!(%error, "connections can't be accepted just now");
                }
                fails = true;
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MILLIS)).await;
            }
        }
    }
    drop(listeners);
    while connections.join_next().await.is_some() {}
}

async fn connection(stream: TcpStream, peer: SocketAddr, served: Served) {
    let _open = served.connections.open();
    let socket = match QuickSocket::new(stream) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::debug!(%peer, %error, "the connection was gone before it was served");
            return;
        }
    };
    let Some(tls) = &served.tls else {
        return serve_connection(socket, peer, None, served).await;
    };
    let limit = Duration::from_secs(HANDSHAKE_SECONDS_MAX).min(served.first_call_time_max);
    let agreeing = tokio::time::timeout(limit, tls.acceptor().accept(socket));
    let agreed = tokio::select! {
        agreed = agreeing => agreed,
        () = served.shutdown.cancelled() => return,
    };
    match agreed {
        Ok(Ok(socket)) => {
            let shown = socket.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let certified = shown.and_then(|it| user_of(it)).map(|it| CertifiedUser(it.into()));
            serve_connection(socket, peer, certified, served).await;
        }
        Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS could not be agreed on"),
        Err(_late) => tracing::debug!(%peer, "TLS was not agreed on in time"),
    }
}

async fn serve_connection<S>(
    socket: S,
    peer: SocketAddr,
    certified: Option<CertifiedUser>,
    served: Served,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Served { router, first_call_time_max, shutdown, .. } = served;
    let called = Arc::new(AtomicBool::new(false));
    let calls = Arc::clone(&called);
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(certified) = &certified {
            request.extensions_mut().insert(certified.clone());
        }
        calls.store(true, Ordering::Relaxed);
        let router = router.clone();
        async move { Ok::<_, std::convert::Infallible>(router.answer(request).await) }
    });
    let builder = builder();
    let serving = builder.serve_connection(TokioIo::new(JoinedFrames::new(socket)), service);
    tokio::pin!(serving);
    let stopped = async {
        tokio::select! {
            () = silence(&called, first_call_time_max) => {}
            () = shutdown.cancelled() => {}
        }
    };
    let ended = tokio::select! {
        ended = last_in_turn(serving.as_mut()) => ended,
        () = stopped => {
            serving.as_mut().graceful_shutdown();
            let limit = Duration::from_secs(DRAIN_SECONDS_MAX);
            tokio::time::timeout(limit, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, error, "a connection ended early");
    }
}

/// Drives a connection behind all who are ready by then: of a thousand who have a message for it at
/// once, each has handed it over before the connection writes, and it writes once.
async fn last_in_turn<C: Future + Unpin>(mut connection: C) -> C::Output {
    let mut waited = false;
    poll_fn(move |context| {
        waited = !waited;
        if waited {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut connection).poll(context)
    })
    .await
}

/// Returns when the first call did not come in time. HTTP/1 and 2 have timers of their own, but
/// nobody else counts the time until it is known which of them it is.
async fn silence(called: &AtomicBool, time_max: Duration) {
    tokio::time::sleep(time_max).await;
    if called.load(Ordering::Relaxed) {
        std::future::pending().await
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    let headers_time_max = Duration::from_secs(HEADERS_SECONDS_MAX);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(headers_time_max);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(KEEP_ALIVE_SECONDS))
        .keep_alive_timeout(Duration::from_secs(KEEP_ALIVE_SECONDS))
        .max_send_buf_size(CALL_REPLY_BYTES)
        .max_concurrent_streams(CALLS_PER_CONNECTION_MAX)
        .initial_stream_window_size(CALL_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    builder
}
