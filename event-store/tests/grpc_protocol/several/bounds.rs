//! How large appends to several streams may be, and how much of them the server holds.

use std::time::Duration;

use event_store::grpc::ServeOptions;
use prost::Message;
use prost_types::Value;
use prost_types::value::Kind;
use tokio::sync::mpsc;
use tonic::{Code, Status};

use super::sent::{
    ANY, APPEND_RECORDS, APPEND_SESSION, AppendRequest, Record, RecordsRequest, check, detail,
    record_of, records, request, session, told,
};
use crate::raw::{PLAIN, call, connect, ended, message};
use crate::server::Server;

const PATIENCE: Duration = Duration::from_secs(30);
const ERRORS: &str = "kurrentdb.protocol.v2.streams.errors";
const MIB: usize = 1024 * 1024;

#[derive(Clone, PartialEq, prost::Message)]
struct RecordSize {
    #[prost(string, tag = "1")]
    stream: String,
    #[prost(string, tag = "2")]
    id: String,
    #[prost(int32, tag = "3")]
    size: i32,
    #[prost(int32, tag = "4")]
    max: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TransactionSize {
    #[prost(int32, tag = "1")]
    size: i32,
    #[prost(int32, tag = "2")]
    max: i32,
}

fn too_large(status: &Status) -> TransactionSize {
    assert_eq!(status.code(), Code::Aborted, "{status}");
    let name = format!("{ERRORS}.AppendTransactionSizeExceededErrorDetails");
    detail(status, "streams: APPEND_TRANSACTION_SIZE_EXCEEDED", &name)
}

/// A request with one record of this size.
fn of_size(stream: &str, bytes: usize) -> AppendRequest {
    let mut request = request(stream, ANY, &[1]);
    request.records[0].data = vec![0; bytes];
    request
}

#[tokio::test]
async fn a_record_that_is_too_large_is_told() {
    let server = Server::start().await;
    let large = |stream: &str| Record { data: vec![0; 16 * MIB], ..record_of(stream, 7) };
    // What is known about it counts too, as it stands in the log.
    let text = Value { kind: Some(Kind::StringValue("\u{1}".repeat(3 * MIB))) };
    let mut known = record_of("a-1", 7);
    known.properties.insert("note".to_owned(), text);
    for (sent, least) in [(large("a-1"), 16 * MIB), (known, 18 * MIB)] {
        let status = records(&server, vec![sent], vec![]).await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument);
        let name = format!("{ERRORS}.AppendRecordSizeExceededErrorDetails");
        let told: RecordSize = detail(&status, "streams: APPEND_RECORD_SIZE_EXCEEDED", &name);
        assert_eq!((told.stream.as_str(), Some(told.id)), ("a-1", record_of("a-1", 7).id));
        assert!(told.size > i32::try_from(least).expect("small"), "{}", told.size);
        assert_eq!(told.max, i32::try_from(16 * MIB).expect("small"));
    }
}

#[tokio::test]
async fn an_append_that_is_too_large_is_told() {
    let server = Server::start().await;
    let requests = (0..5).map(|number| of_size(&format!("a-{number}"), 15 * MIB)).collect();
    let told = too_large(&session(&server, requests).await.expect_err("refused"));
    assert_eq!(told.max, i32::try_from(64 * MIB).expect("small"));
    assert!(told.size > told.max);
    // Streams are counted, and so are those that are only checked.
    let requests = (0..1025).map(|number| of_size(&format!("a-{number}"), 1)).collect();
    let told = too_large(&session(&server, requests).await.expect_err("refused"));
    assert_eq!((told.size, told.max), (1025, 1024));
    let checks = (0..1024).map(|number| check(&format!("a-{number}"), -1)).collect();
    let sent = vec![record_of("to-1", 1)];
    let told = too_large(&records(&server, sent, checks).await.expect_err("refused"));
    assert_eq!((told.size, told.max), (1025, 1024));
    let sent = (0..65_537).map(|_| record_of("a-1", 1)).collect();
    let told = too_large(&records(&server, sent, vec![]).await.expect_err("refused"));
    assert_eq!((told.size, told.max), (65_537, 65_536));
    assert_eq!(server.store.head().await.expect("head"), event_store::Position::START);
}

/// One message has all records of a stream, as many bytes as an append may have.
#[tokio::test]
async fn all_records_of_a_stream_come_in_one_message() {
    let server = Server::start().await;
    let of = |sizes: &[usize]| {
        let ids: Vec<_> = (1..).take(sizes.len()).collect();
        let mut request = request("a-1", ANY, &ids);
        for (record, bytes) in request.records.iter_mut().zip(sizes) {
            record.data = vec![0; *bytes];
        }
        request
    };
    session(&server, vec![of(&[15 * MIB; 4])]).await.expect("taken");
    let told = too_large(&session(&server, vec![of(&[15 * MIB; 5])]).await.expect_err("refused"));
    assert_eq!(told.max, i32::try_from(64 * MIB).expect("small"));
    let status = session(&server, vec![of(&[18 * MIB])]).await.expect_err("refused");
    let name = format!("{ERRORS}.AppendRecordSizeExceededErrorDetails");
    let _: RecordSize = detail(&status, "streams: APPEND_RECORD_SIZE_EXCEEDED", &name);
}

/// Begins a session with this request; it ends when the sender is dropped.
async fn begin(
    server: &Server,
    request: &AppendRequest,
) -> (mpsc::Sender<bytes::Bytes>, tokio::task::JoinHandle<Status>) {
    let channel = connect(server).await;
    call(&channel, APPEND_SESSION, message(PLAIN, &request.encode_to_vec()))
}

/// Given a session that nearly fills what the server may hold, when others come, then large ones
/// are refused until it has ended, and small ones are not.
#[tokio::test]
async fn sessions_share_what_may_be_held() {
    let options = ServeOptions { held_bytes_max: 1_000_000, ..ServeOptions::default() };
    let server = Server::start_with(options).await;
    let large = || session(&server, vec![of_size("other-1", 300_000)]);
    // Polls: nobody is told when the first has arrived. Where another came before it, it is the
    // first that was refused, and it is begun again.
    let refused = async {
        loop {
            let (sender, answer) = begin(&server, &of_size("held-1", 900_000)).await;
            while !answer.is_finished() {
                if let Err(refused) = large().await
                    && !answer.is_finished()
                {
                    return (refused, sender, answer);
                }
            }
        }
    };
    let refused = tokio::time::timeout(PATIENCE, refused).await.expect("refused");
    let (refused, sender, answer) = refused;
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert_eq!(told(&refused).0, "server: SERVER_OVERLOADED");
    session(&server, vec![of_size("other-1", 1_000)]).await.expect("there is room for a small one");
    drop(sender);
    assert_eq!(ended(answer).await.code(), Code::Ok);
    large().await.expect("there is room again");
}

/// Given names and no events that are large, then they are counted as well.
#[tokio::test]
async fn names_of_streams_are_held_too() {
    let options = ServeOptions { held_bytes_max: 1_000_000, ..ServeOptions::default() };
    let server = Server::start_with(options).await;
    let name = |number: usize| format!("{number}-{}", "n".repeat(1000));
    let requests = (0..500).map(|number| of_size(&name(number), 1)).collect();
    let refused = session(&server, requests).await.expect_err("refused");
    assert_eq!(told(&refused).0, "server: SERVER_OVERLOADED");
    session(&server, vec![of_size(&name(0), 1)]).await.expect("nothing is held any more");
}

/// Given a session, or a message, that does not end, then the call ends and nothing is kept.
#[tokio::test]
async fn what_does_not_end_is_ended() {
    let arrival_time_max = Duration::from_millis(200);
    let server =
        Server::start_with(ServeOptions { arrival_time_max, ..ServeOptions::default() }).await;
    let (_sender, answer) = begin(&server, &of_size("slow-1", 10)).await;
    let half = RecordsRequest { records: vec![record_of("slow-1", 1)], checks: vec![] };
    let half = message(PLAIN, &half.encode_to_vec());
    let channel = connect(&server).await;
    let (_more, begun) = call(&channel, APPEND_RECORDS, half[..half.len() - 1].to_vec());
    for answer in [answer, begun] {
        let status = ended(answer).await;
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert_eq!(told(&status).0, "server: OPERATION_TIMEOUT");
    }
    assert_eq!(server.store.head().await.expect("head"), event_store::Position::START);
}
