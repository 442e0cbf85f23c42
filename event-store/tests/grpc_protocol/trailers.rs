//! What errors carry beside their code, which the official Rust client drops and others read.

use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};

use crate::server::{Server, event, stream};

#[derive(Clone, PartialEq, prost::Message)]
pub struct Name {
    #[prost(bytes = "vec", tag = "3")]
    pub stream_name: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Options {
    #[prost(message, optional, tag = "1")]
    pub stream_identifier: Option<Name>,
    #[prost(message, optional, tag = "3")]
    pub no_stream: Option<()>,
    #[prost(message, optional, tag = "4")]
    pub any: Option<()>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Deletion {
    #[prost(message, optional, tag = "1")]
    options: Option<Options>,
}

/// Asks to delete the stream, and answers with the refusal.
async fn refused(server: &Server, call: &'static str, name: &str, any: bool) -> Status {
    let endpoint = Endpoint::new(format!("http://{}", server.address())).expect("endpoint");
    let mut grpc = Grpc::new(endpoint.connect().await.expect("connect"));
    grpc.ready().await.expect("ready");
    let deletion = Deletion {
        options: Some(Options {
            stream_identifier: Some(Name { stream_name: name.as_bytes().to_vec() }),
            no_stream: (!any).then_some(()),
            any: any.then_some(()),
        }),
    };
    let codec = tonic_prost::ProstCodec::<Deletion, ()>::default();
    let path = http::uri::PathAndQuery::from_static(call);
    let answer = grpc.unary(Request::new(deletion), path, codec).await;
    answer.expect_err("a refusal")
}

fn trailer<'a>(status: &'a Status, key: &str) -> Option<&'a str> {
    status.metadata().get(key).and_then(|value| value.to_str().ok())
}

const DELETE: &str = "/event_store.client.streams.Streams/Delete";

#[tokio::test]
async fn a_wrong_expectation_names_both_revisions() {
    let server = Server::start().await;
    let name = stream("tale-1");
    let events = vec![event(1), event(2)];
    let any = event_store::ExpectedRevision::Any;
    server.store.append(&name, any, events).await.expect("append");
    let status = refused(&server, DELETE, "tale-1", false).await;
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(trailer(&status, "exception"), Some("wrong-expected-version"));
    assert_eq!(trailer(&status, "stream-name"), Some("tale-1"));
    assert_eq!(trailer(&status, "expected-version"), Some("-1"));
    assert_eq!(trailer(&status, "actual-version"), Some("1"));
    assert!(status.message().contains("Actual version: 1"), "{status}");
}

#[tokio::test]
async fn a_tombstone_is_named() {
    let server = Server::start().await;
    let name = stream("été-1");
    let any = event_store::ExpectedRevision::Any;
    server.store.tombstone_stream(&name, any).await.expect("tombstone");
    let status = refused(&server, DELETE, "été-1", true).await;
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(trailer(&status, "exception"), Some("stream-deleted"));
    assert_eq!(trailer(&status, "stream-name"), Some("?t?-1"));
    assert!(status.message().contains("is deleted"), "{status}");
}

#[tokio::test]
async fn what_is_not_served_is_unimplemented() {
    let server = Server::start().await;
    let call = "/kurrent.client.redaction.Redaction/GetEventPositions";
    let status = refused(&server, call, "tale-1", true).await;
    assert_eq!(status.code(), Code::Unimplemented);
    let call = "/event_store.client.streams.Streams/Vanish";
    let status = refused(&server, call, "tale-1", true).await;
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_call_without_a_stream_is_a_bad_argument() {
    let server = Server::start().await;
    let status = refused(&server, DELETE, "", true).await;
    assert_eq!(status.code(), Code::InvalidArgument);
}
