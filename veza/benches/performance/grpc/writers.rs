//! Who appends: an event after the other, to a new stream each.
//!
//! A writer looks whether its stream has grown by the event: an event that the store takes for one
//! sent again would be answered as well, without a write.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use event_store::{ClientStore, EventStore as _, ExpectedRevision, StreamName};
use eventstore::{
    AppendToStreamOptions, BatchAppendClient, BatchAppendOptions, Client, EventData,
    ExpectedRevision as AnyRevision,
};

use super::official;
use crate::events::{EVENT_TYPE, Events, stream};
use crate::load::{Call, Caller, Measured, closed_loop, on_a_thread};
use crate::other_stores::{SierraWriter, UmaClient};
use crate::scale::Span;

/// A way to append to a server of ours.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// `eventstore`, as its documentation shows it.
    Official,
    /// `eventstore`, by its one stream of all appends.
    Batch,
    /// The port, which appends in a session of the same crate.
    Port,
}

/// The writers: how many, the number of the first one's stream, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Writers {
    pub count: usize,
    pub first: usize,
    pub span: Span,
}

impl Writers {
    /// Over one client of a server of ours, at any revision, as is its default.
    pub async fn append(self, way: Way, url: &str) -> anyhow::Result<Measured> {
        let url = url.to_owned();
        on_a_thread(move || async move {
            let client = AnyClient::connect(way, &url).await?;
            let writer = |number| Writer {
                client: client.clone(),
                stream: stream(number),
                events: Events::new(number as u64),
                written: 0,
            };
            closed_loop(self.numbers().map(writer).collect(), self.span).await
        })
        .await
    }

    /// Over one client of UmaDB; a stream is a tag.
    pub async fn append_to_umadb(self, address: SocketAddr) -> anyhow::Result<Measured> {
        on_a_thread(move || async move {
            let client = UmaClient::connect(address).await?;
            let writer = |number| UmaWriter {
                client: client.clone(),
                stream: stream(number),
                events: Events::new(number as u64),
                last: 0,
            };
            closed_loop(self.numbers().map(writer).collect(), self.span).await
        })
        .await
    }

    /// Over a connection each to SierraDB, at the revision that the stream has.
    pub async fn append_to_sierradb(self, address: SocketAddr) -> anyhow::Result<Measured> {
        on_a_thread(move || async move {
            let mut writers = Vec::new();
            for number in self.numbers() {
                let writer = SierraWriter::connect(address, stream(number)).await?;
                writers.push((writer, Events::new(number as u64)));
            }
            closed_loop(writers, self.span).await
        })
        .await
    }

    fn numbers(self) -> std::ops::Range<usize> {
        self.first..self.first + self.count
    }
}

#[derive(Clone)]
enum AnyClient {
    Official(Box<Client>),
    Batch(Arc<BatchAppendClient>),
    Port(ClientStore),
}

impl AnyClient {
    /// A client that is connected, and whose work the runtime around it does.
    async fn connect(way: Way, url: &str) -> anyhow::Result<Self> {
        Ok(match way {
            Way::Official => Self::Official(Box::new(official(url).await?)),
            Way::Batch => Self::Batch(Arc::new(batch(url).await?)),
            Way::Port => {
                let store = ClientStore::new(url)?;
                store.head().await?;
                Self::Port(store)
            }
        })
    }
}

pub async fn batch(url: &str) -> anyhow::Result<BatchAppendClient> {
    Ok(official(url).await?.batch_append(&BatchAppendOptions::default()).await?)
}

struct Writer {
    client: AnyClient,
    stream: StreamName,
    events: Events,
    written: u64,
}

impl Caller for Writer {
    async fn call(&mut self, _call: Call) -> anyhow::Result<()> {
        let (stream, event) = (self.stream.as_str(), self.events.next());
        let of_official = || EventData::binary(EVENT_TYPE, event.data.clone()).id(event.id.0);
        let revision = match &self.client {
            AnyClient::Official(client) => {
                let options = AppendToStreamOptions::default();
                let written = client.append_to_stream(stream, &options, of_official()).await?;
                Some(written.next_expected_version)
            }
            AnyClient::Batch(client) => {
                let events = vec![of_official()];
                client.append_to_stream(stream, AnyRevision::Any, events).await?.current_revision()
            }
            AnyClient::Port(store) => {
                let any = ExpectedRevision::Any;
                let appended = store.append(&self.stream, any, vec![event]).await?;
                appended.last_revision.map(|revision| revision.get())
            }
        };
        let revision = revision.context("the stream has events")?;
        ensure!(revision == self.written, "{stream} is at {revision}, not at {}", self.written);
        self.written += 1;
        Ok(())
    }
}

struct UmaWriter {
    client: UmaClient,
    stream: StreamName,
    events: Events,
    last: u64,
}

impl Caller for UmaWriter {
    async fn call(&mut self, _call: Call) -> anyhow::Result<()> {
        let tagged = (self.stream.as_str().to_owned(), self.events.next());
        let position = self.client.append([tagged]).await?;
        ensure!(position > self.last, "an event comes behind those of before");
        self.last = position;
        Ok(())
    }
}

impl Caller for (SierraWriter, Events) {
    async fn call(&mut self, _call: Call) -> anyhow::Result<()> {
        let event = self.1.next();
        self.0.append(&event).await
    }
}
