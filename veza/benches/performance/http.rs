//! Calls over HTTP/1.1: one connection a caller, kept alive, with as little around it as can be.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::ensure;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::load::{Call, Caller};

/// The request with this number.
pub type Requests = Arc<dyn Fn(u64) -> Request<Full<Bytes>> + Send + Sync>;

/// A connection and what is asked on it.
pub struct HttpCaller {
    connection: SendRequest<Full<Bytes>>,
    requests: Requests,
}

impl HttpCaller {
    /// So many connections to this address. The runtime around it drives them.
    pub async fn connect(
        address: SocketAddr,
        connections: usize,
        requests: &Requests,
    ) -> anyhow::Result<Vec<Self>> {
        let mut callers = Vec::with_capacity(connections);
        for _ in 0..connections {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (connection, driver) = handshake(TokioIo::new(stream)).await?;
            tokio::spawn(driver);
            callers.push(Self { connection, requests: Arc::clone(requests) });
        }
        Ok(callers)
    }

    /// Sends a request; the answer's body when it was a good one.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Bytes> {
        self.connection.ready().await?;
        let answer = self.connection.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        let is_good = status.is_success() && status != StatusCode::NO_CONTENT;
        ensure!(is_good, "answered {status}: {}", String::from_utf8_lossy(&body));
        // GraphQL tells in good answers what failed, and what is not there.
        let holds = |text: &[u8]| body.windows(text.len()).any(|part| part == text);
        let failed = holds(b"\"errors\":[") || holds(b"{\"data\":{\"track\":null");
        ensure!(!failed, "answered {}", String::from_utf8_lossy(&body));
        Ok(body)
    }
}

impl Caller for HttpCaller {
    async fn call(&mut self, call: Call) -> anyhow::Result<()> {
        let request = (self.requests)(call.number);
        self.send(request).await.map(drop)
    }
}
