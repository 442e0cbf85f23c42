//! Every error, with the code and the details that official clients look for.

use event_store::ExpectedRevision;
use prost::Message;
use tonic::{Code, Status};

use super::sent::{
    ANY, APPEND_RECORDS, APPEND_SESSION, AppendRequest, Check, EXISTS, NO_STREAM, Record,
    TOMBSTONED, check, detail, record, record_of, records, request, session, told,
};
use crate::raw::{PLAIN, call, connect, ended, message};
use crate::server::{Server, event, stream};

const ERRORS: &str = "kurrentdb.protocol.v2.streams.errors";

#[derive(Clone, PartialEq, prost::Message)]
struct OfStream {
    #[prost(string, tag = "1")]
    stream: String,
    #[prost(sint64, tag = "2")]
    expected: i64,
    #[prost(sint64, tag = "3")]
    actual: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct BadRequest {
    #[prost(message, repeated, tag = "1")]
    fields: Vec<BadField>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct BadField {
    #[prost(string, tag = "1")]
    field: String,
    #[prost(string, tag = "2")]
    description: String,
}

async fn refused(server: &Server, requests: Vec<AppendRequest>) -> Status {
    session(server, requests).await.expect_err("a refusal")
}

/// The field that is told to be bad.
fn bad_field(status: &Status) -> String {
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let told: BadRequest = detail(status, "server: BAD_REQUEST", "google.rpc.BadRequest");
    let [BadField { field, description }] = &told.fields[..] else { panic!("{told:?}") };
    assert!(!description.is_empty());
    field.clone()
}

#[tokio::test]
async fn of_streams_that_are_not_as_expected_the_first_is_told() {
    let server = Server::start().await;
    for name in ["a-1", "b-1"] {
        let some = vec![event(100), event(101)];
        server.store.append(&stream(name), ExpectedRevision::Any, some).await.expect("append");
    }
    server.store.delete_stream(&stream("b-1"), ExpectedRevision::Any).await.expect("delete");
    for (name, expected, actual) in [
        ("a-1", NO_STREAM, 1),
        ("a-1", 0, 1),
        ("a-1", 7, 1),
        ("b-1", EXISTS, 1),
        ("none-1", EXISTS, -1),
        ("none-1", 0, -1),
    ] {
        let last = request("none-2", 5, &[3]);
        let requests = vec![request("free-1", ANY, &[1]), request(name, expected, &[2]), last];
        let status = refused(&server, requests).await;
        assert_eq!(status.code(), Code::FailedPrecondition);
        let conflict = format!("{ERRORS}.StreamRevisionConflictErrorDetails");
        let told: OfStream = detail(&status, "streams: STREAM_REVISION_CONFLICT", &conflict);
        assert_eq!(told, OfStream { stream: name.to_owned(), expected, actual });
        let message = format!(
            "Append failed due to a revision conflict on stream '{name}'. \
             Expected revision: {expected}. Actual revision: {actual}."
        );
        assert_eq!(status.message(), message);
    }
}

#[tokio::test]
async fn a_stream_that_is_deleted_for_good_is_told() {
    let server = Server::start().await;
    let any = ExpectedRevision::Any;
    server.store.tombstone_stream(&stream("gone-1"), any).await.expect("tombstone");
    for expected in [ANY, NO_STREAM, EXISTS, 0] {
        let requests = vec![request("gone-1", expected, &[1]), request("none-1", EXISTS, &[2])];
        let status = refused(&server, requests).await;
        assert_eq!(status.code(), Code::FailedPrecondition);
        let tombstoned = format!("{ERRORS}.StreamTombstonedErrorDetails");
        let told: OfStream = detail(&status, "streams: STREAM_TOMBSTONED", &tombstoned);
        assert_eq!(told.stream, "gone-1");
        assert!(status.message().contains("has been tombstoned"), "{status}");
    }
}

/// Given events of which some were appended before, then it is no retry, and told as a conflict.
#[tokio::test]
async fn a_session_that_is_known_in_part_is_a_conflict() {
    let server = Server::start().await;
    session(&server, vec![request("a-1", ANY, &[1])]).await.expect("append");
    let status = refused(&server, vec![request("a-1", ANY, &[1, 2])]).await;
    let conflict = format!("{ERRORS}.StreamRevisionConflictErrorDetails");
    let told: OfStream = detail(&status, "streams: STREAM_REVISION_CONFLICT", &conflict);
    assert_eq!(told, OfStream { stream: "a-1".to_owned(), expected: ANY, actual: 0 });
}

#[tokio::test]
async fn a_session_has_requests_each_of_another_stream() {
    let server = Server::start().await;
    let status = refused(&server, vec![]).await;
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(told(&status), ("streams: APPEND_SESSION_NO_REQUESTS".to_owned(), None));
    for twice in ["a-1", "A-1"] {
        let requests = vec![request("a-1", ANY, &[1]), request(twice, ANY, &[2])];
        let status = refused(&server, requests).await;
        assert_eq!(status.code(), Code::Aborted);
        let already = format!("{ERRORS}.StreamAlreadyInAppendSessionErrorDetails");
        let error = "streams: STREAM_ALREADY_IN_APPEND_SESSION";
        let told: OfStream = detail(&status, error, &already);
        assert_eq!(told.stream, twice);
        assert!(status.message().contains("is already part of this append session"), "{status}");
    }
}

#[tokio::test]
async fn what_a_request_lacks_or_has_wrongly_is_told() {
    let server = Server::start().await;
    for (field, wrong) in [
        ("stream", request("", ANY, &[1])),
        ("stream", request("$$", ANY, &[1])),
        ("stream", request(&"n".repeat(1025), ANY, &[1])),
        ("records", request("a-1", ANY, &[])),
        ("expected_revision", request("a-1", TOMBSTONED, &[1])),
        ("expected_revision", request("a-1", -3, &[1])),
        ("expected_revision", request("a-1", i64::MIN, &[1])),
    ] {
        assert_eq!(bad_field(&refused(&server, vec![wrong.clone()]).await), field, "{wrong:?}");
    }
    type Change = fn(&mut Record);
    let changes: [(&str, Change); 12] = [
        ("records.record_id", |it| it.id = Some(String::new())),
        ("records.record_id", |it| it.id = Some("not-a-uuid".to_owned())),
        ("records.record_id", |it| it.id = Some(uuid::Uuid::nil().to_string())),
        ("records.schema.format", |it| it.schema = None),
        ("records.schema.format", |it| it.schema.as_mut().unwrap().format = 0),
        ("records.schema.format", |it| it.schema.as_mut().unwrap().format = 99),
        ("records.schema.name", |it| it.schema.as_mut().unwrap().name = String::new()),
        ("records.schema.name", |it| it.schema.as_mut().unwrap().name = "n".repeat(1025)),
        ("records.schema.name", |it| it.schema.as_mut().unwrap().name = "two words".to_owned()),
        ("records.schema.name", |it| it.schema.as_mut().unwrap().name = "Line\n".to_owned()),
        // The sign of the Ångström, which is written as the letter.
        ("records.schema.name", |it| it.schema.as_mut().unwrap().name = "\u{212b}".to_owned()),
        ("records.schema.id", |it| it.schema.as_mut().unwrap().id = Some("1".to_owned())),
    ];
    for (field, change) in changes {
        let mut wrong = record_of("a-1", 1);
        change(&mut wrong);
        let status = records(&server, vec![wrong.clone()], vec![]).await.expect_err("a refusal");
        assert_eq!(bad_field(&status), field, "{wrong:?}");
        let mut requests = vec![request("b-1", ANY, &[1]), request("a-1", ANY, &[2])];
        requests[1].records.push(Record { stream: String::new(), ..wrong });
        assert_eq!(bad_field(&refused(&server, requests).await), field);
    }
    let mut wrong = record_of("a-1", 1);
    let number = prost_types::value::Kind::NumberValue(f64::NAN);
    wrong.properties.insert("n".to_owned(), prost_types::Value { kind: Some(number) });
    let status = records(&server, vec![wrong], vec![]).await.expect_err("a refusal");
    assert_eq!(bad_field(&status), "records.properties");
}

#[tokio::test]
async fn what_a_check_lacks_or_has_wrongly_is_told() {
    let server = Server::start().await;
    let one = || vec![record_of("a-1", 1)];
    for (field, sent, checks) in [
        ("records", vec![], vec![check("a-1", NO_STREAM)]),
        ("stream", vec![record(1)], vec![]),
        ("checks", one(), vec![Check::default()]),
        ("checks", one(), vec![check("b-1", NO_STREAM), check("b-1", EXISTS)]),
        ("checks", one(), vec![check("a-1", TOMBSTONED)]),
        ("checks.expected_state", one(), vec![check("b-1", ANY)]),
        ("expected_revision", one(), vec![check("b-1", -100)]),
        ("stream", one(), vec![check("", NO_STREAM)]),
    ] {
        let status = records(&server, sent, checks).await.expect_err("a refusal");
        assert_eq!(bad_field(&status), field, "{status}");
    }
}

/// Given bytes that are no request, then the call says so and appends nothing.
#[tokio::test]
async fn what_is_no_request_is_told() {
    let server = Server::start().await;
    let channel = connect(&server).await;
    let whole = request("a-1", ANY, &[1]).encode_to_vec();
    let no_text = [&[0x0a, 2, 0xff, 0xfe][..], &whole[5..]].concat();
    let requests = |second: &[u8]| [message(PLAIN, &whole), message(PLAIN, second)].concat();
    for (path, bytes) in [
        (APPEND_SESSION, requests(&no_text)),
        (APPEND_SESSION, requests(&[0xff; 40])),
        (APPEND_SESSION, message(PLAIN, &[0x12, 0].repeat(300_000))),
        (APPEND_RECORDS, message(PLAIN, &[0x0a, 0].repeat(300_000))),
        (APPEND_RECORDS, message(PLAIN, &[0x12, 0].repeat(300_000))),
        (APPEND_RECORDS, message(PLAIN, &[0x0a, 4, 0x2a, 2, 0xff, 0xfe])),
        (APPEND_RECORDS, Vec::new()),
        (APPEND_RECORDS, vec![0, 0, 0]),
        (APPEND_RECORDS, {
            let one =
                super::sent::RecordsRequest { records: vec![record_of("a-1", 1)], checks: vec![] };
            message(PLAIN, &one.encode_to_vec()).repeat(2)
        }),
    ] {
        let (sender, answer) = call(&channel, path, bytes);
        drop(sender);
        let status = ended(answer).await;
        bad_field(&status);
    }
    assert_eq!(server.store.head().await.expect("head"), event_store::Position::START);
}
