//! The event store over gRPC, asked by the official client and by the port's own adapter on it.

use std::path::Path;
use std::time::Instant;

use anyhow::ensure;
use event_store::{
    ClientStore, EmbeddedOptions, EmbeddedStore, EventStore as _, ExpectedRevision, StreamName,
};
use eventstore::{AppendToStreamOptions, Client, EventData, ReadAllOptions, ReadStreamOptions};

use crate::events::{EVENT_BYTES, EVENT_TYPE, Events, STREAMS, fill, stream, streams};
use crate::load::{Call, Caller, Measured, closed_loop, on_a_thread};
use crate::machine::scratch;
use crate::platform::EventStoreServer;
use crate::raw_file::{segments, sequential_read, sync_times, synced_batches};
use crate::scale::{Scale, Span};
use crate::table::Better::{Higher, Lower};
use crate::table::{Row, TargetOf, per_second, tell};

/// How many events are read.
const EVENTS: usize = 300_000;

/// How many clients append at once.
const WRITERS: usize = 16;

/// How many syncs the disk is asked for to know how long one takes.
const SYNCS: usize = 500;

/// What an event takes in the log beside its data, about, in bytes.
const FRAMING_BYTES: usize = 112;

/// Which client asks.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// `eventstore`, as its documentation shows it.
    Official,
    /// The port, which appends in a session of the same crate.
    Port,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Official, Self::Port];

    fn suffix(self) -> &'static str {
        match self {
            Self::Official => "",
            Self::Port => ".port",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Official => "by the official client",
            Self::Port => "by the port's adapter",
        }
    }
}

pub async fn measure(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let folder = scratch()?;
    let events = folder.path().join("events");
    let count = scale.count(EVENTS);
    let store = EmbeddedStore::open(EmbeddedOptions::folder(&events)).await?;
    fill(&store, count).await?;
    store.close().await?;
    let server = EventStoreServer::start(folder.path()).await?;
    let reads = reads(scale, &server.url, &events, count).await?;
    let mut rows = sequential(scale, &server.url, folder.path()).await?;
    rows.extend(concurrent(scale, &server.url, folder.path()).await?);
    rows.extend(reads);
    Ok(rows)
}

/// One who appends through some client.
struct Writer {
    client: AnyClient,
    stream: StreamName,
    events: Events,
}

#[derive(Clone)]
enum AnyClient {
    Official(Box<Client>),
    Port(ClientStore),
}

impl AnyClient {
    /// A client that is connected, and whose work the runtime around it does.
    async fn connect(kind: Kind, url: &str) -> anyhow::Result<Self> {
        Ok(match kind {
            Kind::Official => Self::Official(Box::new(official(url).await?)),
            Kind::Port => {
                let store = ClientStore::new(url)?;
                store.head().await?;
                Self::Port(store)
            }
        })
    }
}

/// The official client, which dials with its first question only.
async fn official(url: &str) -> anyhow::Result<Client> {
    let client = Client::new(url.parse()?)?;
    let one = ReadAllOptions::default().max_count(1);
    counted(client.read_all(&one).await?).await?;
    Ok(client)
}

impl Caller for Writer {
    async fn call(&mut self, _call: Call) -> anyhow::Result<()> {
        let event = self.events.next();
        match &self.client {
            AnyClient::Official(client) => {
                let event = EventData::binary(EVENT_TYPE, event.data).id(event.id.0);
                let options = AppendToStreamOptions::default();
                client.append_to_stream(self.stream.as_str(), &options, event).await?;
            }
            AnyClient::Port(store) => {
                store.append(&self.stream, ExpectedRevision::Any, vec![event]).await?;
            }
        }
        Ok(())
    }
}

async fn appends(kind: Kind, url: &str, writers: usize, span: Span) -> anyhow::Result<Measured> {
    let url = url.to_owned();
    on_a_thread(move || async move {
        let client = AnyClient::connect(kind, &url).await?;
        let writer = |number: usize| Writer {
            client: client.clone(),
            stream: stream(STREAMS + number),
            events: Events::new(number as u64),
        };
        closed_loop((0..writers).map(writer).collect(), span).await
    })
    .await
}

async fn sequential(scale: Scale, url: &str, folder: &Path) -> anyhow::Result<Vec<Row>> {
    let mut rounds = [Vec::new(), Vec::new()];
    for round in 0..scale.turns_of_disk() {
        let mut syncs = sync_times(folder, EVENT_BYTES + FRAMING_BYTES, SYNCS)?;
        syncs.sort_unstable();
        let sync = syncs[SYNCS / 2].as_secs_f64() * 1e6;
        for (kind, rounds) in Kind::ALL.into_iter().zip(&mut rounds) {
            let measured = appends(kind, url, 1, scale.span(1.0)).await?;
            let median = measured.latencies.quantile_ms(0.5) * 1e3;
            tell(round, kind.words(), format!("{median:.0} µs an append; a sync {sync:.0} µs"));
            rounds.push((median, sync));
        }
    }
    let rows = Kind::ALL.into_iter().zip(&rounds).map(|(kind, rounds)| {
        let what = format!("one {EVENT_BYTES}-byte event after the other {}", kind.words());
        Row::new(
            format!("grpc.append.sequential_median{}", kind.suffix()),
            what,
            ("µs", Lower),
            "one append of the same bytes to a file, and fdatasync",
            rounds,
        )
    });
    Ok(rows.collect())
}

async fn concurrent(scale: Scale, url: &str, folder: &Path) -> anyhow::Result<Vec<Row>> {
    let span = scale.span(1.0);
    let mut rounds = [Vec::new(), Vec::new()];
    for round in 0..scale.turns_of_disk() {
        let batch = WRITERS * (EVENT_BYTES + FRAMING_BYTES);
        let raw = synced_batches(folder, batch, span.measured)? * WRITERS as f64;
        for (kind, rounds) in Kind::ALL.into_iter().zip(&mut rounds) {
            let rate = appends(kind, url, WRITERS, span).await?.rate;
            let said = format!("{rate:.0} events/s; raw {raw:.0}");
            tell(round, &format!("{WRITERS} writers {}", kind.words()), said);
            rounds.push((rate, raw));
        }
    }
    let rows = Kind::ALL.into_iter().zip(&rounds).map(|(kind, rounds)| {
        let what = format!("durable appends of {WRITERS} writers {}", kind.words());
        Row::new(
            format!("grpc.append.{WRITERS}_writers{}", kind.suffix()),
            what,
            ("events/s", Higher),
            format!("the same bytes appended to one file, fdatasync after {WRITERS} events' bytes"),
            rounds,
        )
    });
    Ok(rows.collect())
}

async fn reads(scale: Scale, url: &str, events: &Path, count: usize) -> anyhow::Result<Vec<Row>> {
    let (files, _) = segments(events)?;
    let (mut streams, mut all) = (Vec::new(), Vec::new());
    for round in 0..scale.rounds() {
        let plain = per_second(count, sequential_read(&files)?);
        let by_stream = read_streams(url, count).await?;
        let in_all = read_all(url, count).await?;
        let said = format!("{by_stream:.0} and {in_all:.0} events/s; plain {plain:.0}");
        tell(round, "reading by stream and in all", said);
        streams.push((by_stream, plain));
        all.push((in_all, plain));
    }
    let row = |id: &str, what: &str, rounds: &[(f64, f64)], target| {
        let what = format!("{what} by the official client, {count} events in the page cache");
        let baseline = "the same files read from end to end through a buffer, with CRC-32C";
        Row::new(id, what, ("events/s", Higher), baseline, rounds).target(TargetOf::Value, target)
    };
    Ok(vec![
        row("grpc.read.stream", "streams read one after the other", &streams, 250_000.0),
        row("grpc.read.all", "the whole log read in its order", &all, 300_000.0),
    ])
}

/// Events a second.
async fn read_all(url: &str, count: usize) -> anyhow::Result<f64> {
    let url = url.to_owned();
    on_a_thread(move || async move {
        let client = official(&url).await?;
        let began = Instant::now();
        let options = ReadAllOptions::default().max_count(count);
        let read = counted(client.read_all(&options).await?).await?;
        ensure!(read == count, "{read} of {count} events were read");
        Ok(per_second(read, began.elapsed()))
    })
    .await
}

/// Events a second.
async fn read_streams(url: &str, count: usize) -> anyhow::Result<f64> {
    let url = url.to_owned();
    on_a_thread(move || async move {
        let client = official(&url).await?;
        let began = Instant::now();
        let mut read = 0;
        for stream in streams(count) {
            let options = ReadStreamOptions::default();
            let events = client.read_stream(stream.as_str(), &options).await?;
            read += counted(events).await?;
        }
        ensure!(read == count, "{read} of {count} events were read");
        Ok(per_second(read, began.elapsed()))
    })
    .await
}

async fn counted(mut events: eventstore::ReadStream) -> anyhow::Result<usize> {
    let mut count = 0;
    while events.next().await?.is_some() {
        count += 1;
    }
    Ok(count)
}
