//! Sessions: a request for each stream, and one append at the end.

use event_store::{ExpectedRevision, ReadAll, ReadError, ReadStream, StreamName};
use futures::TryStreamExt;
use prost::Message;
use tonic::Code;

use super::sent::{
    ANY, APPEND_SESSION, EXISTS, NO_STREAM, SOFT_DELETED, record, request, revisions, session,
};
use crate::raw::{PLAIN, call, connect, ended, message};
use crate::server::{Server, event, stream};

/// The streams of all events that are in the log.
async fn log(server: &Server) -> Vec<StreamName> {
    let events = server.store.read_all(ReadAll::forward()).await.expect("read");
    events.map_ok(|event| event.stream).try_collect().await.expect("events")
}

async fn is_not_there(server: &Server, name: &str) {
    let read = server.store.read_stream(ReadStream::forward(stream(name))).await;
    assert!(matches!(read, Err(ReadError::StreamNotFound(_))), "{name}");
}

#[tokio::test]
async fn all_streams_are_written_in_the_order_of_the_requests() {
    let server = Server::start().await;
    let requests = vec![
        request("b-1", NO_STREAM, &[1, 2]),
        request("a-1", ANY, &[3]),
        request("c-1", -1, &[4]),
    ];
    let appended = session(&server, requests).await.expect("append");
    assert_eq!(revisions(&appended), [("b-1", 1), ("a-1", 0), ("c-1", 0)]);
    assert_eq!(log(&server).await, ["b-1", "b-1", "a-1", "c-1"].map(stream));
    assert_eq!(server.store.head().await.expect("head").get().cast_signed(), appended.position);
    let mut free = request("a-1", ANY, &[5]);
    free.expected = None;
    let requests = vec![request("b-1", 1, &[6]), free, request("c-1", EXISTS, &[7])];
    let appended = session(&server, requests).await.expect("append");
    assert_eq!(revisions(&appended), [("b-1", 2), ("a-1", 1), ("c-1", 1)]);
}

/// Given a session that was appended, when it is sent again, then the answer is that of the first
/// time and nothing is appended.
#[tokio::test]
async fn a_session_that_is_sent_again_is_appended_once() {
    let server = Server::start().await;
    let requests = || {
        vec![
            request("a-1", NO_STREAM, &[1, 2]),
            request("b-1", ANY, &[3]),
            request("c-1", ANY, &[4]),
        ]
    };
    let first = session(&server, requests()).await.expect("append");
    server.store.append(&stream("a-1"), ExpectedRevision::Any, vec![event(90)]).await.expect("one");
    assert_eq!(session(&server, requests()).await.expect("the same"), first);
    assert_eq!(log(&server).await.len(), 5);
}

#[tokio::test]
async fn one_stream_that_is_not_as_expected_keeps_all_from_being_written() {
    let server = Server::start().await;
    let requests = vec![request("a-1", ANY, &[1]), request("b-1", 0, &[2])];
    let refused = session(&server, requests).await.expect_err("there is no such revision");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    is_not_there(&server, "a-1").await;
    assert!(log(&server).await.is_empty());
}

#[tokio::test]
async fn a_deleted_stream_may_be_expected() {
    let server = Server::start().await;
    session(&server, vec![request("a-1", ANY, &[1])]).await.expect("append");
    let opening = || vec![request("a-1", SOFT_DELETED, &[2]), request("b-1", ANY, &[3])];
    session(&server, opening()).await.expect_err("it is there");
    server.store.delete_stream(&stream("a-1"), ExpectedRevision::Any).await.expect("delete");
    let appended = session(&server, opening()).await.expect("it is deleted");
    assert_eq!(revisions(&appended), [("a-1", 1), ("b-1", 0)]);
}

/// Given a session of which requests have come and are not ended, when its client is gone, then
/// nothing is kept, and streams are free for others.
#[tokio::test]
async fn a_client_that_dies_leaves_nothing() {
    let server = Server::start().await;
    let whole = [request("a-1", NO_STREAM, &[1]), request("b-1", NO_STREAM, &[2])];
    let whole: Vec<u8> = whole.iter().flat_map(|it| message(PLAIN, &it.encode_to_vec())).collect();
    // Gone with its connection, between requests and in the midst of one.
    for cut in [whole.len(), whole.len() - 3] {
        let channel = connect(&server).await;
        let (sender, answer) = call(&channel, APPEND_SESSION, whole[..cut].to_vec());
        answer.abort();
        drop((sender, channel));
    }
    // Its end comes within a request.
    let channel = connect(&server).await;
    let (sender, answer) = call(&channel, APPEND_SESSION, whole[..whole.len() - 3].to_vec());
    drop(sender);
    assert_ne!(ended(answer).await.code(), Code::Ok);
    let requests = vec![request("a-1", NO_STREAM, &[3]), request("b-1", NO_STREAM, &[4])];
    session(&server, requests).await.expect("nothing is there");
    assert_eq!(log(&server).await, ["a-1", "b-1"].map(stream));
}

/// Metadata of streams are appended as any others are, and hold at once.
#[tokio::test]
async fn metadata_of_a_stream_come_with_its_events() {
    let server = Server::start().await;
    let mut metadata = request("$$a-1", NO_STREAM, &[9]);
    metadata.records[0].data = br#"{"$maxCount": 1}"#.to_vec();
    metadata.records[0].schema.as_mut().expect("a schema").name = "$metadata".to_owned();
    let events = request("a-1", NO_STREAM, &[1, 2, 3]);
    session(&server, vec![metadata, events]).await.expect("append");
    let read = server.store.read_stream(ReadStream::forward(stream("a-1"))).await.expect("read");
    let left: Vec<_> = read.try_collect().await.expect("events");
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].data, record(3).data);
}

#[derive(Clone, PartialEq, prost::Message)]
struct Methods {
    #[prost(message, repeated, tag = "1")]
    methods: Vec<Method>,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Method {
    #[prost(string, tag = "1")]
    method: String,
    #[prost(string, tag = "2")]
    service: String,
}

/// Clients go by what is listed, in small letters, and by the release.
#[tokio::test]
async fn clients_are_told_that_they_may_append_so() {
    let server = Server::start().await;
    let mut grpc = tonic::client::Grpc::new(connect(&server).await);
    grpc.ready().await.expect("ready");
    let codec = tonic_prost::ProstCodec::<(), Methods>::default();
    let path = "/event_store.client.server_features.ServerFeatures/GetSupportedMethods";
    let path = http::uri::PathAndQuery::from_static(path);
    let told = grpc.unary(tonic::Request::new(()), path, codec).await.expect("told").into_inner();
    let service = "kurrentdb.protocol.v2.streams.streamsservice";
    let of_several = told.methods.iter().filter(|it| it.service == service);
    let of_several: Vec<_> = of_several.map(|it| it.method.as_str()).collect();
    assert_eq!(of_several, ["appendsession", "appendrecords"]);
    assert!(told.version.starts_with("26.1."), "{}", told.version);
}
