//! UmaDB, asked over its gRPC: its messages as far as they are needed, over a channel that is set
//! up as that of its own client.
//!
//! Its client would bring a compiler of protocol buffers into every build. What is here does less
//! than that client: it converts nothing, and borrows what it reads from the message.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use event_store::NewEvent;
use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use super::{Program, Server, free_address, new_folder};

/// Where its program is.
const PROGRAM: &str = "VEZA_BENCH_UMADB";

const APPEND: &str = "/umadb.v1.DCB/Append";
const READ: &str = "/umadb.v1.DCB/Read";

const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// A running UmaDB, with the settings that it comes with.
pub struct UmaDb {
    /// Its name and version.
    pub version: String,
    server: Server,
}

impl UmaDb {
    /// Starts one below this folder; none where it is not installed.
    pub async fn start(folder: &Path) -> anyhow::Result<Option<Self>> {
        let Some(program) = Program::named(PROGRAM, "UmaDB").await? else {
            return Ok(None);
        };
        let folder = new_folder(folder, "umadb")?;
        let address = free_address()?;
        let arguments: [OsString; 4] = [
            "--listen".into(),
            address.to_string().into(),
            "--db-path".into(),
            folder.join("uma.db").into(),
        ];
        let server = program.start(&folder, address, &arguments).await?;
        Ok(Some(Self { version: program.version, server }))
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address
    }
}

/// A connection to it; clones share it.
#[derive(Clone)]
pub struct UmaClient(Grpc<Channel>);

impl UmaClient {
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .connect()
            .await?;
        Ok(Self(Grpc::new(channel)))
    }

    /// Appends events under a tag each, without a condition; the position of the last one.
    pub async fn append(
        &mut self,
        events: impl IntoIterator<Item = (String, NewEvent)>,
    ) -> anyhow::Result<u64> {
        let events = events.into_iter().map(|(tag, event)| Event {
            event_type: event.event_type.as_str().to_owned(),
            tags: vec![tag],
            data: event.data,
            uuid: event.id.0.to_string(),
        });
        let request = AppendRequest { events: events.collect() };
        self.0.ready().await?;
        let codec: ProstCodec<AppendRequest, AppendResponse> = ProstCodec::default();
        let path = PathAndQuery::from_static(APPEND);
        let answer = self.0.unary(tonic::Request::new(request), path, codec).await?;
        Ok(answer.into_inner().position)
    }

    /// How many events there are under this tag, each received; all events without one.
    pub async fn read(&mut self, tag: Option<&str>) -> anyhow::Result<usize> {
        let item = |tag: &str| QueryItem { tags: vec![tag.to_owned()] };
        let query = tag.map(|tag| Query { items: vec![item(tag)] });
        self.0.ready().await?;
        let codec: ProstCodec<ReadRequest, ReadResponse> = ProstCodec::default();
        let path = PathAndQuery::from_static(READ);
        let request = tonic::Request::new(ReadRequest { query });
        let mut messages = self.0.server_streaming(request, path, codec).await?.into_inner();
        let (mut count, mut last) = (0, 0);
        while let Some(message) = messages.message().await? {
            for event in message.events {
                ensure!(event.position > last, "events come in their order");
                last = event.position;
                event.event.context("a position has an event")?;
                count += 1;
            }
        }
        Ok(count)
    }
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(string, tag = "1")]
    event_type: String,
    #[prost(string, repeated, tag = "2")]
    tags: Vec<String>,
    #[prost(bytes = "bytes", tag = "3")]
    data: Bytes,
    #[prost(string, tag = "4")]
    uuid: String,
}

#[derive(Clone, PartialEq, Message)]
struct AppendRequest {
    #[prost(message, repeated, tag = "1")]
    events: Vec<Event>,
}

#[derive(Clone, PartialEq, Message)]
struct AppendResponse {
    #[prost(uint64, tag = "1")]
    position: u64,
}

#[derive(Clone, PartialEq, Message)]
struct QueryItem {
    #[prost(string, repeated, tag = "2")]
    tags: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Query {
    #[prost(message, repeated, tag = "1")]
    items: Vec<QueryItem>,
}

#[derive(Clone, PartialEq, Message)]
struct ReadRequest {
    #[prost(message, optional, tag = "1")]
    query: Option<Query>,
}

#[derive(Clone, PartialEq, Message)]
struct SequencedEvent {
    #[prost(uint64, tag = "1")]
    position: u64,
    #[prost(message, optional, tag = "2")]
    event: Option<Event>,
}

#[derive(Clone, PartialEq, Message)]
struct ReadResponse {
    #[prost(message, repeated, tag = "1")]
    events: Vec<SequencedEvent>,
}
