//! Records: as they stand in the log, and with checks of any streams.

use event_store::{ContentType, ExpectedRevision, ReadStream, RecordedEvent};
use futures::TryStreamExt;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde_json::json;
use tonic::Code;

use super::sent::{
    BYTES, EXISTS, NO_STREAM, PROTOBUF, Record, SOFT_DELETED, Schema, TOMBSTONED, check, detail,
    record, record_of, records, revisions,
};
use crate::server::{Server, event, stream};

const UUID: &str = "5a7b0dd4-42f4-4bd6-a1e7-5b8a1f6d4bb0";

async fn events(server: &Server, name: &str) -> Vec<RecordedEvent> {
    let events = server.store.read_stream(ReadStream::forward(stream(name))).await.expect("read");
    events.try_collect().await.expect("events")
}

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

#[tokio::test]
async fn records_may_interleave_their_streams() {
    let server = Server::start().await;
    let sent = [("b-1", 1), ("a-1", 2), ("b-1", 3)].map(|(name, it)| record_of(name, it)).to_vec();
    let appended = records(&server, sent.clone(), vec![]).await.expect("append");
    assert_eq!(revisions(&appended), [("b-1", 1), ("a-1", 0)]);
    assert_eq!(records(&server, sent, vec![]).await.expect("the same"), appended);
    let data: Vec<_> = events(&server, "b-1").await.into_iter().map(|it| it.data).collect();
    assert_eq!(data, [record(1).data, record(3).data]);
}

/// What is known about a record is told to clients of the first version as the official server
/// tells it.
#[tokio::test]
async fn properties_and_the_schema_become_metadata() {
    let server = Server::start().await;
    let text = |text: &str| value(Kind::StringValue(text.to_owned()));
    let list = ListValue { values: vec![value(Kind::NullValue(0)), text("\u{1}\"é")] };
    let fields = [("in".to_owned(), value(Kind::ListValue(list)))].into();
    let properties = [
        ("user", text("ann")),
        ("whole", value(Kind::NumberValue(-7.0))),
        ("part", value(Kind::NumberValue(0.5))),
        ("yes", value(Kind::BoolValue(true))),
        ("nested", value(Kind::StructValue(Struct { fields }))),
        // Nothing of the client's takes the place of what the record says of itself.
        ("$schema.name", text("Forged")),
        ("$schema.format", text("Forged")),
    ];
    let properties = properties.map(|(name, value)| (name.to_owned(), value)).into();
    let full = Record { properties, ..record_of("a-1", 1) };
    let mut binary = record_of("a-1", 2);
    binary.id = None;
    binary.schema =
        Some(Schema { format: PROTOBUF, name: "été.v-1".into(), id: Some(UUID.into()) });
    let mut bytes = record_of("a-1", 3);
    bytes.schema.as_mut().expect("a schema").format = BYTES;
    records(&server, vec![full, binary, bytes], vec![]).await.expect("append");
    let [full, binary, bytes] = &events(&server, "a-1").await[..] else { panic!("three") };
    let metadata = |event: &RecordedEvent| -> serde_json::Value {
        serde_json::from_slice(&event.metadata).expect("JSON")
    };
    let expected = json!({
        "user": "ann", "whole": -7, "part": 0.5, "yes": true,
        "nested": { "in": [null, "\u{1}\"é"] },
        "$schema.name": "Numbered", "$schema.format": "Json",
    });
    assert_eq!(metadata(full), expected);
    assert_eq!((full.event_type.as_str(), full.content_type), ("Numbered", ContentType::Json));
    let expected =
        json!({ "$schema.name": "été.v-1", "$schema.format": "Protobuf", "$schema.id": UUID });
    assert_eq!(metadata(binary), expected);
    assert_eq!((binary.event_type.as_str(), binary.content_type), ("été.v-1", ContentType::Binary));
    assert!(!binary.id.0.is_nil(), "it has an id though none was sent");
    assert_eq!(metadata(bytes)["$schema.format"], "Bytes");
}

#[derive(Clone, PartialEq, prost::Message)]
struct Violations {
    #[prost(message, repeated, tag = "1")]
    violations: Vec<Violation>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Violation {
    #[prost(int32, tag = "1")]
    check: i32,
    #[prost(message, optional, tag = "2")]
    state: Option<State>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct State {
    #[prost(string, tag = "1")]
    stream: String,
    #[prost(sint64, tag = "2")]
    expected: i64,
    #[prost(sint64, tag = "3")]
    actual: i64,
}

fn violations(refused: &tonic::Status) -> Vec<(i32, String, i64, i64)> {
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let name = "kurrentdb.protocol.v2.streams.errors.AppendConsistencyViolationErrorDetails";
    let told: Violations = detail(refused, "streams: APPEND_CONSISTENCY_VIOLATION", name);
    let flat = |it: Violation| {
        let state = it.state.expect("a state");
        (it.check, state.stream, state.expected, state.actual)
    };
    told.violations.into_iter().map(flat).collect()
}

/// Streams at a revision, deleted, and deleted for good.
async fn in_some_state(server: &Server) {
    let any = ExpectedRevision::Any;
    for name in ["at-1", "deleted-1", "gone-1"] {
        let two = vec![event(100), event(101)];
        server.store.append(&stream(name), any, two).await.expect("append");
    }
    server.store.delete_stream(&stream("deleted-1"), any).await.expect("delete");
    server.store.tombstone_stream(&stream("gone-1"), any).await.expect("tombstone");
}

#[tokio::test]
async fn checks_hold_of_streams_that_are_not_written() {
    let server = Server::start().await;
    in_some_state(&server).await;
    let holding = [
        ("at-1", EXISTS),
        ("at-1", 1),
        ("deleted-1", NO_STREAM),
        ("deleted-1", SOFT_DELETED),
        ("gone-1", TOMBSTONED),
        ("gone-1", NO_STREAM),
        ("none-1", NO_STREAM),
    ];
    for (number, (name, expected)) in (0..).zip(holding) {
        let sent = vec![record_of("to-1", number)];
        records(&server, sent, vec![check(name, expected)]).await.expect(name);
    }
    assert_eq!(events(&server, "to-1").await.len(), holding.len());
}

#[tokio::test]
async fn all_checks_that_fail_are_told() {
    let server = Server::start().await;
    in_some_state(&server).await;
    let checks =
        [("none-1", 3), ("at-1", 1), ("deleted-1", EXISTS), ("gone-1", EXISTS), ("to-1", 0)];
    let checks = checks.map(|(name, expected)| check(name, expected)).to_vec();
    let refused = records(&server, vec![record_of("to-1", 1)], checks).await.expect_err("refused");
    let expected = [
        (0, "none-1", 3, -1),
        (2, "deleted-1", EXISTS, SOFT_DELETED),
        (3, "gone-1", EXISTS, TOMBSTONED),
        (4, "to-1", 0, -1),
    ];
    let told = violations(&refused);
    assert_eq!(told, expected.map(|(at, name, is, was)| (at, name.to_owned(), is, was)));
    // Of those that can't be told in a trailer, nothing is said but how many they are.
    let many = (0..900).map(|number| check(&format!("none-{number}"), EXISTS)).collect();
    let refused = records(&server, vec![record_of("to-1", 1)], many).await.expect_err("refused");
    let some = violations(&refused);
    assert!((20..900).contains(&some.len()), "{}", some.len());
    assert!(refused.message().contains("900"), "{refused}");
}

#[tokio::test]
async fn a_stream_that_is_deleted_for_good_takes_no_record() {
    let server = Server::start().await;
    in_some_state(&server).await;
    let to_gone = || vec![record_of("at-1", 1), record_of("gone-1", 2)];
    let refused = records(&server, to_gone(), vec![]).await.expect_err("refused");
    let (told, _) = super::sent::told(&refused);
    assert_eq!(told, "streams: STREAM_TOMBSTONED");
    let checks = vec![check("gone-1", NO_STREAM)];
    let refused = records(&server, to_gone(), checks).await.expect_err("refused");
    assert_eq!(violations(&refused), [(0, "gone-1".to_owned(), NO_STREAM, TOMBSTONED)]);
    assert_eq!(events(&server, "at-1").await.len(), 2);
}

/// Given records of which one is in the log already, then it is no retry.
#[tokio::test]
async fn records_that_are_known_in_part_are_refused() {
    let server = Server::start().await;
    records(&server, vec![record_of("a-1", 1)], vec![]).await.expect("append");
    let sent = vec![record_of("a-1", 1), record_of("b-1", 2)];
    let refused = records(&server, sent, vec![]).await.expect_err("refused");
    assert_eq!(violations(&refused), []);
}
