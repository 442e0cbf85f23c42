//! Appends that are begun and not ended: they are bounded in time and, all together, in bytes.

use std::collections::HashMap;
use std::time::Duration;

use event_store::grpc::ServeOptions;
use event_store::{ReadError, ReadStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::server::{Server, stream};
use crate::trailers::{Name, Options};

const PATIENCE: Duration = Duration::from_secs(30);

pub const APPEND: &str = "/event_store.client.streams.Streams/Append";
pub const BATCH_APPEND: &str = "/event_store.client.streams.Streams/BatchAppend";

#[derive(Clone, PartialEq, prost::Message)]
pub struct Uuid {
    #[prost(string, tag = "2")]
    string: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Proposed {
    #[prost(message, optional, tag = "1")]
    id: Option<Uuid>,
    #[prost(map = "string, string", tag = "2")]
    metadata: HashMap<String, String>,
    #[prost(bytes = "vec", tag = "4")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Append {
    #[prost(message, optional, tag = "1")]
    pub options: Option<Options>,
    #[prost(message, optional, tag = "2")]
    pub proposed: Option<Proposed>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct BatchAppend {
    #[prost(message, optional, tag = "1")]
    pub correlation: Option<Uuid>,
    #[prost(message, optional, tag = "2")]
    pub options: Option<Options>,
    #[prost(message, repeated, tag = "3")]
    pub proposed: Vec<Proposed>,
    #[prost(bool, tag = "4")]
    pub is_final: bool,
}

pub fn uuid() -> Option<Uuid> {
    Some(Uuid { string: uuid::Uuid::new_v4().to_string() })
}

pub fn options(name: &str) -> Option<Options> {
    let stream_identifier = Some(Name { stream_name: name.as_bytes().to_vec() });
    Some(Options { stream_identifier, no_stream: None, any: Some(()) })
}

pub fn proposed(bytes: usize) -> Proposed {
    let pairs = [("type", "Heard"), ("content-type", "application/octet-stream")];
    let metadata = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    Proposed { id: uuid(), metadata, data: vec![0; bytes] }
}

async fn connect(server: &Server) -> Grpc<Channel> {
    let endpoint = Endpoint::new(format!("http://{}", server.address())).expect("endpoint");
    let mut grpc = Grpc::new(endpoint.connect().await.expect("connect"));
    grpc.ready().await.expect("ready");
    grpc
}

/// Begins an append with one event; it ends when the sender is dropped.
async fn begin(server: &Server, name: &str, bytes: usize) -> (mpsc::Sender<Append>, Answer) {
    let mut grpc = connect(server).await;
    let (sender, requests) = mpsc::channel(2);
    sender.send(Append { options: options(name), proposed: None }).await.expect("room");
    let event = Append { options: None, proposed: Some(proposed(bytes)) };
    sender.send(event).await.expect("room");
    let answer = tokio::spawn(async move {
        let codec = tonic_prost::ProstCodec::<Append, ()>::default();
        let path = http::uri::PathAndQuery::from_static(APPEND);
        let requests = Request::new(ReceiverStream::new(requests));
        grpc.client_streaming(requests, path, codec).await.map(drop)
    });
    (sender, answer)
}

type Answer = tokio::task::JoinHandle<Result<(), Status>>;

/// Appends one event of this size.
pub async fn append(server: &Server, name: &str, bytes: usize) -> Result<(), Status> {
    let (sender, answer) = begin(server, name, bytes).await;
    drop(sender);
    answer.await.expect("no panic")
}

/// Given an append that is not ended and nearly fills what the server may hold, when others come,
/// then large ones are refused until it has ended, and small ones are not.
#[tokio::test]
async fn appends_that_are_not_committed_share_what_may_be_held() {
    let options = ServeOptions { held_bytes_max: 1_000_000, ..ServeOptions::default() };
    let server = Server::start_with(options).await;
    // Polls: nobody is told when the first has arrived. Where another came before it, it is the
    // first that was refused, and it is begun again.
    let refused = async {
        loop {
            let (sender, answer) = begin(&server, "held-1", 900_000).await;
            while !answer.is_finished() {
                if let Err(refused) = append(&server, "other-1", 300_000).await
                    && !answer.is_finished()
                {
                    return (refused, sender, answer);
                }
            }
        }
    };
    let refused = tokio::time::timeout(PATIENCE, refused).await.expect("refused");
    let (refused, sender, answer) = refused;
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    append(&server, "other-1", 1_000).await.expect("there is room for a small one");
    drop(sender);
    answer.await.expect("no panic").expect("it was only slow");
    append(&server, "other-1", 300_000).await.expect("there is room again");
}

/// Given an append that is begun, when its end does not come, then the call ends and nothing is
/// kept.
#[tokio::test]
async fn an_append_that_does_not_end_is_ended() {
    let arrival_time_max = Duration::from_millis(200);
    let server =
        Server::start_with(ServeOptions { arrival_time_max, ..ServeOptions::default() }).await;
    let (sender, answer) = begin(&server, "slow-1", 10).await;
    let answer = tokio::time::timeout(PATIENCE, answer).await.expect("ended").expect("no panic");
    assert_eq!(answer.expect_err("refused").code(), Code::DeadlineExceeded);
    drop(sender);
    let read = server.store.read_stream(ReadStream::forward(stream("slow-1"))).await;
    assert!(matches!(read, Err(ReadError::StreamNotFound(_))));
}

/// The same, among many over one call.
#[tokio::test]
async fn a_batch_that_does_not_end_an_append_is_ended() {
    let arrival_time_max = Duration::from_millis(200);
    let server =
        Server::start_with(ServeOptions { arrival_time_max, ..ServeOptions::default() }).await;
    let mut grpc = connect(&server).await;
    let (sender, requests) = mpsc::channel(1);
    let half = BatchAppend {
        correlation: uuid(),
        options: options("slow-1"),
        proposed: vec![proposed(10)],
        is_final: false,
    };
    sender.send(half).await.expect("room");
    let codec = tonic_prost::ProstCodec::<BatchAppend, ()>::default();
    let path = http::uri::PathAndQuery::from_static(BATCH_APPEND);
    let requests = Request::new(ReceiverStream::new(requests));
    let replies = grpc.streaming(requests, path, codec).await.expect("a call");
    let ended = tokio::time::timeout(PATIENCE, replies.into_inner().message()).await;
    let ended = ended.expect("in time").expect_err("ended");
    assert_eq!(ended.code(), Code::DeadlineExceeded, "{ended}");
    drop(sender);
}
