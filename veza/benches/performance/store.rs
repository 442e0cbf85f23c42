//! The embedded store against the disk that it stands on.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use event_store::{
    EmbeddedOptions, EmbeddedStore, EventReader, EventStore as _, ExpectedRevision, Index, ReadAll,
    ReadIndex, ReadStream, StreamName,
};
use futures::TryStreamExt as _;
use tokio::process::Command;

use crate::events::{EVENT_BYTES, Events, STREAMS, fill, stream, streams};
use crate::load::{Call, Caller, closed_loop, on_a_thread};
use crate::machine::{free_bytes, own_memory_mb, scratch};
use crate::raw_file::{segments, sequential_read, synced_batches};
use crate::scale::{Scale, Span};
use crate::table::Better::{Higher, Lower};
use crate::table::{Row, TargetOf, per_second, tell};

/// How many events are read, and opened.
const EVENTS: usize = 1_000_000;

/// How many are opened in the long rows.
const EVENTS_FULL: usize = 50_000_000;

/// The disk that each of them needs, with room to spare, in bytes.
const EVENT_DISK_BYTES: u64 = 480;

/// The argument that makes this program open a store and tell its memory.
pub const MEMORY_ROLE: &str = "memory-of-store";

/// What is left by a store that was closed in peace.
const CLEAN_MARK: &str = "CLEAN";

pub async fn measure(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for writers in [1, 64] {
        rows.push(appends(scale, writers).await?);
    }
    let folder = scratch()?;
    let events = scale.count(EVENTS);
    filled(folder.path(), events).await?;
    rows.extend(reads(scale, folder.path(), events).await?);
    rows.extend(openings(scale, folder.path(), events, "").await?);
    rows.push(category(scale, events).await?);
    if scale.is_full() {
        drop(folder);
        rows.extend(full(scale).await?);
    }
    Ok(rows)
}

/// One who appends an event after the other to a stream of their own, at its revision.
struct Writer {
    store: Arc<EmbeddedStore>,
    stream: StreamName,
    events: Events,
    expected: ExpectedRevision,
}

impl Caller for Writer {
    async fn call(&mut self, _call: Call) -> anyhow::Result<()> {
        let event = self.events.next();
        let appended = self.store.append(&self.stream, self.expected, vec![event]).await?;
        if let Some(revision) = appended.last_revision {
            self.expected = ExpectedRevision::Exactly(revision);
        }
        Ok(())
    }
}

async fn appends(scale: Scale, writers: usize) -> anyhow::Result<Row> {
    let span = scale.span(1.0);
    let mut rounds = Vec::new();
    for round in 0..scale.turns_of_disk() {
        let folder = scratch()?;
        let (rate, event_bytes) = appends_of_store(folder.path(), writers, span).await?;
        let batch = writers * event_bytes;
        let raw = synced_batches(folder.path(), batch, span.measured)? * writers as f64;
        let said = format!("{rate:.0} events/s, {event_bytes} bytes each; raw {raw:.0}");
        tell(round, &format!("{writers} writers"), said);
        rounds.push((rate, raw));
    }
    let id = if writers == 1 { "1_writer".to_owned() } else { format!("{writers}_writers") };
    let row = Row::new(
        format!("store.append.{id}"),
        format!("durable appends of {EVENT_BYTES}-byte events, each writer its own stream"),
        ("events/s", Higher),
        format!("the same bytes into room of one file, fdatasync after {writers} events' bytes"),
        &rounds,
    );
    Ok(if writers == 64 { row.target(TargetOf::Ratio, 0.5) } else { row })
}

/// Events a second, and the bytes that each took in the log.
async fn appends_of_store(
    folder: &Path,
    writers: usize,
    span: Span,
) -> anyhow::Result<(f64, usize)> {
    let events = folder.join("events");
    let store = Arc::new(open(&events).await?);
    let writing = Arc::clone(&store);
    let measured = on_a_thread(move || {
        let callers = (0..writers).map(|number| Writer {
            store: Arc::clone(&writing),
            stream: stream(number),
            events: Events::new(number as u64),
            expected: ExpectedRevision::NoStream,
        });
        closed_loop(callers.collect(), span)
    })
    .await?;
    let count = store.head().await?.get();
    // Closed first: until then there is room behind the log's end.
    store.close().await?;
    let (_, bytes) = segments(&events)?;
    Ok((measured.rate, usize::try_from(bytes / count)?))
}

async fn open(events: &Path) -> anyhow::Result<EmbeddedStore> {
    Ok(EmbeddedStore::open(EmbeddedOptions::folder(events)).await?)
}

/// A log of so many events, closed in peace.
async fn filled(folder: &Path, count: usize) -> anyhow::Result<()> {
    let began = Instant::now();
    let store = open(&folder.join("events")).await?;
    fill(&store, count).await?;
    store.close().await?;
    let rate = per_second(count, began.elapsed());
    println!("  a log of {count} events was filled, {rate:.0} events/s");
    Ok(())
}

async fn reads(scale: Scale, folder: &Path, count: usize) -> anyhow::Result<Vec<Row>> {
    let store = open(&folder.join("events")).await?;
    let (files, _) = segments(&folder.join("events"))?;
    let (mut by_stream, mut all) = (Vec::new(), Vec::new());
    for round in 0..scale.rounds() {
        let plain = per_second(count, sequential_read(&files)?);
        let began = Instant::now();
        let mut read = 0;
        for stream in streams(count) {
            read += counted(store.read_stream(ReadStream::forward(stream)).await?).await?;
        }
        ensure!(read == count, "{read} of {count} events were read by stream");
        by_stream.push((per_second(read, began.elapsed()), plain));
        let began = Instant::now();
        let read = counted(store.read_all(ReadAll::forward()).await?).await?;
        ensure!(read == count, "{read} of {count} events were read of all");
        all.push((per_second(read, began.elapsed()), plain));
        let said =
            format!("{:.0} and {:.0} events/s; plain {plain:.0}", by_stream[round].0, all[round].0);
        tell(round, "reading by stream and in all", said);
    }
    store.close().await?;
    let baseline = "the same files read from end to end through a buffer, with CRC-32C";
    let row = |id: &str, what: &str, rounds: &[(f64, f64)]| {
        let what = format!("{what}, {count} events in the page cache");
        Row::new(id, what, ("events/s", Higher), baseline, rounds)
            .target(TargetOf::Value, 1_000_000.0)
    };
    Ok(vec![
        row("store.read.stream", "its streams read one after the other", &by_stream),
        row("store.read.all", "the whole log read in its order", &all),
    ])
}

async fn counted(mut events: EventReader) -> anyhow::Result<usize> {
    let mut count = 0;
    while events.try_next().await?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// One event of so many is of the category that is read, and one of the stream beside it.
const RARE_EVERY: usize = 1000;

/// How often both are read in a round: they are short.
const RARE_READS: usize = 20;

async fn category(scale: Scale, count: usize) -> anyhow::Result<Row> {
    const CATEGORY: &str = "rare";
    let folder = scratch()?;
    let store = open(folder.path()).await?;
    let alone = StreamName::new("alone")?;
    let mut events = Events::new(count as u64);
    let rare = count.div_ceil(RARE_EVERY);
    for number in 0..rare {
        let of_category = StreamName::new(format!("{CATEGORY}-{number}"))?;
        for (stream, size) in
            [(&of_category, 1), (&alone, 1), (&stream(number % STREAMS), RARE_EVERY - 2)]
        {
            let batch = (0..size).map(|_| events.next()).collect();
            store.append(stream, ExpectedRevision::Any, batch).await?;
        }
    }
    let mut rounds = Vec::new();
    for round in 0..scale.rounds() {
        let began = Instant::now();
        for _ in 0..RARE_READS {
            let read = store.read_index(ReadIndex::forward(Index::category(CATEGORY))).await?;
            let read = read.try_fold(0, |read, _| async move { Ok(read + 1) }).await?;
            ensure!(read == rare, "{read} of {rare} events were read of the category");
        }
        let of_category = per_second(RARE_READS * rare, began.elapsed());
        let began = Instant::now();
        for _ in 0..RARE_READS {
            let read =
                counted(store.read_stream(ReadStream::forward(alone.clone())).await?).await?;
            ensure!(read == rare, "{read} of {rare} events were read of the stream");
        }
        let of_stream = per_second(RARE_READS * rare, began.elapsed());
        let said = format!("{of_category:.0} events/s; of a stream {of_stream:.0}");
        tell(round, "reading a category", said);
        rounds.push((of_category, of_stream));
    }
    store.close().await?;
    Ok(Row::new(
        "store.read.category",
        format!("a category that has one of {RARE_EVERY} events among {count}, each in its stream"),
        ("events/s", Higher),
        "a stream that has as many events in the same log",
        &rounds,
    ))
}

async fn openings(
    scale: Scale,
    folder: &Path,
    count: usize,
    suffix: &str,
) -> anyhow::Result<Vec<Row>> {
    let events = folder.join("events");
    let (files, _) = segments(&events)?;
    let (mut clean, mut crashed) = (Vec::new(), Vec::new());
    for round in 0..scale.rounds() {
        let plain = milliseconds(sequential_read(&files)?);
        clean.push((opening(&events, count).await?, plain));
        // A store that is killed leaves no mark.
        fs::remove_file(events.join(CLEAN_MARK))?;
        crashed.push((opening(&events, count).await?, plain));
        let said =
            format!("{:.0} and {:.0} ms; plain {plain:.0}", clean[round].0, crashed[round].0);
        tell(round, "opening in peace and after a crash", said);
    }
    let row = |id: &str, what: &str, rounds: &[(f64, f64)]| {
        let what = format!("opening a store of {count} events {what}");
        let baseline = "the same files read once from end to end";
        Row::new(format!("store.open.{id}{suffix}"), what, ("ms", Lower), baseline, rounds)
            .target(TargetOf::Value, 2_000.0)
    };
    Ok(vec![
        row("clean", "that was closed", &clean),
        row("crashed", "whose process was killed", &crashed),
    ])
}

async fn opening(events: &Path, count: usize) -> anyhow::Result<f64> {
    let began = Instant::now();
    let store = open(events).await?;
    let took = milliseconds(began.elapsed());
    ensure!(store.head().await?.get() >= count as u64, "everything is there again");
    store.close().await?;
    Ok(took)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The rows of a long log: how long it takes to open, and the memory it then has.
async fn full(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let folder = scratch()?;
    let count = scale.count(EVENTS_FULL);
    let (needed, free) = (count as u64 * EVENT_DISK_BYTES, free_bytes(folder.path())?);
    ensure!(free > needed, "the long rows need {} GiB of free disk", (needed >> 30) + 1);
    filled(folder.path(), count).await?;
    let told = Command::new(std::env::current_exe()?)
        .arg(MEMORY_ROLE)
        .arg(folder.path().join("events"))
        .kill_on_drop(true)
        .output()
        .await?;
    let figures: Vec<f64> = serde_json::from_slice(&told.stdout)
        .with_context(|| String::from_utf8_lossy(&told.stderr).into_owned())?;
    let &[before, after] = figures.as_slice() else {
        bail!("the memory was not told: {figures:?}");
    };
    let what = format!("memory of a process with a store of {count} events open, some read");
    let baseline = "that process before it opened the store (RssAnon + RssShmem)";
    let rounds = [(after, before)];
    let memory = Row::new("store.memory.full", what, ("MB", Lower), baseline, &rounds);
    let mut rows = vec![memory.target(TargetOf::Value, 300.0)];
    rows.extend(openings(scale, folder.path(), count, ".full").await?);
    Ok(rows)
}

/// Prints the memory of this process before a store is opened and afterwards, when the beginning
/// and the end of the log were read: a process of its own, as this one has other memory too.
pub fn tell_memory(events: &Path) -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let before = own_memory_mb()?;
        let store = open(events).await?;
        for read in [ReadAll::forward(), ReadAll::backward()] {
            counted(store.read_all(read.limit(EVENTS as u64)).await?).await?;
        }
        println!("{}", serde_json::to_string(&[before, own_memory_mb()?])?);
        Ok(store.close().await?)
    })
}
