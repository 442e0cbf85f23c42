//! Messages of calls that send many, however they come.

use std::io::Write;

use bytes::Bytes;
use event_store::{ReadError, ReadStream};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::TryStreamExt;
use prost::Message;
use tokio::net::TcpStream;
use tonic::Code;

use crate::arriving::{APPEND, Append, BATCH_APPEND, BatchAppend, options, proposed, uuid};
use crate::asking::READ;
use crate::raw::{PLAIN, call, connect, ended, message};
use crate::server::{Server, stream};

const COMPRESSED: u8 = 1;

fn gzip(payload: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(payload).expect("write");
    encoder.finish().expect("finish")
}

fn begin(name: &str) -> Vec<u8> {
    Append { options: options(name), proposed: None }.encode_to_vec()
}

fn event(bytes: usize) -> Vec<u8> {
    Append { options: None, proposed: Some(proposed(bytes)) }.encode_to_vec()
}

/// How long the events of a stream are.
async fn sizes(server: &Server, name: &str) -> Vec<usize> {
    let events = server.store.read_stream(ReadStream::forward(stream(name))).await.expect("read");
    events.map_ok(|event| event.data.len()).try_collect().await.expect("events")
}

/// Given an append whose bytes come in pieces of any size, then its events are what was sent.
#[tokio::test]
async fn messages_are_put_together_from_any_pieces() {
    let server = Server::start().await;
    let channel = connect(&server).await;
    for piece in [1, 2, 3, 7, 100, 40_000, usize::MAX] {
        let name = format!("pieces-{piece}");
        let sent = [begin(&name), event(0), event(300), event(1), event(70_000)];
        let sent: Vec<u8> = sent.iter().flat_map(|payload| message(PLAIN, payload)).collect();
        let tail = sent.len().min(2_000);
        // Most of it in one: pieces of a byte are sent one after the other.
        let (pieces, rest) = sent.split_at(tail);
        let (sender, appended) = call(&channel, APPEND, Vec::new());
        for piece in pieces.chunks(piece).chain([rest]) {
            sender.send(piece.to_vec().into()).await.expect("the call goes on");
        }
        drop(sender);
        assert_eq!(ended(appended).await.code(), Code::Ok);
        assert_eq!(sizes(&server, &name).await, [0, 300, 1, 70_000]);
    }
}

/// Given very many small appends, each in a frame of its own, that come faster than the disk takes
/// them, then all are made, and the connection goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn very_many_small_frames_are_taken() {
    const APPENDS: usize = 20_000;
    let server = Server::start().await;
    let socket = TcpStream::connect(server.address()).await.expect("connect");
    let (client, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
    tokio::spawn(connection);
    for name in ["small-1", "small-2"] {
        let request = http::Request::post(format!("http://{}{BATCH_APPEND}", server.address()))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .expect("a request");
        let mut ready = client.clone().ready().await.expect("the connection is there");
        let (answered, mut requests) = ready.send_request(request, false).expect("a call");
        for _ in 0..APPENDS {
            let append = BatchAppend {
                correlation: uuid(),
                options: options(name),
                proposed: vec![proposed(0)],
                is_final: true,
            };
            let append = message(PLAIN, &append.encode_to_vec());
            requests.send_data(append.into(), false).expect("the call goes on");
        }
        requests.send_data(Bytes::new(), true).expect("the call goes on");
        let mut answer = answered.await.expect("an answer").into_body();
        while let Some(replies) = answer.data().await.transpose().expect("replies") {
            answer.flow_control().release_capacity(replies.len()).expect("it was taken");
        }
        let trailers = answer.trailers().await.expect("an end").expect("a status");
        assert_eq!(trailers["grpc-status"], "0");
        assert_eq!(sizes(&server, name).await, [0; APPENDS]);
    }
}

/// Given messages that are compressed, beside others that are not, then they are read.
#[tokio::test]
async fn messages_may_be_compressed() {
    let server = Server::start().await;
    let channel = connect(&server).await;
    let sent = [
        message(PLAIN, &begin("small-1")),
        message(COMPRESSED, &gzip(&event(100_000))),
        message(PLAIN, &event(10)),
    ];
    let (sender, appended) = call(&channel, APPEND, sent.concat());
    drop(sender);
    assert_eq!(ended(appended).await.code(), Code::Ok);
    assert_eq!(sizes(&server, "small-1").await, [100_000, 10]);
}

/// Given messages of which the parts would take many times their bytes, then they are refused
/// before they are taken apart; so is a question that is longer than any.
#[tokio::test]
async fn messages_of_too_many_parts_are_refused() {
    let server = Server::start().await;
    let channel = connect(&server).await;
    // Empty events: 2 bytes each as they are sent, a hundred once they are apart.
    let events = |tag: u8| [tag, 0].repeat(300_000);
    let long = [0x0a, 0].repeat(600_000);
    for (path, payload, code) in [
        (APPEND, events(0x12), Code::InvalidArgument),
        (BATCH_APPEND, events(0x1a), Code::InvalidArgument),
        (READ, long, Code::OutOfRange),
    ] {
        let (sender, refused) = call(&channel, path, message(PLAIN, &payload));
        drop(sender);
        let refused = ended(refused).await;
        assert_eq!(refused.code(), code, "{path}: {refused}");
    }
}

/// Given messages that are no messages, then the call says so and appends nothing.
#[tokio::test]
async fn what_is_no_message_is_refused() {
    let server = Server::start().await;
    let channel = connect(&server).await;
    let whole = message(PLAIN, &event(10));
    let wrong = [
        (
            "is larger than any may be when it is unpacked",
            message(COMPRESSED, &gzip(&vec![0; 18 << 20])),
            Code::ResourceExhausted,
        ),
        ("is not what it says", message(COMPRESSED, b"plain"), Code::Internal),
        ("is packed in an unknown way", message(2, b""), Code::Internal),
        ("is no protobuf", message(PLAIN, &[0xff; 40]), Code::Internal),
        ("ends too early", whole[..whole.len() - 1].to_vec(), Code::Internal),
        ("ends within its header", vec![0, 0], Code::Internal),
    ];
    for (what, bytes, code) in wrong {
        let sent = [message(PLAIN, &begin("none-1")), whole.clone(), bytes].concat();
        let (sender, refused) = call(&channel, APPEND, sent);
        drop(sender);
        assert_eq!(ended(refused).await.code(), code, "{what}");
    }
    let read = server.store.read_stream(ReadStream::forward(stream("none-1"))).await;
    assert!(matches!(read, Err(ReadError::StreamNotFound(_))));
}
