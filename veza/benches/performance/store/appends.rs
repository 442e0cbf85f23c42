//! Durable appends beside the disk alone: the same bytes written raw and synced.

use std::path::Path;
use std::sync::Arc;

use event_store::{EmbeddedStore, EventStore as _, ExpectedRevision, StreamName};

use super::open;
use crate::events::{EVENT_BYTES, Events, stream};
use crate::load::{Call, Caller, Latencies, Measured, closed_loop, on_a_thread, paced};
use crate::machine::scratch;
use crate::raw_file::{paced_syncs, segments, sync_times, synced_batches};
use crate::scale::{Scale, Span};
use crate::table::Better::{Higher, Lower};
use crate::table::{Row, TargetOf, tell};

/// How many events a large batch has.
const BATCH_EVENTS: usize = 1_000;

/// How many large batches are under way.
const BATCH_WRITERS: usize = 4;

/// After how many bytes the raw file is synced beside large batches.
const BATCH_SYNC_BYTES: usize = 256 * 1024;

/// How many syncs of the raw file tell its slowest ones.
const SYNCS: usize = 2_000;

/// One who makes an append after the other to a stream of their own, at its revision.
pub struct Writer {
    store: Arc<EmbeddedStore>,
    stream: StreamName,
    events: Events,
    batch: usize,
    expected: ExpectedRevision,
}

impl Caller for Writer {
    async fn call(&mut self, _call: Call) -> anyhow::Result<()> {
        let events = (0..self.batch).map(|_| self.events.next()).collect();
        let appended = self.store.append(&self.stream, self.expected, events).await?;
        if let Some(revision) = appended.last_revision {
            self.expected = ExpectedRevision::Exactly(revision);
        }
        Ok(())
    }
}

/// Who appends so many events at once; `first` is the number of their first stream, which is new.
pub fn writers(
    store: &Arc<EmbeddedStore>,
    count: usize,
    batch: usize,
    first: usize,
) -> Vec<Writer> {
    let writer = |number| Writer {
        store: Arc::clone(store),
        stream: stream(first + number),
        events: Events::new((first + number) as u64),
        batch,
        expected: ExpectedRevision::NoStream,
    };
    (0..count).map(writer).collect()
}

/// One event at a time.
pub async fn one_by_one(scale: Scale, count: usize) -> anyhow::Result<Row> {
    let span = scale.span(1.0);
    let mut rounds = Vec::new();
    for round in 0..scale.turns_of_disk() {
        let folder = scratch()?;
        let store = Filling::of(count, 1).run(folder.path(), Pace::Free(span)).await?;
        let batch = count * store.event_bytes;
        let raw = synced_batches(folder.path(), batch, span.measured)? * count as f64;
        let rate = store.measured.rate;
        let said = format!("{rate:.0} events/s, {} bytes each; raw {raw:.0}", store.event_bytes);
        tell(round, &format!("{count} writers"), said);
        rounds.push((rate, raw));
    }
    let (name, target) =
        if count == 1 { ("1_writer".to_owned(), 0.8) } else { (format!("{count}_writers"), 0.5) };
    let row = Row::new(
        format!("store.append.{name}"),
        format!("durable appends of {EVENT_BYTES}-byte events, each writer its own stream"),
        ("events/s", Higher),
        format!("the same bytes into room of one file, fdatasync after {count} events' bytes"),
        &rounds,
    );
    Ok(row.target(TargetOf::Ratio, target))
}

/// Many events at a time.
pub async fn in_batches(scale: Scale) -> anyhow::Result<Row> {
    let span = scale.span(1.0);
    let mut rounds = Vec::new();
    for round in 0..scale.turns_of_disk() {
        let folder = scratch()?;
        let filling = Filling::of(BATCH_WRITERS, BATCH_EVENTS);
        let store = filling.run(folder.path(), Pace::Free(span)).await?;
        let rate = store.measured.rate * BATCH_EVENTS as f64;
        let raw = synced_batches(folder.path(), BATCH_SYNC_BYTES, span.measured)?;
        let raw = raw * BATCH_SYNC_BYTES as f64 / store.event_bytes as f64;
        tell(round, "large batches", format!("{rate:.0} events/s; raw {raw:.0}"));
        rounds.push((rate, raw));
    }
    let row = Row::new(
        "store.append.batches",
        format!("durable appends of {BATCH_EVENTS} events at once, {BATCH_WRITERS} under way"),
        ("events/s", Higher),
        format!("the same bytes into room of one file, fdatasync every {BATCH_SYNC_BYTES} bytes"),
        &rounds,
    );
    Ok(row.target(TargetOf::Ratio, 0.8))
}

/// How long the slowest wait at half of the rate that can be had.
pub async fn latency(scale: Scale) -> anyhow::Result<[Row; 2]> {
    const WRITERS: usize = 64;
    let span = scale.span(1.0);
    let (mut rounds, mut paced_rounds) = (Vec::new(), Vec::new());
    for round in 0..scale.turns_of_disk() {
        let folder = scratch()?;
        let top = Filling::of(WRITERS, 1).run(folder.path(), Pace::Free(span)).await?;
        let folder = scratch()?;
        let half = Pace::Rate(top.measured.rate / 2.0, span);
        let store = Filling::of(WRITERS, 1).run(folder.path(), half).await?;
        let p99 = store.measured.latencies.quantile_ms(0.99);
        let mut raw = Latencies::new();
        for time in sync_times(folder.path(), store.event_bytes, SYNCS)? {
            raw.record(time);
        }
        let raw = raw.quantile_ms(0.99);
        let rate = store.measured.rate;
        let paced = paced_syncs(folder.path(), store.event_bytes, rate, span)?.quantile_ms(0.99);
        let raw_said = format!("raw {raw:.3} ms, {paced:.3} ms at that pace");
        tell(round, "latency", format!("p99 {p99:.3} ms at {rate:.0} events/s; {raw_said}"));
        rounds.push((p99, raw));
        paced_rounds.push((p99, paced));
    }
    let what = format!("p99 of a durable append, {WRITERS} writers at half of their top rate");
    let alone = "p99 of writing one event's bytes into room of one file and fdatasync";
    let paced = "p99 of the same events at the same pace, all that are due written into room of \
                 one file at once, and fdatasync";
    let unit = ("ms", Lower);
    let row = Row::new("store.append.p99", what.clone(), unit, alone, &rounds);
    Ok([
        row.target(TargetOf::Ratio, 3.0),
        Row::new("store.append.p99.paced", what, unit, paced, &paced_rounds),
    ])
}

/// How fast appends are asked for.
enum Pace {
    /// Each writer as fast as it is answered.
    Free(Span),
    /// So many a second, all together.
    Rate(f64, Span),
}

/// A new store that is appended to.
struct Filling {
    writers: usize,
    batch: usize,
}

/// What was seen of it.
struct Filled {
    measured: Measured,
    /// What an event took in the log, in bytes.
    event_bytes: usize,
}

impl Filling {
    fn of(writers: usize, batch: usize) -> Self {
        Self { writers, batch }
    }

    async fn run(&self, folder: &Path, pace: Pace) -> anyhow::Result<Filled> {
        let events = folder.join("events");
        let store = Arc::new(open(&events).await?);
        let callers = writers(&store, self.writers, self.batch, 0);
        let measured = on_a_thread(move || async move {
            match pace {
                Pace::Free(span) => closed_loop(callers, span).await,
                Pace::Rate(rate, span) => paced(callers, rate, span).await,
            }
        })
        .await?;
        let count = store.head().await?.get();
        // Closed first: until then there is room behind the log's end.
        store.close().await?;
        let (_, bytes) = segments(&events)?;
        Ok(Filled { measured, event_bytes: usize::try_from(bytes / count)? })
    }
}
