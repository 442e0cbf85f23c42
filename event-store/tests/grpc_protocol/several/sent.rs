//! The messages of appends to several streams, as clients write them, and what is told of errors.

use std::collections::HashMap;

use prost::Message;
use prost_types::{Any, Value};
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use crate::raw;
use crate::server::Server;

pub const APPEND_SESSION: &str = "/kurrentdb.protocol.v2.streams.StreamsService/AppendSession";
pub const APPEND_RECORDS: &str = "/kurrentdb.protocol.v2.streams.StreamsService/AppendRecords";

pub const NO_STREAM: i64 = -1;
pub const ANY: i64 = -2;
pub const EXISTS: i64 = -4;
pub const SOFT_DELETED: i64 = -5;
pub const TOMBSTONED: i64 = -6;

pub const JSON: i32 = 1;
pub const PROTOBUF: i32 = 2;
pub const BYTES: i32 = 4;

#[derive(Clone, PartialEq, prost::Message)]
pub struct AppendRequest {
    #[prost(string, tag = "1")]
    pub stream: String,
    #[prost(message, repeated, tag = "2")]
    pub records: Vec<Record>,
    #[prost(sint64, optional, tag = "3")]
    pub expected: Option<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Record {
    #[prost(string, optional, tag = "1")]
    pub id: Option<String>,
    #[prost(map = "string, message", tag = "2")]
    pub properties: HashMap<String, Value>,
    #[prost(message, optional, tag = "3")]
    pub schema: Option<Schema>,
    #[prost(bytes = "vec", tag = "4")]
    pub data: Vec<u8>,
    #[prost(string, tag = "5")]
    pub stream: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Schema {
    #[prost(int32, tag = "1")]
    pub format: i32,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, optional, tag = "3")]
    pub id: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Appended {
    #[prost(message, repeated, tag = "1")]
    pub streams: Vec<StreamRevision>,
    #[prost(sint64, tag = "2")]
    pub position: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamRevision {
    #[prost(string, tag = "1")]
    pub stream: String,
    #[prost(sint64, tag = "2")]
    pub revision: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RecordsRequest {
    #[prost(message, repeated, tag = "1")]
    pub records: Vec<Record>,
    #[prost(message, repeated, tag = "2")]
    pub checks: Vec<Check>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Check {
    #[prost(message, optional, tag = "1")]
    pub state: Option<StateCheck>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StateCheck {
    #[prost(string, tag = "1")]
    pub stream: String,
    #[prost(sint64, tag = "2")]
    pub expected: i64,
}

/// A record whose id follows from a number.
pub fn record(number: u64) -> Record {
    Record {
        id: Some(uuid::Uuid::from_u128(u128::from(number) + 1).to_string()),
        properties: HashMap::new(),
        schema: Some(Schema { format: JSON, name: "Numbered".to_owned(), id: None }),
        data: format!("{{\"number\": {number}}}").into_bytes(),
        stream: String::new(),
    }
}

/// The same for a stream of its own.
pub fn record_of(stream: &str, number: u64) -> Record {
    Record { stream: stream.to_owned(), ..record(number) }
}

/// Records of these numbers for one stream.
pub fn request(stream: &str, expected: i64, numbers: &[u64]) -> AppendRequest {
    let records = numbers.iter().map(|&number| record(number)).collect();
    AppendRequest { stream: stream.to_owned(), records, expected: Some(expected) }
}

pub fn check(stream: &str, expected: i64) -> Check {
    Check { state: Some(StateCheck { stream: stream.to_owned(), expected }) }
}

async fn grpc(server: &Server) -> Grpc<Channel> {
    let mut grpc = Grpc::new(raw::connect(server).await);
    grpc.ready().await.expect("ready");
    grpc
}

pub async fn session(server: &Server, requests: Vec<AppendRequest>) -> Result<Appended, Status> {
    let codec = ProstCodec::<AppendRequest, Appended>::default();
    let path = http::uri::PathAndQuery::from_static(APPEND_SESSION);
    let requests = Request::new(tokio_stream::iter(requests));
    let answer = grpc(server).await.client_streaming(requests, path, codec).await?;
    Ok(answer.into_inner())
}

pub async fn records(
    server: &Server,
    records: Vec<Record>,
    checks: Vec<Check>,
) -> Result<Appended, Status> {
    let codec = ProstCodec::<RecordsRequest, Appended>::default();
    let path = http::uri::PathAndQuery::from_static(APPEND_RECORDS);
    let request = Request::new(RecordsRequest { records, checks });
    Ok(grpc(server).await.unary(request, path, codec).await?.into_inner())
}

/// The streams and their last revisions.
pub fn revisions(appended: &Appended) -> Vec<(&str, i64)> {
    appended.streams.iter().map(|it| (it.stream.as_str(), it.revision)).collect()
}

#[derive(Clone, PartialEq, prost::Message)]
struct Details {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Info {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
}

/// What a refusal tells: the name of the error and whose it is; and of the message that is last,
/// its name and bytes.
pub fn told(status: &Status) -> (String, Option<(String, Vec<u8>)>) {
    let details = Details::decode(status.details()).expect("details");
    assert_eq!(details.code, i32::from(status.code()), "{status}");
    assert_eq!(details.message, status.message());
    let name = |any: &Any| any.type_url.strip_prefix("type.googleapis.com/").map(str::to_owned);
    let (info, rest) = details.details.split_first().expect("a detail");
    assert_eq!(name(info).as_deref(), Some("google.rpc.ErrorInfo"));
    let Info { reason, domain } = Info::decode(&info.value[..]).expect("a name");
    assert!(rest.len() <= 1);
    let last = rest.first().map(|any| (name(any).expect("a name"), any.value.clone()));
    (format!("{domain}: {reason}"), last)
}

/// The bytes of the last detail, which has this name.
pub fn detail<T: Message + Default>(status: &Status, error: &str, name: &str) -> T {
    let (told, last) = told(status);
    assert_eq!(told, error, "{status}");
    let (last, bytes) = last.expect("a detail");
    assert_eq!(last, name, "{status}");
    T::decode(&bytes[..]).expect("the detail")
}
