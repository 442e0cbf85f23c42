//! Reads of a log in the page cache: one long stream, many short ones, and the log as it is.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use anyhow::ensure;
use event_store::{EmbeddedStore, EventStore as _, ExpectedRevision, StreamName};
use eventstore::{Client, ReadAllOptions, ReadStreamOptions};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::{counted, official};
use crate::events::{self, Events, fill_streams, stream};
use crate::load::{Call, Caller, closed_loop, on_a_thread};
use crate::other_stores::{UmaClient, UmaDb};
use crate::raw_file::{segments, sequential_read};
use crate::scale::{Scale, Span};
use crate::table::Better::Higher;
use crate::table::{Row, TargetOf, per_second, tell};

/// How many events the long stream has.
const LONG_EVENTS: usize = 100_000;

/// How many short streams there are.
const SHORT_STREAMS: usize = 20_000;

/// How many events a short stream has.
const SHORT_EVENTS: usize = 10;

/// How many read short streams at once.
const READERS: usize = 16;

/// How many events are appended at once while a log is filled.
const APPEND_EVENTS: usize = 500;

/// What the log has: the long stream, with the number 0, and then the short ones.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    long_events: usize,
    short_streams: usize,
}

impl Log {
    pub fn of(scale: Scale) -> Self {
        let (long_events, short_streams) = (scale.count(LONG_EVENTS), scale.count(SHORT_STREAMS));
        Self { long_events, short_streams }
    }

    pub fn streams(self) -> usize {
        1 + self.short_streams
    }

    fn events(self) -> usize {
        self.long_events + self.short_streams * SHORT_EVENTS
    }

    pub async fn fill(self, store: &EmbeddedStore) -> anyhow::Result<()> {
        let (long, mut events) = (stream(0), Events::new(0));
        for from in (0..self.long_events).step_by(APPEND_EVENTS) {
            let count = APPEND_EVENTS.min(self.long_events - from);
            let batch = (0..count).map(|_| events.next()).collect();
            store.append(&long, ExpectedRevision::Any, batch).await?;
        }
        let short = events::Log { streams: self.streams(), stream_events: SHORT_EVENTS };
        fill_streams(store, short, 1).await
    }

    /// The same for UmaDB, to which a stream is a tag.
    pub async fn fill_umadb(self, address: SocketAddr) -> anyhow::Result<()> {
        let mut client = UmaClient::connect(address).await?;
        let mut events = Events::new(0);
        let short = (1..self.streams()).flat_map(|number| [number; SHORT_EVENTS]);
        let numbers: Vec<usize> = std::iter::repeat_n(0, self.long_events).chain(short).collect();
        for numbers in numbers.chunks(APPEND_EVENTS) {
            let tagged = numbers.iter().map(|number| (tag(*number), events.next()));
            client.append(tagged).await?;
        }
        Ok(())
    }
}

fn tag(number: usize) -> String {
    stream(number).as_str().to_owned()
}

/// What the rounds have shown: events or streams a second, each beside its baseline.
#[derive(Default)]
struct Rounds {
    stream: Vec<(f64, f64)>,
    stream_umadb: Vec<(f64, f64)>,
    short_umadb: Vec<(f64, f64)>,
    all: Vec<(f64, f64)>,
    all_umadb: Vec<(f64, f64)>,
}

pub async fn rows(
    scale: Scale,
    url: &str,
    umadb: Option<&UmaDb>,
    events: &Path,
    log: Log,
) -> anyhow::Result<Vec<Row>> {
    let (files, _) = segments(events)?;
    let mut rounds = Rounds::default();
    for round in 0..scale.rounds() {
        let plain = per_second(log.events(), sequential_read(&files)?);
        let span = scale.span(1.0);
        let stream = read_long(url, log).await?;
        let short = read_short(url, log, span).await?;
        let all = read_all(url, log).await?;
        let said = format!(
            "{stream:.0} events/s of one stream, {short:.0} short streams/s, {all:.0} events/s in \
             all; plain {plain:.0}"
        );
        tell(round, "reading", said);
        let theirs = match umadb {
            Some(umadb) => read_umadb(umadb.address(), log, span).await?,
            None => [f64::NAN; 3],
        };
        let [stream_theirs, short_theirs, all_theirs] = theirs;
        let said = format!("{stream_theirs:.0}, {short_theirs:.0}, {all_theirs:.0}");
        tell(round, "the same by UmaDB", said);
        rounds.stream.push((stream, plain));
        rounds.stream_umadb.push((stream, stream_theirs));
        rounds.short_umadb.push((short, short_theirs));
        rounds.all.push((all, plain));
        rounds.all_umadb.push((all, all_theirs));
    }
    Ok(table(&rounds, umadb.map_or("UmaDB", |it| it.version.as_str()), log))
}

fn table(rounds: &Rounds, umadb: &str, log: Log) -> Vec<Row> {
    let (long, all) = (log.long_events, log.events());
    let row = |id: &str, what: String, unit, baseline: &str, rounds: &[(f64, f64)]| {
        let what = format!("{what} by the official client, in the page cache");
        Row::new(id, what, (unit, Higher), baseline, rounds)
    };
    let plain = "the same files read from end to end through a buffer, with CRC-32C";
    let of_tag = format!("{umadb}, the events of one tag among as many, many in a message");
    let of_all = format!("{umadb}, which sends up to 1024 events in a message");
    let stream = || format!("one stream of {long} events read");
    let short = || {
        let streams = log.short_streams;
        format!("{READERS} readers of streams of {SHORT_EVENTS}, any of {streams},")
    };
    let in_order = || format!("the whole log of {all} events read in its order");
    let per = "events/s";
    vec![
        row("grpc.read.stream", stream(), per, plain, &rounds.stream)
            .target(TargetOf::Value, 250_000.0),
        row("grpc.read.stream.umadb", stream(), per, &of_tag, &rounds.stream_umadb)
            .target(TargetOf::Ratio, 2.0),
        row("grpc.read.short.umadb", short(), "streams/s", &of_tag, &rounds.short_umadb)
            .target(TargetOf::Ratio, 1.2),
        row("grpc.read.all", in_order(), per, plain, &rounds.all)
            .target(TargetOf::Value, 300_000.0),
        row("grpc.read.all.umadb", in_order(), per, &of_all, &rounds.all_umadb),
    ]
}

/// Events a second.
async fn read_long(url: &str, log: Log) -> anyhow::Result<f64> {
    let url = url.to_owned();
    on_a_thread(move || async move {
        let client = official(&url).await?;
        let began = Instant::now();
        let read = read_stream(&client, &stream(0)).await?;
        ensure!(read == log.long_events, "{read} of {} events were read", log.long_events);
        Ok(per_second(read, began.elapsed()))
    })
    .await
}

/// Events a second.
async fn read_all(url: &str, log: Log) -> anyhow::Result<f64> {
    let url = url.to_owned();
    on_a_thread(move || async move {
        let client = official(&url).await?;
        let began = Instant::now();
        let options = ReadAllOptions::default().max_count(log.events());
        let read = counted(client.read_all(&options).await?).await?;
        ensure!(read == log.events(), "{read} of {} events were read", log.events());
        Ok(per_second(read, began.elapsed()))
    })
    .await
}

/// Streams a second.
async fn read_short(url: &str, log: Log, span: Span) -> anyhow::Result<f64> {
    let url = url.to_owned();
    on_a_thread(move || async move {
        let client = official(&url).await?;
        let reader = |number| Reader { client: client.clone(), choice: Choice::new(number, log) };
        Ok(closed_loop((0..READERS).map(reader).collect(), span).await?.rate)
    })
    .await
}

/// The same three figures of UmaDB.
async fn read_umadb(address: SocketAddr, log: Log, span: Span) -> anyhow::Result<[f64; 3]> {
    on_a_thread(move || async move {
        let mut client = UmaClient::connect(address).await?;
        let began = Instant::now();
        let read = client.read(Some(&tag(0))).await?;
        ensure!(read == log.long_events, "{read} of {} events were read", log.long_events);
        let stream = per_second(read, began.elapsed());
        let reader = |number| (client.clone(), Choice::new(number, log));
        let short = closed_loop((0..READERS).map(reader).collect(), span).await?.rate;
        let began = Instant::now();
        let read = client.read(None).await?;
        ensure!(read == log.events(), "{read} of {} events were read", log.events());
        Ok([stream, short, per_second(read, began.elapsed())])
    })
    .await
}

/// The next short stream that somebody reads.
struct Choice {
    random: StdRng,
    log: Log,
}

impl Choice {
    fn new(seed: usize, log: Log) -> Self {
        Self { random: StdRng::seed_from_u64(seed as u64), log }
    }

    fn next(&mut self) -> StreamName {
        stream(self.random.random_range(1..self.log.streams()))
    }
}

struct Reader {
    client: Client,
    choice: Choice,
}

impl Caller for Reader {
    async fn call(&mut self, _call: Call) -> anyhow::Result<()> {
        let read = read_stream(&self.client, &self.choice.next()).await?;
        ensure!(read == SHORT_EVENTS, "{read} of {SHORT_EVENTS} events were read");
        Ok(())
    }
}

impl Caller for (UmaClient, Choice) {
    async fn call(&mut self, _call: Call) -> anyhow::Result<()> {
        let (client, choice) = self;
        let read = client.read(Some(choice.next().as_str())).await?;
        ensure!(read == SHORT_EVENTS, "{read} of {SHORT_EVENTS} events were read");
        Ok(())
    }
}

async fn read_stream(client: &Client, stream: &StreamName) -> anyhow::Result<usize> {
    counted(client.read_stream(stream.as_str(), &ReadStreamOptions::default()).await?).await
}
