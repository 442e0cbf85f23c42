//! The Streams service's reads, as a client of a few messages asks for them, which decides itself
//! what it takes and when.

use std::time::Duration;

use event_store::{ExpectedRevision, NewEvent};
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::server::{Server, event, stream};
use crate::trailers::Name;

/// How long anything may take that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The path of the call.
pub const READ: &str = "/event_store.client.streams.Streams/Read";

#[derive(Clone, PartialEq, prost::Message)]
pub struct Ask {
    #[prost(message, optional, tag = "1")]
    pub options: Option<Options>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Options {
    #[prost(message, optional, tag = "1")]
    stream: Option<OfStream>,
    #[prost(message, optional, tag = "2")]
    all: Option<OfAll>,
    #[prost(int32, tag = "3")]
    direction: i32,
    #[prost(uint64, optional, tag = "5")]
    count: Option<u64>,
    #[prost(message, optional, tag = "6")]
    subscription: Option<()>,
    #[prost(message, optional, tag = "7")]
    filter: Option<Kept>,
    #[prost(message, optional, tag = "8")]
    no_filter: Option<()>,
    #[prost(message, optional, tag = "9")]
    uuid: Option<UuidForm>,
    #[prost(message, optional, tag = "10")]
    control: Option<Control>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OfStream {
    #[prost(message, optional, tag = "1")]
    name: Option<Name>,
    #[prost(uint64, optional, tag = "2")]
    revision: Option<u64>,
    #[prost(message, optional, tag = "3")]
    start: Option<()>,
    #[prost(message, optional, tag = "4")]
    end: Option<()>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Control {
    #[prost(uint32, tag = "1")]
    compatibility: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OfAll {
    #[prost(message, optional, tag = "2")]
    start: Option<()>,
    #[prost(message, optional, tag = "3")]
    end: Option<()>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Kept {
    #[prost(message, optional, tag = "1")]
    stream: Option<Expression>,
    #[prost(uint32, optional, tag = "3")]
    window: Option<u32>,
    #[prost(uint32, tag = "5")]
    windows: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Expression {
    #[prost(string, repeated, tag = "2")]
    prefixes: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct UuidForm {
    #[prost(message, optional, tag = "2")]
    text: Option<()>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Reply {
    #[prost(message, optional, tag = "1")]
    pub event: Option<ReadEvent>,
    #[prost(message, optional, tag = "3")]
    pub checkpoint: Option<Reached>,
    #[prost(uint64, optional, tag = "5")]
    pub first: Option<u64>,
    #[prost(uint64, optional, tag = "6")]
    pub last: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Reached {
    #[prost(uint64, tag = "1")]
    pub commit: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadEvent {
    #[prost(message, optional, tag = "1")]
    pub event: Option<Recorded>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Recorded {
    #[prost(uint64, tag = "3")]
    pub revision: u64,
    #[prost(bytes = "vec", tag = "8")]
    pub data: Vec<u8>,
}

impl Options {
    /// Follows the log from its start.
    pub fn follow() -> Self {
        let all = Some(OfAll { start: Some(()), end: None });
        Self { all, subscription: Some(()), ..Self::common() }
    }

    /// Reads so many events of a stream.
    pub fn stream(name: &str, count: u64) -> Self {
        let name = Some(Name { stream_name: name.as_bytes().to_vec() });
        let stream = Some(OfStream { name, start: Some(()), ..OfStream::default() });
        Self { stream, count: Some(count), ..Self::common() }
    }

    /// The same from this revision on; `None` is the end.
    pub fn from(mut self, revision: Option<u64>) -> Self {
        if let Some(of) = &mut self.stream {
            let end = revision.is_none().then_some(());
            *of = OfStream { name: of.name.take(), start: None, revision, end };
        }
        self
    }

    /// The same from new to old.
    pub fn backward(self) -> Self {
        Self { direction: 1, ..self }
    }

    /// The same, told the bounds of the stream.
    pub fn bounded(self) -> Self {
        Self { control: Some(Control { compatibility: 1 }), ..self }
    }

    /// Reads so many events of the log, from its start on.
    pub fn forwards(count: u64) -> Self {
        let all = Some(OfAll { start: Some(()), end: None });
        Self { all, count: Some(count), ..Self::common() }
    }

    /// Reads so many events of the log, from its end on.
    pub fn backwards(count: u64) -> Self {
        let all = Some(OfAll { start: None, end: Some(()) });
        Self { all, direction: 1, count: Some(count), ..Self::common() }
    }

    /// Only those of streams whose names begin with one of these; checkpoints come never, nearly.
    pub fn of_streams(self, prefixes: Vec<String>) -> Self {
        let filter =
            Kept { stream: Some(Expression { prefixes }), window: Some(u32::MAX), windows: 1 };
        Self { filter: Some(filter), no_filter: None, ..self }
    }

    fn common() -> Self {
        let (no_filter, uuid) = (Some(()), Some(UuidForm { text: Some(()) }));
        Self { no_filter, uuid, ..Self::default() }
    }
}

/// A connection whose calls take this many bytes ahead of what was read of them.
pub async fn connect(server: &Server, window: u32) -> Grpc<Channel> {
    let endpoint = Endpoint::new(format!("http://{}", server.address())).expect("endpoint");
    let endpoint =
        endpoint.initial_stream_window_size(window).initial_connection_window_size(64 << 20);
    let mut grpc =
        Grpc::new(endpoint.connect().await.expect("connect")).max_decoding_message_size(32 << 20);
    grpc.ready().await.expect("ready");
    grpc
}

/// Asks, and waits for the beginning of the answer.
pub async fn ask(grpc: &Grpc<Channel>, options: Options) -> Result<Streaming<Reply>, Status> {
    let mut grpc = grpc.clone();
    grpc.ready().await.expect("ready");
    let codec = tonic_prost::ProstCodec::<Ask, Reply>::default();
    let path = http::uri::PathAndQuery::from_static(READ);
    let asked = grpc.server_streaming(Request::new(Ask { options: Some(options) }), path, codec);
    Ok(tokio::time::timeout(PATIENCE, asked).await.expect("in time")?.into_inner())
}

/// The next event of a call.
pub async fn next(call: &mut Streaming<Reply>) -> Option<Recorded> {
    loop {
        let reply = tokio::time::timeout(PATIENCE, call.message()).await.expect("in time");
        match reply.expect("reply")?.event {
            Some(event) => return event.event,
            None => continue,
        }
    }
}

/// Appends so many events of this size to `heap-1`, some at a time.
pub async fn fill(server: &Server, events: u64, bytes: usize) {
    let data = |number: u64| vec![b'a' + u8::try_from(number % 26).expect("small"); bytes];
    let offered: Vec<_> =
        (0..events).map(|number| NewEvent { data: data(number).into(), ..event(number) }).collect();
    for some in offered.chunks((1_000_000 / bytes).clamp(1, 10_000)) {
        let heap = stream("heap-1");
        let written = server.store.append(&heap, ExpectedRevision::Any, some.to_vec()).await;
        written.expect("append");
    }
}
