//! Calls whose requests are bytes as a test gives them, whole messages or not.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;
use tower::{Service, ServiceExt};

use crate::server::Server;

const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes as they are given, which need be no messages.
struct Raw(mpsc::Receiver<Bytes>);

impl HttpBody for Raw {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// The flag of a message that is not compressed.
pub const PLAIN: u8 = 0;

/// A message behind its header, with this flag.
pub fn message(flag: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![flag];
    bytes.extend(u32::try_from(payload.len()).expect("small").to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A connection of its own.
pub async fn connect(server: &Server) -> Channel {
    let endpoint = Endpoint::new(format!("http://{}", server.address())).expect("endpoint");
    endpoint.connect().await.expect("connect")
}

/// Begins a call with these bytes; it ends its requests when the sender is dropped. The task tells
/// how the call ended.
pub fn call(
    channel: &Channel,
    path: &str,
    bytes: Vec<u8>,
) -> (mpsc::Sender<Bytes>, JoinHandle<Status>) {
    let (sender, receiver) = mpsc::channel(1);
    sender.try_send(bytes.into()).expect("room");
    let request = http::Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-encoding", "gzip")
        .body(Body::new(Raw(receiver)))
        .expect("a request");
    let mut channel = channel.clone();
    let ended = tokio::spawn(async move {
        let response = channel.ready().await.expect("ready").call(request).await.expect("answered");
        if let Some(status) = Status::from_header_map(response.headers()) {
            return status;
        }
        let (status, body) = (response.status(), response.into_body());
        let decoder = tonic::codec::Codec::decoder(&mut ProstCodec::<(), ()>::default());
        let mut replies: Streaming<()> = Streaming::new_response(decoder, body, status, None, None);
        loop {
            match replies.message().await {
                Ok(Some(())) => {}
                Ok(None) => return Status::ok("ended"),
                Err(status) => return status,
            }
        }
    });
    (sender, ended)
}

/// How it ended, in time.
pub async fn ended(call: JoinHandle<Status>) -> Status {
    tokio::time::timeout(PATIENCE, call).await.expect("in time").expect("no panic")
}
